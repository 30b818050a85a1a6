"""How a verdict is read, strictly: a text that breaks the grammar comes back with the reason and the place.

Reading is one pass over the lines with anchored patterns and `str.find`: linear in the text's length.
"""

import re
from typing import NoReturn

from models.pairs.preference import Preferred, Task
from models.verdict.grammar import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    CORE_DIMENSIONS,
    MAX_EXTRA_DIMENSIONS,
    MAX_SCORE,
    MIN_SCORE,
    THINK_CLOSE,
    THINK_OPEN,
    TOTAL_HEADING,
    Dimension,
    Fault,
    Malformed,
    Mode,
    Total,
    Verdict,
    answer_text,
    candidate_names,
)

_NUMBERED = re.compile(r"([0-9]{1,3})\. ?(\S[^:\n]*):")
_UNNUMBERED = re.compile(r"([^\W\d_][^:\n]*|\[[^\]:\n]+\]):")
_SCORE = re.compile(r" ?\(([0-9]{1,6})/10\) - ")
_TOTAL = re.compile(r": ?([0-9]{1,6}(?: ?\+ ?[0-9]{1,6})*) ?= ?([0-9]{1,6})")


def parse_verdict(text: str, task: Task, *, mode: Mode = "think") -> Verdict | Malformed:
    """Read a verdict, or say why the text is none. Linear in `len(text)`; never raises.

    >>> parse_verdict("Image 2 is better", Task.IMAGE_GENERATION, mode="direct").preferred
    2
    >>> parse_verdict("1 or 2", Task.IMAGE_GENERATION, mode="direct").reason.value
    'bad_answer'
    """
    try:
        return _read_direct(text, task) if mode == "direct" else _read_thinking(text, task)
    except _BrokenGrammarError as broken:
        return Malformed(reason=broken.reason, position=broken.position)


def parse_answer(text: str, task: Task) -> Preferred | Malformed:
    """What the one answer block of a thinking text prefers, whatever reasoning stands before it.

    A second answer tag, an answer within the reasoning and any other sentence are malformed; a full stop is not.

    >>> parse_answer("no blocks, then <answer>Image 2 is better.</answer>", Task.IMAGE_GENERATION)
    2
    """
    try:
        start, end = _block(text, ANSWER_OPEN, ANSWER_CLOSE)
        if text.find(THINK_CLOSE, end) >= 0:
            _fail(Fault.MISSING_BLOCK, start)
        answers: dict[str, Preferred] = {answer_text(task, choice): choice for choice in (1, 2)}
        answers |= {f"{sentence}.": choice for sentence, choice in answers.items()}
        return _read_answer(text, start, end, answers)
    except _BrokenGrammarError as broken:
        return Malformed(reason=broken.reason, position=broken.position)


