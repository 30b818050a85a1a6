"""Keys, reuse and planning, on stages whose bodies are not run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.load import load_settings
from configs.schema import Model, Settings
from models.errors import StageFailed, UpstreamMissing
from models.generation.protocol import GeneratorIdentity
from tasks.pipeline.graph import RECIPE, REPOSITORY, STAGES
from tasks.pipeline.plan import Planner, StagePlan, refuse_missing, stage_key, verified_entry
from tasks.pipeline.run import open_store, run_stage
from tasks.store.artifacts import ArtifactRef, IndexEntry, Store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = (f"storage.root={tmp_path / 'store'}", f"storage.cache_dir={tmp_path / 'cache'}")
    return load_settings("shapes", places)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """No promotion lapses (tests/tasks/stages/test_promote.py): here is no registry."""
    monkeypatch.setattr("tasks.stages.undone.is_stale", lambda store, settings, entry: "")


def recorded(store: Store, settings: Settings, name: str, folder: Path) -> IndexEntry:
    """Record a stage as if it had been computed, with one small file an output."""
    stage = STAGES[name]
    inputs = dict(Planner(store, settings).ready(name).inputs)
    outputs: dict[str, ArtifactRef] = {}
    for output in stage.outputs:
        made = folder / f"{name}-{output}"
        made.mkdir(parents=True)
        (made / "file.txt").write_text(f"{name} {output}")
        outputs[output] = store.publish(output, made)
    entry = IndexEntry(
        stage=name, key=stage_key(stage, settings, inputs), outputs=outputs, inputs=inputs,
        config=stage.config(settings), code_version=stage.version,
    )  # fmt: skip
    store.record(entry)
    return entry


def everything_computed(settings: Settings, folder: Path) -> Store:
    store = open_store(settings)
    for name in STAGES:
        recorded(store, settings, name, folder)
    return store


def planned(settings: Settings) -> dict[str, StagePlan]:
    planner = Planner(open_store(settings), settings)
    return {name: planner.plan(name) for name in STAGES}


def refuse(store: Store, settings: Settings, stages: list[str], pins: dict[str, str]) -> None:
    refuse_missing(Planner(store, settings), settings, stages, pins)


def test_each_need_is_an_output_of_an_earlier_stage() -> None:
    seen: set[str] = set()
    for name, stage in STAGES.items():
        for need in stage.inputs.values():
            assert need.stage in seen
            assert need.output in STAGES[need.stage].outputs
        seen.add(name)


@pytest.mark.parametrize(
    "change",
    [
        "profile=other",  # a name
        "runtime.threads=1",
        "runtime.generation_batch=7",
        "runtime.generation_tokens=7",
        "runtime.micro_tokens=7",
        "distill.concurrency=3",
        "grpo.checkpoint_every=5",
        "rejection_sampling.shard_pairs=7",
        "prepare.decoding_processes=7",
        "tracking.experiment=other",
    ],
)
def test_what_changes_no_result_is_in_no_key(settings: Settings, change: str, tmp_path: Path) -> None:
    if change == "profile=other":
        other = settings.model_copy(update={"profile": "other"})
    else:
        other = load_settings("shapes", (change,))
    for name in ("prepare", "distill", "cold-start", "sampling", "rejection-sampling", "grpo", "evaluate"):
        assert stage_key(STAGES[name], settings, {}) == stage_key(STAGES[name], other, {}), name


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ("model.max_frames=3", "prepare distill cold-start sampling rejection-sampling grpo evaluate promote"),
        ("model.max_pixels=4096", "distill cold-start sampling rejection-sampling grpo evaluate promote"),
        ("model.dtype=bfloat16", "cold-start sampling rejection-sampling grpo evaluate promote"),
        ("model.attention=eager", "cold-start sampling rejection-sampling grpo evaluate promote"),
        ("model.base=owner/name", "base"),  # the others have its digest among their inputs
        ("prepare.decoding_timeout_s=7.0", "prepare"),  # what takes longer is left out
        ("prepare.decoding_memory_mib=700", "prepare"),
        ("evaluate.bootstrap=7", "evaluate promote"),
        ("rejection_sampling.temperature=0.7", "sampling"),  # the other has its trajectories' digest among its inputs
        ("rejection_sampling.keep_cap=7", "sampling"),
        ("rejection_sampling.sft.learning_rate=7e-5", "rejection-sampling"),
        ("seed=7", "prepare distill cold-start sampling rejection-sampling grpo evaluate promote"),
    ],
)
def test_a_setting_is_in_the_keys_of_the_stages_whose_result_it_changes(
    settings: Settings, change: str, stages: str
) -> None:
    other = load_settings("shapes", (change,))
    changed = [name for name, one in STAGES.items() if stage_key(one, settings, {}) != stage_key(one, other, {})]
    assert changed == stages.split()


def test_every_field_of_the_model_was_asked_whether_a_teacher_sees_it() -> None:
    """distill's key names single fields: a new field that changes what is shown has to join them."""
    shown = {"max_pixels", "max_frames"}
    assert {one.partition(".")[2] for one in STAGES["distill"].sections if one.startswith("model.")} == shown
    assert set(Model.model_fields) - shown == {"base", "revision", "dtype", "publish_dtype", "attention"}


