"""GenAI-Bench, images: which of two generated images people voted for; 1735 votes in `test_v1`, more in `test`.

The hub counts 4930 rows in both splits together; images are in the Parquet rows. Layout, licence, URL, citation and
what could be verified: models/evaluation/benchmarks/genai_bench.py.
"""

from collections.abc import Iterator
from pathlib import Path

from models.evaluation.benchmarks.benchmark import Benchmark, Quoted
from models.evaluation.benchmarks.genai_bench import read_votes
from models.pairs.preference import Task
from models.sources.rows import InvalidRow, Row


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The votes in the order of the file. Raises `DataError` where there is no listing."""
    return read_votes(root, Task.IMAGE_GENERATION)


_TABLE = "arXiv 2503.05236, table IV"

BENCHMARK = Benchmark(
    name="genai_bench_image",
    read=read,
    quoted=(
        Quoted("UnifiedReward-Think (LLaVA-OneVision-7B)", {"diff": 72.5}, "arXiv 2505.03318"),
        Quoted("UnifiedReward-Think (LLaVA-OneVision-7B), without CoT", {"diff": 71.9}, "arXiv 2505.03318"),
        Quoted("UnifiedReward-Think (Qwen2.5-VL-7B)", {"diff": 76.6}, "arXiv 2505.03318"),
        Quoted("UnifiedReward (LLaVA-OneVision-7B)", {"tau": 54.8, "diff": 70.9}, _TABLE),
        Quoted("HPSv2", {"tau": 51.6, "diff": 68.4}, _TABLE),
        Quoted("PickScore", {"tau": 53.2, "diff": 67.2}, _TABLE),
        Quoted("VisionReward", {"tau": 46.8, "diff": 66.4}, _TABLE),
        Quoted("ImageReward", {"tau": 47.8, "diff": 65.0}, _TABLE),
    ),
)
