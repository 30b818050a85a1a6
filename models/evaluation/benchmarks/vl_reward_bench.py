"""VL-RewardBench: which of two answers to a question about an image is better; 1250 pairs in three groups.

Licence MIT, research use (dataset card). 153 MB as Parquet. https://huggingface.co/datasets/MMInstruction/VL-RewardBench,
code and listing at https://github.com/vl-rewardbench/VL_RewardBench. L. Li et al., "VL-RewardBench: A Challenging
Benchmark for Vision-Language Generative Reward Models", CVPR 2025, arXiv 2411.17451.

Layouts: `data.json` or the repository's `data.jsonl`, an object a row with `id, query, response[2], image` (in the
repository `image_path`), `human_ranking` and more, its images below the same folder or in `images/` there; or the
hub's `data/test-*.parquet`, or its earlier `test/*.parquet` by source, with the image in the row. The columns, the
ids and the rankings were read in the repository's `data.jsonl` and the dataset card; `data.json` is what the
evaluation scripts of UnifiedReward open, and no published copy of it was found.

`human_ranking` holds the rank of each answer: [0, 1] says that the first is better (dataset card). Ids alone do not
tell rows apart: the official scorer's key is id, query and both answers, and a row that repeats an id with other
content gets one of its own here. The official groups go by the source of the pair, which the start of its id tells.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.evaluation.benchmarks.benchmark import Benchmark, Quoted
from models.pairs.preference import Preferred, Task
from models.sources.fields import RowError, as_text, below, medium, question, text, two, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import InvalidRow, Row

GROUPS = ("general", "hallucination", "reasoning")  # 183, 749 and 318 pairs
# What stands before the first "-" or "_" of an id. POVID's pairs are called hallucination_pair-N; those of VLFeedback
# bear the names of the many sets that it was collected from, so that whatever is left over is general.
_GROUP_OF = {
    "wildvision": "general",
    "hallucination": "hallucination",
    "RLAIF": "hallucination",
    "RLHF": "hallucination",
    "mathverse": "reasoning",
    "mmmu": "reasoning",
}
_LAYOUT = "data.json or data.jsonl beside images/, or the hub's data/test-*.parquet"


def group_of(name: str) -> str:
    """The official group of an id.

    >>> group_of("hallucination_pair-1942"), group_of("LRVInstruction-000000007746"), group_of("mmmu_pro_test_Art_1")
    ('hallucination', 'general', 'reasoning')
    """
    return _GROUP_OF.get(re.split("[-_]", name, maxsplit=1)[0], "general")


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the file. Raises `DataError` where there is no listing."""
    files = find(root, "data.json", "data.jsonl", "data/test-*.parquet", "test/*.parquet", "*.parquet", layout=_LAYOUT)
    known: dict[str, list[tuple[str, ...]]] = {}

    def make(where: str, row: dict[str, Any]) -> Row:
        name, query = text(row, "id"), text(row, "query")
        given = two(row, "response")
        first, second = as_text(given[0], "response 1"), as_text(given[1], "response 2")
        column = "image_path" if "image" not in row and "image_path" in row else "image"
        return Row(
            where=where,
            id=_own_id(known, name, (query, *sorted((first, second)))),
            task=Task.IMAGE_UNDERSTANDING,
            prompt=question(query),
            candidates=(first, second),
            preferred=_preferred(row),
            context=(below(root, medium(row.get(column), column, where), "images"),),
            group=group_of(name),
        )

    return valid_rows(rows_of(root, files), make)


def _preferred(row: dict[str, Any]) -> Preferred:
    ranks = two(row, "human_ranking")
    if any(type(rank) is not int for rank in ranks):
        raise RowError(f"row: human_ranking is {list(ranks)!r}, no two ranks such as [0, 1]")
    if ranks[0] == ranks[1]:
        return "tie"
    return 1 if ranks[0] < ranks[1] else 2


def _own_id(known: dict[str, list[tuple[str, ...]]], name: str, content: tuple[str, ...]) -> str:
    """The id, with a number where other content bears it already; the same content twice keeps the same id."""
    contents = known.setdefault(name, [])
    if content not in contents:
        contents.append(content)
    number = contents.index(content)
    return f"{name}~{number + 1}" if number else name


BENCHMARK = Benchmark(
    name="vl_reward_bench",
    read=read,
    groups=GROUPS,
    quoted=(
        Quoted("UnifiedReward-Think (LLaVA-OneVision-7B)", {"overall": 73.8}, "arXiv 2505.03318"),
        Quoted("UnifiedReward-Think (LLaVA-OneVision-7B), without CoT", {"overall": 73.1}, "arXiv 2505.03318"),
        Quoted("UnifiedReward-Think (Qwen2.5-VL-7B)", {"overall": 75.9}, "arXiv 2505.03318"),
        Quoted(
            "UnifiedReward (LLaVA-OneVision-7B)",
            {"overall": 66.1, "general": 60.6, "hallucination": 78.4, "reasoning": 60.5},
            "arXiv 2503.05236, table III",
        ),
        Quoted(
            "GPT-4o (2024-08-06)",
            {"overall": 65.8, "general": 49.1, "hallucination": 67.6, "reasoning": 70.5},
            "arXiv 2411.17451, as cited in arXiv 2503.05236, table III",
        ),
        Quoted(
            "Gemini-1.5-Pro (2024-09-24)",
            {"overall": 67.2, "general": 50.8, "hallucination": 72.5, "reasoning": 64.2},
            "arXiv 2411.17451, as cited in arXiv 2503.05236, table III",
        ),
    ),
)
