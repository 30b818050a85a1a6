"""A page read strictly, and a judge's text to put on it."""

from html.parser import HTMLParser

from models.pairs.preference import PreferencePair, Preferred
from models.verdict.grammar import CORE_DIMENSIONS, Dimension, Verdict
from models.verdict.rendering import render_verdict

Attributes = dict[str, str | None]

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page strictly: every tag closed, in order, and no id or attribute twice."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, Attributes]] = []
        self.words: list[str] = []
        self.ids: set[str | None] = set()
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"<{tag}> has an attribute twice"
        assert attributes.get("id") not in self.ids
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        self.tags.append((tag, attributes))

    def all(self, tag: str) -> list[Attributes]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def written(pair: PreferencePair, preferred: Preferred, rationale: str = "wants red, shows red") -> str:
    scores = (7, 4) if preferred == 1 else (4, 7)
    dimensions = tuple(Dimension(name, scores, (rationale, rationale)) for name in CORE_DIMENSIONS[pair.task])
    return render_verdict(Verdict.from_dimensions(pair.task, dimensions, preferred))
