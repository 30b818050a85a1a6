"""Rejection sampling is two steps under keys of their own, and one stage to whoever asks for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.errors import StageFailed, UpstreamMissing
from tasks.orchestration import dispatch
from tasks.pipeline.child import Done, Job
from tasks.pipeline.graph import STAGES
from tasks.pipeline.plan import Planner
from tasks.pipeline.run import StageResult, open_store, run_stage
from tasks.store.artifacts import ArtifactRef, Store

NAME = "rejection-sampling"


class Bodies:
    """In place of child processes: which stages were computed, each with outputs of its own."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.computed: list[str] = []

    def run(self, job: Job, **_: Any) -> Done:
        self.computed.append(job.stage)
        outputs = {name: self.made(name) for name in STAGES[job.stage].outputs}
        outputs |= {name: ref for name, ref in job.inputs.items() if job.stage == NAME and name == "trajectories"}
        return Done(outputs=outputs, facts={"peak_memory_mib": 100 if job.stage == NAME else 300, job.stage: 1})

    def made(self, name: str) -> ArtifactRef:
        made = self.folder / f"{name}-{len(list(self.folder.iterdir()))}"
        made.mkdir()
        (made / "file.txt").write_text(made.name)
        return self.store.publish(name, made)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = (f"storage.root={tmp_path / 'store'}", f"storage.cache_dir={tmp_path / 'cache'}")
    return load_settings("shapes", places)


