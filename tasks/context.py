"""What every stage's body works with, in its child process: store, work in progress, tracking, progress."""

import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.schema import Settings
from models.dataset import PreferenceDataset
from tasks.artifacts import ArtifactRef, Store, Work
from tasks.graph import STAGES
from tasks.launching import Child, Done, Job
from tasks.stages import open_store
from tasks.tracking import TrackedRun, Tracker

RUN_FILE = "mlflow.json"


@dataclass
class Context:
    """A stage at work. `run` is its MLflow run, the same one after a crash."""

    job: Job
    store: Store
    work: Work
    run: TrackedRun
    child: Child
    scratch: Path
    started: float = field(default_factory=time.monotonic)

    @property
    def settings(self) -> Settings:
        """The whole profile."""
        return self.job.settings

    def input(self, name: str) -> Path:
        """A verified local folder with an input's files; never write there."""
        return self.store.fetch(self.job.inputs[name])

    def preferences(self) -> PreferenceDataset:
        """The preference dataset within the profile's media caps; only the stage's declared splits can be opened."""
        model = self.settings.model
        return PreferenceDataset(
            self.input("preferences"),
            max_pixels=model.max_pixels,
            max_frames=model.max_frames,
            opens=STAGES[self.job.stage].opens,
        )

    def new_folder(self, name: str) -> Path:
        """An empty folder that goes when the stage ends."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.scratch))

    def publish(self, kind: str, folder: Path) -> ArtifactRef:
        """Put a folder into the store, with where it came from beside its digest."""
        return self.store.publish(kind, folder, metadata={"stage": self.job.stage, "key": self.job.key})

    def progress(self, what: str) -> Callable[[int, int], None]:
        """A callback for one kind of progress."""
        return lambda done, total: self.child.progress(done, total, what)

    def done(self, outputs: dict[str, ArtifactRef], **facts: Any) -> Done:
        """Record the outputs in MLflow and hand them back with the figures of this process."""
        facts = {**facts, "peak_memory_mib": peak_memory_mib()}
        for name, ref in outputs.items():
            self.run.log_text(f"artifacts/{name}.txt", f"{ref.kind}/{ref.digest}\n{self.store.uri(ref)}\n")
        numbers = {name: float(value) for name, value in facts.items() if isinstance(value, int | float)}
        self.run.log_metrics(numbers, step=0)
        run_ids = {"mlflow": self.run.run_id, "mlflow_url": self.run.url} if self.run.run_id else {}
        return Done(outputs=outputs, run_ids=run_ids, facts=facts)


def peak_memory_mib() -> int:
    """The most memory this process has had so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@contextmanager
def stage_context(job: Job, child: Child, scratch: Path) -> Iterator[Context]:
    """Open the store and the stage's MLflow run (the one of an interrupted attempt, if there was one)."""
    settings = job.settings
    store = open_store(settings)
    work = store.work(job.stage, job.key)
    # The run asked once whether MLflow answers, before its first work. An outage since then stops no stage.
    tracker = Tracker.later(settings.tracking.uri, settings.tracking.experiment)
    earlier = work.get_json(RUN_FILE) or {}
    tags = {"thinkreward.stage": job.stage, "thinkreward.key": job.key, "thinkreward.profile": settings.profile}
    tags |= {f"thinkreward.input.{name}": f"{ref.kind}/{ref.digest}" for name, ref in job.inputs.items()}
    with tracker.run(
        f"{job.stage} {job.key[:8]}",
        tags=tags,
        params=flat(job.settings, job.stage),
        run_id=earlier.get("run_id"),
        spool=spool_file(job),
    ) as run:
        work.put_json(RUN_FILE, {"run_id": run.run_id})
        yield Context(job=job, store=store, work=work, run=run, child=child, scratch=scratch)
    if run.lost:
        child.say(f"{run.lost} tracking records have not reached MLflow; they wait in {spool_file(job)}")


def spool_file(job: Job) -> Path:
    """Where tracking records wait while MLflow is away; the same file for a resumed stage."""
    return Path(job.settings.storage.cache_dir) / "tracking" / f"{job.stage}-{job.key[:16]}.jsonl"


def flat(settings: Settings, stage: str) -> dict[str, str]:
    """The stage's settings as dotted MLflow parameters."""
    from tasks.graph import STAGES

    def walk(prefix: str, value: object) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                yield from walk(f"{prefix}.{name}" if prefix else name, inner)
        else:
            yield prefix, str(value)

    return dict(walk("", STAGES[stage].config(settings)))
