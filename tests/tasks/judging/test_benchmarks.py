"""Judges on a benchmark through the store: asked once each, resumed, scored with what cannot be decoded."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.errors import ConfigError, DataError, ThinkrewardError
from models.judging.judge import Judge
from models.shapes.teacher_answers import Faults
from models.shapes.teacher_server import TeacherServer
from models.verdict.prompts import Message
from tasks.data.importing import Place
from tasks.judging.benchmarks import NamedJudge, Protocol
from tasks.judging.leaderboard import run_benchmarks
from tests.generators import FakeGenerator
from tests.tasks.published_shapes import write_vl_reward_bench

PAIRS = 12
PROTOCOL = Protocol("think", both_orders=True, max_tokens=300, max_pixels=147_456, max_frames=8, seed=0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        "shapes",
        [
            f"storage.root={tmp_path}/store",
            f"storage.cache_dir={tmp_path}/cache",
            f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
            "evaluate.bootstrap=200",
        ],
    )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """VL-RewardBench's layout with pictures of the embedded world; one row lacks its picture."""
    folder = tmp_path / "bench"
    rows = write_vl_reward_bench(folder, PAIRS)
    rows[4]["image"] = "images/none.png"
    (folder / "data.json").write_text(json.dumps(rows))
    return Place("vl_reward_bench", str(folder))


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    """The embedded teacher as an OpenAI-compatible judge that makes no mistakes."""
    with TeacherServer(Faults(0.0, 0.0, 0.0, 0.0), seed=0, model="shapes-teacher") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        yield server


def test_an_endpoint_is_measured_and_an_undecodable_pair_counts_as_wrong(
    settings: Settings, place: Place, teacher: TeacherServer
) -> None:
    told: list[tuple[int, int]] = []
    benched = run_benchmarks(settings, [place], ["endpoint:shapes-teacher"], PROTOCOL, lambda *done: told.append(done))
    measured = benched.scores["judges"]["endpoint:shapes-teacher"]["vl_reward_bench"]
    assert measured["listed"]["diff"]["overall"]["value"] == 1.0
    assert measured["strict"]["diff"]["overall"]["value"] == pytest.approx((PAIRS - 1) / PAIRS)
    assert measured["undecodable"]["ids"] == ["hallucination_pair-4"]
    assert set(measured["strict"]["diff"]["groups"]) == {"general", "hallucination", "reasoning"}
    assert measured["position_bias"] == 0.0
    assert told[-1] == (2 * (PAIRS - 1), 2 * (PAIRS - 1))
    assert "quoted" in benched.page


