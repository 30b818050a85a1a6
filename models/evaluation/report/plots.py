"""Small charts as inline SVG, written by hand: no script, no font and no other file.

Colours are the page's classes (`s1` … `s5` for series), so a chart follows the page from light to dark.
Every label is escaped; `alt` is what a reader hears who cannot see the chart. Lengths are SVG units, which are
pixels at a chart's natural width.

Why not matplotlib (3.11 was tried on the line and whisker charts; they look alike, and with a hash salt and no date
its SVG is deterministic too): its colours are fixed values, its ids repeat from chart to chart, and its `<style>` holds
for the whole page, so that its output has to be rewritten by pattern before it fits here; a point has no tooltip; a
page's bytes, and so a report's digest, would change with its release; a chart is 2 to 5 times as large and takes 0.23 s
instead of 0.03 s, after 0.6 s of import. About 100 lines would go.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 20, 26
BAR, GAP = 18, 10
MAX_DOTS = 40  # points of a line up to which each is drawn

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line and its name in the legend."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Bar:
    """A labelled length; `note` is the text at its end."""

    label: str
    value: float
    note: str


@dataclass(frozen=True)
class Whisker:
    """A labelled value between its bounds; `note` is the text beside it."""

    label: str
    value: float
    low: float
    high: float
    note: str


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers within [low, high], at most `most` + 1 of them.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / most
    if not rough > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999), power * 10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def line_chart(series: Sequence[Series], *, alt: str, fraction: bool = False, chosen: float | None = None) -> Markup:
    """Lines over training steps; `fraction` labels 0.8 as 80 %; `chosen` marks one step with an upright line."""
    everything = [point for one in series for point in one.points]
    if not everything:
        raise ValueError("a line chart needs at least one point: leave the chart out instead")
    xs, ys = [x for x, _ in everything], [y for _, y in everything]
    across = _Scale(*_range(min(xs), max(xs), 0.0), LEFT, WIDTH - RIGHT)
    low, high = _range(min(ys), max(ys), 0.08)
    if fraction and min(ys) >= 0 and max(ys) <= 1:
        low, high = max(low, 0.0), min(high, 1.0)  # no share is outside, and neither does the axis
    up = _Scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [_y_axis(up, fraction), _x_axis(across)]
    if chosen is not None:
        at = across(chosen)
        anchor = "end" if at > WIDTH * 0.6 else "start"
        parts.append(_tag("line", x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM, cls="chosen"))
        parts.append(_text(at + (4 if anchor == "end" else -4), TOP - 7, f"chosen: step {chosen:g}", anchor, "mark"))
    for number, one in enumerate(series, start=1):
        placed = [(across(x), up(y)) for x, y in one.points]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
        parts.append(_tag("path", d=path, cls=f"line s{number}"))
        if len(placed) <= MAX_DOTS:
            for (x, y), (step, value) in zip(placed, one.points, strict=True):
                title = Markup("<title>%s</title>") % f"{one.name}, step {step:g}: {_label(value, fraction)}"
                parts.append(_tag("circle", cx=x, cy=y, r=2.5, cls=f"dot s{number}", inside=title))
    return _svg(parts, HEIGHT, alt)


def bar_chart(bars: Sequence[Bar], *, whole: float, alt: str) -> Markup:
    """Lying bars from zero to `whole`, each below its label."""
    most = max(whole, *(bar.value for bar in bars), 1e-9)
    row, parts = 2 * BAR + GAP, []
    for number, bar in enumerate(bars):
        y = number * row
        parts.append(_text(0, y + 13, bar.label, "start"))
        parts.append(_text(WIDTH, y + 13, bar.note, "end", "value"))
        parts.append(_tag("rect", x=0, y=y + BAR, width=WIDTH, height=BAR - 4, rx=2, cls="track"))
        parts.append(_tag("rect", x=0, y=y + BAR, width=WIDTH * bar.value / most, height=BAR - 4, rx=2, cls="bar s1"))
    return _svg(parts, max(1, len(bars)) * row, alt)


def column_chart(bars: Sequence[Bar], *, alt: str) -> Markup:
    """Upright bars from zero side by side, values above and labels below."""
    most = max((bar.value for bar in bars), default=0.0) or 1.0
    height, floor = 150, 120
    slot = WIDTH / max(1, len(bars))
    parts = []
    for number, bar in enumerate(bars):
        middle, wide, tall = (number + 0.5) * slot, slot * 0.8, (floor - 20) * bar.value / most
        parts.append(_tag("rect", x=middle - wide / 2, y=floor - tall, width=wide, height=tall, rx=2, cls="bar s1"))
        parts.append(_text(middle, floor - tall - 5, bar.note, "middle", "value"))
        parts.append(_text(middle, floor + 16, bar.label, "middle", "small"))
    parts.append(_tag("line", x1=0, x2=WIDTH, y1=floor, y2=floor, cls="axis"))
    return _svg(parts, height, alt)


def whisker_chart(rows: Sequence[Whisker], *, alt: str) -> Markup:
    """Values from 0 to 1 as dots with their intervals, one row each, over a common scale in percent."""
    row, height = 40, 40 * len(rows) + BOTTOM
    across = _Scale(0.0, 1.0, 20, WIDTH - 20)
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_tag("line", x1=across(tick), x2=across(tick), y1=0, y2=height - BOTTOM, cls="grid"))
        parts.append(_text(across(tick), height - 8, _label(tick, True), "middle", "small"))
    for number, one in enumerate(rows):
        y = number * row + 28
        parts.append(_text(24, y - 12, one.label, "start"))
        parts.append(_text(WIDTH - 24, y - 12, one.note, "end", "value"))
        parts.append(_tag("line", x1=across(one.low), x2=across(one.high), y1=y, y2=y, cls="line s1"))
        parts.append(_tag("circle", cx=across(one.value), cy=y, r=5, cls="dot s1"))
    return _svg(parts, height, alt)


def score_bar(score: float, of: int, *, series: int) -> Markup:
    """One thin bar for a score; hidden from screen readers, which read the number beside it."""
    share = max(0.0, min(1.0, score / of))
    return Markup(
        '<svg class="score" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="8" rx="2"/>'
        '<rect class="bar s%d" width="%.1f" height="8" rx="2"/></svg>'
    ) % (series, 100 * share)


class _Scale:
    """A linear map from [low, high] to SVG units."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _range(low: float, high: float, margin: float) -> tuple[float, float]:
    """The range to show: with a margin (a share of it), and never empty."""
    spread = high - low
    if spread <= 1e-12 * max(1.0, abs(high)):
        spread = abs(high) * 0.1 or 1.0
        return low - spread / 2, high + spread / 2
    return low - margin * spread, high + margin * spread


