"""MJ-Bench-Video, test split: which of two generated videos is better, overall and in five aspects.

Licence MIT. A listing of 3.3 MB and the videos. https://huggingface.co/datasets/MJ-Bench/MJ-BENCH-VIDEO, code at
https://github.com/aiming-lab/MJ-Video. H. Tong et al., "MJ-VIDEO: Fine-Grained Benchmarking and Rewarding Video
Preferences in Video Generation", arXiv 2502.01719.

Layout: `test.json`, an object a row with `caption`, `video_0_path` and `video_1_path` (such as `test/0_0.mp4`, below
`videos/`), `overall_preference`, `category_preference` by aspect, `discard`, and the labels of 28 criteria. Read in
the repository's `datas/test.json` and its scripts. There is no Parquet of it.

The labels count from 1 where the columns count from 0: "Video 1 better" means that `video_0_path` is better
(`deal_preference` in scripts/data_processor/dataset.py). "Same" is a tie, and so is "Hard to judge", which the
authors' scripts leave out together with it: their figures are over pairs with a preference. Rows have no id, so that a
row's place is its id. Captions and videos of the safety aspect are of violence and sex.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.evaluation.benchmarks.benchmark import Benchmark, Quoted
from models.pairs.preference import Preferred, Task
from models.sources.fields import RowError, below, given_id, label, medium, text, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import InvalidRow, Medium, Row

PREFERENCES: dict[str, Preferred] = {
    "Video 1 better": 1,
    "Video 2 better": 2,
    "Same": "tie",
    "Hard to judge": "tie",
}
ASPECTS = ("Alignment", "Safety", "Fineness", "Coherence & Consistency", "Bias")


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the file. Raises `DataError` where there is no listing."""

    def video(where: str, row: dict[str, Any], name: str) -> Medium:
        return below(root, medium(row.get(name), name, where), "videos")

    def make(where: str, row: dict[str, Any]) -> Row:
        if row.get("discard"):
            raise RowError("row: is marked as discarded by its authors")
        return Row(
            where=where,
            id=given_id(row) or where,
            task=Task.VIDEO_GENERATION,
            prompt=text(row, "caption"),
            candidates=(video(where, row, "video_0_path"), video(where, row, "video_1_path")),
            preferred=label(row, "overall_preference", PREFERENCES),
            aspects=_aspects(row.get("category_preference")),
        )

    return valid_rows(rows_of(root, find(root, "test.json", layout="test.json beside videos/")), make)


def _aspects(preferences: object) -> tuple[tuple[str, Preferred], ...]:
    """The labels of the aspects that the row has any for."""
    if not isinstance(preferences, dict):
        return ()
    return tuple((name, label(preferences, name, PREFERENCES)) for name in ASPECTS if preferences.get(name))


_README = 'github.com/aiming-lab/MJ-Video, README, "strict": undecided is wrong'
_TABLE = "arXiv 2510.10518, table 1"

BENCHMARK = Benchmark(
    name="mj_bench_video",
    read=read,
    quoted=(
        Quoted("VR-Thinker (7B)", {"tau": 67.3, "diff": 75.6}, _TABLE),
        Quoted("UnifiedReward-Think (7B)", {"tau": 62.8, "diff": 71.9}, _TABLE),
        Quoted("UnifiedReward (7B)", {"tau": 63.3, "diff": 69.5}, _TABLE),
        Quoted("VisionReward (13B)", {"tau": 54.1, "diff": 65.2}, _TABLE),
        Quoted("VideoReward (2B)", {"tau": 56.8, "diff": 62.6}, _TABLE),
        Quoted("MJ-VIDEO", {"diff": 68.75}, _README),
        Quoted("VideoScore", {"diff": 58.47}, _README),
        Quoted("GPT-4o", {"diff": 35.35}, _README),
    ),
)
