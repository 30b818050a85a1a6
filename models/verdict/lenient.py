"""A lenient reading of verdicts by other judges and teachers, next to the grammar's own (parsing.py).

Other models state a clear verdict in a layout of their own: `7.5/10`, names in bold, an en dash, `=22/30`, a full stop
after the answer, other letters' case, bullets, a code fence. Whatever the grammar accepts is read as the grammar reads
it. Beyond that the text must still be unambiguous: each dimension scores both candidates once, each candidate has one
total, and the answer names one candidate and nothing else; a hedged, repeated or contradictory answer is invalid here
too. Scores may have fractions. A total without its terms is taken to be the sum of the scores that were read, and
`Verdict.sums_agree` is whether it is.

Rewards, and what is trained on, never come through here: they are strict. Reading is one pass over the lines by
patterns without nested repetition: linear in the text's length.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from models.pairs.preference import Preferred, Task
from models.verdict.grammar import (
    CORE_DIMENSIONS,
    MAX_EXTRA_DIMENSIONS,
    MAX_SCORE,
    MIN_SCORE,
    Dimension,
    Malformed,
    Mode,
    Total,
    Verdict,
    answer_text,
    candidate_names,
)
from models.verdict.parsing import parse_verdict

_SAME = str.maketrans(
    dict.fromkeys("‐‑‒–—―−", "-")  # noqa: RUF001
    | dict.fromkeys("\u00a0\u2009\u202f\u3000", " ")
    | dict(zip("：（）；／＝＋［］．", ":();/=+[].", strict=True))  # noqa: RUF001
    | dict.fromkeys("*`", "")
)
FENCE = re.compile(r"\s*```\w{0,20}\s*")
_TAG = re.compile(r"< ?(/?) ?(think|answer) ?>", re.IGNORECASE)
_MARKER = re.compile(r"(?:#{1,6} |[-+•] )?(?:\(?[0-9]{1,3}[.)] ?)?")
_HEADING = re.compile(r"(?:totals?|sums?|(?:total|final|overall) scores?) ?(?::|$)", re.IGNORECASE)
_LEAD = re.compile(r"(?:(?:my |the )?(?:final )?(?:answer|verdict|judge?ment)(?: is)? ?: ?)?", re.IGNORECASE)
_NUMBER = r"[0-9]{1,6}(?:\.[0-9]{1,4})?"
_BEFORE_A_SCORE = frozenset(":;|.-")
_QUOTES = "\"'“”‘’"  # noqa: RUF001


class _UnreadableError(Exception):
    """The text is ambiguous."""


@dataclass(frozen=True)
class _Half:
    """One candidate's score in a dimension, where it is in its line, and where its reason begins."""

    candidate: int
    score: float
    start: int
    end: int


def parse_lenient(text: str, task: Task, *, mode: Mode = "think") -> Verdict | Malformed:
    """Read a verdict leniently, or give the reason why the grammar refuses it. Linear in `len(text)`; never raises.

    >>> parse_lenient("**Image 2** is better!", Task.IMAGE_GENERATION, mode="direct").preferred
    2
    >>> parse_lenient("Image 1 or Image 2", Task.IMAGE_GENERATION, mode="direct").reason.value
    'bad_answer'
    """
    strict = parse_verdict(text, task, mode=mode)
    if isinstance(strict, Verdict):
        return strict
    plain = unadorned(text)
    try:
        return _read_direct(plain, task) if mode == "direct" else _read_thinking(plain, task)
    except _UnreadableError:
        return strict


def unadorned(text: str) -> str:
    """The text without marks of emphasis and code fences, its look-alike characters made one."""
    lines = [line for line in text.split("\n") if not FENCE.fullmatch(line)]
    return "\n".join(lines).translate(_SAME).replace("__", "")


def _read_direct(text: str, task: Task) -> Verdict:
    answer = _blocks(text, ("answer", "/answer"))[1] if _TAG.search(text) else text
    return Verdict(task=task, preferred=_preferred(answer, task, (1, 2, "tie")))


def _read_thinking(text: str, task: Task) -> Verdict:
    reasoning, answer = _blocks(text, ("think", "/think", "answer", "/answer"), ("think", "/think"))
    preferred = _preferred(answer, task, (1, 2))
    lines = [" ".join(line.split()) for line in reasoning.split("\n")]
    lines = [line[_marked(line) :] for line in lines if line]
    heading = next((at for at, line in enumerate(lines) if _HEADING.match(line)), None)
    if heading is None:
        raise _UnreadableError
    dimensions = _dimensions(lines[:heading], task)
    totals = _totals(lines[heading:], dimensions, task)
    return Verdict(task=task, preferred=preferred, dimensions=dimensions, totals=totals)


