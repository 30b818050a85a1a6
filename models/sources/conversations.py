r"""Source `conversations`: pairs as conversations, the form in which LLaMA-Factory and UnifiedReward train on them.

A folder with `train_data.json`, `data.json` or other JSON arrays or JSON lines, and the media that they name. It is no
data set of its own but the form of several (https://huggingface.co/CodeGoat24), and of your own rejection sampling.

    {"conversations": [{"from": "human", "value": "… Question: [What flies?]\nAnswer 1: [a dog]\nAnswer 2: [a kite]"},
                       {"from": "gpt", "value": "<think> … </think>\n<answer>Answer 2 is better</answer>"}],
     "images": ["a/1.jpg"]}

The form was read in UnifiedReward-Think/README.md of CodeGoat24/UnifiedReward at 0615caf, the questions in its
inference scripts at ed52f98, 3c16510, 4835695 and dae5c72 (both releases, and the rankings without reasoning). Its
released checkpoints' training files were not to be had. Task, caption, question and answers are looked up in the human
turn; one that follows none of those questions, or whose answers cannot be told apart, gives no pair.

Media stand in `images` or `image`, `videos` or `video`. Two images are the candidates of image_generation, all images
the context of image_understanding. A video is a file, or its frames: of a flat list of frames the first half is video
1. The label is what the gpt turn answers below its reasoning and nothing else; it may be a tie. Reasoning outside our
grammar is left out, and its answer still counts. Rows without an id are named by their place.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from models.pairs.preference import Preferred, Task
from models.sources.fields import (
    Fields,
    RowError,
    as_text,
    asked_and_answered,
    different,
    given_id,
    medium,
    question,
    valid_rows,
)
from models.sources.listings import find, rows_of
from models.sources.rows import Frames, InFile, InvalidRow, Medium, Row
from models.verdict.grammar import THINK_CLOSE, Malformed
from models.verdict.parsing import parse_verdict

LISTINGS = ("train_data.json", "data.json", "*.json", "*.jsonl")
VIDEO_SUFFIXES = frozenset({".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v", ".gif"})
_MEDIA_FIELDS = ("images", "image", "videos", "video")


@dataclass(frozen=True)
class QuestionLayout:
    """How a question writes its parts: what stands before the prompt, before each answer, and after all of it.

    `answers` is empty where the candidates are media. `quote` ends a prompt that more words follow.
    """

    opening: str
    closing: str = ""
    answers: tuple[()] | tuple[str, str] = ()
    quote: str = ""

    def parts(self, asked: str) -> list[str] | None:
        """The prompt and the answers, or nothing if the question is not of this form.

        Raises `RowError` if an answer's heading stands there twice, so that nobody can tell where the answer starts.
        """
        start = asked.find(self.opening)
        if start < 0:
            return None
        rest = asked[start + len(self.opening) :]
        found = []
        for heading in self.answers:
            part, separator, rest = rest.partition(heading)
            if not separator:
                return None
            if heading in rest:
                raise RowError(
                    f"row: {heading.strip()!r} stands twice in the question, so that no answer can be cut out"
                )
            found.append(part)
        if self.closing:
            rest, closing, _ = rest.rpartition(self.closing)
            if not closing:
                return None
        found.append(rest)
        if self.quote:
            found[0] = found[0].rpartition(self.quote)[0]
        return [part.strip() for part in found]


FORMS = (
    QuestionLayout("Text Caption: [", "]"),
    QuestionLayout("Text Caption: "),
    QuestionLayout("Question: [", "]", ("]\nAnswer 1: [", "]\nAnswer 2: [")),
    QuestionLayout("Question: [", "]", ("]\nResponse 1: [", "]\nResponse 2: [")),
    QuestionLayout("Question: ", "", ("\nAnswer 1: ", "\nAnswer 2: ")),
    # The later release, which writes more words behind these.
    QuestionLayout("generated images is: 「", "」."),
    QuestionLayout("generated videos is: 「", "」."),
    QuestionLayout("question is: 「", "」\n\n2. You must", ("\n        Answer 1: 「", "」\nAnswer 2: 「"), "」"),
    QuestionLayout(
        "following question: 「", "\n        2. You must", ("\n        - Answer 1: ", "\n        - Answer 2: "), "」"
    ),
)


@dataclass(frozen=True)
class Question:
    """What a question asks: `answers` are the candidates of an understanding task, and empty for media."""

    task: Task
    prompt: str
    answers: tuple[()] | tuple[str, str]


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the files. Raises `DataError` where there is no listing."""
    files = find(root, *LISTINGS, layout="JSON arrays or JSON lines of conversations beside the media they name")
    return valid_rows(rows_of(root, files), conversation)


