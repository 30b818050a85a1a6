"""GenAI-Bench, videos: which of two generated videos people voted for; 1069 votes in `test_v1`, more in `test`.

The hub counts 2980 rows in both splits together; videos are URLs, to be downloaded before. Layout, licence, URL,
citation and what could be verified: models/evaluation/benchmarks/genai_bench.py.
"""

from collections.abc import Iterator
from pathlib import Path

from models.evaluation.benchmarks.benchmark import Benchmark, Quoted
from models.evaluation.benchmarks.genai_bench import read_votes
from models.pairs.preference import Task
from models.sources.rows import InvalidRow, Row


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The votes in the order of the file. Raises `DataError` where there is no listing."""
    return read_votes(root, Task.VIDEO_GENERATION)


_TABLE = "arXiv 2503.05236, table IV"
_AGAIN = "measured again in arXiv 2510.10518, table 1"

BENCHMARK = Benchmark(
    name="genai_bench_video",
    read=read,
    quoted=(
        Quoted("UnifiedReward-Think (LLaVA-OneVision-7B)", {"diff": 82.3}, "arXiv 2505.03318"),
        Quoted("UnifiedReward-Think (LLaVA-OneVision-7B), without CoT", {"diff": 81.6}, "arXiv 2505.03318"),
        Quoted("UnifiedReward-Think (Qwen2.5-VL-7B)", {"diff": 84.0}, "arXiv 2505.03318"),
        Quoted("UnifiedReward-Think (7B)", {"tau": 64.7, "diff": 80.4}, _AGAIN),
        Quoted("VR-Thinker (7B)", {"tau": 68.7, "diff": 82.3}, "arXiv 2510.10518, table 1"),
        Quoted("UnifiedReward (LLaVA-OneVision-7B)", {"tau": 60.7, "diff": 77.2}, _TABLE),
        Quoted("VideoReward", {"tau": 50.2, "diff": 73.3}, _TABLE),
        Quoted("VisionReward", {"tau": 52.1, "diff": 73.1}, _TABLE),
        Quoted("VideoScore", {"tau": 46.2, "diff": 70.6}, _TABLE),
    ),
)
