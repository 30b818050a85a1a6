"""Distillation: what is asked, kept and counted, and that an interruption changes none of it."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from models.errors import BudgetReached, DataError, TeacherUnreachable
from models.generation.endpoint_address import Endpoint
from models.generation.limits import Limits
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import PreferencePair, Task
from models.shapes.pairs import make_pair
from models.shapes.teacher_answers import Faults
from models.shapes.teacher_server import TeacherServer
from models.teacher.asking import ask_all
from models.teacher.distillation import distill
from models.training.selection import rejection

FAULTS = Faults(wrong_perception=0.2, broken_grammar=0.25, rate_limited=0.1, server_error=0.1)
LIMITS = Limits(backoff_s=0.01, max_attempts=12, usd_per_million_input=1, usd_per_million_output=1)


class Memory:
    """An answer store in memory, which fails when `room` answers have been written."""

    def __init__(self, room: int = 10**6) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.room = room

    def get(self, digest: str) -> dict[str, Any] | None:
        return self.kept.get(digest)

    def put(self, digest: str, value: dict[str, Any]) -> None:
        if len(self.kept) >= self.room:
            raise OSError("killed")
        self.kept[digest] = value


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreferenceDataset:
    folder = tmp_path_factory.mktemp("preferences")
    made = [make_pair(Task.IMAGE_GENERATION, n, seed=6, held_out=False) for n in range(40)]
    blobs = {uri: data for one in made for uri, data in one.blobs.items()}
    write_dataset(folder, {"train": [one.pair for one in made]}, blobs)
    return PreferenceDataset(folder, max_pixels=147_456, max_frames=8)


@pytest.fixture(scope="module")
def pairs(dataset: PreferenceDataset) -> list[PreferencePair]:
    return dataset.pairs("train")


def run(
    dataset: PreferenceDataset, pairs: list[PreferencePair], out: Path, store: Memory,
    *, limits: Limits = LIMITS, faults: Faults = FAULTS,
) -> dict[str, Any]:  # fmt: skip
    out.mkdir(exist_ok=True)
    with TeacherServer(faults, seed=3, retry_after_s=(0.01, 0.02)) as teacher:
        endpoint = Endpoint(teacher.base_url, teacher.api_key, teacher.model)
        return distill(pairs, dataset, out, ask=partial(ask_all, endpoint=endpoint, limits=limits, store=store))


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def test_only_sound_and_right_reasoning_is_kept_in_the_pairs_order(
    dataset: PreferenceDataset, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    facts = run(dataset, pairs, tmp_path / "out", Memory())
    rows = pq.read_table(tmp_path / "out" / "distilled.parquet").to_pylist()
    by_id = {pair.id: pair for pair in pairs}
    assert all(rejection(row["completion"], by_id[row["pair_id"]]) is None for row in rows)
    left = pq.read_table(tmp_path / "out" / "rejected.parquet").to_pylist()
    assert all(rejection(row["completion"], by_id[row["pair_id"]]) == row["rejection"] for row in left)
    assert len(rows) + len(left) == 40
    places = [list(by_id).index(row["pair_id"]) for row in rows]
    assert places == sorted(places) and len(set(places)) == len(rows)
    written = json.loads((tmp_path / "out" / "yield.json").read_text())
    assert written == {name: value for name, value in facts.items() if name not in ("usage", "stopped", "fields")}
    assert written["asked"] == written["answered"] == written["kept"] + sum(written["rejected"].values()) == 40
    assert written["rejected"] and written["reasks"] > 0
    assert facts["usage"]["requests"] == 40 + written["reasks"] and facts["usage"]["cost_usd"] > 0


def test_a_clean_teacher_yields_every_pair(
    dataset: PreferenceDataset, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    facts = run(dataset, pairs, tmp_path / "out", Memory(), faults=Faults())
    assert (facts["kept"], facts["rejected"], facts["reasks"]) == (40, {}, 0)


@pytest.mark.parametrize("room", [1, 17, 42])
def test_an_interrupted_run_writes_the_same_bytes_and_pays_nothing_twice(
    room: int, dataset: PreferenceDataset, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    whole = run(dataset, pairs, tmp_path / "whole", Memory())
    store = Memory(room)
    with pytest.raises(OSError, match="killed"):
        run(dataset, pairs, tmp_path / "parts", store)
    assert len(store.kept) == room and not files(tmp_path / "parts")
    store.room = 10**6
    resumed = run(dataset, pairs, tmp_path / "parts", store)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert resumed["usage"]["requests"] == whole["usage"]["requests"] - room


def test_a_budget_ends_it_cleanly_with_what_was_paid_for(
    dataset: PreferenceDataset, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    limits = Limits(**(vars(LIMITS) | {"max_requests": 15}))
    facts = run(dataset, pairs, tmp_path / "out", Memory(), limits=limits)
    assert facts["stopped"].startswith("budget: max_requests 15")
    assert (facts["answered"], facts["unanswered"], facts["usage"]["requests"]) == (15, 25, 15)
    assert facts["kept"] == pq.read_table(tmp_path / "out" / "distilled.parquet").num_rows > 0


def test_a_budget_without_room_for_one_answer_is_an_error(
    dataset: PreferenceDataset, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    with pytest.raises(BudgetReached, match="max_cost_usd"):
        run(dataset, pairs, tmp_path / "out", Memory(), limits=Limits(**(vars(LIMITS) | {"max_cost_usd": 0.0})))


def test_an_unreachable_teacher_leaves_the_answers_stored(
    dataset: PreferenceDataset, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    store = Memory()
    limits = Limits(**(vars(LIMITS) | {"max_attempts": 1, "concurrency": 2}))
    with pytest.raises(TeacherUnreachable):
        run(dataset, pairs, tmp_path / "out", store, limits=limits)
    assert 0 < len(store.kept) < 40 and not files(tmp_path / "out")


def test_a_teacher_that_is_never_right_is_an_error_that_says_why(
    dataset: PreferenceDataset, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    wrong = [pair.model_copy(update={"preferred": "tie"}) for pair in pairs[:3]]
    with pytest.raises(DataError, match="answer_not_label"):
        run(dataset, wrong, tmp_path / "out", Memory(), faults=Faults())
