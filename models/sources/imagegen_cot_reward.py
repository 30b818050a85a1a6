"""Source `imagegen_cot_reward`: pairs of generated images with GPT-4o's reasoning, the paper's cold-start set.

Licence MIT. 5 540 rows by the hub's count. https://huggingface.co/datasets/CodeGoat24/ImageGen-CoT-Reward-5K. Y. Wang
et al., "Unified Multimodal Chain-of-Thought Reward Model through Reinforcement Fine-Tuning", arXiv 2505.03318.

Layout: `train_data.json`, one array, beside the images it names.

    {"conversations": [{"from": "human", "value": "… Text Caption: [a red kite]"},
                       {"from": "gpt", "value": "<think> … </think> <answer>Image 1 is better</answer>"}],
     "images": ["a/1.jpg", "a/2.jpg"]}

The file's name, licence and size are those of the hub's pages. The form is the one that upstream's README gives for
such data (UnifiedReward-Think/README.md at 0615caf) and that opendilab/LightRFT reads this set by
(lightrft/datasets/imagegen_cot_reward.py at 14a0c14); where the caption stands was read in upstream's prompts. No
published row was seen, nor the names of its archives: they are expected unpacked beside the listing.

The authors kept only reasoning whose answer is the people's choice, so that the answer is the label. A row that states
the label too, as `solution` in upstream's form for GRPO, must not contradict it. Reasoning outside our grammar makes
its row invalid. Whether its sums are right is left to the cold start's own selection (models/training/selection.py).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.pairs.preference import Preferred, Task
from models.sources.fields import (
    Fields,
    RowError,
    asked_and_answered,
    caption,
    different,
    given_id,
    medium,
    text,
    two,
    valid_rows,
)
from models.sources.listings import find, rows_of
from models.sources.rows import InvalidRow, Row
from models.verdict.grammar import Malformed
from models.verdict.parsing import parse_verdict

_TASK = Task.IMAGE_GENERATION


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the file, each with its reasoning. Raises `DataError` where there is no listing."""
    files = find(root, "train_data.json", "train.json", layout="train_data.json beside its images")

    def make(where: str, row: dict[str, Any]) -> Row:
        asked, answered = asked_and_answered(row)
        names = two(row, "images")
        first, second = (medium(name, f"images[{at}]", where) for at, name in enumerate(names))
        return Row(
            where=where,
            id=given_id(row) or where,
            task=_TASK,
            prompt=caption(asked),
            candidates=different(first, second),
            preferred=_preferred(row, answered),
            reasoning=answered,
        )

    return valid_rows(rows_of(root, files), make)


def _preferred(row: Fields, answered: str) -> Preferred:
    """What the reasoning answers, which the label must not contradict where the row states one. Raises `RowError`."""
    verdict = parse_verdict(answered, _TASK)
    if isinstance(verdict, Malformed):
        raise RowError(f"reasoning: {verdict.reason}")
    if row.get("solution"):
        stated = parse_verdict(text(row, "solution"), _TASK, mode="direct")
        if isinstance(stated, Malformed):
            raise RowError(f"row: solution is no verdict: {stated.reason}")
        if stated.preferred != verdict.preferred:
            raise RowError("reasoning: its answer is not the label")
    return verdict.preferred
