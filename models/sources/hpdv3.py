"""Source `hpdv3`: Human Preference Dataset v3, images of early to recent models, and photographs, pair by pair.

Licence MIT. 1.17 million pairs of 1.08 million images, about 141 GB. https://huggingface.co/datasets/MizzenAI/HPDv3.
Y. Ma et al., "HPSv3: Towards Wide-Spectrum Human Preference Score", ICCV 2025, arXiv 2508.03789.

Layout: `train.json`, one array, beside the images, unpacked by `cat images.tar.gz.* | gunzip | tar -x`.

    {"prompt": …, "path1": "images/a.jpg", "model1": …, "path2": "images/b.jpg", "model2": …,
     "choice_dist": [12, 7], "confidence": 0.9999}

Licence, size and files are those of the hub's pages. The fields, that paths start from the folder of the listing, and
that `path1` is the preferred one, were read in opendilab/LightRFT (lightrft/datasets/hpdv3.py at 063168d) and in other
scripts that train on it, where `choice_dist` and `confidence` may be missing. No published row was seen. The set's
`pickapic.json` and `imagereward.json` name images of other sets and are not read; `all.json` and `test.json` only where
there is no `train.json`.

The better image is always `path1`. `choice_dist` counts the votes without saying which image each count is of (trainers
sort it), so that it cannot turn a label; but where both counts are equal there was no majority, and the pair is a tie.
Every pair is read whatever its `confidence`, by which trainers may filter.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.pairs.preference import Preferred, Task
from models.sources.fields import Fields, RowError, given_id, medium, text, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import InvalidRow, Row


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the file, the better image first. Raises `DataError` where there is no listing."""
    files = find(root, "train.json", "all.json", "test.json", layout="train.json beside images/")

    def make(where: str, row: dict[str, Any]) -> Row:
        first, second = (medium(row.get(name), name, where) for name in ("path1", "path2"))
        if first == second:
            raise RowError("row: both candidates are the same")
        return Row(
            where=where,
            id=given_id(row) or where,
            task=Task.IMAGE_GENERATION,
            prompt=text(row, "prompt"),
            candidates=(first, second),
            preferred=_preferred(row),
        )

    return valid_rows(rows_of(root, files), make)


def _preferred(row: Fields) -> Preferred:
    votes = row.get("choice_dist")
    return "tie" if isinstance(votes, list) and len(votes) == 2 and votes[0] and votes[0] == votes[1] else 1
