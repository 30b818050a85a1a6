"""What is computed once for its key: of two that want it at once, one computes and the other takes the result."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.generation.protocol import GeneratorIdentity
from models.judging.judge import FindFrames, Judge, Seconds
from models.verdict.prompts import Message
from tasks.data.importing import IMPORTING, Place, import_set
from tasks.judging.benchmarks import BENCHMARKING, BenchmarkSet, NamedJudge, Protocol, judged, open_benchmark
from tasks.pipeline.once import computed_once
from tasks.pipeline.run import open_store
from tasks.store.artifacts import IndexEntry, Store
from tasks.store.leases import LeaseState, current_lease
from tests.generators import FakeGenerator
from tests.tasks.published_shapes import write_own, write_vl_reward_bench

REPOSITORY = Path(__file__).resolve().parents[3]
KEY = "a" * 64


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings("shapes", [f"storage.root={tmp_path}/store", f"storage.cache_dir={tmp_path}/cache"])


def entry(store: Store, folder: Path) -> IndexEntry:
    folder.mkdir()
    (folder / "file").write_text("made")
    return IndexEntry(
        stage="thing",
        key=KEY,
        outputs={"thing": store.publish("thing", folder)},
        inputs={},
        config={},
        code_version="1",
    )


def test_the_second_waits_for_the_first_and_takes_its_result(settings: Settings, tmp_path: Path) -> None:
    store, computed = open_store(settings), list[int]()
    begun, go = threading.Event(), threading.Event()

    def compute(number: int) -> IndexEntry:
        computed.append(number)
        begun.set()
        assert go.wait(10)
        return entry(store, tmp_path / f"made-{number}")

    def run(number: int) -> IndexEntry:
        return computed_once(open_store(settings), settings, "thing", KEY, lambda: compute(number))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, 1)
        assert begun.wait(10)
        second = pool.submit(run, 2)
        time.sleep(0.3)
        assert not second.done(), "it waits"
        go.set()
        assert first.result(20).outputs == second.result(20).outputs
    assert computed == [1]


def test_the_second_computes_what_the_first_failed_to(settings: Settings, tmp_path: Path) -> None:
    store, begun, go = open_store(settings), threading.Event(), threading.Event()

    def fail() -> IndexEntry:
        begun.set()
        assert go.wait(10)
        raise RuntimeError("no result")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(computed_once, store, settings, "thing", KEY, fail)
        assert begun.wait(10)
        second = pool.submit(computed_once, store, settings, "thing", KEY, lambda: entry(store, tmp_path / "made"))
        go.set()
        with pytest.raises(RuntimeError, match="no result"):
            first.result(20)
        assert second.result(20).key == KEY


def test_what_is_there_is_taken_without_a_lease(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    made = entry(store, tmp_path / "made")
    store.record(made)
    assert computed_once(store, settings, "thing", KEY, lambda: pytest.fail("it is there")).outputs == made.outputs
    assert list(store.objects.walk("leases")) == []


def test_the_lease_has_the_settings_time_and_keeps_the_references(settings: Settings, tmp_path: Path) -> None:
    storage = settings.storage.model_copy(update={"lease_ttl_s": 77.0})
    store, seen = open_store(settings), list[LeaseState | None]()
    before = entry(store, tmp_path / "before").outputs["thing"]

    def compute() -> IndexEntry:
        seen.append(current_lease(store.objects, "thing", KEY))
        return entry(store, tmp_path / "made")

    chosen = settings.model_copy(update={"storage": storage})
    computed_once(store, chosen, "thing", KEY, compute, refs=[before])
    (state,) = seen
    assert state is not None
    assert (state.ttl_s, state.refs) == (77.0, (before.digest,))
    assert state.owner == f"{socket.gethostname()}/{os.getpid()}"


IMPORT = """
import json, sys
from configs.load import load_settings
from tasks.data.importing import Place, import_set
from tasks.pipeline.run import open_store
settings = load_settings("shapes", json.loads(sys.argv[1]))
read = []
ref = import_set(open_store(settings), settings, Place("own", sys.argv[2]), read.append)
print(json.dumps([ref.digest, len(read)]))
"""


@pytest.mark.slow
def test_of_two_processes_that_import_one_set_one_reads_it(settings: Settings, tmp_path: Path) -> None:
    write_own(tmp_path / "own", 3, seed=5)
    places = [f"storage.root={tmp_path}/store", f"storage.cache_dir={tmp_path}/cache"]
    command = [sys.executable, "-c", IMPORT, json.dumps(places), str(tmp_path / "own")]
    both = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [json.loads(one.communicate(timeout=120)[0]) for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert said[0][0] == said[1][0]
    assert sorted(bool(rows) for _, rows in said) == [False, True], "one read rows, the other none"
    assert len(open_store(settings).entries(IMPORTING)) == 1


class Slow(FakeGenerator):
    """Says nothing of use, and holds each call until `go`."""

    identity = GeneratorIdentity("slow", "1", "")

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    def answer(self, conversation: list[Message], sample: int) -> str:
        self.begun.set()
        assert self.go.wait(20)
        return "Image 1"


@dataclass(frozen=True)
class SlowJudge(NamedJudge):
    """A judge by name whose generator is given."""

    generator: Slow = field(default_factory=Slow)

    identity = Slow.identity  # type: ignore[assignment]
    shown_videos = "frames"  # type: ignore[assignment]

    def digest(self) -> str:
        return "b" * 64

    def load(self, frames: FindFrames, seconds: Seconds) -> Judge:
        return Judge(self.generator, frames)


@pytest.fixture
def benchmark_set(settings: Settings, tmp_path: Path) -> tuple[BenchmarkSet, Protocol]:
    write_vl_reward_bench(tmp_path / "bench", 3)
    protocol = Protocol("direct", both_orders=False, max_tokens=9, max_pixels=147_456, max_frames=8, seed=0)
    place = Place("vl_reward_bench", str(tmp_path / "bench"))
    return open_benchmark(open_store(settings), settings, place, protocol), protocol


def test_of_two_that_want_a_judges_rows_one_asks_the_judge(
    settings: Settings, benchmark_set: tuple[BenchmarkSet, Protocol]
) -> None:
    judge, (benchmark, protocol) = SlowJudge("slow", settings), benchmark_set

    def rows() -> list[Any]:
        return list(judged(open_store(settings), judge, benchmark, protocol, lambda *_: None).rows)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(rows)
        assert judge.generator.begun.wait(10)
        second = pool.submit(rows)
        time.sleep(0.3)
        judge.generator.go.set()
        assert first.result(20) == second.result(20)
    assert len(judge.generator.conversations) == len(benchmark.pairs)
    (kept,) = open_store(settings).entries(BENCHMARKING)
    assert kept.config["generator"] == {"kind": "slow", "version": "1", "precision": ""}


def test_an_import_asked_for_twice_is_read_once(settings: Settings, tmp_path: Path) -> None:
    write_own(tmp_path / "own", 1, seed=5)
    read: list[int] = []
    place = Place("own", str(tmp_path / "own"))
    first = import_set(open_store(settings), settings, place, read.append)
    assert read
    read.clear()
    assert import_set(open_store(settings), settings, place, read.append) == first and not read
