"""What every stage's body works with, in its child process: store, work in progress, tracking, progress."""

import os
import resource
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.schema import Settings
from models.pairs.dataset import PreferenceDataset
from tasks.pipeline.child import Child, Done, Job
from tasks.pipeline.graph import STAGES
from tasks.pipeline.run import MEMORY, open_store
from tasks.store.artifacts import ArtifactRef, Store, Work
from tasks.tracking.outbox import About, Outbox
from tasks.tracking.runs import Tracker
from tasks.tracking.tracked_run import TrackedRun

RUN_FILE = "mlflow.json"
LOG_BYTES = 4 << 20  # of a stage's log, so many go to MLflow


@dataclass
class Context:
    """A stage running. `run` is its MLflow run, the same one after a crash."""

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
            kept_bytes=self.settings.runtime.decoded_bytes,
            opens=STAGES[self.job.stage].opens,
        )

    def sealed_preferences(self) -> dict[str, Any]:
        """Where the dataset is and which splits may be opened, as `media` and `opens`, for a process that opens it."""
        return {"media": self.input("preferences"), "opens": STAGES[self.job.stage].opens}

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
        facts = {**facts, MEMORY: max(peak_memory_mib(), facts.get(MEMORY, 0))}  # of a trainer's processes too
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
    earlier = {} if (known := work.get_json(RUN_FILE)) is None or "token" not in known else known
    # Kept before MLflow is asked, so that whatever attempt comes next finds the run that this one made.
    token = earlier.get("token") or uuid.uuid4().hex
    if not earlier:
        work.put_json(RUN_FILE, {"run_id": "", "token": token})
    outbox = Outbox(store, token)
    tags = {"thinkreward.stage": job.stage, "thinkreward.key": job.key, "thinkreward.profile": settings.profile}
    tags |= {f"thinkreward.input.{name}": f"{ref.kind}/{ref.digest}" for name, ref in job.inputs.items()}
    with tracker.run(
        f"{job.stage} {job.key[:8]}",
        tags=tags,
        params=flat(job.settings, job.stage),
        run_id=earlier.get("run_id") or None,
        spool=Path(settings.storage.cache_dir) / "tracking" / f"{job.stage}-{token}.jsonl",
        outbox=(outbox, About(stage=job.stage, key=job.key, experiment=settings.tracking.experiment)),
        attempted=bool(earlier),
    ) as run:
        if run.run_id:
            work.put_json(RUN_FILE, {"run_id": run.run_id, "token": token})
        try:
            yield Context(job=job, store=store, work=work, run=run, child=child, scratch=scratch)
        finally:
            _log_output(run, child, scratch)
    if run.lost:
        child.log(
            f"{run.lost} tracking records have not reached MLflow; what it did not refuse waits in {outbox.uri}, and "
            "the next run, or `thinkreward sync`, delivers it"
        )


def _log_output(run: TrackedRun, child: Child, scratch: Path) -> None:
    """What this stage's processes printed, the end of it where it is long, as a file of the MLflow run."""
    if child.log_file is None:
        return
    try:
        with child.log_file.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
            (scratch / "output.log").write_bytes(file.read())
    except OSError as error:
        child.log(f"the log {child.log_file} cannot be read: {error}")
    else:
        run.log_file(scratch / "output.log", "log/output.log")


def flat(settings: Settings, stage: str) -> dict[str, str]:
    """The stage's settings as dotted MLflow parameters."""
    from tasks.pipeline.graph import STAGES

    def walk(prefix: str, value: object) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                yield from walk(f"{prefix}.{name}" if prefix else name, inner)
        else:
            yield prefix, str(value)

    return dict(walk("", STAGES[stage].config(settings)))
