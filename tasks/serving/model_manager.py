"""The model that the service asks, and the registry's alias that it follows without a pause.

A new champion is loaded beside the old one, which answers meanwhile; requests that have begun with the old one end
with it. So a change of models takes the memory of two for as long as the longest request.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from configs.schema import Settings
from models.errors import ArtifactUnknown, ConfigError, ThinkrewardError
from models.generation.batching import BatchingGenerator
from models.generation.open import open_generator
from models.generation.protocol import Generated, GeneratorIdentity, HostedGenerator, OnText, Progress, SamplingParams
from models.judging.request_rows import RequestMedia
from models.judging.reward_model import RewardModel
from models.media.decoding import Decoding
from models.verdict.grammar import Mode
from models.verdict.prompts import Message
from tasks.data.decoders import serving_decoders
from tasks.judging.files import model_folder
from tasks.pipeline.pinning import find_artifact, registered_model
from tasks.pipeline.run import open_store
from tasks.serving.metrics import Metrics
from tasks.stages.generators import local_options
from tasks.store.artifacts import ArtifactRef
from tasks.store.locations import model_digest

log = logging.getLogger(__name__)


class RemoteRewardModel(RewardModel):
    """A reward model for callers over a network: a text is never taken for a path of this machine."""

    def media(self) -> RequestMedia:
        """See `RewardModel.media`."""
        return RequestMedia(max_pixels=self.max_pixels, max_frames=self.max_frames, files=False, decoding=self.decoding)


class CancellableGenerator:
    """The shared generator on behalf of one request, which may be cancelled."""

    streams = True

    def __init__(self, shared: BatchingGenerator, cancelled: threading.Event) -> None:
        self._shared = shared
        self._cancelled = cancelled

    @property
    def identity(self) -> GeneratorIdentity:
        """That of the shared generator."""
        return self._shared.identity

    def generate(
        self,
        conversations: Sequence[list[Message]],
        params: SamplingParams,
        *,
        mode: Mode = "think",
        on_progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[list[Generated]]:
        """See `BatchingGenerator.generate`."""
        return self._shared.generate(
            conversations,
            params,
            mode=mode,
            on_progress=on_progress,
            on_text=on_text,
            cancelled=self._cancelled,
        )


class LoadedModel:
    """One loaded model, and how many requests are with it."""

    def __init__(
        self,
        digest: str,
        hosted: HostedGenerator,
        settings: Settings,
        decoding: Decoding,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self.digest = digest
        self.hosted = hosted
        self.generator = BatchingGenerator(
            hosted,
            batch=settings.serve.batch,
            waiting=settings.serve.waiting,
            pause_s=settings.serve.pause_ms / 1000,
            on_batch=on_batch,
        )
        self._settings = settings
        self._decoding = decoding
        self.users = 0

    def reward_model(self, cancelled: threading.Event) -> RewardModel:
        """The model as one request asks it."""
        return RemoteRewardModel(
            CancellableGenerator(self.generator, cancelled),
            max_pixels=self._settings.model.max_pixels,
            max_frames=self._settings.model.max_frames,
            max_tokens=self._settings.evaluate.max_tokens,
            decoding=self._decoding,
        )

    def tokens(self, text: str) -> int:
        """How many tokens a text has."""
        return self.hosted.count_tokens(text)


class ModelManager:
    """Holds the model of a name; `follow` looks every so often whether the name means another one by now."""

    def __init__(self, name: str, settings: Settings, metrics: Metrics) -> None:
        self.name = name
        self._settings = settings
        self._metrics = metrics
        self._lock = threading.Condition()
        self._ended = threading.Event()
        self.problem = ""  # why the model that the name means by now is not served
        self._decoders = serving_decoders(settings)
        self._folder = model_folder(settings, name)
        folder = self._folder
        self._current = self._load(self._digest(folder), folder) if folder else self._fetched(self._artifact())
        self._decoders.start()

    def _digest(self, folder: Path) -> str:
        return model_digest(folder, Path(self._settings.storage.cache_dir))

    @property
    def digest(self) -> str:
        """Of the model that new requests get."""
        return self._current.digest

    @property
    def waiting(self) -> int:
        """Texts that wait for their turn."""
        return self._current.generator.waiting

    @contextmanager
    def acquire(self) -> Iterator[LoadedModel]:
        """The model, for one request; it stays until the request has ended."""
        with self._lock:
            loaded = self._current
            loaded.users += 1
        try:
            yield loaded
        finally:
            with self._lock:
                loaded.users -= 1
                self._lock.notify_all()

    def follow(self) -> None:
        """Until `close`: load what the name has come to mean, and let the former model go. A folder means itself."""
        while self._folder is None and not self._ended.wait(self._settings.serve.follow_s):
            try:
                ref = self._artifact()
                if ref.digest != self._current.digest:
                    self._swap(self._fetched(ref))
                self.problem = ""
            except Exception as error:
                reason = str(error) if isinstance(error, ThinkrewardError) else type(error).__name__
                self.problem = f"the model that {self.name} means now is not loaded ({reason}); tried again"
                self._metrics.follow_failures.inc()
                log.warning("%s; %s goes on", self.problem, self._current.digest[:12], exc_info=error)
            self._metrics.following.set(float(not self.problem))

    def close(self) -> None:
        """Let the model end what it has."""
        self._ended.set()
        self._current.generator.close()
        self._decoders.close()

    def _swap(self, new: LoadedModel) -> None:
        with self._lock:
            old, self._current = self._current, new
        log.warning("%s is %s from now on, in place of %s", self.name, new.digest[:12], old.digest[:12])
        self._metrics.swaps.inc()
        with self._lock:
            self._lock.wait_for(lambda: old.users == 0)
        old.generator.close()

    def _load(self, digest: str, folder: Path) -> LoadedModel:
        hosted = open_generator(folder, local_options(self._settings, batch=self._settings.serve.batch))
        return LoadedModel(digest, hosted, self._settings, self._decoders, self._metrics.batch)

    def _artifact(self) -> ArtifactRef:
        """What the name means now in the store."""
        store = open_store(self._settings)
        try:
            return find_artifact(store, self._settings, self.name)
        except ArtifactUnknown as error:
            if registered_model(self._settings, self.name):
                raise
            raise ConfigError(f"there is no model {self.name!r} to serve: {error}") from error

    def _fetched(self, ref: ArtifactRef) -> LoadedModel:
        return self._load(ref.digest, open_store(self._settings).fetch(ref))