def test_what_writes_texts_is_in_the_keys_of_what_it_wrote(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: stage_key(stage, settings, {}) for name, stage in STAGES.items()}
    monkeypatch.setattr(
        "tasks.pipeline.graph.transformers_identity", lambda precision: GeneratorIdentity("other", "1", precision)
    )
    changed = [name for name, stage in STAGES.items() if stage_key(stage, settings, {}) != before[name]]
    assert changed == ["sampling", "evaluate"]


def test_a_seed_an_input_and_the_code_version_change_the_key(settings: Settings, tmp_path: Path) -> None:
    stage = STAGES["distill"]
    ref = ArtifactRef(kind="preferences", digest="0" * 64, size=1, n_files=1)
    other = ref.model_copy(update={"digest": "1" * 64})
    keys = {
        stage_key(stage, settings, {"preferences": ref}),
        stage_key(stage, settings, {"preferences": other}),
        stage_key(stage, settings.model_copy(update={"seed": 1}), {"preferences": ref}),
        stage_key(STAGES["prepare"], settings, {"preferences": ref}),
    }
    assert len(keys) == 4


def test_after_a_changed_grpo_setting_only_grpo_evaluate_and_promote_run(settings: Settings, tmp_path: Path) -> None:
    everything_computed(settings, tmp_path / "made")
    assert all(one.cached for one in planned(settings).values())
    changed = settings.model_copy(update={"grpo": settings.grpo.model_copy(update={"learning_rate": 7e-5})})
    after = planned(changed)
    assert [name for name in RECIPE if not after[name].cached] == ["grpo", "evaluate", "promote"]
    assert after["grpo"].reason == "grpo.learning_rate 3e-05 -> 7e-05"
    assert after["evaluate"].reason == "waits for grpo"


def test_what_was_undone_outside_the_store_is_done_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything_computed(settings, tmp_path / "made")
    monkeypatch.setattr("tasks.stages.undone.is_stale", lambda store, settings, entry: f"no {entry.stage} there")
    after = planned(settings)
    assert [name for name in RECIPE if not after[name].cached] == ["promote"]
    assert after["promote"].reason == "no promote there"


def test_a_new_store_says_that_nothing_was_computed(settings: Settings) -> None:
    after = planned(settings)
    assert after["prepare"].reason == "never computed in this store"
    assert not any(one.cached for one in after.values())


def test_a_missing_upstream_names_the_command_to_run(settings: Settings) -> None:
    with pytest.raises(StageFailed, match="thinkreward prepare"):
        Planner(open_store(settings), settings).ready("grpo")


def test_a_missing_input_is_refused_before_anything_is_started(settings: Settings, tmp_path: Path) -> None:
    store = everything_computed(settings, tmp_path / "made")
    changed = settings.model_copy(update={"distill": settings.distill.model_copy(update={"pairs": 3})})
    refuse(store, settings, ["cold-start"], {})
    refuse(store, changed, ["distill", "cold-start"], {})  # the one makes what the other needs
    refuse(store, changed, ["cold-start"], {"distilled": "of somebody's"})
    with pytest.raises(
        UpstreamMissing, match=r"cold-start needs the distilled of distill.*`thinkreward distill` first"
    ):
        refuse(store, changed, ["cold-start"], {})
    with pytest.raises(UpstreamMissing, match="`thinkreward distill` first"):
        refuse(store, changed, ["grpo", "evaluate"], {})


