"""Source `grpo_json`: pairs in the form in which UnifiedReward-Think takes them for GRPO.

A folder with JSON arrays or JSON lines and the media that they name. It is no data set of its own.

    {"problem": "… Text Caption: [a red kite]", "solution": "Video 1 is better",
     "images": ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]}

The form was read in UnifiedReward-Think/README.md of CodeGoat24/UnifiedReward at 0615caf and in its
llava_think/train/train_grpo.py at ed52f98, which takes `image` and `video` too; that the first half of the frames is
video 1, in the question of its qwen3vl_infer_cot_video_generation.py at dae5c72. Task, prompt and answers are looked up
in `problem`, and media are read, as models/sources/conversations.py tells. `solution` is the answer sentence alone,
bare or in its block, and may be a tie; one about another task's candidates is refused. Rows without an id are named by
their place.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.sources.conversations import judged, read_question
from models.sources.fields import RowError, text, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import InvalidRow, Row
from models.verdict.grammar import Malformed
from models.verdict.parsing import parse_verdict


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the files. Raises `DataError` where there is no listing."""
    layout = "JSON arrays or JSON lines of problem, solution and images"
    return valid_rows(rows_of(root, find(root, "train_data.json", "*.json", "*.jsonl", layout=layout)), _make)


def _make(where: str, row: dict[str, Any]) -> Row:
    parsed = read_question(text(row, "problem"))
    verdict = parse_verdict(text(row, "solution"), parsed.task, mode="direct")
    if isinstance(verdict, Malformed):
        raise RowError(f"row: solution is no verdict on {parsed.task}: {verdict.reason}")
    return judged(where, row, parsed, verdict.preferred)
