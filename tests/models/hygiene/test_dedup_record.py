"""What hygiene knows of a pair, and when two prompts are one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import DataError
from models.hygiene.dedup_record import DedupRecord, normalised_text, ordered
from models.pairs.preference import Candidate, Media, PreferencePair, Task
from models.sources.imported import Imported, dedup_record
from tests.models.hygiene.known_pairs import generation


@pytest.mark.parametrize(
    "prompt",
    [
        "a red ball",
        "A Red BALL",
        "  a\tred\u00a0ball\n",
        "\u201ca red ball\u201d.",  # typographic quotes, then a full stop
        "\uff41 red ball\uff01",  # full-width letter and exclamation mark
        "(a red ball)...",
    ],
)
def test_prompts_that_differ_in_writing_alone_are_one(prompt: str) -> None:
    assert normalised_text(prompt) == "a red ball"


@pytest.mark.parametrize("prompt", ["a red, ball", "a redball", "a red ball 2", "a réd ball"])
def test_prompts_that_differ_in_words_are_two(prompt: str) -> None:
    assert normalised_text(prompt) != "a red ball"


def test_ligatures_and_sharp_s_are_written_out() -> None:
    assert normalised_text("\ufb01ne Stra\u00dfe") == "fine strasse"


def test_prompts_of_punctuation_alone_stay_apart() -> None:
    assert normalised_text(" ?! ") == "?!"
    assert normalised_text("...") != normalised_text("?!")


@given(st.text())
def test_normalising_twice_changes_nothing(prompt: str) -> None:
    assert normalised_text(normalised_text(prompt)) == normalised_text(prompt)


def test_an_imported_pair_is_known_by_digests() -> None:
    picture = Media(kind="image", uri="a.png", sha256="a" * 64)
    pair = PreferencePair(
        id="7",
        task=Task.IMAGE_UNDERSTANDING,
        prompt="Is it red?",
        context=(picture,),
        candidates=(Candidate(text="yes"), Candidate(text="no" * 10_000)),
        preferred=1,
        source="as published",
    )
    found = dedup_record(Imported(pair, "data.json#1", swapped=False, hashes=((5,),), reasoning="", aspects=()), "mine")
    assert found.name == ("mine", "7")
    assert found.context == ("a" * 64,) and found.hashes == ((5,),)
    assert len(set(found.sides)) == 2 and max(map(len, found.sides)) == 32


def test_a_pair_of_images_has_them_as_candidates_and_no_context() -> None:
    pair = generation("1", "a", "b")
    assert pair.sides == ("a", "b") and pair.context == ()


def test_parts_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(DataError, match="s/1 has 2 media and hashes of 1"):
        DedupRecord("1", "s", Task.IMAGE_GENERATION, "p", 1, ("a", "b"), (), ((1,),))
    with pytest.raises(DataError, match="has 3 candidates and must have 2"):
        DedupRecord("1", "s", Task.IMAGE_GENERATION, "p", 1, ("a", "b", "c"), (), ((), (), ()))
    with pytest.raises(DataError, match="shows no medium"):
        DedupRecord("1", "s", Task.IMAGE_UNDERSTANDING, "p", 1, (), ("x", "y"), ())


def test_an_id_that_a_source_has_twice_is_refused() -> None:
    assert ordered([generation("1", "a", "b", source="t"), generation("1", "a", "b")])[0].source == "s"
    with pytest.raises(DataError, match="source 's' has the id '1' twice"):
        ordered([generation("1", "a", "b"), generation("1", "c", "d")])
