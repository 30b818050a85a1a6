"""Judgments are found again by what was judged: the model and the held-out pairs, whatever is trained on."""

import json
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from configs.load import SettingsError, load_settings
from configs.schema import Settings
from models.errors import ArtifactCorrupt
from models.evaluation.metrics import in_order
from models.generation.protocol import GeneratorIdentity
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import Task
from models.shapes.pairs import KINDS
from models.sources.shapes import read_shapes
from models.sources.submissions import add_submissions
from models.verdict.grammar import answer_text
from tasks.pipeline.child import Child, Done, Job
from tasks.pipeline.graph import EVALUATED
from tasks.pipeline.run import open_store, read_output
from tasks.stages.context import Context
from tasks.stages.evaluate import JUDGING, MODES, ORACLE, evaluate, held_out_digest, judged_rows, oracle_rows
from tasks.stages.generators import identify_oracle, load_oracle
from tasks.store.artifact_types import ArtifactRef
from tasks.store.artifacts import Store
from tests.tasks.shapes_drop import write_drop


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings("shapes", (f"storage.root={tmp_path / 'store'}", f"storage.cache_dir={tmp_path / 'cache'}"))


def preferences(store: Store, folder: Path, *, dropped: int = 0, held_out: int = 1) -> ArtifactRef:
    """A small version of the preferences, with `dropped` pairs a task from the inbox."""
    splits, blobs = read_shapes(train_pairs=2, held_out_pairs=held_out + 1, seed=0)
    write_drop(folder / "drop", seed=7, count=dropped)
    added = add_submissions(splits, blobs, {"drop-a": folder / "drop"}, max_frames=8)
    (folder / "made").mkdir()
    write_dataset(folder / "made", added.splits, added.blobs, added.invalid, added.counts)
    return store.publish("preferences", folder / "made")


def model(store: Store, folder: Path) -> ArtifactRef:
    folder.mkdir()
    (folder / "weights").write_text(folder.name)
    return store.publish("model", folder)


def context(settings: Settings, folder: Path, key: str, inputs: dict[str, ArtifactRef]) -> Context:
    """An `evaluate` running that tracks nothing. It has no model to load: to judge a pair would fail."""
    folder.mkdir()
    store = open_store(settings)
    job = Job(stage="evaluate", key=key, body="", settings=settings, inputs=inputs)
    run = cast(Any, None)
    return Context(job=job, store=store, work=store.work("evaluate", key), run=run, child=Child(), scratch=folder)


def judged_before(context: Context, name: str) -> None:
    """Leave the parts that an interrupted attempt had judged, in which the first candidate is always the better."""
    dataset = PreferenceDataset(context.input("preferences"), max_pixels=64 * 64, max_frames=8)
    for task in Task:
        for mode in MODES:
            said = [
                [pair.id, swapped, answer_text(task, 1), False]
                for pair in dataset.pairs("held_out", task)
                for swapped in (False, True)
            ]
            context.work.put_json(f"judged/{name}-{task}-{mode}.json", said)


def test_new_training_pairs_change_no_held_out_digest_and_other_held_out_pairs_do(
    settings: Settings, tmp_path: Path
) -> None:
    store = open_store(settings)
    first = preferences(store, tmp_path / "a")
    more = preferences(store, tmp_path / "b", dropped=2)
    other = preferences(store, tmp_path / "c", held_out=2)
    assert len({first.digest, more.digest, other.digest}) == 3
    assert held_out_digest(store, first) == held_out_digest(store, more) != held_out_digest(store, other)