@pytest.fixture
def bodies(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bodies:
    """With everything before rejection sampling computed."""
    (tmp_path / "made").mkdir()
    found = Bodies(open_store(settings), tmp_path / "made")
    monkeypatch.setattr("tasks.pipeline.run.run_child", found.run)
    monkeypatch.setattr("tasks.pipeline.run._reach_tracking", lambda settings: None)
    for stage in ("base", "prepare", "distill", "cold-start"):
        run_stage(stage, settings)
    found.computed.clear()
    return found


def with_learning_rate(settings: Settings, rate: float) -> Settings:
    sampling = settings.rejection_sampling
    sft = sampling.sft.model_copy(update={"learning_rate": rate})
    return settings.model_copy(update={"rejection_sampling": sampling.model_copy(update={"sft": sft})})


def test_another_fine_tuning_does_not_sample_again_and_another_sampling_does_both(
    settings: Settings, bodies: Bodies
) -> None:
    first = run_stage(NAME, settings)
    assert (first.state, bodies.computed) == ("computed", ["sampling", NAME])
    assert (run_stage(NAME, settings).state, bodies.computed) == ("cached", ["sampling", NAME])
    bodies.computed.clear()
    second = run_stage(NAME, with_learning_rate(settings, 7e-5))
    assert (second.state, bodies.computed) == ("computed", [NAME])
    assert second.outputs["trajectories"] == first.outputs["trajectories"]
    bodies.computed.clear()
    hotter = settings.rejection_sampling.model_copy(update={"temperature": 0.9})
    run_stage(NAME, settings.model_copy(update={"rejection_sampling": hotter}))
    assert bodies.computed == ["sampling", NAME]


def test_a_refresh_samples_again(settings: Settings, bodies: Bodies) -> None:
    first = run_stage(NAME, settings)
    again = run_stage(NAME, settings, refresh="a request")
    assert bodies.computed == ["sampling", NAME] * 2
    assert again.outputs["trajectories"] != first.outputs["trajectories"]
    assert again.key != first.key, "it is keyed by the new samples"
    assert run_stage(NAME, settings, refresh="a request").state == "cached"


def test_its_record_has_the_facts_of_both_steps(settings: Settings, bodies: Bodies) -> None:
    facts = run_stage(NAME, settings).facts
    assert (facts["sampling"], facts[NAME], facts["peak_memory_mib"]) == (1, 1, 300)


def test_pinned_inputs_are_those_of_both_steps_and_pinned_trajectories_are_not_made(
    settings: Settings, bodies: Bodies
) -> None:
    model = bodies.made("model")
    run_stage(NAME, settings, pins={"model": model.digest})
    assert bodies.computed == ["sampling", NAME]
    of_steps = [bodies.store.entries(step)[0].inputs["model"] for step in ("sampling", NAME)]
    assert of_steps == [model, model]
    bodies.computed.clear()
    trajectories = bodies.made("trajectories")
    result = run_stage(NAME, settings, pins={"trajectories": trajectories.digest})
    assert (bodies.computed, result.outputs["trajectories"]) == ([NAME], trajectories)


def test_a_plan_shows_the_step_that_is_computed_next(settings: Settings, bodies: Bodies) -> None:
    plan = Planner(bodies.store, settings).plan(NAME)
    assert (plan.cached, plan.key, plan.next_step.name) == (False, None, "sampling")
    assert plan.can_start and plan.reason == "never computed in this store"
    assert Planner(bodies.store, settings).plan("grpo").reason == f"waits for {NAME}"
    run_stage(NAME, settings)
    changed = Planner(bodies.store, with_learning_rate(settings, 7e-5)).plan(NAME)
    assert changed.next_step is changed
    assert (
        changed.reason
        == f"rejection_sampling.sft.learning_rate {settings.rejection_sampling.sft.learning_rate} -> 7e-05"
    )
    hotter = settings.rejection_sampling.model_copy(update={"temperature": 0.9})
    resampled = Planner(bodies.store, settings.model_copy(update={"rejection_sampling": hotter})).plan(NAME)
    before = settings.rejection_sampling.temperature
    reason = f"rejection_sampling.temperature {before} -> 0.9"
    assert (resampled.next_step.name, resampled.reason) == ("sampling", reason)


def test_what_stands_on_missing_samples_names_the_stage_that_people_know(settings: Settings, bodies: Bodies) -> None:
    with pytest.raises(UpstreamMissing, match=rf"grpo needs the model of {NAME}.*`thinkreward {NAME}` first"):
        Planner(bodies.store, settings).ready("grpo")


def test_plans_are_made_once_until_a_stage_is_computed(
    settings: Settings, bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stage(NAME, settings)
    planner, looked = Planner(bodies.store, settings), list[str]()
    lookup = Store.lookup
    monkeypatch.setattr(Store, "lookup", lambda self, stage, key: (looked.append(stage), lookup(self, stage, key))[1])
    for name in STAGES:
        planner.plan(name)
    planned = [name for name in looked if name in ("base", "cold-start", "sampling", NAME)]
    assert sorted(planned) == sorted(["base", "cold-start", "sampling", NAME])
    looked.clear()
    planner.changed(NAME)
    planner.plan("grpo")
    assert set(looked) == {"sampling", NAME, "grpo"}


def test_on_another_work_pool_both_steps_are_computed_from_the_plans_inputs(
    settings: Settings, bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Mapping[str, Any]] = []

    def run_there(name: str, parameters: Mapping[str, Any]) -> None:
        sent.append(parameters)
        run_stage(name, settings, pins=parameters["inputs"], refresh="r" if parameters["refresh"] else "")

    monkeypatch.setattr(dispatch, "_has_another_pool", lambda name, warn=False: True)
    monkeypatch.setattr(dispatch, "with_retries", lambda task, settings: run_there)
    plan = Planner(bodies.store, settings).ready(NAME)
    result = dispatch.dispatch_to_work_pool(plan, settings)
    assert isinstance(result, StageResult)
    assert bodies.computed == ["sampling", NAME]
    assert set(sent[0]["inputs"]) == {"model", "preferences"}
    assert {"rejection_sampling", "model"} <= set(sent[0]["settings"])
    planned = Planner(bodies.store, settings).ready(NAME)
    assert planned.cached and planned.key == result.key
    assert dispatch.dispatch_to_work_pool(planned, settings) is None
    assert dispatch.dispatch_to_work_pool(planned, settings, refresh=True) is not None
    assert set(sent[1]["inputs"]) == {"model", "preferences"}, "the samples are made again there"
    monkeypatch.setattr(dispatch, "with_retries", lambda task, settings: lambda name, parameters: None)
    other = with_learning_rate(settings, 7e-5)
    with pytest.raises(StageFailed, match="computed on another work pool, but its result is not in"):
        dispatch.dispatch_to_work_pool(Planner(bodies.store, other).ready(NAME), other)