def test_a_base_that_is_not_published_yet_is_no_reason_to_refuse(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    for name in ("prepare", "distill"):
        recorded(store, settings, name, tmp_path / "made")
    refuse(store, settings, ["cold-start"], {})


@pytest.mark.slow
def test_the_command_line_refuses_a_missing_input_without_starting_prefect(tmp_path: Path) -> None:
    """In a folder of its own; Prefect's server would leave its database there."""
    command = [sys.executable, "-m", "flows.cli.main", "cold-start", "--set", "distill.pairs=3"]
    said = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True
    )
    assert said.returncode == 1
    assert "`thinkreward prepare` first" in said.stderr
    assert not list(tmp_path.rglob("prefect.db"))


def test_a_cached_stage_is_reused_without_a_process(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    entry = recorded(store, settings, "prepare", tmp_path / "made")
    result = run_stage("prepare", settings)
    assert result.state == "cached"
    assert result.outputs == entry.outputs


def test_rows_that_were_left_out_for_a_cause_that_passes_are_tried_again(settings: Settings) -> None:
    small = of_few_pairs(settings)
    first = run_stage("prepare", small)
    store = open_store(small)
    (entry,) = store.entries("prepare")
    store.record(entry.model_copy(update={"facts": {**entry.facts, "passing": 2}}))
    stood = Planner(store, small).plan("prepare")
    assert (stood.cached, stood.reason) == (True, "unchanged, but 2 rows whose media timed out are tried again")
    again = run_stage("prepare", small)
    assert (again.state, again.outputs) == ("computed", first.outputs)
    assert run_stage("prepare", small).state == "cached"


def test_a_truncated_artifact_is_not_handed_on(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    entry = recorded(store, settings, "prepare", tmp_path / "made")
    file = tmp_path / "store" / entry.outputs["preferences"].path / "files" / "file.txt"
    file.chmod(0o644)
    file.write_text("x")
    assert verified_entry(store, "prepare", entry.key) is None


def test_a_changed_base_model_changes_its_key(settings: Settings, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    own = settings.model_copy(update={"model": settings.model.model_copy(update={"base": str(base)})})
    before = stage_key(STAGES["base"], own, {})
    (base / "config.json").write_text('{"a": 1}')
    assert stage_key(STAGES["base"], own, {}) != before


def of_few_pairs(settings: Settings) -> Settings:
    few = settings.prepare.model_copy(update={"train_pairs": 2, "validation_pairs": 1, "held_out_pairs": 2})
    return settings.model_copy(update={"prepare": few})


def test_a_refresh_that_is_tried_again_takes_the_result_of_its_own_first_try(settings: Settings) -> None:
    small = settings.model_copy(
        update={
            "prepare": settings.prepare.model_copy(
                update={"train_pairs": 2, "validation_pairs": 1, "held_out_pairs": 2}
            )
        }
    )
    assert run_stage("prepare", small, refresh="a wish").state == "computed"
    assert run_stage("prepare", small, refresh="a wish").state == "cached"
    assert run_stage("prepare", small, refresh="another").state == "computed"
    assert run_stage("prepare", small).state == "cached"


def test_a_refresh_that_was_interrupted_goes_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    small = settings.model_copy(
        update={
            "prepare": settings.prepare.model_copy(
                update={"train_pairs": 2, "validation_pairs": 1, "held_out_pairs": 2}
            )
        }
    )
    first = run_stage("prepare", small)

    def interrupted(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tasks.pipeline.run.run_child", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_stage("prepare", small, refresh="a wish")
    work = open_store(small).work("prepare", first.key)
    work.put_bytes("half", b"done")
    assert run_stage("prepare", small, refresh="a wish").state == "resumed"


def test_a_new_drop_is_named_as_the_reason(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(settings)
    recorded(store, settings, "prepare", tmp_path)
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop" / "pairs.jsonl").write_text("{}")
    ref = store.publish("drop", tmp_path / "drop")
    monkeypatch.setattr("tasks.data.inbox.records.recorded", lambda store: {f"drop-{ref.short}": ref})
    assert Planner(store, settings).plan("prepare").reason == f"new drop-{ref.short}"
