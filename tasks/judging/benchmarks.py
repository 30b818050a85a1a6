"""Judges on public benchmarks: each judged once by a protocol, whatever else is compared with it.

A judge's rows on a benchmark are an artifact of their own, keyed by (judge, benchmark, protocol), so that a further
judge or benchmark costs its own calls alone. What an interrupted attempt has judged is read, not asked again; of two
runs that want the same rows one asks and the other waits.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from configs.schema import Settings
from models.backbone import FRAMES, takes_video
from models.errors import ConfigError
from models.evaluation.benchmarks.comparison import vote
from models.evaluation.benchmarks.protocol import UNDECODABLE, presentation_orders
from models.evaluation.judged_rows import JudgedRow, read_rows, write_rows
from models.generation.endpoint import EndpointGenerator
from models.generation.endpoint_address import Endpoint
from models.generation.open import EndpointOptions, find_endpoint
from models.generation.protocol import GeneratorIdentity, Progress, SamplingParams
from models.judging.judge import FindFrames, Judge, Seconds
from models.media.frame_cache import BUDGET, FrameCache
from models.media.frames import decode, inspect, shrink
from models.pairs.media_files import MediaFiles
from models.pairs.preference import swapped_preference
from models.sources.imported import InvalidImport, read_imported, read_invalid
from models.sources.importing import check_share, commonest
from models.verdict.grammar import Mode
from models.verdict.prompts import RELEASES, Wording
from models.verdict.wordings.unified_reward_think import digest
from tasks.data.importing import Place, import_set, lenient
from tasks.judging.files import find_model
from tasks.judging.judges import ENDPOINT, generator_of, identity_of
from tasks.pipeline.once import computed_once
from tasks.stages.evaluate import DIRECT_TOKENS
from tasks.store.artifact_types import ArtifactRef, IndexEntry
from tasks.store.artifacts import Store
from tasks.store.locations import model_digest

BENCHMARKING = "benchmarking"
VERSION = "4"  # raise it when the same judge's answers would be read or asked otherwise
FIELDS = "fields.json"  # which an endpoint was sent, beside what it judged
CHUNK_PAIRS = 64


@dataclass(frozen=True)
class Protocol:
    """How a judge is asked: what changes its answers, but for the judge and the pairs."""

    mode: Mode
    both_orders: bool
    max_tokens: int
    max_pixels: int
    max_frames: int
    seed: int
    votes: int = 1  # answers to each presentation, of which the majority counts
    temperature: float = 0.0

    @classmethod
    def of(
        cls, settings: Settings, *, direct: bool, both_orders: bool, votes: int, temperature: float | None = None
    ) -> "Protocol":
        """The protocol with the settings' caps and seed. Greedy, unless there are votes to sample.

        Raises `ConfigError` for votes that cannot differ, and for none.
        """
        temperature = temperature if temperature is not None else float(votes > 1)
        if votes < 1 or temperature < 0:
            raise ConfigError(f"votes is {votes}, temperature {temperature:g}: give at least 1, and 0 or more")
        if votes > 1 and temperature == 0:
            raise ConfigError(f"{votes} votes at temperature 0 are {votes} times the same answer: give --temperature 1")
        return cls(
            mode="direct" if direct else "think",
            both_orders=both_orders,
            max_tokens=DIRECT_TOKENS if direct else settings.evaluate.max_tokens,
            max_pixels=settings.model.max_pixels,
            max_frames=settings.model.max_frames,
            seed=settings.seed,
            votes=votes,
            temperature=temperature,
        )


@dataclass(frozen=True)
class NamedJudge:
    """A judge as a person names it: a model as `thinkreward judge` takes it, or `endpoint:MODEL`.

    `@WORDING`, a named prompt set, may follow. An endpoint is the one of OPENAI_BASE_URL and OPENAI_API_KEY.
    """

    name: str
    settings: Settings

    @property
    def wording(self) -> Wording:
        """The named prompt set."""
        return next((one for one in RELEASES if self.name.endswith(f"@{one}")), "thinkreward")

    @property
    def _model(self) -> str:
        return self.name.removesuffix(f"@{self.wording}")

    @cached_property
    def _folder(self) -> Path:
        return find_model(self.settings, self._model)

    @cached_property
    def _endpoint(self) -> Endpoint:
        return find_endpoint(self._model.removeprefix(ENDPOINT), EndpointOptions())

    def digest(self) -> str:
        """sha256 of what answers: an artifact's or a model folder's bytes, or an endpoint's address and model name."""
        if self._model.startswith(ENDPOINT):
            who = f"{self._endpoint.base_url} {self._endpoint.model}"
            return hashlib.sha256(who.encode()).hexdigest()
        return model_digest(self._folder, Path(self.settings.storage.cache_dir))

    @property
    def identity(self) -> GeneratorIdentity:
        """What writes its answers."""
        return identity_of(self._model, self.settings)

    @cached_property
    def shown_videos(self) -> str:
        """How it is shown videos: as `video`, or as `frames`, which is what endpoints of all kinds take."""
        return "video" if not self._model.startswith(ENDPOINT) and takes_video(self._folder) else FRAMES

    def load(self, frames: FindFrames, seconds: Seconds) -> Judge:
        """The judge, ready to be asked."""
        generator = generator_of(self._model, self.settings)
        return Judge(generator, frames, self.wording, None if self.shown_videos == FRAMES else seconds)


