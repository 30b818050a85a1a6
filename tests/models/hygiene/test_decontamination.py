"""No training pair shows what a benchmark asks about."""

import random

from hypothesis import given
from hypothesis import strategies as st

from models.hygiene.decontamination import decontaminated
from models.hygiene.dedup_record import DedupRecord, normalised_text
from models.hygiene.perceptual import near
from models.hygiene.removal import FilterResult, RemovedPair
from models.pairs.preference import Task
from tests.models.hygiene.known_pairs import generation, lists_of_pairs, question


def reasons(sieved: FilterResult) -> dict[str, str]:
    return {one.id: one.reason for one in sieved.removed}


def test_a_pair_that_shows_a_medium_of_a_benchmark_goes_whatever_its_task() -> None:
    public = {"bench": [generation("b7", "a", "b", prompt="its own")]}
    training = [question("1", "a"), generation("2", "c", "b"), generation("3", "c", "d")]
    found = decontaminated(training, public)
    assert [one.id for one in found.kept] == ["3"]
    assert found.removed == [
        RemovedPair("s", "1", "benchmark medium: shows one of bench, pair b7"),
        RemovedPair("s", "2", "benchmark medium: shows one of bench, pair b7"),
    ]


def test_one_that_looks_like_it_goes_as_well() -> None:
    public = {"bench": [question("b7", "a")]}
    found = decontaminated([generation("1", "c", "a+4"), generation("2", "c", "a+5")], public)
    assert reasons(found) == {"1": "near benchmark medium: shows what looks like one of bench, pair b7"}


def test_a_flat_picture_of_a_benchmark_takes_no_other_flat_one_along() -> None:
    public = {"bench": [question("b7", "flat1")]}
    found = decontaminated([question("1", "flat1"), question("2", "flat2")], public)
    assert reasons(found) == {"1": "benchmark medium: shows one of bench, pair b7"}


def test_a_caption_of_a_benchmark_goes_and_a_question_stays() -> None:
    public = {"bench": [generation("b7", "a", "b", prompt="A Dog."), question("b8", "a", prompt="What is it?")]}
    found = decontaminated(
        [
            generation("1", "c", "d", prompt=" a dog"),
            generation("2", "c", "d", prompt="a dog", task=Task.VIDEO_GENERATION),
            generation("3", "c", "d", prompt="what is it"),  # of a question no caption is made
            question("4", "c", prompt="What is it?"),
            question("5", "c", prompt="a dog"),
        ],
        public,
    )
    assert reasons(found) == dict.fromkeys("12", "benchmark prompt: has that of bench, pair b7")


def test_of_several_benchmarks_the_first_by_name_and_id_is_told() -> None:
    public = {
        "z": [question("1", "a")],
        "m": [question("9", "a"), question("3", "a"), question("2", "a+1")],
    }
    assert reasons(decontaminated([question("1", "a")], public))["1"].endswith("m, pair 3")
    assert reasons(decontaminated([question("1", "a+2")], public))["1"].endswith("m, pair 2")


def test_without_benchmarks_all_stay() -> None:
    pairs = [generation("1", "a", "b")]
    assert decontaminated(pairs, {}) == FilterResult(pairs, [])
    assert decontaminated([], {"bench": pairs}) == FilterResult([], [])


@given(lists_of_pairs(), lists_of_pairs(4), lists_of_pairs(4), st.randoms(), st.integers(0, 4))
def test_what_stays_shows_nothing_of_a_benchmark_in_whatever_order_all_come(
    pairs: list[DedupRecord], one: list[DedupRecord], other: list[DedupRecord], rng: random.Random, within: int
) -> None:
    found = decontaminated(pairs, {"one": one, "other": other}, within)
    shuffled = {"other": rng.sample(other, len(other)), "one": rng.sample(one, len(one))}
    assert decontaminated(rng.sample(pairs, len(pairs)), shuffled, within) == found
    public = [*one, *other]
    media = {sha: own for pair in public for sha, own in zip(pair.media, pair.hashes, strict=True)}
    captions = {normalised_text(pair.prompt) for pair in public if pair.task.judges_media}
    gone = {(removed.source, removed.id) for removed in found.removed}
    for pair in pairs:
        shown = zip(pair.media, pair.hashes, strict=True)
        leaks = any(sha in media or any(near(own, its, within) for its in media.values()) for sha, own in shown)
        leaks |= pair.task.judges_media and normalised_text(pair.prompt) in captions
        assert (pair.name in gone) == leaks
