"""How much work a run is: the pairs that are there, cut to what the settings take of them."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.schema import Prepare, Settings, Sft
from models.pairs.preference import Task
from models.sources.pair_format import LISTING, read_pairs
from models.sources.rows import Row

ORDERS = 2


@dataclass(frozen=True)
class There:
    """Training, validation and held-out pairs by task, invalid ones too; `how` is how they were counted."""

    train: Mapping[Task, int]
    validation: Mapping[Task, int]
    held_out: Mapping[Task, int]
    how: str

    @property
    def total(self) -> int:
        """All pairs."""
        return sum(sum(one.values()) for one in (self.train, self.validation, self.held_out))


@dataclass(frozen=True)
class StageWork:
    """What each stage handles, in pairs, by task where prompts differ in length; ceilings where none were counted."""

    asked: Mapping[Task, int]
    sampled: Mapping[Task, int]
    kept: Mapping[Task, int]
    optimised: int
    validating: int
    judged: int
    train: Mapping[Task, int] | None  # None: as many as the settings ask for

    def direct(self, sft: Sft) -> int:
        """Pairs that a fine-tuning has answered directly."""
        return sum(_most(sft.direct_pairs, self.train, task) for task in Task)


def work_of(settings: Settings, there: There | None) -> StageWork:
    """What the settings take of the pairs that are there; without any counted, what they take at most."""
    d, r, g, e = settings.distill, settings.rejection_sampling, settings.grpo, settings.evaluate
    train = there.train if there else None
    asked = {task: _most(d.pairs if task is Task.IMAGE_GENERATION else d.other_pairs, train, task) for task in Task}
    sampled = {task: _most(r.pairs, train, task) for task in Task}
    cap = r.keep_cap
    kept = {task: count * r.keep_per_pair for task, count in sampled.items()}
    kept = {task: count if cap is None else min(cap, count) for task, count in kept.items()}
    if there:
        judged = sum(min(e.pairs or count, count) for count in there.held_out.values())
        validating = min(g.validation_pairs, sum(there.validation.values()))
        optimised = min(g.pairs, sum(sampled.values()))
    else:
        judged = (e.pairs or settings.prepare.held_out_pairs) * len(Task)
        validating, optimised = g.validation_pairs, g.pairs
    return StageWork(asked, sampled, kept, optimised, validating, judged, train)


def _most(wanted: int, there: Mapping[Task, int] | None, task: Task) -> int:
    return wanted if there is None else min(wanted, there.get(task, 0))


def pairs_there(settings: Settings) -> There | str:
    """The pairs that `prepare` would find, or why they are unknown without an import.

    A folder of one's own is read; of published sets those in `pairs.jsonl`. Media are not read, so pairs count that an
    import finds invalid for them.
    """
    p = settings.prepare
    if p.source == "shapes":
        each = {"train": p.train_pairs, "validation": p.validation_pairs, "held_out": p.held_out_pairs}
        return There(
            **{split: dict.fromkeys(Task, count) for split, count in each.items()},
            how="as prepare has them, of each task",
        )
    places = [str(p.path)] if p.source == "jsonl" else [one.path for one in p.sources]
    found: Counter[Task] = Counter()
    for place in places:
        listing = Path(place) / LISTING
        if not listing.is_file():
            return f"{listing} is not here" if p.source == "jsonl" else f"{place} is counted when it is imported"
        found += _by_task(listing)
    if p.source == "published" and p.pairs_per_task:
        found = Counter({task: min(count, p.pairs_per_task) for task, count in found.items()})
    return _split(p, found, f"lines of {', '.join(f'{place}/{LISTING}' for place in places)}")


def _by_task(listing: Path) -> "Counter[Task]":
    """Valid rows of each task; whether their media can be decoded is not looked at."""
    return Counter(row.task for _, row in read_pairs(listing) if isinstance(row, Row))


def _split(p: Prepare, found: Mapping[Task, int], how: str) -> There:
    def part(of: Callable[[int], int]) -> dict[Task, int]:
        return {task: of(count) for task, count in found.items()}

    def held(count: int) -> int:
        return round(count * p.held_out_share)

    def validation(count: int) -> int:
        return round(count * p.validation_share)

    return There(part(lambda n: n - held(n) - validation(n)), part(validation), part(held), how)
