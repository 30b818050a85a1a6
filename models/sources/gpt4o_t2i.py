"""Source `gpt4o_t2i`: images of OpenAI's 4o against those of other models, judged by many people a pair (Rapidata).

Licence CDLA-Permissive-2.0. About 13 000 pairs with 200 000 votes.
https://huggingface.co/datasets/Rapidata/OpenAI-4o_t2i_human_preference. How such votes are collected: D. Christodoulou
and M. Kuhlmann-Jorgensen, "Finding the Subjective Truth: Collecting 2 Million Votes for Comprehensive Gen-AI Model
Evaluation", arXiv 2409.11904.

Layout: the hub's Parquet, `data/train-*-of-*.parquet`, with `prompt`, `image1`, `image2` (in the row), `model1`,
`model2`, and for each of `preference`, `alignment` and `coherence` the columns `weighted_results_image1_<question>`,
`weighted_results_image2_<question>` (float32) and `detailed_results_<question>` (JSON of the single votes). Size and
licence were read on the hub's list and in notes of others who use the set; the columns in a script that uploads sets of
this family, which also shows that a question may have no votes in a row, and in scripts that read this one. No
published row was seen.

From votes to a label: `weighted_results_image<n>_<question>` is the share of the votes for image n, each vote weighted
by its voter's score. The image with the larger share of `preference` is preferred; shares within `TIE_WITHIN` of each
other, which is float32's rounding and no judgment of ours, are a tie. No narrow win is left out. `alignment` and
`coherence` become aspects by the same rule, where both shares are there. Rows have no id: a row's place is its id.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.pairs.preference import Preferred, Task
from models.sources.fields import SHOWN, Fields, RowError, given_id, medium, text, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import InRow, InvalidRow, Row

TIE_WITHIN = 1e-6
_ASPECTS = ("alignment", "coherence")


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the files, image 1 first. Raises `DataError` where there are none."""
    files = find(root, "data/train-*.parquet", "*.parquet", layout="the hub's data/train-*.parquet")

    def make(where: str, row: dict[str, Any]) -> Row:
        first, second = (medium(row.get(name), name, where) for name in ("image1", "image2"))
        if isinstance(first, InRow) and isinstance(second, InRow) and first.data == second.data:
            raise RowError("row: both candidates are the same")
        return Row(
            where=where,
            id=given_id(row) or where,
            task=Task.IMAGE_GENERATION,
            prompt=text(row, "prompt"),
            candidates=(first, second),
            preferred=_winner(row, "preference"),
            aspects=tuple((aspect, _winner(row, aspect)) for aspect in _ASPECTS if _asked(row, aspect)),
        )

    return valid_rows(rows_of(root, files), make)


def _column(question: str, image: int) -> str:
    return f"weighted_results_image{image}_{question}"


def _share(row: Fields, question: str, image: int) -> float:
    name = _column(question, image)
    value = row.get(name)
    if value is None:
        raise RowError(f"row: {name} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RowError(f"row: {name} is {str(value)[:SHOWN]!r}, no finite number")
    return value


def _winner(row: Fields, question: str) -> Preferred:
    first, second = (_share(row, question, image) for image in (1, 2))
    if abs(first - second) <= TIE_WITHIN:
        return "tie"
    return 1 if first > second else 2


def _asked(row: Fields, question: str) -> bool:
    """Whether this row has the votes on a question; pandas leaves NaN where it has none."""
    shares = [row.get(_column(question, image)) for image in (1, 2)]
    return not any(share is None or (isinstance(share, float) and math.isnan(share)) for share in shares)
