"""How often a pair was judged right, and which of its samples are learned from."""

from collections import Counter

import pytest

from models.pairs.preference import Candidate, Media, PreferencePair, Task
from models.training.trajectories import PassRate, Sampled, keep, pass_rates

VIDEO = Candidate(media=Media(kind="video", uri="a.png", sha256="0" * 64))
IMAGE = Candidate(media=Media(kind="image", uri="a.png", sha256="0" * 64))


def pair(name: str, task: Task = Task.IMAGE_GENERATION) -> PreferencePair:
    one = IMAGE if task is Task.IMAGE_GENERATION else VIDEO
    return PreferencePair(id=name, task=task, prompt="p", candidates=(one, one), preferred=1, source="test")


def samples(name: str, given: int, swapped: int, wrong: int = 0) -> list[Sampled]:
    right = [Sampled(name, False, f"g{n}", None) for n in range(given)]
    right += [Sampled(name, True, f"s{n}", None) for n in range(swapped)]
    return right + [Sampled(name, False, "w", "answer_not_label")] * wrong


def accepted(one: Sampled) -> bool:
    return one.rejection is None


def test_pass_rates_count_both_orders_in_the_pairs_order() -> None:
    sampled = samples("b", 1, 0, wrong=3) + samples("a", 1, 1)
    a, b = pass_rates([pair("a"), pair("b")], sampled, accepted)
    assert a == PassRate("a", "image_generation", samples=2, right=2)
    assert (a.rate, b.rate) == (1.0, 0.25)


def test_a_sample_of_an_unknown_pair_is_an_error() -> None:
    with pytest.raises(KeyError):
        pass_rates([pair("a")], samples("b", 1, 0), accepted)


def test_rejected_samples_are_never_kept() -> None:
    kept = keep(
        [pair("a"), pair("b")], samples("a", 1, 0, wrong=5) + samples("b", 0, 0, wrong=5), per_pair=9, cap=None, seed=0
    )
    assert [one.text for one in kept] == ["g0"]


def test_a_pair_gives_at_most_its_share_from_both_orders_by_turns() -> None:
    pairs = [pair(str(n)) for n in range(40)]
    sampled = [one for p in pairs for one in samples(p.id, 7, 1)]  # a judge that leans to one order
    kept = keep(pairs, sampled, per_pair=2, cap=None, seed=0)
    orders = Counter((one.pair_id, one.swapped) for one in kept)
    assert all(orders[p.id, swapped] == 1 for p in pairs for swapped in (False, True))
    single = Counter(one.swapped for one in keep(pairs, sampled, per_pair=1, cap=None, seed=0))
    assert 10 <= single[True] <= 30, "either order comes first"


def test_one_order_alone_still_fills_the_share() -> None:
    assert len(keep([pair("a")], samples("a", 4, 0), per_pair=3, cap=None, seed=0)) == 3


def test_the_cap_counts_by_task() -> None:
    pairs = [pair(f"i{n}") for n in range(10)] + [pair(f"v{n}", Task.VIDEO_GENERATION) for n in range(3)]
    sampled = [one for p in pairs for one in samples(p.id, 2, 2)]
    kept = keep(pairs, sampled, per_pair=2, cap=5, seed=0)
    assert Counter(one.pair_id[0] for one in kept) == {"i": 5, "v": 5}
    assert keep(pairs, sampled, per_pair=2, cap=0, seed=0) == []


def test_the_seed_decides() -> None:
    pairs = [pair(str(n)) for n in range(8)]
    sampled = [one for p in pairs for one in samples(p.id, 3, 3)]
    first, again, other = (keep(pairs, sampled, per_pair=1, cap=4, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