def test_a_model_is_not_judged_again_after_an_ingestion(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    judge = model(store, tmp_path / "model")
    before, after = preferences(store, tmp_path / "a"), preferences(store, tmp_path / "b", dropped=2)
    first = context(settings, tmp_path / "first", "1" * 64, {"base": judge, "preferences": before})
    judged_before(first, "base")
    rows = judged_rows(first, "base")
    assert len(rows) == 4 * 2 * 2 * 2 and {row.right for row in rows if row.mode == "direct"} == {True, False}
    again = context(settings, tmp_path / "again", "2" * 64, {"base": judge, "preferences": after})
    assert judged_rows(again, "base") == rows
    (entry,) = store.entries(JUDGING)
    assert entry.inputs["preferences"] == before


def test_other_held_out_pairs_another_model_and_another_protocol_are_judged_anew(
    settings: Settings, tmp_path: Path
) -> None:
    store = open_store(settings)
    judge, other = model(store, tmp_path / "model"), model(store, tmp_path / "other")
    data, more = preferences(store, tmp_path / "a"), preferences(store, tmp_path / "b", held_out=2)
    longer = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"max_tokens": 7})})
    coarser = settings.model_copy(update={"model": settings.model.model_copy(update={"dtype": "bfloat16"})})
    cases = [
        (settings, judge, data),
        (settings, other, data),
        (settings, judge, more),
        (longer, judge, data),
        (coarser, judge, data),
    ]
    for number, (chosen, which, shown) in enumerate(cases):
        inputs = {"base": which, "preferences": shown}
        at_work = context(chosen, tmp_path / str(number), str(number) * 64, inputs)
        judged_before(at_work, "base")
        judged_rows(at_work, "base")
        assert len(store.entries(JUDGING)) == number + 1


def test_preferences_without_held_out_pairs_are_named(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "file").write_text("x")
    with pytest.raises(ArtifactCorrupt, match=r"has no pairs-held_out\.parquet"):
        held_out_digest(store, store.publish("preferences", tmp_path / "odd"))


def test_resamples_examples_and_the_seed_have_no_model_judged_again(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    judge, data = model(store, tmp_path / "model"), preferences(store, tmp_path / "a")
    fewer = settings.evaluate.model_copy(update={"bootstrap": 7, "examples": 1})
    for number, chosen in enumerate((settings, settings.model_copy(update={"evaluate": fewer, "seed": 9}))):
        at_work = context(chosen, tmp_path / f"{number}", f"{number}" * 64, {"base": judge, "preferences": data})
        judged_before(at_work, "base")
        judged_rows(at_work, "base")
    assert len(store.entries(JUDGING)) == 1


def with_oracle(settings: Settings, name: str = "embedded", **more: Any) -> Settings:
    return settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"oracle": name, **more})})