def _blocks(text: str, *allowed: tuple[str, ...]) -> tuple[str, str]:
    """What is in the first block, and in the last or after the only one; nothing else may be anywhere."""
    tags = list(_TAG.finditer(text))
    if tuple(tag[1] + tag[2].lower() for tag in tags) not in allowed:
        raise _UnreadableError
    pieces = [text[one.end() : other.start()] for one, other in pairwise(tags)]
    before, after = text[: tags[0].start()], text[tags[-1].end() :]
    if len(tags) == 2 and tags[0][2].lower() == "think":
        pieces.append(after)
        outside = before
    else:
        outside = before + after + (pieces[1] if len(pieces) > 1 else "")
    if outside.strip():
        raise _UnreadableError
    return pieces[0], pieces[-1]


def _marked(line: str) -> int:
    """Where a line begins after its bullet and its number."""
    match = _MARKER.match(line)
    return match.end() if match else 0


def _preferred(text: str, task: Task, choices: tuple[Preferred, ...]) -> Preferred:
    sentence = " ".join(text.split()).strip(_QUOTES)
    lead = _LEAD.match(sentence)
    sentence = sentence[lead.end() if lead else 0 :].rstrip(".! ").strip(_QUOTES).rstrip(".! ").casefold()
    names = dict(zip((1, 2), candidate_names(task), strict=True))
    for choice in choices:
        sentences = {answer_text(task, choice)} | ({names[choice]} if choice != "tie" else set())
        if sentence in {one.casefold() for one in sentences}:
            return choice
    raise _UnreadableError


@lru_cache
def _patterns(task: Task) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A candidate's score in a dimension, and its total."""
    first, second = (re.escape(name) for name in candidate_names(task))
    name = rf"(?P<name>{first}|{second})"
    scored = rf"\b{name}(?: scores?)? ?[:=-]? ?[(\[]? ?(?P<score>{_NUMBER}) ?/ ?10 ?[)\]]? ?[-:,.]? ?"
    term = rf"{_NUMBER}(?: ?/ ?10)?"
    terms = rf"(?P<terms>{term}(?: ?\+ ?{term})*) ?= ?"
    value = rf"(?P<value>{_NUMBER})(?: ?/ ?[0-9]{{1,3}})?(?: points)?"
    total = rf"{name}(?: total)?(?: scores?)? ?[:-]? ?(?:{terms}|= ?)?{value}\.?"
    return re.compile(scored, re.IGNORECASE), re.compile(total, re.IGNORECASE)


def _which(name: str, task: Task) -> int:
    """0 or 1 for a candidate's name, whatever its case."""
    return [one.casefold() for one in candidate_names(task)].index(name.casefold())


def _number(text: str) -> float:
    """A whole number as int, so that it is written as it was."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _halves(line: str, task: Task) -> Iterator[_Half]:
    for match in _patterns(task)[0].finditer(line):
        before = line[max(0, match.start() - 2) : match.start()].rstrip()[-1:]
        if before and before not in _BEFORE_A_SCORE:
            continue  # a score that a rationale mentions
        score = _number(match["score"])
        if not MIN_SCORE <= score <= MAX_SCORE:
            raise _UnreadableError
        yield _Half(_which(match["name"], task), score, match.start(), match.end())


def _dimensions(lines: list[str], task: Task) -> tuple[Dimension, ...]:
    found: list[Dimension] = []
    header, name = "", ""
    waiting: tuple[_Half, str] | None = None  # a candidate that is scored, and why
    for line in lines:
        halves = list(_halves(line, task))
        if not halves:
            header = line
        for at, half in enumerate(halves):
            end = halves[at + 1].start if at + 1 < len(halves) else len(line)
            reason = line[half.end : end].strip(" ;|")
            if waiting is None:
                own = line[: half.start].strip(" :-|(") if at == 0 else ""
                name, header = own or header.strip(" :-|"), ""
                waiting = (half, reason)
                continue
            both = {waiting[0].candidate: waiting, half.candidate: (half, reason)}
            if len(both) < 2 or not name:
                raise _UnreadableError
            found.append(Dimension(name, (both[0][0].score, both[1][0].score), (both[0][1], both[1][1])))
            waiting = None
    if waiting is not None or not 1 <= len(found) <= len(CORE_DIMENSIONS[task]) + MAX_EXTRA_DIMENSIONS:
        raise _UnreadableError
    return tuple(found)


def _totals(lines: list[str], dimensions: tuple[Dimension, ...], task: Task) -> tuple[Total, Total]:
    heading = _HEADING.match(lines[0])
    rest = lines[0][heading.end() if heading else 0 :]
    parts = [part.strip() for line in (rest, *lines[1:]) for part in re.split(r"[;,|]", line)]
    found: dict[int, Total] = {}
    for part in parts:
        match = _patterns(task)[1].fullmatch(part)
        if match is None:
            continue
        which = _which(match["name"], task)
        if which in found:
            raise _UnreadableError
        terms = tuple(dimension.scores[which] for dimension in dimensions)
        if match["terms"] is not None:
            terms = tuple(_number(term.partition("/")[0]) for term in match["terms"].split("+"))
        found[which] = Total(terms, _number(match["value"]))
    if len(found) < 2:
        raise _UnreadableError
    return found[0], found[1]
