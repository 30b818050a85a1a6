"""Speed: a model to S3 and back through the store, hashing included, next to plain s3fs.

    python -m tests.proofs.speed_transfer [--full]

The files and the rounds are those of `tests.proofs.transfer_rate`, with SeaweedFS on this machine.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.proofs.speed_rows import Row, main_of, row

TARGET = 0.95


def rows(full: bool = False) -> Iterator[Row]:
    """Upload and download."""
    from tests.proofs.transfer_rate import MIB, make_model, one_round
    from tests.tasks.seaweed import serving

    gib, rounds = (1.0, 6) if full else (0.25, 6)
    taken = []
    with tempfile.TemporaryDirectory(prefix="thinkreward-speed-") as name, serving(Path(name) / "s3") as server:
        os.environ.update(server.environment)
        size = make_model(Path(name) / "model", gib)
        taken = [dict(one_round(Path(name), number, size)) for number in range(rounds)]
    for way, what in (("put", "to S3"), ("get", "back from S3")):
        ours, plain = ([one[f"{way} {who}"] for one in taken] for who in ("ours", "s3fs"))
        note = f"{rounds} rounds, {size / MIB / min(ours):.0f} MiB/s at most against {size / MIB / min(plain):.0f}"
        ratios = [other / own for own, other in zip(ours, plain, strict=True)]
        yield row(f"a model of {gib:g} GiB {what}, against s3fs", ratios, TARGET, note)


if __name__ == "__main__":
    sys.exit(main_of(rows, __doc__))
