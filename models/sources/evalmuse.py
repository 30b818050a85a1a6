"""Source `evalmuse`: pairs of generated images by how well they follow the prompt, as UnifiedReward was trained on.

Licence of the pairs MIT, https://huggingface.co/datasets/CodeGoat24/EvalMuse; about 3 000 of them were used for GRPO
(arXiv 2505.03318). Y. Wang et al., "Unified Reward Model for Multimodal Understanding and Generation", arXiv
2503.05236, made them from people's scores in EvalMuse-40K (repository DYEvaLab/EvalMuse, Apache-2.0; S. Han et al.,
arXiv 2412.18150), which has no pairs of its own.

Layout: `pairwise/train_data.json`, one array, and the images in `images/`, whose folder the listing leaves out.

    {"conversations": [{"from": "human", "value": "… Text Caption: [a red kite]"},
                       {"from": "gpt", "value": "Image 1 is better."}],
     "images": ["a/1.png", "a/2.png"]}

The listing's place and the licence are those of the hub's pages; `images` and the folder were read in scripts of others
who train on it; the question and the three answers, a tie among them, in upstream's
inference_qwen/image_generation/qwen_pair_rank_image_generation.py at 3c16510. No published row was seen. The set's
`pointwise/` half scores single images and is not read. The same pairs for LLaMA-Factory,
`qwen/evalmuse_pairwise_train_data_qwen.json`, are read where the other listing is missing; how they name the images
could not be found out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.pairs.preference import Preferred, Task
from models.sources.fields import (
    RowError,
    asked_and_answered,
    below,
    caption,
    different,
    given_id,
    medium,
    two,
    valid_rows,
)
from models.sources.listings import find, rows_of
from models.sources.rows import InvalidRow, Row
from models.verdict.grammar import Malformed
from models.verdict.parsing import parse_verdict

_TASK = Task.IMAGE_GENERATION


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the file. Raises `DataError` where there is no listing."""
    files = find(
        root,
        "pairwise/train_data.json",
        "train_data.json",
        "qwen/evalmuse_pairwise_train_data_qwen.json",
        layout="pairwise/train_data.json beside images/",
    )

    def make(where: str, row: dict[str, Any]) -> Row:
        asked, answered = asked_and_answered(row)
        named = (medium(name, f"images[{at}]", where) for at, name in enumerate(two(row, "images")))
        first, second = (below(root, one, "images") for one in named)
        return Row(
            where=where,
            id=given_id(row) or where,
            task=_TASK,
            prompt=caption(asked),
            candidates=different(first, second),
            preferred=_preferred(answered),
        )

    return valid_rows(rows_of(root, files), make)


def _preferred(answered: str) -> Preferred:
    verdict = parse_verdict(answered, _TASK, mode="direct")
    if isinstance(verdict, Malformed):
        raise RowError(f"row: the answer is no verdict: {verdict.reason}")
    return verdict.preferred
