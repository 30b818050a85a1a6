"""Which pairs are the same pair: exactly, or near enough in every medium; in either presentation order.

Both ask for the same task, normalised prompt, and texts. Near is not transitive, so near pairs gather round leaders: in
the order of source and id, a pair that no earlier leader has taken becomes one, and takes all that are near itself.
Nobody is taken for being near a follower, or chains of small changes would join what is different.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from models.hygiene.dedup_record import DedupRecord, normalised_text, ordered, text_digest
from models.hygiene.near_index import DistinctMedia, NearIndex
from models.pairs.preference import Preferred, swapped_preference


@dataclass(frozen=True, slots=True)
class Member:
    """A pair among those that are the same; `label` is its own in the presentation order of the first of them."""

    pair: DedupRecord
    label: Preferred


@dataclass(frozen=True, slots=True)
class _Shown:
    """One way to show a pair: its media in that order, its label then, and the key that near ones share."""

    pair: int
    media: tuple[str, ...]
    is_swapped: bool
    label: Preferred
    key: str


def same_pairs(pairs: Iterable[DedupRecord]) -> Iterator[list[Member]]:
    """Each pair once, with those that show exactly the same; by source and id within, and by their firsts.

    Where both candidates are the same thing, preferring one is preferring the other.
    """
    groups: dict[str, list[_Shown]] = {}
    known = ordered(pairs)
    for number, pair in enumerate(known):
        sides, is_swapped = _in_order(pair)
        way = _shown(number, pair, is_swapped, _key(pair, sides, pair.context))
        groups.setdefault(way.key, []).append(way)
    for ways in groups.values():
        yield [_member(way, known, ways[0]) for way in ways]


def near_pairs(pairs: Iterable[DedupRecord], within: int, *, one_label: bool) -> Iterator[list[Member]]:
    """Each pair once, with those of which every medium is the same or within so many bits; the leader first.

    With `one_label` only pairs of the same label come together. Raises `ConfigError` for a distance that is too large.
    """
    known = ordered(pairs)
    shown = _shared([way for number, pair in enumerate(known) for way in _ways(number, pair, one_label)])
    firsts = {way.pair: number for number, way in reversed(list(enumerate(shown)))}
    media = DistinctMedia((known[number] for number in firsts), within)
    keys = {key: number for number, key in enumerate(dict.fromkeys(way.key for way in shown))}
    rows = [[media.numbers[sha256] for sha256 in way.media] for way in shown]
    index = NearIndex(media, rows, [keys[way.key] for way in shown])
    taken = bytearray(len(known))
    for number, pair in enumerate(known):
        if taken[number]:
            continue
        taken[number] = True
        if number not in firsts:
            yield [Member(pair, pair.preferred)]
            continue
        leader = shown[firsts[number]]
        members = [_member(leader, known, leader)]
        # Of a pair that is near both ways round, the way that agrees comes first.
        for way in sorted(map(shown.__getitem__, index.near(firsts[number])), key=lambda one: _after(one, leader)):
            if not taken[way.pair]:
                taken[way.pair] = True
                members.append(_member(way, known, leader))
        yield members


def _member(way: _Shown, known: Sequence[DedupRecord], first: _Shown) -> Member:
    return Member(known[way.pair], swapped_preference(way.label) if first.is_swapped else way.label)


def _after(way: _Shown, leader: _Shown) -> tuple[int, bool]:
    return way.pair, way.label != leader.label


def _shared(shown: list[_Shown]) -> list[_Shown]:
    """Those whose key another pair has too; the others have nobody to be near."""
    pairs: dict[str, set[int]] = {}
    for way in shown:
        pairs.setdefault(way.key, set()).add(way.pair)
    return [way for way in shown if len(pairs[way.key]) > 1]


def _ways(number: int, pair: DedupRecord, one_label: bool) -> Iterator[_Shown]:
    if not pair.task.judges_media:
        sides, is_swapped = _in_order(pair)
        label = swapped_preference(pair.preferred) if is_swapped else pair.preferred
        key = _key(pair, sides, (len(pair.media), label if one_label else ""))
        yield _shown(number, pair, is_swapped, key)
        return
    key = _key(pair, (), pair.preferred == "tie" if one_label else "")
    ways = [_shown(number, pair, is_swapped, key) for is_swapped in (False, True)]
    # Of a decision the better one first: then two that agree are near in this order or not at all.
    yield from (way for way in ways if not one_label or way.label in (1, "tie"))


def _shown(number: int, pair: DedupRecord, is_swapped: bool, key: str) -> _Shown:
    media = pair.media[::-1] if is_swapped and pair.task.judges_media else pair.media
    return _Shown(number, media, is_swapped, swapped_preference(pair.preferred) if is_swapped else pair.preferred, key)


def _in_order(pair: DedupRecord) -> tuple[tuple[str, ...], bool]:
    """The candidates in an order that is their own, and whether it turns them round; of equal ones the first wins."""
    first, second = pair.sides
    is_swapped = pair.preferred == 2 if first == second else first > second
    return (pair.sides[::-1] if is_swapped else pair.sides), is_swapped


def _key(pair: DedupRecord, sides: tuple[str, ...], more: object) -> str:
    return text_digest(json.dumps([pair.task, normalised_text(pair.prompt), sides, more]))