class BenchmarkSet:
    """A benchmark's imported pairs, in their published order, and the rows that lack a medium."""

    def __init__(self, ref: ArtifactRef, folder: Path, protocol: Protocol, kept_bytes: int = BUDGET) -> None:
        self.ref = ref
        self.digest = ref.digest
        imported = list(read_imported(folder))
        self.pairs = [one.pair for one in imported]
        self.aspects = {one.pair.id: dict(one.aspects) for one in imported if one.aspects}
        self.undecodable = [one for one in read_invalid(folder) if one.preferred is not None]
        self._media, self._protocol = MediaFiles(folder), protocol
        self._decoded = FrameCache(self._decode, kept_bytes)  # a pair's two orders follow one another

    def frames(self, uri: str) -> list[Image.Image]:
        """The frames of a medium within the protocol's caps."""
        return self._decoded(uri)

    def _decode(self, uri: str) -> list[Image.Image]:
        decoded = decode(self._media.blob(uri), uri, max_frames=self._protocol.max_frames)
        return [shrink(frame, self._protocol.max_pixels) for frame in decoded]

    def seconds(self, uri: str) -> float:
        """How long a medium lasts, 0 where that is unknown."""
        return inspect(self._media.blob(uri), uri).seconds


def open_benchmark(store: Store, settings: Settings, place: Place, protocol: Protocol) -> BenchmarkSet:
    """The benchmark at a place, imported if it is not.

    Up to `prepare.max_bad_share` of its rows may be invalid: a pair without its media counts as wrong. Raises
    `DataError` with the commonest reasons above that share, since the figure would not measure the judge.
    """
    ref = import_set(store, lenient(settings), place)
    folder = store.fetch(ref)
    benchmark, invalid = BenchmarkSet(ref, folder, protocol, settings.runtime.decoded_bytes), read_invalid(folder)
    rows = len(benchmark.pairs) + len(invalid)
    check_share(
        rows, len(invalid), settings.prepare.max_bad_share, place.path, commonest(one.reason for one in invalid)
    )
    return benchmark


@dataclass(frozen=True)
class Judged:
    """A judge's rows on a benchmark; of an endpoint, which fields were sent (`Learned.as_dict`)."""

    rows: list[JudgedRow]
    fields: dict[str, Any] | None = None


