"""GenAI-Bench: people's votes between two generated images, or videos, for one prompt. Shared by both of its parts.

Licence CC BY 4.0. https://huggingface.co/datasets/TIGER-Lab/GenAI-Bench. D. Jiang et al., "GenAI Arena: An Open
Evaluation Platform for Generative Models", NeurIPS 2024, arXiv 2406.04485. Splits: `test`, which the evaluation
scripts of UnifiedReward use and which is read where both are there, and the paper's `test_v1`.

Layouts: the hub's Parquet, `<config>/test-*.parquet`, with `prompt`, `left_model`, `right_model`, `vote_type` and
`left_image`, `right_image` in the row or `left_video`, `right_video` as URLs; or `data.json` with `prompt`,
`video_left`, `video_right`, `vote_type` and the files in `videos/`, also under the name `genai_bench_video.json` that
UnifiedReward's evaluation gives it. The columns and the four votes were read in the
scripts of TIGER-AI-Lab/GenAI-Bench and of UnifiedReward; no published row of either listing was found, nor a
`data.json` for images, which is taken to be the same with `image` for `video`.

Nothing is fetched: a URL stands for the file `videos/<host>/<path>`, where `wget -x -P videos <url>` puts it.

A row is a vote, not a pair: the same pair may have been voted on again, and each vote counts. Votes have no id of
their own, so that a row's place is its id. The authors' own figure is accuracy among four answers, good and bad ties
told apart; here both are ties, as in arXiv 2503.05236, whose headline leaves them out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from models.pairs.preference import Preferred, Task
from models.sources.fields import RowError, below, given_id, label, medium, text, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import InFile, InvalidRow, Medium, Row

VOTES: dict[str, Preferred] = {"leftvote": 1, "rightvote": 2, "tievote": "tie", "bothbad_vote": "tie"}


def read_votes(root: Path, task: Task) -> Iterator[Row | InvalidRow]:
    """The votes of a generation task, left candidate first. Raises `DataError` where there is no listing."""
    kind, config = task.media_kind, str(task)
    splits = [pattern for split in ("test", "test_v1") for pattern in (f"{split}-*.parquet", f"{split}/*.parquet")]
    files = find(
        root,
        "data.json",
        "data.jsonl",
        f"genai_bench_{kind}.json",
        *(f"{config}/{pattern}" for pattern in splits),
        *splits,
        layout=f"data.json or genai_bench_{kind}.json beside {kind}s/, or the hub's {config}/test-*.parquet",
    )

    def candidate(where: str, row: dict[str, Any], side: str) -> Medium:
        name = f"{kind}_{side}" if f"{kind}_{side}" in row else f"{side}_{kind}"
        return below(root, _downloaded(medium(row.get(name), name, where), kind), f"{kind}s")

    def make(where: str, row: dict[str, Any]) -> Row:
        return Row(
            where=where,
            id=given_id(row) or where,
            task=task,
            prompt=text(row, "prompt"),
            candidates=(candidate(where, row, "left"), candidate(where, row, "right")),
            preferred=label(row, "vote_type", VOTES),
        )

    return valid_rows(rows_of(root, files), make)


def _downloaded(found: Medium, kind: str) -> Medium:
    """The file that a URL was downloaded to; anything else as it is."""
    if not isinstance(found, InFile) or not found.path.lower().startswith(("http://", "https://")):
        return found
    try:
        parts = urlsplit(found.path)
    except ValueError as error:
        raise RowError(f"row: {kind} is no URL: {error}") from error
    return InFile(f"{kind}s/{parts.netloc}{unquote(parts.path)}")
