"""How much memory do large drops take, from the inbox into new preferences?

    python -m tests.proofs.large_drops [--drops 20] [--mib 100]

Puts so many drops into the inbox of a store of its own, each of so many MiB in pictures of noise (which nothing
compresses), and adds them as a nightly run does: `ingest`, then the stage `prepare`, then `archive`. Prints the most
memory that this took in all its processes (MiB resident; what they share counts for each), and for how long. Exit
status 1 above 2 GiB, or if a pair was lost.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from tests.tasks.small_recipe import REPOSITORY

PICTURE_MIB = 10
MOST_MIB = 2048
ADD = """
import sys
from configs.load import load_settings
from tasks.data.decoders import prepare_decoders
from tasks.data.inbox.inbox import archive, ingest
from tasks.pipeline.run import open_store, run_stage

settings = load_settings("shapes", sys.argv[1:])
store = open_store(settings)
with prepare_decoders(settings) as decoders:
    taken = ingest(store, max_frames=8, quiet_s=0, log=print, decoding=decoders)
print("INGESTED", flush=True)
prepared = run_stage("prepare", settings)
archive(store, prepared.outputs["preferences"].short, taken)
print("PAIRS", prepared.facts["drop_pairs"], "MIB", prepared.facts["peak_memory_mib"])
"""


def main() -> int:
    """Prints the figures; the exit status says whether they hold."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--drops", type=int, default=20)
    arguments.add_argument("--mib", type=int, default=100, help="size of each drop")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="thinkreward-large-drops-") as aside:
        folder = Path(aside)
        pairs = sum(write_drop(folder / "store" / "inbox" / f"drop {at}", given.mib, at) for at in range(given.drops))
        size = sum(path.stat().st_size for path in (folder / "store").rglob("*.png")) / 2**20
        tell(f"{given.drops} drops of {size / given.drops:.0f} MiB, {pairs} pairs")
        added, mib, seconds = add(folder)
        tell(f"{added} pairs added in {seconds:.0f} s, at most {mib:.0f} MiB in all processes")
        return int(mib > MOST_MIB or added != pairs)


def write_drop(folder: Path, mib: int, seed: int) -> int:
    """Pairs of pictures of noise in its colours alone, `mib` in all; gives how many."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    side, rows = int((PICTURE_MIB * 2**20 / 3) ** 0.5), []
    for at in range(mib // PICTURE_MIB):
        noise = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{at}.png", compress_level=0)
    for at in range(0, mib // PICTURE_MIB, 2):
        shown = [{"media": f"{one}.png"} for one in (at, at + 1)]
        row = {"id": f"p{at}", "task": "image_generation", "prompt": f"drop {seed}, {at}", "candidates": shown}
        rows.append(row | {"preferred": 1})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return len(rows)


def write_source(folder: Path) -> None:
    """Some pairs of one's own, to which the drops are added: small pictures, each of its own noise."""
    random, rows = np.random.default_rng(10_000), []
    folder.mkdir()
    for at in range(60):
        for one in (1, 2):
            noise = random.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{at}-{one}.png")
        shown = [{"media": f"{at}-{one}.png"} for one in (1, 2)]
        row = {"id": f"own{at}", "task": "image_generation", "prompt": f"caption {at}", "candidates": shown}
        rows.append(row | {"preferred": 1 + at % 2})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def add(folder: Path) -> tuple[int, float, float]:
    """Add what is in the inbox: how many pairs that gave, the most MiB that it took, and the seconds."""
    write_source(folder / "own")
    sets = [
        "prepare.source=jsonl",
        f"prepare.path={folder / 'own'}",
        "distill.teacher=openai",
        "distill.model=none",
        f"storage.root={folder / 'store'}",
        f"storage.cache_dir={folder / 'cache'}",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
    ]
    started, most = time.monotonic(), 0
    with subprocess.Popen(
        [sys.executable, "-c", ADD, *sets], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as program:
        while program.poll() is None:
            most = max(most, resident(program.pid))
            time.sleep(0.05)
        assert program.stdout is not None
        said = program.stdout.read()
    if program.returncode:
        raise SystemExit(f"adding failed: {said}")
    words = said.splitlines()[-1].split()
    return int(words[1]), most / 2**20, time.monotonic() - started


def resident(root: int) -> int:
    """The memory of a process and of all below it, in bytes."""
    total = 0
    try:
        family = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in family:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def tell(line: str) -> None:
    """A line of the script's output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
