"""Speed: a published set imported into the store, next to reading it with `datasets` alone.

    python -m tests.proofs.speed_import [--full]

The set is that of `tests.proofs.import_rate`: pairs of PNGs in Parquet. `datasets` streams the rows and decodes the
images; the import checks, decodes, hashes, writes and stores them, and ends with an artifact. Below 100,000 pairs the
start of the command would be most of what is measured: it is taken off, as the time of an import of 100 pairs.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.proofs.speed_rows import Row, main_of, row

TARGET = 0.8
SIDE = 48
STARTING_PAIRS = 100


def rows(full: bool = False) -> Iterator[Row]:
    """One row."""
    from tests.proofs.import_rate import import_set, plain_datasets, write_set

    pairs, rounds = (100_000, 3) if full else (10_000, 3)
    ratios, memory, rates = [], 0.0, []
    with tempfile.TemporaryDirectory(prefix="thinkreward-speed-") as aside:
        whole, start = Path(aside) / "whole", Path(aside) / "start"
        write_set(whole / "set", pairs, SIDE)
        write_set(start / "set", STARTING_PAIRS, SIDE)

        def ours() -> float:
            nonlocal memory
            begun = 0.0 if full else imported(start)[0]
            seconds, mib = imported(whole)
            memory = max(memory, mib)
            return seconds - begun

        def imported(folder: Path) -> tuple[float, float]:
            _, seconds, mib = import_set(folder, "into")
            shutil.rmtree(folder / "into")
            return seconds, mib

        for number in range(rounds):
            if number % 2:
                own, plain = ours(), plain_datasets(whole / "set")
            else:
                plain, own = plain_datasets(whole / "set"), ours()
            ratios.append(plain / own)
            rates.append((pairs / own, pairs / plain))
    own_rate, plain_rate = (max(found) for found in zip(*rates, strict=True))
    what = "" if full else ", its start taken off"
    note = f"{rounds} rounds{what}, {own_rate:.0f} rows/s against {plain_rate:.0f}, at most {memory:.0f} MiB"
    yield row(f"import of {pairs:,} pairs, against `datasets`", ratios, TARGET, note)


if __name__ == "__main__":
    sys.exit(main_of(rows, __doc__))