def judged(
    store: Store, judge: NamedJudge, benchmark: BenchmarkSet, protocol: Protocol, on_progress: Progress
) -> Judged:
    """The judge's rows on the benchmark, from the store or asked now."""
    config: dict[str, Any] = {
        "judge": judge.digest(),
        "generator": vars(judge.identity),
        "wording": [judge.wording, digest(RELEASES[judge.wording]) if judge.wording in RELEASES else ""],
        "videos": judge.shown_videos,
        "pairs": benchmark.digest,
        "protocol": vars(protocol),
    }
    key = hashlib.sha256(json.dumps([VERSION, config], sort_keys=True).encode()).hexdigest()

    def ask() -> IndexEntry:
        answers = _asked(store, key, judge, benchmark, protocol, on_progress)
        with TemporaryDirectory(prefix="thinkreward-judgments-") as folder:
            write_rows(Path(folder) / "judgments.parquet", answers.rows)
            ref = store.publish("judgments", Path(folder), metadata={"stage": BENCHMARKING, "key": key})
        return IndexEntry(
            stage=BENCHMARKING,
            key=key,
            outputs={"judgments": ref},
            inputs={},
            config={**config, "name": judge.name},
            code_version=VERSION,
            facts={"fields": answers.fields} if answers.fields else {},
        )

    entry = computed_once(store, judge.settings, BENCHMARKING, key, ask, refs=[benchmark.ref])
    rows = read_rows(store.fetch(entry.outputs["judgments"]) / "judgments.parquet")
    return Judged(rows, entry.facts.get("fields"))


def _asked(
    store: Store, key: str, judge: NamedJudge, benchmark: BenchmarkSet, protocol: Protocol, on_progress: Progress
) -> Judged:
    work = store.work(BENCHMARKING, key)
    shown = presentation_orders(benchmark.pairs, protocol.seed)
    if protocol.both_orders:
        shown = [(pair, swapped) for one in benchmark.pairs for pair, swapped in ((one, False), (one.swapped(), True))]
    rows: list[JudgedRow] = []
    loaded: Judge | None = None
    params = SamplingParams(
        n=protocol.votes, temperature=protocol.temperature, max_tokens=protocol.max_tokens, seed=protocol.seed
    )
    for start in range(0, len(shown), CHUNK_PAIRS):
        chunk = shown[start : start + CHUNK_PAIRS]
        name = f"judged/{start:06d}.json"
        texts = work.get_json(name)
        if texts is None:
            loaded = loaded or judge.load(benchmark.frames, benchmark.seconds)
            judgments = loaded.judge(
                [pair for pair, _ in chunk],
                protocol.mode,
                params,
                on_progress=lambda done, _total, before=start: on_progress(before + done, len(shown)),  # type: ignore[misc]
            )
            # The votes on one presentation side by side.
            texts = [[one.text, one.truncated, one.refused] for one in judgments]
            work.put_json(name, texts)
            if isinstance(loaded.generator, EndpointGenerator):
                work.put_json(FIELDS, loaded.generator.learned.as_dict())
        rows += [
            JudgedRow.read(pair, protocol.mode, swapped, text, truncated, *refused)
            for at, (pair, swapped) in enumerate(chunk)
            for text, truncated, *refused in texts[at * protocol.votes : (at + 1) * protocol.votes]
        ]
        on_progress(start + len(chunk), len(shown))
    orders = (False, True) if protocol.both_orders else (False,)
    unseen = [_unseen(one, protocol.mode, swapped) for one in benchmark.undecodable for swapped in orders]
    return Judged(vote(rows, protocol.votes) + unseen, work.get_json(FIELDS))


def _unseen(invalid: InvalidImport, mode: Mode, swapped: bool) -> JudgedRow:
    """The row of a pair whose medium cannot be decoded: no answer, and so a wrong one."""
    if invalid.preferred is None:
        raise ConfigError(f"{invalid.where} has no label")
    return JudgedRow(
        pair_id=invalid.id,
        task=invalid.task,
        group=invalid.group,
        mode=mode,
        swapped=swapped,
        label=swapped_preference(invalid.preferred) if swapped else invalid.preferred,
        text="",
        preferred=None,
        fault=UNDECODABLE,
        position=-1,
        sums_agree=False,
        answer_agrees=False,
        truncated=False,
    )
