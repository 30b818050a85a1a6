"""Ray Train as a program: `python -m tasks.training.ray_driver FOLDER` runs the plan in a folder on a Ray cluster.

It ends with whoever started it, and Ray then ends the workers. Each of them is a process of the training like one of
torchrun; Ray places them, starts them all again when one is lost, and gives them the ranks.
"""

import os
import sys
import traceback
from pathlib import Path
from typing import Any

from configs.schema import Distributed
from models.errors import ConfigError, ThinkrewardError
from models.lifeline import die_with_starting_thread, leave_with_parent
from models.training.worker.events import Reporter
from models.training.worker.plan import TrainingPlan
from models.training.worker.process import take_part

# The stage's process has them from its own parent (tasks/pipeline/launch.py); workers elsewhere have them from here.
PASSED_ON = (
    *("PYTHONPATH", "OMP_NUM_THREADS", "PYTHONWARNINGS", "TOKENIZERS_PARALLELISM", "TRANSFORMERS_VERBOSITY"),
    *("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS", "TRL_EXPERIMENTAL_SILENCE"),
)


def main() -> int:
    """Entry of the driver."""
    leave_with_parent()
    die_with_starting_thread()
    folder = Path(sys.argv[1])
    try:
        run(folder, TrainingPlan.read(folder))
    except Exception as error:  # noqa: BLE001  (reported to whoever started this process)
        known = _explained(error)
        Reporter(folder, 0).failed(known or error, traceback.format_exc(limit=-6))
        return 1
    return 0


def run(folder: Path, plan: TrainingPlan) -> None:
    """Train on the cluster. Raises `ConfigError` for one that is not there, of another version, or too small."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    distributed = plan.runtime.distributed
    _connect(ray, distributed.address)
    on_gpus = _resources(ray.cluster_resources(), distributed, plan.runtime.device)
    TorchTrainer(
        _worker,
        train_loop_config={"folder": str(folder)},
        scaling_config=ScalingConfig(
            num_workers=distributed.world,
            use_gpu=on_gpus,
            placement_strategy="SPREAD" if distributed.nodes > 1 else "PACK",
        ),
        run_config=RunConfig(
            name=folder.name,
            storage_path=str(folder / "ray"),
            failure_config=FailureConfig(max_failures=distributed.restarts),
        ),
    ).fit()


def _worker(config: dict[str, Any]) -> None:
    """One process of the training, in a worker of Ray."""
    from ray.train import get_context

    error = take_part(Path(config["folder"]), get_context().get_world_rank())
    if error is not None:
        raise error


def _connect(ray: Any, address: str) -> None:
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        ray.init(address=address, runtime_env={"env_vars": passed_on}, include_dashboard=False)
    except ConnectionError as error:
        raise ConfigError(
            f"no Ray cluster answers at runtime.distributed.address {address} ({str(error).splitlines()[0]}): start "
            "one with `ray start --head --port=6379`, or give the address of one that runs"
        ) from error
    except RuntimeError as error:
        if "ersion mismatch" not in str(error):
            raise
        raise ConfigError(
            f"the Ray cluster at {address} has another version than this environment: "
            f"{' '.join(str(error).split())}: install the same Ray and Python on all nodes (constraints.txt)"
        ) from error


def _resources(there: dict[str, float], distributed: Distributed, device: str) -> bool:
    """Whether workers get a GPU each. Raises `ConfigError` if the cluster has fewer devices than processes."""
    kind = "GPU" if device == "cuda" or (device == "auto" and there.get("GPU")) else "CPU"
    if (found := int(there.get(kind, 0))) < distributed.world:
        raise ConfigError(
            f"the Ray cluster has {found} {kind}s for {distributed.world} training processes "
            f"({distributed.nodes} nodes x {distributed.processes}): add nodes to it, or lower "
            "runtime.distributed.nodes or processes"
        )
    return kind == "GPU"


def _explained(error: BaseException) -> ThinkrewardError | None:
    """The error of ours that Ray wrapped, if there is one."""
    seen: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        one = todo.pop()
        if not isinstance(one, BaseException) or one in seen:
            continue
        seen.append(one)
        if isinstance(one, ThinkrewardError):
            return one
        todo += [one.__cause__, getattr(one, "cause", None), *getattr(one, "worker_failures", {}).values()]
    return None


if __name__ == "__main__":
    # Run as a program this file is `__main__`; Ray pickles its functions by the module's own name.
    from tasks.training.ray_driver import main as entry

    sys.exit(entry())
