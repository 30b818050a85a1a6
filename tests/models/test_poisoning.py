"""An attack on made-up data: somebody submits pairs with flipped labels, 5 or 20 % of a task's training pairs.

What the defences are: contradictions with labels that are there, the share of one contributor, and whether the
challenger turned near the new pairs. Each test says which of them sees an attack, or that none does.
"""

import math
from random import Random

import pytest

from models.evaluation.turning import turning
from models.pairs.preference import PreferencePair, swapped_preference
from models.sources.contradictions import OWN_LABEL, SubmittedPair, contradicting
from models.sources.shares import blended
from models.splits.keys import Hashes
from tests.models.evaluation.test_turning import answered
from tests.models.splits.made import generated, sha256

OWN = 400  # training pairs of the task
SHARE = 0.1  # the default of prepare.inbox_share
SUBJECTS = ["kite", "dog", "car", "tree", "boat", "house", "clock", "chair", "lamp", "horse"]
AMOUNTS = pytest.mark.parametrize("amount", [0.05, 0.2])


def made(name: str, at: int, subject: str) -> PreferencePair:
    pair = generated(f"{name}{at}", f"{name}{at}a", f"{name}{at}b", f"one {subject} in scene {name}{at}")
    return pair if at % 2 else pair.swapped()


def flipped(pair: PreferencePair) -> PreferencePair:
    return pair.model_copy(update={"preferred": swapped_preference(pair.preferred)})


own = [made("own", at, SUBJECTS[at % 10]) for at in range(OWN)]
held_out = [made("held", at, SUBJECTS[at % 10]) for at in range(200)]


def attack(amount: float) -> int:
    """How many pairs are so much of all, the dropped ones included."""
    return round(OWN * amount / (1 - amount))


def let_in(
    pairs: list[PreferencePair], hashes: Hashes, contributors: int = 1
) -> tuple[list[PreferencePair], list[str]]:
    """The dropped pairs that are trained on, and why the others are not."""
    brought = [
        SubmittedPair(f"drop-{at % contributors}/{at}", f"contributor {at % contributors}", pair)
        for at, pair in enumerate(pairs)
    ]
    why = contradicting(own, brought, hashes, "drop", within=4)
    placed, beyond = blended(own, [one for one in brought if one.name not in why], SHARE)
    return [one.pair for one in placed if isinstance(one, SubmittedPair)], [*why.values(), *("share" for _ in beyond)]


def lost(pairs: list[PreferencePair], chance: float, rng: Random) -> set[str]:
    """The held-out pairs that a challenger which learnt from these gets wrong: those of their subjects by a chance,
    and one in fifty of the others, as from night to night."""
    subjects = {pair.prompt.split()[1] for pair in pairs}
    return {pair.id for pair in held_out if rng.random() < (chance if pair.prompt.split()[1] in subjects else 0.02)}


def is_told(new: list[PreferencePair], wrong: set[str]) -> bool:
    return turning(answered(held_out, wrong), answered(held_out, set()), held_out, new, {}).is_anomaly


@AMOUNTS
def test_labels_that_are_there_cannot_be_turned_by_dropping_their_pairs_again(amount: float) -> None:
    rng = Random(0)
    hashes = {medium.sha256: (rng.getrandbits(64),) for pair in own for medium in pair.media()}
    same = [flipped(pair).swapped() for pair in own[: attack(amount)]]
    trained_on, why = let_in(same, hashes)
    assert trained_on == [] and why == [OWN_LABEL] * attack(amount)
    # As JPEG: other bytes, and hashes a few bits away.
    again = [
        flipped(generated(f"re{at}", f"{at}a", f"{at}b", pair.prompt)).model_copy(update={"preferred": pair.preferred})
        for at, pair in enumerate(own[: attack(amount)])
    ]
    for at, pair in enumerate(again):
        first, second = (medium.sha256 for medium in own[at].media())
        hashes |= {sha256(f"{at}a"): (hashes[first][0] ^ 0b101,), sha256(f"{at}b"): (hashes[second][0] ^ 0b11,)}
        again[at] = flipped(pair.model_copy(update={"preferred": own[at].preferred}))
    trained_on, why = let_in(again, hashes)
    assert trained_on == [] and why == [OWN_LABEL] * attack(amount)


@AMOUNTS
def test_one_contributor_of_new_pairs_has_a_tenth_of_the_pairs_at_most(amount: float) -> None:
    trained_on, why = let_in([flipped(made("bad", at, "kite")) for at in range(attack(amount))], {})
    assert len(trained_on) <= math.ceil(SHARE * (OWN + len(trained_on)))
    if amount > SHARE:
        assert len(trained_on) == 45 and why == ["share"] * (attack(amount) - 45)
    else:
        assert len(trained_on) == attack(amount) and why == [], "below its share nothing is left out"


@AMOUNTS
def test_new_pairs_that_turn_the_challenger_on_their_subject_are_told_whoever_brought_them(amount: float) -> None:
    bad = [flipped(made("bad", at, "kite")) for at in range(attack(amount))]
    trained_on, _ = let_in(bad, {}, contributors=20)
    assert len(trained_on) == attack(amount), "many contributors are below their shares: neither of the others sees it"
    seen = [is_told(trained_on, lost(trained_on, 0.5, Random(night))) for night in range(20)]
    assert sum(seen) >= 19


@AMOUNTS
def test_what_is_spread_over_all_subjects_by_many_bringers_is_seen_by_none_of_them(amount: float) -> None:
    """Nothing that was there is contradicted, nobody has too much, and what is lost is lost everywhere.

    The gate is left: it holds every loss against the champion, however it came about.
    """
    bad = [flipped(made("bad", at, SUBJECTS[at % 10])) for at in range(attack(amount))]
    trained_on, why = let_in(bad, {}, contributors=20)
    assert len(trained_on) == attack(amount) and why == []
    seen = [is_told(trained_on, lost(trained_on, 0.1, Random(night))) for night in range(20)]
    assert sum(seen) <= 2
