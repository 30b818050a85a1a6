"""How fast does the store upload and download a model, next to plain s3fs, hashing included?

    python -m tests.proofs.transfer_rate [--gib 1.0] [--rounds 4]

Starts SeaweedFS on this machine and moves the same files (four of random bytes, and some small ones) by s3fs's put and
get and by `Store.publish` and `Store.fetch`, by turns within each round, the first alternating. Prints each round's
rates, their medians, and the median ratio. Exit status 1 if that is below 0.8 either way.
"""

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.store.artifacts import ArtifactRef, Store
from tests.tasks.seaweed import FIRST_BUCKET, serving

GOAL = 0.8
MIB = 1 << 20
SMALL = {"config.json": 800, "tokenizer.json": 120_000, "generation_config.json": 200, "README.md": 3_000}


def main() -> int:
    """Measures, prints the table, and compares with the goal."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--gib", type=float, default=1.0, help="size of the model")
    options.add_argument("--rounds", type=int, default=4)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="thinkreward-rate-") as name, serving(Path(name) / "s3") as server:
        os.environ.update(server.environment)
        folder = Path(name)
        size = make_model(folder / "model", given.gib)
        tell(f"{size / MIB:.0f} MiB in {len(list((folder / 'model').iterdir()))} files, SeaweedFS on the same machine")
        tell(f"{machine()}, load {os.getloadavg()[0]:.1f}")
        tell("round   put s3fs  put ours   get s3fs  get ours   (MiB/s)")
        rates: dict[str, list[float]] = {"put s3fs": [], "put ours": [], "get s3fs": [], "get ours": []}
        for number in range(given.rounds):
            for what, seconds in one_round(folder, number, size):
                rates[what].append(size / MIB / seconds)
            tell(f"{number + 1:5d}   " + "  ".join(f"{found[-1]:8.0f}" for found in rates.values()))
    medians = {what: statistics.median(found) for what, found in rates.items()}
    tell("median  " + "  ".join(f"{found:8.0f}" for found in medians.values()))
    # Of each round's pair, since what else the machine does changes from round to round.
    ratios = [median_ratio(rates["put ours"], rates["put s3fs"]), median_ratio(rates["get ours"], rates["get s3fs"])]
    tell(f"ours / s3fs: upload {ratios[0]:.2f}, download {ratios[1]:.2f} (goal {GOAL}), load {os.getloadavg()[0]:.1f}")
    return 0 if min(ratios) >= GOAL else 1


def make_model(folder: Path, gib: float) -> int:
    """Random bytes, so that nothing is compressed or stored once. Returns their number."""
    folder.mkdir()
    sizes = {f"model-{part + 1:05d}-of-00004.safetensors": int(gib * (1 << 30) / 4) for part in range(4)} | SMALL
    for name, size in sizes.items():
        with (folder / name).open("wb") as file:
            for start in range(0, size, 64 * MIB):
                file.write(os.urandom(min(64 * MIB, size - start)))
    return sum(sizes.values())


def one_round(folder: Path, number: int, size: int) -> list[tuple[str, float]]:
    """Seconds of each of the four, for one upload and one download by either way."""
    import fsspec

    fs: Any = fsspec.filesystem(
        "s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], use_listings_cache=False, skip_instance_cache=True
    )
    store = Store(f"s3://{FIRST_BUCKET}/ours-{number}", cache_dir=folder / "cache")
    model, plain, out = folder / "model", f"{FIRST_BUCKET}/plain-{number}/", folder / "out"
    refs: list[ArtifactRef] = []
    connect = [lambda: fs.ls(FIRST_BUCKET), lambda: store.objects.exists("x")]  # which is not part of the transfer
    for one in connect:
        one()
    ways: list[tuple[str, Callable[[], object]]] = [
        ("put s3fs", lambda: fs.put(f"{model}/", plain, recursive=True)),
        ("put ours", lambda: refs.append(store.publish("model", model))),
        ("get s3fs", lambda: fs.get(plain, f"{out}/", recursive=True)),
        ("get ours", lambda: store.fetch(refs[0])),
    ]
    first = 1 if number % 2 else 0
    order = [first, 1 - first, 2 + first, 3 - first]
    with emptied(out, folder / "cache"):
        taken = [(ways[which][0], seconds(ways[which][1])) for which in order]
        for found in (out, folder / "cache" / "files" / "model" / refs[0].digest):
            got = sum(path.stat().st_size for path in found.rglob("*") if path.is_file())
            assert got == size, f"{found} has {got} bytes, not {size}"
    fs.rm(f"{FIRST_BUCKET}/plain-{number}", recursive=True)
    store.drop("model", refs[0].digest)
    return taken


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))


def seconds(do: Callable[[], object]) -> float:
    """How long it takes, with what was written before on its way to the disk."""
    os.sync()
    start = time.monotonic()
    do()
    return time.monotonic() - start


@contextmanager
def emptied(*folders: Path) -> Iterator[None]:
    """The folders are not there before and after."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    yield
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def machine() -> str:
    """What the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} cores of {models[0]}, {memory:.0f} GiB, Python {platform.python_version()}"


def tell(line: str) -> None:
    """Writes a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
