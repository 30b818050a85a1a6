"""What fine-tuning is given beside the reasoning, and which of a training's models are kept while it runs."""

import json
from pathlib import Path

import pytest

from configs.load import load_settings
from models.errors import ConfigError
from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from models.training.curriculum import HISTORY
from tasks.pipeline.child import Child, Job
from tasks.pipeline.plan import check_trainable
from tasks.stages.context import stage_context
from tasks.stages.training import Checkpoints, answered_directly


def test_direct_answers_favour_neither_place_and_need_a_better_candidate() -> None:
    pairs = [make_pair(Task.IMAGE_GENERATION, at, seed=0, held_out=False).pair for at in range(8)]
    alternating = answered_directly(pairs, 8)
    assert sorted(str(pair.preferred) for pair in alternating) == ["1"] * 4 + ["2"] * 4
    one_sided = answered_directly(pairs[::2] * 2, 8)
    assert sorted(str(pair.preferred) for pair in one_sided) == ["1"] * 4 + ["2"] * 4
    tied = [pairs[0].model_copy(update={"preferred": "tie"}), *pairs[1:]]
    assert [pair.id for pair in answered_directly(tied, 3)] == [pair.id for pair in pairs[1:4]]
    assert answered_directly(pairs, 0) == []


def places(folder: Path) -> tuple[str, ...]:
    """Settings that keep everything below a folder."""
    return (
        f"storage.root={folder / 'store'}",
        f"storage.cache_dir={folder / 'cache'}",
        f"tracking.uri=sqlite:///{folder}/mlflow.db",
    )


def kept_after(folder: Path, found: list[int], checkpoint: int, history: list[dict[str, float]]) -> set[str]:
    """The trees left when, with the best models of the steps `found` there, a checkpoint with `history` is kept."""
    job = Job(stage="grpo", key="0" * 64, body="", settings=load_settings("shapes", places(folder)), inputs={})
    with stage_context(job, Child(), folder) as context:
        for step in found:
            best = context.new_folder("best")
            (best / "model.safetensors").write_text(f"best of step {step}")
            context.work.put_tree(f"best-{step}", best)
        made = folder / f"checkpoint-{checkpoint}"
        made.mkdir()
        (made / "model.safetensors").write_text("weights")
        (made / HISTORY).write_text(json.dumps(history))
        Checkpoints(context).keep(made, checkpoint)
        return set(context.work.trees())


def entry(step: int, accuracy: float) -> dict[str, float]:
    return {"step": float(step), "accuracy": accuracy}


@pytest.mark.slow
def test_the_best_model_that_the_history_names_is_kept_and_not_the_newest(tmp_path: Path) -> None:
    """As after an end between a best model and its checkpoint, resumed on hardware where that step was not best."""
    history = [entry(0, 0.70), entry(10, 0.75), entry(20, 0.74)]
    assert kept_after(tmp_path, [10, 20], 20, history) == {"checkpoint-20", "best-10"}


@pytest.mark.slow
def test_a_best_model_that_was_surpassed_goes(tmp_path: Path) -> None:
    history = [entry(0, 0.70), entry(10, 0.75), entry(20, 0.80)]
    assert kept_after(tmp_path, [10, 20], 20, history) == {"checkpoint-20", "best-20"}


@pytest.mark.slow
def test_no_best_model_is_kept_while_the_start_is_best(tmp_path: Path) -> None:
    assert kept_after(tmp_path, [20], 10, [entry(0, 0.70), entry(10, 0.70)]) == {"checkpoint-10"}


@pytest.mark.slow
def test_a_checkpoint_of_shards_is_kept_as_the_tree_that_it_is_and_shows_no_model(tmp_path: Path) -> None:
    settings = load_settings("shapes", places(tmp_path))
    job = Job(stage="cold-start", key="0" * 64, body="", settings=settings, inputs={})
    with stage_context(job, Child(), tmp_path) as context:
        shards = tmp_path / "checkpoint-2" / "shards"
        shards.mkdir(parents=True)
        files = {".metadata": b"which shard is where", "__0_0.distcp": b"the first", "__1_0.distcp": b"the second"}
        for name, content in files.items():
            (shards / name).write_bytes(content)
        Checkpoints(context).keep(tmp_path / "checkpoint-2", 2)
        context.work.get_tree("checkpoint-2", tmp_path / "fetched")
        assert list(context.store.artifacts("checkpoint")) == []
    assert {one.name: one.read_bytes() for one in (tmp_path / "fetched" / "shards").iterdir()} == files


def test_stages_that_train_are_refused_in_float16_and_others_are_not() -> None:
    settings = load_settings("shapes", ["model.dtype=float16"])
    check_trainable(settings, ["prepare", "distill", "evaluate"])
    with pytest.raises(ConfigError, match=r"cold-start, grpo cannot run: .*loss scaled.*model.dtype=bfloat16"):
        check_trainable(settings, ["prepare", "cold-start", "grpo", "evaluate"])
    check_trainable(load_settings("qwen3_vl_8b"), ["cold-start", "grpo"])


def test_a_stage_in_float16_is_refused_before_any_work(tmp_path: Path) -> None:
    from tasks.orchestration.compute import compute

    places = (f"storage.root={tmp_path / 'store'}", f"storage.cache_dir={tmp_path / 'cache'}")
    with pytest.raises(ConfigError, match="float16"):
        compute("rejection-sampling", load_settings("shapes", [*places, "model.dtype=float16"]))
    assert not (tmp_path / "store").exists()