def test_the_page_says_which_fields_an_endpoint_was_sent_and_which_it_refused(
    settings: Settings, place: Place, teacher: TeacherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = teacher.complete

    def picky(body: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
        if "temperature" in body:
            said = {"message": "'temperature' does not support 0", "type": "", "param": "temperature", "code": None}
            return 400, {"error": said}, {}
        return whole(body)

    monkeypatch.setattr(teacher, "complete", picky)
    for _ in range(2):  # asked, and then from the store
        benched = run_benchmarks(settings, [place], ["endpoint:shapes-teacher"], PROTOCOL, lambda *_: None)
        told = benched.scores["sent"]["endpoint:shapes-teacher on vl_reward_bench"]
        assert told["sent"] == ["max_tokens", "seed"]
        assert "does not support 0" in told["refused"]["temperature"]
        assert "sent max_tokens, seed; refused temperature" in benched.page


@pytest.mark.slow
@pytest.mark.long
def test_a_judge_is_asked_once_and_another_costs_its_own_calls(
    settings: Settings, place: Place, teacher: TeacherServer
) -> None:
    first = run_benchmarks(settings, [place], ["endpoint:shapes-teacher"], PROTOCOL, lambda *_: None)
    asked = teacher.served["answered"]
    assert asked == 2 * (PAIRS - 1)
    both = run_benchmarks(settings, [place], ["endpoint:shapes-teacher", "base"], PROTOCOL, lambda *_: None)
    assert teacher.served["answered"] == asked
    assert both.scores["judges"]["endpoint:shapes-teacher"] == first.scores["judges"]["endpoint:shapes-teacher"]
    (comparison,) = both.scores["comparisons"]
    assert (comparison["a"], comparison["b"]) == ("endpoint:shapes-teacher", "base")
    assert comparison["comparison"]["difference"]["mean"] > 0.5  # the base never thinks in the grammar


@pytest.mark.slow
@pytest.mark.long
def test_what_was_judged_before_an_interruption_is_not_asked_again(
    settings: Settings, place: Place, teacher: TeacherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.judging.benchmarks.CHUNK_PAIRS", 4)

    def stop(done: int, total: int) -> None:
        if done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmarks(settings, [place], ["endpoint:shapes-teacher"], PROTOCOL, stop)
    before = teacher.served["answered"]
    run_benchmarks(settings, [place], ["endpoint:shapes-teacher"], PROTOCOL, lambda *_: None)
    assert teacher.served["answered"] - before <= 2 * (PAIRS - 1) - 8


class Undecided(FakeGenerator):
    """Its first answer is the second candidate, and the others the first."""

    def answer(self, conversation: list[Message], sample: int) -> str:
        return f"Answer {2 if sample == 0 else 1} is better"


@pytest.mark.parametrize(("votes", "bias"), [(1, -0.5), (3, 0.5)])
def test_of_several_sampled_answers_the_majority_counts(
    settings: Settings, place: Place, monkeypatch: pytest.MonkeyPatch, votes: int, bias: float
) -> None:
    generator = Undecided()
    monkeypatch.setattr(NamedJudge, "load", lambda self, frames, seconds: Judge(generator, frames))
    protocol = Protocol.of(settings, direct=True, both_orders=True, votes=votes)
    benched = run_benchmarks(settings, [place], ["base"], protocol, lambda *_: None)
    measured = benched.scores["judges"]["base"]["vl_reward_bench"]
    assert measured["judgments"] == 2 * PAIRS
    assert measured["position_bias"] == bias
    params = generator.calls[-1].params
    assert (params.n, params.temperature) == ((3, 1.0) if votes == 3 else (1, 0.0))
    assert benched.scores["videos"] == {"base": "frames"}


@pytest.mark.parametrize(("votes", "temperature"), [(0, None), (3, 0.0), (1, -1.0)])
def test_votes_that_cannot_differ_are_refused(settings: Settings, votes: int, temperature: float | None) -> None:
    with pytest.raises(ConfigError):
        Protocol.of(settings, direct=False, both_orders=True, votes=votes, temperature=temperature)


@pytest.mark.slow
@pytest.mark.long
def test_another_protocol_asks_again(settings: Settings, place: Place, teacher: TeacherServer) -> None:
    run_benchmarks(settings, [place], ["endpoint:shapes-teacher"], PROTOCOL, lambda *_: None)
    asked = teacher.served["answered"]
    one_order = Protocol("think", both_orders=False, max_tokens=300, max_pixels=147_456, max_frames=8, seed=0)
    run_benchmarks(settings, [place], ["endpoint:shapes-teacher"], one_order, lambda *_: None)
    assert teacher.served["answered"] - asked == PAIRS - 1


def test_a_judge_that_is_not_there_is_named(settings: Settings, place: Place) -> None:
    with pytest.raises(ThinkrewardError, match="there is no model 'nobody'"):
        run_benchmarks(settings, [place], ["nobody"], PROTOCOL, lambda *_: None)


def test_a_benchmark_that_lacks_its_media_is_refused_and_beyond_that_says_how_many_were_judged(
    settings: Settings, place: Place, teacher: TeacherServer
) -> None:
    listing = Path(place.path) / "data.json"
    rows = json.loads(listing.read_text())
    for row in rows[:10]:
        row["image"] = "images/none.png"
    listing.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"10 of 12 rows .*max_bad_share 0\.1 allows \(media: does not exist \(10\)\)"):
        run_benchmarks(settings, [place], ["endpoint:shapes-teacher"], PROTOCOL, lambda *_: None)
    assert not teacher.served["answered"]
    prepare = settings.prepare.model_copy(update={"max_bad_share": 0.9})
    allowed = settings.model_copy(update={"prepare": prepare})
    benched = run_benchmarks(allowed, [place], ["endpoint:shapes-teacher"], PROTOCOL, lambda *_: None)
    header, line = benched.table
    assert dict(zip(header, line, strict=True))["judged"] == "2 of 12"
    assert "judged 2 of 12 pairs" in benched.page