def _y_axis(up: _Scale, fraction: bool) -> Markup:
    parts = []
    for tick in ticks(up.low, up.high):
        parts.append(_tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up(tick), y2=up(tick), cls="grid"))
        parts.append(_text(LEFT - 6, up(tick) + 4, _label(tick, fraction), "end", "small"))
    return Markup("").join(parts)


def _x_axis(across: _Scale) -> Markup:
    steps = [tick for tick in ticks(across.low, across.high, 5) if tick == int(tick)]
    parts = [_tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, cls="axis")]
    parts += [_text(across(tick), HEIGHT - BOTTOM + 15, f"{tick:g}", "middle", "small") for tick in steps]
    return Markup("").join(parts)


def _label(value: float, fraction: bool) -> str:
    return f"{100 * value:.4g} %" if fraction else f"{value:.4g}"


def _tag(tag: str, *, cls: str, inside: Markup | None = None, **attributes: float | str) -> Markup:
    shown = {name.replace("_", "-"): _number(value) for name, value in attributes.items()}
    text = Markup("").join(Markup(' %s="%s"') % (name, value) for name, value in {"class": cls, **shown}.items())
    if inside is None:
        return Markup("<{}{}/>").format(tag, text)
    return Markup("<{0}{1}>{2}</{0}>").format(tag, text, inside)


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def _text(x: float, y: float, text: str, anchor: str, cls: str = "label") -> Markup:
    return _tag("text", x=x, y=y, text_anchor=anchor, cls=cls, inside=escape(text))


def _svg(parts: Iterable[Markup], height: float, alt: str) -> Markup:
    opening = Markup('<svg class="chart" viewBox="0 0 %d %d" role="img" aria-label="%s">') % (WIDTH, height, alt)
    return opening + Markup("").join(parts) + Markup("</svg>")
