"""Submitted pairs that contradict a label that is there already, or each other.

A contradiction is the same pair with another label: the same task, normalised prompt, media and texts, in either
presentation order, or media that look the same (models/hygiene/same.py). The source's own labels stand, whatever a
submission says. Where submissions alone disagree, the rule of `prepare.conflicts` decides, and every contributor has
one vote on each: a label is not the more right for being submitted ten times.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.hygiene.conflicts import Rule
from models.hygiene.dedup_record import DedupRecord, normalised_text, text_digest
from models.hygiene.same import Member, near_pairs, same_pairs
from models.pairs.preference import PreferencePair
from models.splits.keys import Hashes

OWN_LABEL = "contradiction: the training split has this pair with another label"
DISAGREE = "contradiction: submissions give this pair several labels"
_OWN = ""  # sorts first, so that near pairs gather round the source's own


@dataclass(frozen=True)
class SubmittedPair:
    """A submitted pair: a name that no other has, and who made it."""

    name: str
    contributor: str
    pair: PreferencePair


def contradicting(
    own: Iterable[PreferencePair], submitted: Sequence[SubmittedPair], hashes: Hashes, rule: Rule, within: int | None
) -> dict[str, str]:
    """Why a submitted pair is invalid, by its name; with `keep` none is.

    `within` is how many bits of 64 media that look the same may differ in; None compares bytes alone.
    """
    if rule == "keep" or not submitted:
        return {}
    asked = {_asked(one.pair) for one in submitted}
    pairs = [_known(pair, _OWN, pair.id, hashes) for pair in own if _asked(pair) in asked]
    pairs += [_known(one.pair, "submission", one.name, hashes) for one in submitted]
    contributors = {one.name: one.contributor for one in submitted}
    exact = list(same_pairs(pairs))
    if within is None:
        groups = exact
    else:
        # Near pairs gather round leaders and may miss an own pair that is exactly the same.
        groups = [members for members in exact if any(one.pair.source == _OWN for one in members)]
        groups += near_pairs(pairs, within, one_label=False)
    found: dict[str, str] = {}
    for members in groups:
        found |= _invalid(members, contributors, rule)
    return found


def _invalid(members: Sequence[Member], contributors: dict[str, str], rule: Rule) -> dict[str, str]:
    own = {one.label for one in members if one.pair.source == _OWN}
    theirs = [one for one in members if one.pair.source != _OWN]
    if own:
        return {one.pair.id: OWN_LABEL for one in theirs if one.label not in own}
    votes = Counter(label for label, _ in {(one.label, contributors[one.pair.id]) for one in theirs})
    if len(votes) < 2:
        return {}
    (first, most), (_, second) = votes.most_common(2)
    winner = first if rule == "majority" and most > second else None
    return {one.pair.id: DISAGREE for one in theirs if one.label != winner}


def _asked(pair: PreferencePair) -> tuple[str, str]:
    return pair.task, normalised_text(pair.prompt)


def _known(pair: PreferencePair, source: str, name: str, hashes: Hashes) -> DedupRecord:
    texts = tuple(text_digest(side.text) for side in pair.candidates if side.text is not None)
    media = tuple(medium.sha256 for medium in pair.media())
    seen = tuple(hashes.get(one, ()) for one in media)
    return DedupRecord(name, source, pair.task, pair.prompt, pair.preferred, media, texts, seen)
