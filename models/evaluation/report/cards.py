"""One judgment as the report shows it: what was asked, both candidates, the scores, and the text as written."""

from dataclasses import dataclass

from markupsafe import Markup

from models.evaluation.report.data import Example, Picture
from models.evaluation.report.plots import score_bar
from models.evaluation.report.table import MISSING
from models.pairs.preference import Media
from models.verdict.grammar import MAX_SCORE, Dimension, Malformed, answer_text, candidate_names
from models.verdict.parsing import parse_verdict
from models.verdict.prompts import PROMPT_LABEL


@dataclass(frozen=True)
class ShownMedium:
    """A medium's frames with a text alternative each; `name` heads them."""

    name: str
    frames: tuple[tuple[Picture, str], ...]


@dataclass(frozen=True)
class Side:
    """One candidate: its text or its medium, and whether it is the labelled and the chosen one."""

    name: str
    text: str | None
    shown: ShownMedium | None
    labelled: bool
    picked: bool


@dataclass(frozen=True)
class Scored:
    """One dimension: for each candidate its name, score, bar and rationale."""

    name: str
    sides: tuple[tuple[str, float, Markup, str], ...]


@dataclass(frozen=True)
class Card:
    """One judgment as it is shown. `text` is cut in three where the grammar breaks, the middle part to be marked."""

    example: Example
    prompt_label: str
    context: tuple[ShownMedium, ...]
    sides: tuple[Side, ...]
    dimensions: tuple[Scored, ...]
    totals: tuple[tuple[str, float], ...]
    label: str
    answer: str
    text: tuple[str, str, str]


def card(example: Example) -> Card:
    """Everything the page shows of one judgment."""
    pair, row = example.pair, example.row
    names = candidate_names(pair.task)
    verdict = parse_verdict(row.text, pair.task, mode=row.mode)
    sound = None if isinstance(verdict, Malformed) else verdict
    totals = zip(names, sound.totals, strict=True) if sound and sound.totals else ()
    kind, many = pair.task.media_kind.capitalize(), len(pair.context) > 1
    sides = [
        Side(
            name=name,
            text=each.text,
            shown=_shown(example, each.media, name) if each.media else None,
            labelled=pair.preferred in (place, "tie"),
            picked=row.preferred in (place, "tie"),
        )
        for place, (name, each) in enumerate(zip(names, pair.candidates, strict=True), 1)
    ]
    return Card(
        example=example,
        prompt_label=PROMPT_LABEL[pair.task.judges_media],
        context=tuple(
            _shown(example, media, f"{kind} {at}" if many else kind) for at, media in enumerate(pair.context, 1)
        ),
        sides=tuple(sides),
        dimensions=tuple(_scored(one, names) for one in sound.dimensions) if sound else (),
        totals=tuple((name, total.value) for name, total in totals),
        label=answer_text(pair.task, pair.preferred),
        answer=MISSING if row.preferred is None else answer_text(pair.task, row.preferred),
        text=_cut(row.text, row.position),
    )


def _scored(dimension: Dimension, names: tuple[str, str]) -> Scored:
    columns = zip(names, dimension.scores, dimension.rationales, strict=True)
    sides = tuple(
        (name, score, score_bar(score, MAX_SCORE, series=place), rationale)
        for place, (name, score, rationale) in enumerate(columns, 1)
    )
    return Scored(dimension.name, sides)


def _shown(example: Example, media: Media, name: str) -> ShownMedium:
    frames = example.frames(media)
    about = f"{name}, for: {example.pair.prompt}"
    alts = [f"{about} (frame {at} of {len(frames)})" if len(frames) > 1 else about for at in range(1, len(frames) + 1)]
    return ShownMedium(name, tuple(zip(frames, alts, strict=True)))


def _cut(text: str, position: int) -> tuple[str, str, str]:
    """The text before the fault, from it to the end of its line, and after; no fault leaves the latter two empty."""
    if position < 0:
        return text, "", ""
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    return text[:position], text[position:end], text[end:]
