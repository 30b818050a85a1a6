"""What a stack's runs keep in the store, seen over time: shards, answers, checkpoints and results."""

import threading
import time
from types import TracebackType
from typing import Self

from models.errors import StoreError
from tasks.pipeline.graph import STAGES
from tests.proofs.local_stack import LocalStack

EVERY_S = 2.0
MADE = ("prepare", "distill", "cold-start", "rejection-sampling", "grpo")  # whose digests are compared
STEPS = {stage: [one.name for one in STAGES.values() if stage in (one.name, one.part_of)] for stage in MADE}
RESULTS = tuple(f"index/{step}/" for steps in STEPS.values() for step in steps)


def counts(path: str) -> bool:
    """Whether the file is something that must not be made twice."""
    kept = "/blobs/shards/" in path or "/blobs/answers/" in path or path.endswith("COMPLETE.json")
    return kept or path.startswith(RESULTS)


class Written:
    """Path and time of each file that was kept while inside the `with`; the store may be away in between."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._now: set[str] = set()
        self._seen: dict[str, set[float]] = {}
        self._first: dict[tuple[str, float], float] = {}  # by our own clock
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._lock = threading.Lock()
        self._look()
        self._first.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Look once more, and no more after it."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            self._look()

    def latest(self) -> dict[str, float]:
        """Each file and when it was last written, as last seen."""
        with self._lock:
            return {path: max(times) for path, times in self._seen.items()}

    def twice(self, before: dict[str, float]) -> int:
        """How many of these files have been written again since."""
        return sum(max(self._seen[path]) > when for path, when in before.items())

    def first_after(self, when: float) -> float | None:
        """When the first file was seen that was kept after `when`, both by the monotonic clock."""
        with self._lock:
            return min((at for at in self._first.values() if at > when), default=None)

    def progress(self, stage: str, key: str) -> str:
        """How far a stage was: its shards, answers and checkpoints in the store."""
        with self._lock:
            paths = [path for path in self._now if path.startswith((f"work/{stage}/{key}", "work/teacher/"))]
        shards = sum("/blobs/shards/" in path for path in paths)
        answers = sum("/blobs/answers/" in path for path in paths) if stage == "distill" else 0
        steps = [path.split("/trees/")[1].split("/")[0] for path in paths if path.endswith("COMPLETE.json")]
        said = [f"{shards} shards"] * bool(shards) + [f"{answers} answers"] * bool(answers) + sorted(steps)
        return ", ".join(said) or "nothing kept yet"

    def _look(self) -> None:
        objects = self._stack.store().objects
        found = [(one.path, one.modified) for part in ("work", "index") for one in objects.walk(part)]
        at = time.monotonic()
        with self._lock:
            self._now = {path for path, _ in found}
            for path, when in found:
                if counts(path) and when not in self._seen.setdefault(path, set()):
                    self._seen[path].add(when)
                    self._first[path, when] = at

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_S):
            try:
                self._look()
            except StoreError:  # it is away, having been killed
                continue
