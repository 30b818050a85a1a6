"""FSDP2 over gloo: really sharded, the figures of one process, and checkpoints for another number of processes."""

from pathlib import Path

import pytest
import torch

from configs.schema import Distributed, Lora
from models.errors import ConfigError
from tests.tasks.training.plans import OPTIMISING, TUNING, Reports, distance, planned, trained, write_pairs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SHARDED = Distributed(engine="torchrun", processes=2, strategy="fsdp2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "preferences"
    write_pairs(folder, 8)
    return folder


@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8, dropout=0.0)])
def test_sharded_processes_learn_what_one_learns_and_the_whole_model_is_saved(
    data: Path, tmp_path: Path, lora: Lora | None
) -> None:
    """A process that had all weights would be refused, so that this is no DDP."""
    section, one, two = TUNING.model_copy(update={"lora": lora}), Reports(), Reports()
    first, second = planned(data, tmp_path / "one", sft=section), planned(data, tmp_path / "two", SHARDED, sft=section)
    trained(first, one)
    trained(second, two)
    for name in ("loss", "grad_norm"):
        assert two.figures(name) == pytest.approx(one.figures(name), rel=1e-4), name
    assert distance(first.out, second.out) < 1e-5
    assert [files for _, files in two.checkpoints if "shards" not in files] == []


def test_a_sharded_checkpoint_is_resumed_by_another_number_of_processes(data: Path, tmp_path: Path) -> None:
    """Steps of four as two processes of two, then the last ones as four processes of one."""
    whole = planned(data, tmp_path / "whole", SHARDED, sft=TUNING)
    trained(whole, Reports())
    four = SHARDED.model_copy(update={"processes": 4})
    plan = planned(data, tmp_path / "four", four, sft=TUNING.model_copy(update={"micro_batch": 1}))
    resumed = Reports()
    trained(plan.model_copy(update={"resume_from": whole.scratch / "checkpoint-2"}), resumed)
    assert min(resumed.figures("loss")) == 3, "it started from the beginning"
    assert distance(whole.out, plan.out) < 1e-5


def test_policy_optimisation_is_refused_sharded(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"strategy=fsdp2 is for fine-tuning.*strategy=ddp"):
        trained(planned(data, tmp_path, SHARDED, grpo=OPTIMISING), Reports())


def test_weights_that_stay_whole_are_refused() -> None:
    from models.training.parallel.fsdp2 import ShardedGuard

    with pytest.raises(ConfigError, match="2 trained weights whole on every process"):
        ShardedGuard().on_train_begin(None, None, None, model=torch.nn.Linear(2, 2))
