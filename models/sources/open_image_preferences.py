"""Source `open_image_preferences`: pairs of a FLUX and a Stable Diffusion image that a community chose between (OIP).

Licence Apache-2.0. Below 10 000 pairs, about 2.1 GB.
https://huggingface.co/datasets/data-is-better-together/open-image-preferences-v1-binarized. Data is Better Together,
"Open Preference Dataset for Text-to-Image Generation by the Hugging Face Community", December 2024,
https://huggingface.co/blog/image-preferences.

Layout: the hub's Parquet, `data/train-*-of-*.parquet`, with `prompt`, `chosen` and `rejected`, both images in the row
as `{"bytes": …, "path": …}`. Files, licence and size are those of the hub's pages; the three columns were read in
scripts that train on the set. Its full list of columns was not found, nor whether rows have an id: a row without one is
known by its place. `category`, which the set of single votes has, becomes the pair's group where it is there.

The better image is always `chosen`; the layout has no way to say tie.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.pairs.preference import Task
from models.sources.fields import RowError, given_id, medium, text, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import InRow, InvalidRow, Row


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the files, the better image first. Raises `DataError` where there are none."""
    files = find(root, "data/train-*.parquet", "*.parquet", layout="the hub's data/train-*.parquet")

    def make(where: str, row: dict[str, Any]) -> Row:
        chosen, rejected = (medium(row.get(name), name, where) for name in ("chosen", "rejected"))
        if isinstance(chosen, InRow) and isinstance(rejected, InRow) and chosen.data == rejected.data:
            raise RowError("row: both candidates are the same")
        return Row(
            where=where,
            id=given_id(row) or where,
            task=Task.IMAGE_GENERATION,
            prompt=text(row, "prompt"),
            candidates=(chosen, rejected),
            preferred=1,
            group=text(row, "category") if row.get("category") else "",
        )

    return valid_rows(rows_of(root, files), make)
