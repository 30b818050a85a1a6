"""A challenger that turned near the new pairs is told, one that is worse everywhere is not, nor where few are near."""

from random import Random

import pytest

from models.evaluation.judged_rows import JudgedRow
from models.evaluation.statistics import fisher_p
from models.evaluation.turning import LEVEL, Turning, nearest, turning
from models.pairs.preference import PreferencePair
from models.verdict.grammar import Dimension, Verdict
from models.verdict.rendering import render_verdict
from tests.models.splits.made import asked, generated, sha256

SIDE, OTHER = 2**40 - 1, (2**30 - 1) << 34


def answered(pairs: list[PreferencePair], wrong: set[str]) -> list[JudgedRow]:
    """Thinking answers in both orders, to these pairs wrong in both."""
    rows = []
    for pair in pairs:
        for swapped in (False, True):
            shown = pair.swapped() if swapped else pair
            first = (shown.preferred == 1) != (pair.id in wrong)
            scores = (8, 3) if first else (3, 8)
            dimensions = (Dimension("Aesthetics", scores, ("calm", "loud")),)
            text = render_verdict(Verdict.from_dimensions(pair.task, dimensions, 1 if first else 2))
            rows.append(JudgedRow.read(shown, "think", swapped, text, False))
    return rows


def held_out(kites: int = 20, others: int = 180) -> list[PreferencePair]:
    subjects = ["dog", "car", "tree", "boat", "house"]
    found = [generated(f"k{n}", f"k{n}a", f"k{n}b", f"a kite of kind {n}") for n in range(kites)]
    return found + [
        generated(f"o{n}", f"o{n}a", f"o{n}b", f"one {subjects[n % 5]} in picture {n}") for n in range(others)
    ]


NEW = [generated(f"drop-1/{n}", f"n{n}a", f"n{n}b", f"a kite over field {n}") for n in range(10)]


def told(wrong: set[str], pairs: list[PreferencePair] | None = None) -> Turning:
    pairs = held_out() if pairs is None else pairs
    return turning(answered(pairs, wrong), answered(pairs, set()), pairs, NEW, {})


def test_a_challenger_that_turned_near_the_new_pairs_alone_is_an_anomaly() -> None:
    found = told({f"k{n}" for n in range(8)} | {f"o{n}" for n in range(4)})
    assert found.is_anomaly and found.near_lost >= 8 > found.others_lost
    assert found.sentence.startswith("Anomaly: ") and f"lost {found.near_lost}" in found.sentence
    assert found.plain["anomaly"] is True


def test_a_challenger_that_is_as_bad_everywhere_is_none() -> None:
    rng = Random(1)
    pairs = held_out()
    found = told({pair.id for pair in pairs if rng.random() < 0.2})
    assert not found.is_anomaly and found.probability is not None and found.sentence.startswith("No anomaly: ")


def test_one_quiet_night_in_a_hundred_at_most_is_told_as_an_anomaly() -> None:
    rng, nights = Random(2), 3000
    told = 0
    for _ in range(nights):
        near, others = (sum(rng.random() < 0.1 for _ in range(count)) for count in (50, 150))
        told += fisher_p(near, 50, others, 150) < LEVEL
    assert 0 < told <= nights * LEVEL + 3 * (nights * LEVEL) ** 0.5  # three standard deviations of so many


@pytest.mark.parametrize("pairs", [held_out(2, 10), [asked(f"q{n}", f"m{n}") for n in range(100)]])
def test_where_too_few_are_near_nothing_is_told(pairs: list[PreferencePair]) -> None:
    found = told({pair.id for pair in pairs}, pairs)
    assert found.probability is None and not found.is_anomaly
    assert "is unknown" in found.sentence and f"the {len(NEW)} new pairs" in found.sentence


def test_where_all_are_equally_near_none_is() -> None:
    pairs = [generated(f"p{n}", f"a{n}", f"b{n}", "a kite") for n in range(40)]
    near, others = nearest(pairs, NEW, {})
    assert near == [] and len(others) == 40


def test_pictures_that_look_a_little_alike_are_near_whatever_the_caption_or_task() -> None:
    pairs = [asked(f"q{n}", f"m{n}") for n in range(40)]
    hashes = {sha256(f"m{n}"): (OTHER ^ (0x5555 << n),) for n in range(40)}
    hashes |= {sha256("m7"): (SIDE ^ 0b1111111,), sha256("new"): (SIDE,)}
    near, others = nearest(pairs, [asked("drop-1/q", "new")], hashes)
    assert near == ["q7"] and len(others) == 39
    assert nearest(pairs, [generated("drop-1/g", "new", "b")], hashes) == ([], []), "of the same task alone"


@pytest.mark.parametrize(("right", "ways"), [(4, 1), (3, 17), (2, 53), (1, 69), (0, 70)])
def test_the_chance_is_that_of_the_lady_tasting_tea(right: int, ways: int) -> None:
    """R. A. Fisher, The Design of Experiments, 1935, chapter II: 4 of 8 cups, all right in 1 of 70 ways."""
    assert fisher_p(right, 4, 4 - right, 4) == pytest.approx(ways / 70)
