"""Pairs as hygiene knows them, and hypothesis strategies that make many that are nearly the same."""

from hashlib import sha256
from typing import get_args

from hypothesis import strategies as st

from models.hygiene.dedup_record import DedupRecord
from models.pairs.preference import Preferred, Task

IMAGES, QUESTIONS = Task.IMAGE_GENERATION, Task.IMAGE_UNDERSTANDING
# Far apart, 32 bits set each.
PICTURES = {name: int(sha256(name.encode()).hexdigest()[:16], 16) for name in "abcdefgh"}


def flipped(value: int, bits: int) -> int:
    """With so many of the lowest bits turned."""
    return value ^ ((1 << bits) - 1)


def generation(
    name: str,
    first: str,
    second: str,
    label: Preferred = 1,
    *,
    source: str = "s",
    prompt: str = "a red ball",
    task: Task = IMAGES,
) -> DedupRecord:
    """A generation pair of pictures such as `a`, or `a+2`: that one with 2 bits of its hash turned, in other bytes."""
    return DedupRecord(name, source, task, prompt, label, (first, second), (), (hashed(first), hashed(second)))


def question(
    name: str,
    picture: str,
    texts: tuple[str, str] = ("yes", "no"),
    label: Preferred = 1,
    *,
    source: str = "s",
    prompt: str = "Is it red?",
) -> DedupRecord:
    """An understanding pair about one picture."""
    return DedupRecord(name, source, QUESTIONS, prompt, label, (picture,), texts, (hashed(picture),))


def hashed(picture: str) -> tuple[int, ...]:
    """The hash of a picture; `flat...` are flat, `bare...` were not hashed."""
    if picture.startswith("bare"):
        return ()
    if picture.startswith("flat"):
        return (0,)
    name, _, bits = picture.partition("+")
    return (flipped(PICTURES[name], int(bits or 0)),)


pictures = st.sampled_from(["a", "a+2", "a+4", "a+6", "b", "b+1", "flat1", "flat2", "bare1"])
labels: st.SearchStrategy[Preferred] = st.sampled_from(get_args(Preferred))
prompts = st.sampled_from(["a ball", "A ball!", "another"])
sources = st.sampled_from(["s", "t"])


def lists_of_pairs(most: int = 14) -> st.SearchStrategy[list[DedupRecord]]:
    """Pairs of different names, of both kinds of task."""
    return st.lists(st.one_of(_generations(), _questions()), max_size=most, unique_by=lambda one: one.name)


@st.composite
def _generations(draw: st.DrawFn) -> DedupRecord:
    task = draw(st.sampled_from([Task.IMAGE_GENERATION, Task.VIDEO_GENERATION]))
    return generation(
        str(draw(st.integers(0, 30))),
        draw(pictures),
        draw(pictures),
        draw(labels),
        source=draw(sources),
        prompt=draw(prompts),
        task=task,
    )


@st.composite
def _questions(draw: st.DrawFn) -> DedupRecord:
    texts = draw(st.sampled_from([("x", "y"), ("y", "x"), ("x", "x"), ("x", "z")]))
    return question(
        str(draw(st.integers(0, 30))),
        draw(pictures),
        texts,
        draw(labels),
        source=draw(sources),
        prompt=draw(prompts),
    )