class _BrokenGrammarError(Exception):
    def __init__(self, reason: Fault, position: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position


def _fail(reason: Fault, position: int) -> NoReturn:
    raise _BrokenGrammarError(reason, position)


def _read_direct(text: str, task: Task) -> Verdict:
    if ANSWER_OPEN in text or ANSWER_CLOSE in text:
        start, end = _block(text, ANSWER_OPEN, ANSWER_CLOSE)
        _only_space(text, 0, start - len(ANSWER_OPEN))
        _only_space(text, end + len(ANSWER_CLOSE), len(text))
    else:
        start, end = 0, len(text)
    answers: dict[str, Preferred] = {answer_text(task, choice): choice for choice in (1, 2, "tie")}
    answers |= {f"{sentence}.": choice for sentence, choice in answers.items()}
    return Verdict(task=task, preferred=_read_answer(text, start, end, answers))


def _read_thinking(text: str, task: Task) -> Verdict:
    think_start, think_end = _block(text, THINK_OPEN, THINK_CLOSE)
    answer_start, answer_end = _block(text, ANSWER_OPEN, ANSWER_CLOSE)
    if answer_start < think_end + len(THINK_CLOSE):  # within the reasoning, or its tag is
        _fail(Fault.MISSING_BLOCK, answer_start)
    _only_space(text, 0, think_start - len(THINK_OPEN))
    _only_space(text, think_end + len(THINK_CLOSE), answer_start - len(ANSWER_OPEN))
    _only_space(text, answer_end + len(ANSWER_CLOSE), len(text))
    dimensions, totals = _read_reasoning(_lines(text, think_start, think_end), task, think_start)
    answers: dict[str, Preferred] = {answer_text(task, choice): choice for choice in (1, 2)}
    preferred = _read_answer(text, answer_start, answer_end, answers)
    return Verdict(task=task, preferred=preferred, dimensions=dimensions, totals=totals)


def _block(text: str, opening: str, closing: str) -> tuple[int, int]:
    """Where the inside of the one block starts and ends."""
    start, end = text.find(opening), text.find(closing)
    if start < 0 or end < start:
        _fail(Fault.MISSING_BLOCK, max(start, 0))
    for tag, found in ((opening, start), (closing, end)):
        again = text.find(tag, found + 1)
        if again >= 0:
            _fail(Fault.REPEATED_BLOCK, again)
    return start + len(opening), end


def _only_space(text: str, start: int, end: int) -> None:
    outside = text[start:end]
    if outside.strip():
        _fail(Fault.TEXT_OUTSIDE, start + len(outside) - len(outside.lstrip()))


def _read_answer(text: str, start: int, end: int, answers: dict[str, Preferred]) -> Preferred:
    sentence = text[start:end].strip()
    if sentence not in answers:
        _fail(Fault.BAD_ANSWER, start)
    return answers[sentence]


def _lines(text: str, start: int, end: int) -> list[tuple[int, str]]:
    """The lines of `text[start:end]` that hold something, stripped, each with its offset."""
    lines, offset = [], start
    for line in text[start:end].split("\n"):
        stripped = line.strip()
        if stripped:
            lines.append((offset + line.find(stripped[0]), stripped))
        offset += len(line) + 1
    return lines


def _read_reasoning(
    lines: list[tuple[int, str]], task: Task, start: int
) -> tuple[tuple[Dimension, ...], tuple[Total, Total]]:
    names = candidate_names(task)
    heading = next((at for at, (_, line) in enumerate(lines) if line.startswith(TOTAL_HEADING)), len(lines))
    dimensions = _read_dimensions(lines[:heading], names, numbered=len(CORE_DIMENSIONS[task]))
    if not dimensions:
        _fail(Fault.NO_DIMENSION, lines[0][0] if lines else start)
    if len(dimensions) > len(CORE_DIMENSIONS[task]) + MAX_EXTRA_DIMENSIONS:
        _fail(Fault.TOO_MANY_DIMENSIONS, start)
    if heading == len(lines):
        _fail(Fault.BAD_TOTAL, lines[-1][0])
    return dimensions, _read_totals(lines[heading:], names)


def _read_dimensions(lines: list[tuple[int, str]], names: tuple[str, str], *, numbered: int) -> tuple[Dimension, ...]:
    """The dimensions of all lines; those after the first `numbered` need no number."""
    dimensions: list[Dimension] = []
    at = 0
    while at < len(lines):
        offset, line = lines[at]
        name, end = _read_name(line, len(dimensions) + 1, offset, free=len(dimensions) >= numbered)
        rest = line[end:].strip()
        if rest:
            first, second = _split_one_line(rest, names, offset + end)
            at += 1
        elif at + 2 < len(lines):
            (upper_at, upper), (lower_at, lower) = lines[at + 1 : at + 3]
            first = _read_scored(upper.removesuffix(";"), names[0], upper_at)
            second = _read_scored(lower, names[1], lower_at)
            at += 3
        else:
            _fail(Fault.BAD_DIMENSION, offset)
        dimensions.append(Dimension(name=name, scores=(first[0], second[0]), rationales=(first[1], second[1])))
    return tuple(dimensions)


def _read_name(line: str, number: int, offset: int, *, free: bool) -> tuple[str, int]:
    """The name in `2. Aesthetics:`, or in `Creativity:` where it is `free` of a number, and where its colon ends."""
    match = _NUMBERED.match(line)
    if match is not None and int(match[1]) == number:
        return match[2].strip(), match.end()
    match = _UNNUMBERED.match(line) if free else None
    if match is None:
        _fail(Fault.BAD_DIMENSION, offset)
    return match[1].strip(), match.end()


def _split_one_line(rest: str, names: tuple[str, str], offset: int) -> tuple[tuple[int, str], tuple[int, str]]:
    """The scored candidates of `Image 1 (8/10) - a; b; Image 2 (6/10) - c`, the first first in either order of writing.

    The cut is at the first semicolon that the other's name and its score follow.
    """
    if rest.startswith(names[1]):
        second, first = _split_one_line_as(rest, (names[1], names[0]), offset)
        return first, second
    return _split_one_line_as(rest, names, offset)


def _split_one_line_as(rest: str, names: tuple[str, str], offset: int) -> tuple[tuple[int, str], tuple[int, str]]:
    marker = f"; {names[1]}"
    cut = rest.find(marker)
    while cut >= 0 and _SCORE.match(rest, cut + len(marker)) is None:
        cut = rest.find(marker, cut + 1)
    if cut < 0:
        _fail(Fault.BAD_DIMENSION, offset)
    return _read_scored(rest[:cut], names[0], offset), _read_scored(rest[cut + 2 :], names[1], offset + cut + 2)


def _read_scored(line: str, name: str, offset: int) -> tuple[int, str]:
    """`Image 1 (8/10) - reason` as (8, "reason")."""
    match = _SCORE.match(line, len(name)) if line.startswith(name) else None
    rationale = line[match.end() :].strip() if match else ""
    if match is None or not rationale:
        _fail(Fault.BAD_DIMENSION, offset)
    score = int(match[1])
    if not MIN_SCORE <= score <= MAX_SCORE:
        _fail(Fault.SCORE_OUT_OF_RANGE, offset)
    return score, rationale


def _read_totals(lines: list[tuple[int, str]], names: tuple[str, str]) -> tuple[Total, Total]:
    """Both sums, on the lines below the heading or on the heading's own line, apart by a semicolon."""
    offset, heading = lines[0]
    inline = [(offset, part.strip()) for part in heading[len(TOTAL_HEADING) :].split(";") if part.strip()]
    rows = inline + lines[1:]
    if len(rows) != len(names):
        _fail(Fault.BAD_TOTAL, offset)
    first, second = (_read_total(row, name, at) for (at, row), name in zip(rows, names, strict=True))
    return first, second


def _read_total(row: str, name: str, offset: int) -> Total:
    match = _TOTAL.fullmatch(row, len(name)) if row.startswith(name) else None
    if match is None:
        _fail(Fault.BAD_TOTAL, offset)
    return Total(terms=tuple(int(term) for term in match[1].split("+")), value=int(match[2]))
