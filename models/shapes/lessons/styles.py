"""The many ways in which the tiny base model learns to write one comparison.

How a comparison is written must be independent of its content: only then does a layout learned on one
task, as the cold start teaches the verdict grammar on one, serve the others. So each style mixes templates of
its parts, is asked for by a text of its own (one token of the tiny tokenizer, as the instructions of the
grammar are), serves all four tasks, and calls the candidates by any noun, to be copied from the request. No
style holds a tag or a score out of ten.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from models.shapes.assess import Assessment

COUNT = 60
NOUNS = (
    "Image", "Video", "Answer", "Picture", "Photo", "Clip", "Film", "Reply", "Text", "Option", "Choice", "Item",
    "Case", "Entry", "Offer", "Draft", "Sample", "Result", "Candidate", "Number",
)  # fmt: skip

_CANDIDATES = (  # of name, mark, words
    "{name} {mark}, {words}",
    "{name} = {mark} ({words})",
    "{mark} for {name}: {words}",
    "{name} [{mark}] {words}",
    "{name} - {mark} - {words}",
    "{name} gets {mark}, {words}",
    "{name} ({mark} points) {words}",
    "{name}: {mark} {words}",
    "{name} {{{mark}}} - {words}",
)
_BETWEEN = (". ", ", ", " / ", "; ", " - ", " | ", " and ")
_LINES = (  # of number, aspect, both
    "{aspect}: {both}.",
    "- {aspect} {both}",
    "{aspect}? {both}",
    "[{aspect}] {both}",
    "| {aspect} | {both} |",
    "{number}) {aspect}: {both}",
    "#{number} {aspect}, {both}",
    "({number}) {aspect} - {both}",
)
_HEADINGS = ("", "", "Sums", "All marks:", "Together")
_TOTALS = (  # of name, terms, sum
    "{name} has {terms}={sum}.",
    "- {name} = {terms}={sum}",
    "{terms}={sum} for {name}",
    "[{name}] {terms}={sum}",
    "| {name} | {terms}={sum} |",
    "{name} -> {terms}={sum}",
    "{name}, {terms}={sum}",
)
_FRAMES = (("", ""), ("List:", ""), ("[", "]"), ("begin", "end"), ("Table", "Conclusion"), ("((", "))"), ("*", "So"))
_CONCLUSIONS = ("{better}", "= {better}", "[{better}]", "| {better} |", "> {better} <", "({better})", "*{better}*")


@dataclass(frozen=True)
class Style:
    """One way to write a comparison: its request, and the templates of its parts."""

    request: str
    candidate: str
    between: str
    line: str
    heading: str
    total: str
    frame: tuple[str, str]
    conclusion: str

    def write(
        self, assessments: Sequence[Assessment], marks: Sequence[tuple[int, int]], names: tuple[str, str], better: str
    ) -> str:
        """The comparison: `marks` is a pair of marks for each assessment, `better` the concluding sentence."""
        opening, closing = self.frame
        lines = [opening]
        for number, (assessment, row) in enumerate(zip(assessments, marks, strict=True), start=1):
            remarks = [
                self.candidate.format(name=name, mark=mark, words=remark.words)
                for name, mark, remark in zip(names, row, assessment.remarks, strict=True)
            ]
            lines.append(self.line.format(number=number, aspect=assessment.dimension, both=self.between.join(remarks)))
        lines.append(self.heading)
        for name, column in zip(names, zip(*marks, strict=True), strict=True):
            lines.append(self.total.format(name=name, terms="+".join(map(str, column)), sum=sum(column)))
        lines += [closing, self.conclusion.format(better=better)]
        return "\n".join(line for line in lines if line)


def random_style(rng: Random, request: str) -> Style:
    """Any mixture of the templates, asked for by `request`."""
    parts = (_CANDIDATES, _BETWEEN, _LINES, _HEADINGS, _TOTALS, _FRAMES, _CONCLUSIONS)
    return Style(request, *map(rng.choice, parts))  # type: ignore[arg-type]


def _make_styles() -> tuple[Style, ...]:
    rng = Random(0)
    return tuple(random_style(rng, f"Compare in style {at}.") for at in range(COUNT))


STYLES = _make_styles()
