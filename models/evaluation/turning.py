"""Whether a challenger turned against the labels just where new pairs are near: as after a poisoned submission.

Held-out pairs are never near new training pairs in the sense of the splits: what shows the same medium or has the same
caption is invalid, as a leak. So near is here the next nearest. How alike a held-out pair and a new pair of the same
task are is the greater of

- for the generation tasks, the weighted Jaccard index of the words of their captions (Ioffe 2010, section 1): the
  weight of the words that both have over that of the words that either has, a word weighing
  log(1 + held-out captions / those with it);
- of any two of their media, 1 - d / 32 where their perceptual hashes differ in d of 64 bits, 16 at most.

Near are the quarter of each task's held-out pairs that are most alike to any new one, those that are equally alike
included unless they make it more than half. A pair is lost if the champion is right about it in more presentation
orders than the challenger. The test is Fisher's exact test, one-sided (The Design of Experiments, 1935, chapter II), at
1 %: are more of the near pairs lost than of the others? A challenger that is worse everywhere alike does not show here;
that is what the gate is for. Nothing is chosen by it: it is reported.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.judged_rows import JudgedRow
from models.evaluation.statistics import Floats, fisher_p
from models.hygiene.dedup_record import normalised_text
from models.hygiene.perceptual import informative
from models.pairs.preference import PreferencePair, Task
from models.splits.keys import Hashes

LEVEL = 0.01  # of the test: one quiet night in a hundred is reported as an anomaly
QUARTER = 0.25
MOST_NEAR = 0.5  # of a task's pairs
LEAST = 10  # pairs on either side
WIDE_BITS = 16


@dataclass(frozen=True)
class Turning:
    """Held-out pairs near the new ones and others, and how many of each the challenger lost.

    `probability` is that of as many lost among the near by chance; None where too few are on either side.
    """

    new: int
    near: int
    near_lost: int
    others: int
    others_lost: int
    probability: float | None

    @property
    def is_anomaly(self) -> bool:
        """Whether so many of the near would be lost in one of a hundred nights at most."""
        return self.probability is not None and self.probability < LEVEL

    @property
    def sentence(self) -> str:
        """What was seen, for people."""
        if self.probability is None:
            return (
                f"Whether the challenger turned near the {self.new} new pairs of the inbox is unknown: {self.near} "
                f"held-out pairs are near them and {self.others} are not, and it takes {LEAST} of each."
            )
        counts = (
            f"of the {self.near} held-out pairs nearest to the {self.new} new ones of the inbox the challenger lost "
            f"{self.near_lost}, of the {self.others} others {self.others_lost} (p = {self.probability:.2g})"
        )
        if self.is_anomaly:
            return f"Anomaly: {counts}. Look at who submitted them before this model becomes champion."
        return f"No anomaly: {counts}."

    @property
    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "anomaly": self.is_anomaly, "sentence": self.sentence}


def turning(
    challenger: Sequence[JudgedRow],
    champion: Sequence[JudgedRow],
    held_out: Sequence[PreferencePair],
    new: Sequence[PreferencePair],
    hashes: Hashes,
) -> Turning:
    """Hold the challenger's thinking answers to the held-out pairs against the champion's, near the new pairs and not.

    `hashes` are the perceptual hashes of media by sha256; media that have none are compared with nothing.
    """
    ours, theirs = _right(challenger), _right(champion)
    near, others = nearest(held_out, new, hashes)
    near, others = ([one for one in ids if one in ours and one in theirs] for ids in (near, others))
    lost = [sum(ours[one] < theirs[one] for one in ids) for ids in (near, others)]
    enough = min(len(near), len(others)) >= LEAST
    chance = fisher_p(lost[0], len(near), lost[1], len(others)) if enough else None
    return Turning(len(new), len(near), lost[0], len(others), lost[1], chance)


def nearest(
    held_out: Sequence[PreferencePair], new: Sequence[PreferencePair], hashes: Hashes
) -> tuple[list[str], list[str]]:
    """The ids of the held-out pairs that are near the new ones, and of the others of tasks that have near ones."""
    near: list[str] = []
    others: list[str] = []
    for task in Task:
        ours = [pair for pair in held_out if pair.task == task]
        theirs = [pair for pair in new if pair.task == task]
        if not ours or not theirs:
            continue
        alike = np.maximum(_by_words(ours, theirs), _by_looks(ours, theirs, hashes))
        if not alike.any():  # nothing tells near from far, as for media without hashes
            continue
        least = np.sort(alike)[-max(1, round(QUARTER * len(ours)))]
        is_near = (alike >= least) & (alike > 0)
        if is_near.mean() > MOST_NEAR:  # so many are equally alike, and only those that are more so are near
            is_near = alike > least
        for pair, found in zip(ours, is_near, strict=True):
            (near if found else others).append(pair.id)
    return near, others


def _right(rows: Sequence[JudgedRow]) -> Counter[str]:
    """In how many orders each pair is right; every pair that was judged is in it."""
    found: Counter[str] = Counter()
    for row in rows:
        if row.mode == "think":
            found[row.pair_id] += row.right
    return found


def _by_words(ours: Sequence[PreferencePair], theirs: Sequence[PreferencePair]) -> Floats:
    if not ours[0].task.judges_media:  # a question is shared by thousands of pictures
        return np.zeros(len(ours))
    captions = [frozenset(normalised_text(pair.prompt).split()) for pair in ours]
    others = list({frozenset(normalised_text(pair.prompt).split()) for pair in theirs})
    # Of the held-out captions alone: what all of the new ones are about is no common word.
    counts = Counter(word for words in captions for word in words)
    weight = {word: math.log1p(len(captions) / max(1, counts[word])) for word in frozenset().union(*captions, *others)}
    showing: dict[str, list[int]] = defaultdict(list)
    for number, words in enumerate(others):
        for word in words:
            showing[word].append(number)
    places = {word: np.array(numbers) for word, numbers in showing.items()}
    totals = np.array([_total(words, weight) for words in others])
    found = np.zeros(len(ours))
    for at, words in enumerate(captions):
        shared = np.zeros(len(others))
        for word in words & places.keys():
            shared[places[word]] += weight[word]
        found[at] = (shared / (totals + _total(words, weight) - shared)).max()
    return found


def _total(words: frozenset[str], weight: Mapping[str, float]) -> float:
    return math.fsum(weight[word] for word in words)


def _by_looks(ours: Sequence[PreferencePair], theirs: Sequence[PreferencePair], hashes: Hashes) -> Floats:
    shown: dict[int, list[tuple[int, ...]]] = defaultdict(list)  # by the number of frames
    for sha256 in sorted({medium.sha256 for pair in theirs for medium in pair.media()}):
        if own := _informative(hashes.get(sha256, ())):
            shown[len(own)].append(own)
    arrays = {frames: np.array(own, dtype=np.uint64) for frames, own in shown.items()}
    return np.array([max(_look(hashes.get(one.sha256, ()), arrays) for one in pair.media()) for pair in ours])


def _look(own: tuple[int, ...], arrays: Mapping[int, NDArray[np.uint64]]) -> float:
    if not _informative(own) or len(own) not in arrays:
        return 0.0
    differing = np.bitwise_count(arrays[len(own)] ^ np.array(own, dtype=np.uint64)).max(axis=1).min()
    return 1 - int(differing) / (2 * WIDE_BITS) if differing <= WIDE_BITS else 0.0


def _informative(own: tuple[int, ...]) -> tuple[int, ...]:
    """The hashes of a medium of which one at least tells it from a flat picture; else nothing."""
    return own if any(informative(value, WIDE_BITS) for value in own) else ()
