"""What strangers send, spoiled at random: verdicts, listings of data sets, media, and bodies of requests.

    python -m tests.proofs.fuzz [--minutes 10] [--seed 0] [--target media] [--keep fuzz]
    python -m tests.proofs.fuzz --target media --replay fuzz/media-17.bin

Each target (tests/proofs/fuzz_targets.py) runs in a process of its own, for its part of the minutes, on examples that
follow from the seed and their number. A finding is any error but the ones a target is documented to raise, an example
that takes longer than `SLOW_S`, and the end of the process (a codec that crashes, memory beyond `MEMORY_GIB`). Its
input is kept under `--keep`, one file for each place in the code. The exit status is 1 if there was any.
"""

import argparse
import contextlib
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.proofs.fuzz_targets import TARGETS, Target

SLOW_S = 10.0  # processor seconds of one example
DEAD_S = 120.0  # seconds without a further example, after which the process is ended
MEMORY_GIB = 6
CURRENT = "current.bin"


def main() -> int:
    """Print a line a target, and one a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", choices=TARGETS, help="may be repeated; all if not given")
    parser.add_argument("--keep", type=Path, default=Path("fuzz"), help="the folder for what was found")
    parser.add_argument("--replay", type=Path, help="one input, given to --target, with its whole traceback")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    chosen = given.target or list(TARGETS)
    if given.replay:
        with TARGETS[chosen[0]].opened() as check:
            check(given.replay.read_bytes())
        return 0
    given.keep.mkdir(parents=True, exist_ok=True)
    if given.child:
        return _examples(chosen[0], given.minutes * 60, given.seed, given.keep)
    return max(_watched(name, given.minutes / len(chosen), given.seed, given.keep) for name in chosen)


def _watched(name: str, minutes: float, seed: int, keep: Path) -> int:
    """A target in a process of its own, ended when an example does not."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.proofs.fuzz", "--child", "--target", name]
    command += ["--minutes", f"{minutes}", "--seed", f"{seed}", "--keep", f"{keep}"]
    current = keep / CURRENT
    current.unlink(missing_ok=True)
    child = subprocess.Popen(command)
    last = time.monotonic()
    while child.poll() is None:
        time.sleep(0.5)
        if current.exists():
            last = max(last, time.monotonic() - (time.time() - current.stat().st_mtime))
        if time.monotonic() - last > DEAD_S:
            child.kill()
            child.wait()
    if child.returncode in (0, 1):
        return child.returncode
    kept = keep / f"{name}-ended.bin"
    if current.exists():
        current.replace(kept)
    sys.stdout.write(f"  {name}: the process ended with {child.returncode}: {kept}\n")
    return 1


def _examples(name: str, seconds: float, seed: int, keep: Path) -> int:
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_GIB * 2**30,) * 2)
    target = TARGETS[name]
    found: dict[str, int] = {}
    with target.opened() as check:
        ends, number = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            where = _one(target, check, Random(f"{seed}/{name}/{number}"), keep)
            if where and where not in found:
                (keep / CURRENT).replace(keep / f"{name}-{number}.bin")
                sys.stdout.write(f"  {name} {number}: {where}: {keep / f'{name}-{number}.bin'}\n")
            if where:
                found[where] = found.get(where, 0) + 1
            number += 1
    (keep / CURRENT).unlink(missing_ok=True)
    sys.stdout.write(f"{name:10} {number:8} examples {len(found):4} findings {sum(found.values()):6} times\n")
    sys.stdout.flush()
    return int(bool(found))


def _one(target: Target, check: Callable[[bytes], None], rng: Random, keep: Path) -> str:
    """Where and how one example failed; empty if it did not."""
    data = target.make(rng)
    (keep / CURRENT).write_bytes(data)
    began = time.process_time()
    try:
        check(data)
    except Exception as error:  # noqa: BLE001  (whatever is raised is what this looks for)
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {last.filename}:{last.lineno}: {str(error)[:200]!r}".split("\n")[0]
    took = time.process_time() - began
    return f"took more than {SLOW_S:g} s" if took > SLOW_S else ""


if __name__ == "__main__":
    raise SystemExit(main())
