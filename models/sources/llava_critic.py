r"""Source `llava_critic`: two models' answers to a question about an image, and GPT-4o's judgment which is better.

Licence Apache-2.0. 40 154 pairs, 3.1 GB. https://huggingface.co/datasets/lmms-lab/llava-critic-113k, the configuration
`pairwise`; `pointwise`, 72 782 scores of single answers, is not read. T. Xiong et al., "LLaVA-Critic: Learning to
Evaluate Multimodal Models", arXiv 2410.02712.

Layout: the hub's Parquet, `pairwise/train-*-of-*.parquet`, with `id`, `source`, `conversations` and `image`; or
UnifiedReward's copy, `pairwise/train_data.json` with the image named by its path.

    {"id": "9", "source": "llava", "image": {"bytes": …, "path": …},
     "conversations": [{"from": "human", "value": "… Question: [What is it?]\nThe first response: [a line]
                        \nThe second response: [a seven]\nASSISTANT:\n"},
                       {"from": "gpt", "value": "The second response is better, since …"}]}

Files, columns, sizes and licence were read in the set's card, the question's form in that of the model
(lmms-lab/llava-critic-7b). No published row was seen. The paper tells of several wordings and of ties, so that other
usual names of the two answers are read too (`NAMES`).

The judgment is prose. It is read by what it says of the whole answers: that one `is better` (or superior, preferable,
preferred, or wins), that the better one `is the second`, that both are equally good or comparable, or the name alone. A
judgment that says none of this, or of an aspect alone, or two of them, or negates one, makes its row invalid: no label
is guessed. How many rows that leaves out could not be measured. `source` becomes the pair's group.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.pairs.preference import Preferred, Task
from models.sources.conversations import QuestionLayout, read_question
from models.sources.fields import RowError, asked_and_answered, given_id, medium, text, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import InvalidRow, Row

NAMES = (
    ("The first response", "The second response"),
    ("The first answer", "The second answer"),
    ("Response 1", "Response 2"),
    ("Answer 1", "Answer 2"),
    ("Response A", "Response B"),
    ("Answer A", "Answer B"),
    ("Assistant A", "Assistant B"),
)
FORMS = tuple(
    form
    for first, second in NAMES
    for form in (
        QuestionLayout("Question: [", "]", (f"]\n{first}: [", f"]\n{second}: [")),
        QuestionLayout("Question: ", "\nASSISTANT:", (f"\n{first}: ", f"\n{second}: ")),
        QuestionLayout("Question: ", "", (f"\n{first}: ", f"\n{second}: ")),
    )
)

_THING = r"(?:response|answer|assistant|model|option)"
_FIRST = rf"(?:(?:the )?first(?: {_THING})?|{_THING} (?:1|one|(?-i:A)))"
_SECOND = rf"(?:(?:the )?second(?: {_THING})?|{_THING} (?:2|two|(?-i:B)))"
_BOTH = rf"(?:both|the two)(?: {_THING}s?)? are"
_HOW = "(?:(?:also|clearly|far|generally|marginally|much|overall|significantly|slightly|the|therefore|thus) ){0,2}"
_BETTER = rf"(?:better|superior|preferable|preferred|best|winner)(?: {_THING}| one)?"
_IN_PART = r"(?! (?:at|in terms of|in some|in certain|with regard to)\b)"


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


def _says(one: str) -> re.Pattern[str]:
    """What finds a statement that this one is the better of the two."""
    return _any_of(
        rf"\b{one} (?:is|was|seems|appears to be) {_HOW}{_BETTER}\b{_IN_PART}",
        rf"\b{one} (?:overall )?(?:wins|outperforms|surpasses)\b",
        rf"\b(?:better|superior|preferred|best) (?:{_THING} |one )?(?:is|would be):? \W{{0,3}}{one}\b",
        rf"\bprefer {one}\b",
    )


_SAYS: dict[Preferred, re.Pattern[str]] = {
    1: _says(_FIRST),
    2: _says(_SECOND),
    "tie": _any_of(
        rf"\b{_BOTH} {_HOW}(?:equally (?:good|bad|well|valid)|comparable|tied)\b{_IN_PART}",
        rf"\b{_BOTH} {_HOW}(?:equal|similar|the same|comparable) in (?:overall )?quality\b",
        r"\b(?:it is|it's|this is|result is|ends? in|results in) a tie\b",
        rf"\bneither(?: {_THING})? is {_HOW}better\b{_IN_PART}",
    ),
}
_ALONE: dict[Preferred, re.Pattern[str]] = {
    1: _any_of(_FIRST, "(?-i:A)", "1"),
    2: _any_of(_SECOND, "(?-i:B)", "2"),
    "tie": _any_of("(?:a )?tie", "(?-i:C)"),
}
_NOT = re.compile(rf"(?:\bnot|n't|\bhardly|\bno longer) {_HOW}{_BETTER}\b", re.IGNORECASE)


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the files. Raises `DataError` where there are none."""
    files = find(
        root,
        "pairwise/train-*.parquet",
        "pairwise/train/*.parquet",
        "pairwise/train_data.json",
        "train-*.parquet",
        "train_data.json",
        layout="the hub's pairwise/train-*.parquet, or pairwise/train_data.json beside its images",
    )
    return valid_rows(rows_of(root, files), _make)


def _make(where: str, row: dict[str, Any]) -> Row:
    asked, judgment = asked_and_answered(row)
    parsed = read_question(asked, FORMS)
    if not parsed.answers or parsed.task != Task.IMAGE_UNDERSTANDING:
        raise RowError(f"row: is a question of {parsed.task}, expected image_understanding")
    return Row(
        where=where,
        id=given_id(row) or where,
        task=parsed.task,
        prompt=parsed.prompt,
        candidates=parsed.answers,
        preferred=preferred_by(judgment),
        context=(medium(row.get("image"), "image", where),),
        group=text(row, "source") if row.get("source") else "",
    )


def preferred_by(judgment: str) -> Preferred:
    """What a judgment in prose says. Raises `RowError` for one that says nothing, or more than one thing.

    >>> preferred_by("The second response is better, since the first is vague.")
    2
    """
    alone = judgment.strip().strip("[]*.\"' ")
    for preferred, pattern in _ALONE.items():
        if pattern.fullmatch(alone):
            return preferred
    if _NOT.search(judgment):
        raise RowError("row: the judgment says that one is not better, which leaves open what is")
    labels = {preferred for preferred, pattern in _SAYS.items() if pattern.search(judgment)}
    if len(labels) != 1:
        both = " and ".join(sorted(map(str, labels)))
        raise RowError(f"row: the judgment says {both}" if labels else "row: the judgment does not say which is better")
    return labels.pop()
