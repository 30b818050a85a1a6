"""VideoGen-RewardBench: experts' preferences between videos of 12 recent generators; 26 500 pairs.

Licence Apache-2.0. A CSV of 8.13 MB and `videos.zip` of 13.4 GB, to be unpacked beside it.
https://huggingface.co/datasets/KwaiVGI/VideoGen-RewardBench (now KlingTeam). J. Liu et al., "Improving Video Generation
with Human Feedback", arXiv 2501.13918.

Layout: `videogen-rewardbench.csv`, or the hub's conversion of it to Parquet, with `path_A` and `path_B` (such as
`videos/kling1.5/kling1.5_00103.mp4`), `A_model`, `B_model`, `prompt`, and the labels `VQ` (visual quality), `MQ`
(motion quality), `TA` (text alignment) and `Overall`, each A, B or same; then the frame rates and counts. Read in the
dataset card and in the scripts of KwaiVGI/VideoAlign and UnifiedReward; the CSV itself was not to be had, so that its
quoting is what pandas writes. A label of an aspect that is missing is left out; `Overall` has to be there.

Rows have no id, so that a row's place is its id. The authors give accuracy with and without ties.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.errors import DataError
from models.evaluation.benchmarks.benchmark import Benchmark, Quoted
from models.pairs.preference import Preferred, Task
from models.sources.fields import RowError, given_id, label, medium, text, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import InvalidRow, Row

LABELS: dict[str, Preferred] = {"A": 1, "B": 2, "same": "tie"}
ASPECTS = ("VQ", "MQ", "TA")
_NEEDED = ("path_A", "path_B", "prompt", "Overall")


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the file, video A first. Raises `DataError` where there is no listing."""
    files = find(
        root,
        "*.csv",
        "default/eval/*.parquet",
        "*.parquet",
        layout="videogen-rewardbench.csv beside videos/, or its Parquet conversion",
    )
    return valid_rows(_csv_rows(root, files) if files[0].suffix == ".csv" else rows_of(root, files), _make)


def _make(where: str, row: dict[str, Any]) -> Row:
    if None in row:  # where csv.DictReader puts what it has no column for
        raise RowError("row: has more cells than the header has names")
    return Row(
        where=where,
        id=given_id(row) or where,
        task=Task.VIDEO_GENERATION,
        prompt=text(row, "prompt"),
        candidates=(medium(row.get("path_A"), "path_A", where), medium(row.get("path_B"), "path_B", where)),
        preferred=label(row, "Overall", LABELS),
        aspects=tuple((name, label(row, name, LABELS)) for name in ASPECTS if row.get(name)),
    )


def _csv_rows(root: Path, files: list[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of CSV files, counted from 1 below the header. Raises `DataError` for one that is no such CSV."""
    for file in files:
        number = 0
        try:
            with file.open(encoding="utf-8-sig", newline="") as opened:
                # Strict, or one quote that is never closed makes all rows after it part of its cell.
                rows = csv.DictReader(opened, strict=True)
                missing = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
                if missing:
                    raise DataError(f"{file} has no column {', '.join(missing)}: its first line names the columns")
                for number, row in enumerate(rows, start=1):
                    yield f"{file.relative_to(root).as_posix()}#{number}", row
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{file} is no CSV after row {number}: {error}") from error


_TABLE = "arXiv 2503.05236, table IV"

BENCHMARK = Benchmark(
    name="videogen_reward_bench",
    read=read,
    quoted=(
        Quoted("UnifiedReward-Think (LLaVA-OneVision-7B)", {"diff": 80.5}, "arXiv 2505.03318"),
        Quoted("UnifiedReward-Think (LLaVA-OneVision-7B), without CoT", {"diff": 79.9}, "arXiv 2505.03318"),
        Quoted("UnifiedReward-Think (7B)", {"tau": 69.7, "diff": 79.1}, "measured again in arXiv 2510.10518, table 1"),
        Quoted("VR-Thinker (7B)", {"tau": 71.8, "diff": 80.5}, "arXiv 2510.10518, table 1"),
        Quoted("UnifiedReward (LLaVA-OneVision-7B)", {"tau": 66.6, "diff": 79.3}, _TABLE),
        Quoted("VideoReward", {"tau": 60.1, "diff": 73.9}, _TABLE),
        Quoted("VisionReward", {"tau": 57.4, "diff": 68.2}, _TABLE),
        Quoted("VideoScore", {"tau": 42.1, "diff": 49.9}, _TABLE),
    ),
)