def conversation(where: str, row: dict[str, Any]) -> Row:
    """The pair of one conversation. Raises `RowError`."""
    asked, answer = asked_and_answered(row)
    parsed = read_question(asked)
    preferred, reasoning = answered(answer, parsed.task)
    return judged(where, row, parsed, preferred, reasoning)


def read_question(asked: str, forms: tuple[QuestionLayout, ...] = FORMS) -> Question:
    """The parts of a question of one of these forms, the form that starts first. Raises `RowError`."""
    starts = sorted((at, n) for n, form in enumerate(forms) if (at := asked.find(form.opening)) >= 0)
    for at, number in starts:
        parts = forms[number].parts(asked)
        if parts is not None:
            prompt, *answers = parts
            head = asked[: at + len(forms[number].opening)].lower()
            kind = next((kind for kind in ("video", "image") if kind in head), None)
            if kind is None:
                raise RowError("row: the question tells neither of images nor of videos")
            if not answers:
                return Question(Task(f"{kind}_generation"), question(as_text(prompt, "the caption")), ())
            first, second = (as_text(text, f"answer {n}") for n, text in enumerate(answers, start=1))
            if first == second:
                raise RowError("row: both candidates are the same")
            return Question(Task(f"{kind}_understanding"), question(as_text(prompt, "the question")), (first, second))
    raise RowError(
        "row: the question is of no known form: it holds no 'Text Caption:', nor 'Question:' and two answers"
    )


def answered(answer: str, task: Task) -> tuple[Preferred, str]:
    """The label that an answer states and its reasoning, which is empty unless it follows our grammar.

    Only what stands below the reasoning is read for the label. Raises `RowError`.
    """
    thought = parse_verdict(answer, task)
    if not isinstance(thought, Malformed):
        return thought.preferred, answer
    stated = parse_verdict(answer.rpartition(THINK_CLOSE)[2], task, mode="direct")
    if isinstance(stated, Malformed):
        raise RowError(f"row: the answer is no verdict on {task}: {stated.reason}")
    return stated.preferred, ""


def judged(where: str, row: Fields, asked: Question, preferred: Preferred, reasoning: str = "") -> Row:
    """The pair of a row whose question and label are known, with the media it names. Raises `RowError`."""
    shown = _shown(where, row, asked.task)
    candidates: tuple[str | Medium, str | Medium]
    if asked.answers:
        candidates, context = asked.answers, shown
    else:
        if len(shown) != 2:
            raise RowError(f"row: names {len(shown)} {asked.task.media_kind}s, expected two")
        candidates, context = different(*shown), ()
    return Row(
        where=where,
        id=given_id(row) or where,
        task=asked.task,
        prompt=asked.prompt,
        candidates=candidates,
        preferred=preferred,
        context=context,
        reasoning=reasoning,
    )


def _shown(where: str, row: Fields, task: Task) -> tuple[Medium, ...]:
    """The images that a row names, or its videos, each a file or its frames."""
    named = [field for field in _MEDIA_FIELDS if row.get(field) is not None]
    if len(named) != 1:
        raise RowError(
            f"row: names its media in {' and '.join(named) or 'no field'}, expected one of images and videos"
        )
    (field,) = named
    values = row[field] if isinstance(row[field], list) else [row[field]]
    media = tuple(medium(value, f"{field}[{n}]", where) for n, value in enumerate(values))
    if not media:
        raise RowError(f"row: {field} is empty")
    if task.media_kind == "image":
        return media
    if field in ("videos", "video") or all(_suffix(one) in VIDEO_SUFFIXES for one in media):
        return media if task.judges_media else _only(media)
    frames = tuple(one.path for one in media if isinstance(one, InFile))
    if len(frames) != len(media):
        raise RowError(f"row: {field} holds frames in the row itself: put them into files")
    if not task.judges_media:
        return (Frames(frames),)
    half, odd = divmod(len(frames), 2)
    if odd:
        raise RowError(f"row: {field} is {len(frames)} frames, which two videos cannot share equally")
    return Frames(frames[:half]), Frames(frames[half:])


def _suffix(one: Medium) -> str:
    return PurePosixPath(one.path).suffix.lower() if isinstance(one, InFile) else ""


def _only(media: tuple[Medium, ...]) -> tuple[Medium]:
    if len(media) != 1:
        raise RowError(f"row: names {len(media)} videos, expected one")
    return (media[0],)
