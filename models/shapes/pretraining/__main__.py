"""Pretrain the tiny base model: perception, comparison, sums and direct judging, never a verdict in the grammar.

Departs from a real base in size and world alone: it ends as an ordinary Qwen3-VL directory that the Auto
classes load. One is committed under `models/shapes/base`, whose README describes how it came about. From nothing, and
from a base that was taught with other instructions::

    make base-model
    python -m models.shapes.pretraining --from models/shapes/base --out models/shapes/base
"""

import argparse
import logging
from pathlib import Path

from models.shapes.pretraining.training import go_on, pretrain


def main() -> None:
    """The command line of `make base-model`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the directory to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--from", type=Path, dest="base", help="a base to teach the present wording of the instructions"
    )
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if given.base:
        go_on(given.base, given.out, seed=given.seed)
    else:
        pretrain(given.out, seed=given.seed)


if __name__ == "__main__":
    main()