def test_the_oracles_answers_come_from_pixels_and_are_kept_for_its_pairs_and_protocol(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(settings)
    data, more = (
        preferences(store, tmp_path / "a", held_out=8),
        preferences(store, tmp_path / "b", dropped=2, held_out=8),
    )
    at_work = context(with_oracle(settings), tmp_path / "first", "1" * 64, {"preferences": data})
    rows = oracle_rows(at_work)
    assert len(rows) == 9 * 2 * 4 and {row.mode for row in rows} == {"think"}
    assert all(row.right for row in rows)
    told = cast(Any, None)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.stages.evaluate.load_oracle", told)  # to ask it again would fail
        again = context(with_oracle(settings, bootstrap=7), tmp_path / "again", "2" * 64, {"preferences": more})
        assert oracle_rows(again) == rows
    other = context(with_oracle(settings, pairs=3), tmp_path / "other", "3" * 64, {"preferences": data})
    assert len(oracle_rows(other)) == 3 * 2 * 4
    monkeypatch.setattr("models.shapes.oracle.IDENTITY", GeneratorIdentity("embedded", "2", ""))
    oracle_rows(context(with_oracle(settings), tmp_path / "newer", "4" * 64, {"preferences": data}))
    assert len(store.entries(ORACLE)) == 3 and not store.entries(JUDGING)


def test_an_oracle_may_be_a_model_of_the_store_or_behind_an_endpoint(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    monkeypatch.setattr("tasks.stages.generators.open_generator", lambda source, options: opened.append(source))
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    store = open_store(settings)
    ref = model(store, tmp_path / "model")
    inputs = {"preferences": preferences(store, tmp_path / "a")}
    for number, name in enumerate(("endpoint:some/judge", ref.digest[:12])):
        chosen = with_oracle(settings, name)
        load_oracle(context(chosen, tmp_path / f"{number}", f"{number}" * 64, inputs))
        assert identify_oracle(chosen).kind == ("endpoint" if number == 0 else "transformers")
    assert opened[0] == "some/judge" and (Path(str(opened[1])) / "weights").is_file()


@pytest.mark.parametrize("name", ["champion", "endpoint", "models:/thinkreward@champion", "EMBEDDED", "abc", "''"])
def test_an_oracle_that_may_be_another_tomorrow_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="may be another model tomorrow"):
        load_settings("shapes", (f"evaluate.oracle={name}",))


def evaluated(settings: Settings, folder: Path) -> Done:
    """`evaluate` of four models that always prefer the first candidate, with what else it shows."""
    store = open_store(settings)
    made = {
        "distilled": ("yield.json", json.dumps({"asked": 1, "answered": 1, "kept": 1, "rejected": {}})),
        "history": ("history.json", json.dumps({"log": [], "validation": []})),
    }
    inputs = {"preferences": preferences(store, folder / "data", held_out=89)}
    for name, (file, text) in made.items():
        (folder / name).mkdir()
        (folder / name / file).write_text(text)
        inputs[name] = store.publish(name, folder / name)
    (folder / "sampled").mkdir()
    pq.write_table(pa.table({"task": ["t"], "pass_rate": [0.5]}), folder / "sampled" / "pass_rates.parquet")
    inputs["trajectories"] = store.publish("trajectories", folder / "sampled")
    for name in EVALUATED:
        inputs[name] = model(store, folder / name)
    for name in EVALUATED:
        judged_before(context(settings, folder / f"judged-{name}", "5" * 64, inputs), name)
    (folder / "scratch").mkdir()
    return evaluate(
        Job(stage="evaluate", key="5" * 64, body="", settings=settings, inputs=inputs), Child(), folder / "scratch"
    )


def test_the_report_has_the_macro_averages_the_paired_differences_and_the_oracle(
    settings: Settings, tmp_path: Path
) -> None:
    tracked = settings.tracking.model_copy(update={"uri": f"sqlite:///{tmp_path}/mlflow.db"})
    settings = with_oracle(settings, bootstrap=50, examples=1).model_copy(update={"tracking": tracked})
    done = evaluated(settings, tmp_path)
    report = read_output(open_store(settings), done.outputs, "report")
    assert list(in_order(report["accuracy"], EVALUATED)) == [*EVALUATED, "oracle"]
    oracle, direct = report["accuracy"]["oracle"], report["accuracy"]["grpo"]["macro"]["direct"]
    assert oracle["macro"]["think"]["accuracy"] == 1.0 and oracle["direct"] == {} and oracle["totals_tie"] == 0.0
    assert set(direct["kinds"]) == {f"{task}/{kind}" for task, kinds in KINDS.items() for kind in kinds}
    assert (direct["over"], direct["accuracy"]) == ("kinds", 0.5)
    assert {(one["from"], one["to"]) for one in report["differences"]} == {
        ("base", "cold-start"), ("cold-start", "rejection-sampling"), ("rejection-sampling", "grpo"),
        ("cold-start", "grpo"), ("base", "grpo"),
    }  # fmt: skip
    for one in report["differences"]:
        assert one["macro"]["mean"] == 0.0 and one["macro"]["low"] < 0.0 < one["macro"]["high"]
    assert done.facts["oracle/think_macro"] == 1.0 and done.facts["grpo/direct_macro"] == 0.5
    run = MlflowClient(settings.tracking.uri).get_run(done.run_ids["mlflow"])
    assert run.data.metrics["oracle/think_kinds/video_generation/flicker"] == 1.0
    assert run.data.metrics["grpo_over_rejection-sampling/direct_macro"] == 0.0
    page = (open_store(settings).fetch(done.outputs["report"]) / "report.html").read_text()
    assert "The row oracle is the ceiling" in page and "Macro over kinds" in page


def test_the_embedded_oracle_is_refused_for_pairs_of_another_world() -> None:
    own = ("prepare.source=jsonl", "prepare.path=/data", "distill.teacher=openai")
    assert load_settings("shapes", own).oracle == "none"
    assert load_settings("shapes").oracle == "embedded"
    with pytest.raises(SettingsError, match=r"set evaluate\.oracle=none"):
        load_settings("shapes", (*own, "evaluate.oracle=embedded"))
