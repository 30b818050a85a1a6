"""A large published set: how fast is it imported, in how much memory, and what does a kill in the middle cost?

    python -m tests.proofs.import_rate [--pairs 100000] [--side 48]

Writes so many pairs in the layout of open_image_preferences (Parquet with the images in the rows), reads them with
plain `datasets` (streaming, images decoded), imports them with `thinkreward data import`, and imports them again with
`kill -9` at half time and a second start. Prints rows a second and the most memory that an import held in all its
processes (MiB resident; what they share counts for each). Exit status 1 above 2 GiB, or if the killed import ends
with another digest.
"""

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.tasks.small_recipe import REPOSITORY

FILE_PAIRS = 10_000
MOST_MIB = 2048


def main() -> int:
    """Prints the figures; the exit status says whether they hold."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pairs", type=int, default=100_000)
    arguments.add_argument("--side", type=int, default=48, help="pixels of an image's side")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="thinkreward-import-rate-") as aside:
        folder = Path(aside)
        write_set(folder / "set", given.pairs, given.side)
        size = sum(path.stat().st_size for path in (folder / "set").rglob("*.parquet")) / 2**20
        tell(f"{given.pairs} pairs, {size:.0f} MiB in Parquet, images of {given.side} x {given.side}")
        seconds = plain_datasets(folder / "set")
        tell(f"datasets, streaming, images decoded   {given.pairs / seconds:8.0f} rows/s")
        whole, seconds, mib = import_set(folder, "whole")
        tell(f"thinkreward data import               {given.pairs / seconds:8.0f} rows/s, at most {mib:.0f} MiB")
        import_set(folder, "killed", kill_after_s=seconds / 2)
        again, rest, _ = import_set(folder, "killed")
        tell(f"killed after {seconds / 2:.0f} s, started again: {rest:.0f} s more, {again[:12]} against {whole[:12]}")
        return int(mib > MOST_MIB or again != whole)


def write_set(folder: Path, pairs: int, side: int) -> None:
    """Pairs of distinct pictures, as the hub keeps them."""
    random = np.random.default_rng(0)
    (folder / "data").mkdir(parents=True)
    for start in range(0, pairs, FILE_PAIRS):
        rows = [
            {
                "prompt": f"a picture with the number {number}",
                "chosen": {"bytes": picture(random, side), "path": f"{number}-1.png"},
                "rejected": {"bytes": picture(random, side), "path": f"{number}-2.png"},
            }
            for number in range(start, min(start + FILE_PAIRS, pairs))
        ]
        name = folder / "data" / f"train-{start // FILE_PAIRS:05d}.parquet"
        pq.write_table(pa.Table.from_pylist(rows), name, row_group_size=500)


def picture(random: np.random.Generator, side: int) -> bytes:
    """A PNG of coarse noise."""
    coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def plain_datasets(folder: Path) -> float:
    """Seconds in which `datasets` alone goes through the set."""
    import datasets

    image = datasets.Image()
    features = datasets.Features({"prompt": datasets.Value("string"), "chosen": image, "rejected": image})
    files = sorted(map(str, folder.rglob("*.parquet")))
    started = time.monotonic()
    rows = datasets.load_dataset("parquet", data_files=files, features=features, split="train", streaming=True)
    for row in rows:
        row["chosen"].load()
        row["rejected"].load()
    return time.monotonic() - started


def import_set(folder: Path, name: str, kill_after_s: float | None = None) -> tuple[str, float, float]:
    """Import into the store `name`: the digest (empty if killed), seconds, and the most memory in MiB."""
    command = [sys.executable, "-m", "flows.cli.main", "data", "import", "open_image_preferences"]
    command += ["--path", str(folder / "set"), "--json"]
    for field, place in (("root", "store"), ("cache_dir", "cache")):
        command += ["--set", f"storage.{field}={folder / name / place}"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    started, most = time.monotonic(), 0.0
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, start_new_session=True) as run:
        while run.poll() is None:
            most = max(most, resident_mib(run.pid))
            if kill_after_s is not None and time.monotonic() - started > kill_after_s:
                os.killpg(run.pid, signal.SIGKILL)
                return "", time.monotonic() - started, most
            time.sleep(0.5)
        said = run.stdout.read() if run.stdout else b""
    if run.returncode:
        raise AssertionError(f"the import ended with exit status {run.returncode}")
    return str(json.loads(said)["pairs"]), time.monotonic() - started, most


def resident_mib(pid: int) -> float:
    """Resident memory of a process and all below it."""
    total = 0
    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.Error:  # one has just ended
        pass
    return total / 2**20


def tell(text: str) -> None:
    """A line of the script's output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
