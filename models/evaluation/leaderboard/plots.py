"""The leaderboard's charts as inline SVG: bars with intervals by group, and consistency against accuracy.

Judges go by their number in the leaderboard as well as by colour, so that nothing hangs on colour alone. As in
`models.evaluation.report.plots`, colours are the page's classes, lengths are SVG units, and every label is escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from models.evaluation.report.plots import WIDTH
from models.evaluation.report.table import interval_text, percent

SERIES = 5  # colours of the page
ROW, HEAD, FOOT = 15, 22, 24
START, END = 18, 318  # the bars' scale, 0 to 1; numbers are left of it and values right
PLOT = (44.0, 12.0, 300.0, 300.0)  # of the scatter: left, top, width and height

Share = Mapping[str, Any]  # value, low, high, pairs: see models.evaluation.benchmarks.protocol


@dataclass(frozen=True)
class Numbered:
    """One judge's share, with its name and its number in the leaderboard."""

    number: int
    name: str
    share: Share


@dataclass(frozen=True)
class Dot:
    """One judge in the scatter."""

    number: int
    name: str
    accuracy: Share
    consistency: Share


def colour(number: int) -> int:
    """The page's colour of a judge; they come round again after five.

    >>> [colour(number) for number in (1, 5, 6)]
    [1, 5, 1]
    """
    return (number - 1) % SERIES + 1


def interval_bars(groups: Sequence[tuple[str, Sequence[Numbered]]], *, alt: str) -> Markup:
    """A bar with its interval for each judge in each group; the dashed line is at one half."""
    parts, y = [], 0.0
    for label, bars in groups:
        parts.append(Markup('<text x="0" y="%.1f" class="label">%s</text>') % (y + 14, label))
        y += HEAD
        for bar in bars:
            parts.append(_bar(bar, y))
            y += ROW
        y += 6
    coin = _across(0.5)
    line = Markup('<line class="chosen" x1="%.1f" x2="%.1f" y1="0" y2="%.1f"/>') % (coin, coin, y)
    ticks = [_tick(_across(at), y + 16, at) for at in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return _svg([line, *parts, *ticks], y + FOOT, alt)


def _bar(bar: Numbered, y: float) -> Markup:
    low, high, value = (_across(bar.share[name]) for name in ("low", "high", "value"))
    title = f"{bar.name}: {percent(bar.share['value'])} % ({interval_text((bar.share['low'], bar.share['high']))})"
    return Markup(
        '<g><title>%s</title><text x="0" y="%.1f" class="small">%d</text>'
        '<rect class="track" x="%d" y="%.1f" width="%d" height="10" rx="2"/>'
        '<rect class="bar s%d" x="%d" y="%.1f" width="%.1f" height="10" rx="2"/>'
        '<path class="whisker" d="M%.1f %.1fH%.1fM%.1f %.1fv6M%.1f %.1fv6"/>'
        '<text x="%d" y="%.1f" class="small" text-anchor="end">%s</text></g>'
    ) % (
        *(title, y + 9, bar.number),
        *(START, y, END - START),
        *(colour(bar.number), START, y, value - START),
        *(low, y + 5, high, low, y + 2, high, y + 2),
        *(WIDTH, y + 9, percent(bar.share["value"])),
    )


def scatter(dots: Sequence[Dot], *, alt: str) -> Markup:
    """Consistency upwards against accuracy, both in percent, with the intervals of both as a cross."""
    left, top, wide, tall = PLOT
    parts = []
    for at in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + wide * at, top + tall * (1 - at)
        parts.append(Markup('<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>') % (x, x, top, top + tall))
        parts.append(Markup('<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>') % (left, left + wide, y, y))
        parts.append(_tick(x, top + tall + 15, at))
        parts.append(_tick(left - 5, y + 4, at, anchor="end"))
    middle = left + wide / 2
    parts.append(Markup('<text x="%.1f" y="%.1f" text-anchor="middle">Accuracy</text>') % (middle, top + tall + 32))
    parts.append(
        Markup('<text transform="translate(10 %.1f) rotate(-90)" text-anchor="middle">Consistency</text>')
        % (top + tall / 2)
    )
    return _svg([*parts, *map(_dot, dots)], top + tall + 40, alt)


def _dot(dot: Dot) -> Markup:
    left, top, wide, tall = PLOT
    x, x_low, x_high = (left + wide * dot.accuracy[name] for name in ("value", "low", "high"))
    y, y_low, y_high = (top + tall * (1 - dot.consistency[name]) for name in ("value", "low", "high"))
    text = f"accuracy {percent(dot.accuracy['value'])} %, consistency {percent(dot.consistency['value'])} %"
    return Markup(
        '<g><title>%s: %s</title><path class="line s%d" d="M%.1f %.1fH%.1fM%.1f %.1fV%.1f"/>'
        '<circle class="dot s%d" cx="%.1f" cy="%.1f" r="5"/><text x="%.1f" y="%.1f" class="mark">%d</text></g>'
    ) % (
        *(dot.name, text, colour(dot.number), x_low, y, x_high, x, y_low, y_high),
        *(colour(dot.number), x, y, x + 7, y - 6, dot.number),
    )


def _across(share: float) -> float:
    return START + share * (END - START)


def _tick(x: float, y: float, share: float, anchor: str = "middle") -> Markup:
    return Markup('<text x="%.1f" y="%.1f" class="small" text-anchor="%s">%d %%</text>') % (x, y, anchor, 100 * share)


def _svg(parts: Sequence[Markup], height: float, alt: str) -> Markup:
    opening = Markup('<svg class="chart" viewBox="0 0 %d %.1f" role="img" aria-label="%s">') % (WIDTH, height, alt)
    return opening + Markup("").join(parts) + Markup("</svg>")
