"""Stage key -> run or reuse: the index is asked first, an artifact is verified before it is handed on.

A stage that has to be computed is leased, so that of two runs with one key one works and the other waits
and then finds the result; the work itself happens in a child process (`tasks.pipeline.launch`).
"""

import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from configs.schema import Settings
from models.backbone import untrainable
from models.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    ConfigError,
    StageFailed,
    StoreError,
    ThinkrewardError,
    UpstreamMissing,
)
from tasks.pipeline.graph import PREVIOUS, RECIPE, STAGES, TRAINED, Stage
from tasks.pipeline.launch import Job, log_file, named, run_child
from tasks.pipeline.pinning import resolve_pins
from tasks.store.artifacts import ArtifactRef, IndexEntry, Store, Work
from tasks.tracking.delivery import deliver_best_effort

log = logging.getLogger(__name__)
PROGRESS = "progress.json"
KEPT_LOG = "output.log"
REFRESH_ID = "refresh"
VOLATILE_METRICS = "passing"  # the fact that counts rows left out for a cause that passes, such as a timeout
State = Literal["computed", "cached", "resumed"]


class StageResult(BaseModel):
    """What a stage hands on: references and figures, never bytes. `seconds` are of this call."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: State
    key: str
    seconds: float
    outputs: dict[str, ArtifactRef]
    mlflow_run: str | None = None
    mlflow_url: str | None = None
    facts: dict[str, Any] = {}


@dataclass(frozen=True)
class Planned:
    """What would happen to a stage: `key` is None while an input is not there yet."""

    name: str
    key: str | None
    cached: bool
    reason: str
    entry: IndexEntry | None = None


def check_trainable(settings: Settings, names: Iterable[str]) -> None:
    """Before any work of these stages. Raises `ConfigError` if one trains and the compute type is for inference."""
    trained = [name for name in names if name in TRAINED]
    if trained and (refused := untrainable(settings.model.dtype)):
        raise ConfigError(f"{', '.join(trained)} cannot run: {refused}")


def open_store(settings: Settings) -> Store:
    """The artifact store of these settings."""
    storage = settings.storage
    return Store(
        storage.root,
        cache_dir=Path(storage.cache_dir),
        cache_max_bytes=int(storage.cache_max_gib * 2**30),
        checksums=storage.checksums,
    )


def stage_key(stage: Stage, settings: Settings, inputs: Mapping[str, ArtifactRef]) -> str:
    """sha256 over the stage, its code version, the settings that change its result, and its inputs' digests."""
    said = {
        "stage": stage.name,
        "version": stage.version,
        "config": stage.config(settings),
        "inputs": {name: ref.digest for name, ref in inputs.items()},
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def verified_entry(store: Store, stage: str, key: str) -> IndexEntry | None:
    """The index entry if all its artifacts are whole by manifest and size; damaged ones are rebuilt."""
    entry = store.lookup(stage, key)
    if entry is None:
        return None
    for name, ref in entry.outputs.items():
        try:
            store.verify(ref)
        except (ArtifactMissing, ArtifactCorrupt) as error:
            log.warning("%s: its %s is damaged and will be rebuilt: %s", stage, name, error)
            return None
    return entry


def plan(store: Store, settings: Settings, name: str, known: dict[str, Planned]) -> Planned:
    """Whether a stage is cached, and if not why; fills `known` with it and everything upstream."""
    if name in known:
        return known[name]
    stage = STAGES[name]
    inputs = _gathered(store, settings, stage)
    missing = []
    for input_name, need in stage.inputs.items():
        upstream = plan(store, settings, need.stage, known)
        if upstream.entry is None:
            missing.append(need.stage)
        else:
            inputs[input_name] = upstream.entry.outputs[need.output]
    if missing:
        result = Planned(name, None, False, f"waits for {', '.join(dict.fromkeys(missing))}")
    else:
        key = stage_key(stage, settings, inputs)
        entry, is_stale = _standing(store, settings, stage, key)
        reason = _unchanged(entry) if entry else is_stale or _why_not(store, stage, settings, inputs)
        result = Planned(name, key, entry is not None, reason, entry)
    known[name] = result
    return result


def _unchanged(entry: IndexEntry) -> str:
    passing = entry.facts.get(VOLATILE_METRICS, 0)
    return f"unchanged, but {passing} rows whose media timed out are tried again" if passing else "unchanged"


def _standing(store: Store, settings: Settings, stage: Stage, key: str) -> tuple[IndexEntry | None, str]:
    """The entry that can be handed on; or none, and what was undone outside the store since, if that is why."""
    entry = verified_entry(store, stage.name, key)
    if entry is None or not stage.is_stale:
        return entry, ""
    is_stale: str = named(stage.is_stale)(store, settings, entry)
    return (None, is_stale) if is_stale else (entry, "")


def _why_not(store: Store, stage: Stage, settings: Settings, inputs: Mapping[str, ArtifactRef]) -> str:
    """What differs from the newest record of this stage."""
    entries = store.entries(stage.name)
    if not entries:
        return "never computed in this store"
    last = entries[0]
    if last.code_version != stage.version:
        return f"code version {last.code_version} -> {stage.version}"
    # The ledger before this version is another one whenever anything else is: it is no reason.
    old, new = ({n: ref for n, ref in found.items() if n != PREVIOUS} for found in (last.inputs, inputs))
    changed = [n for n, ref in new.items() if n not in old or old[n].digest != ref.digest]
    gone = [name for name in old if name not in new]
    differences = list(_differences("", last.config, json.loads(json.dumps(stage.config(settings)))))
    said = differences + [f"new {name}" for name in changed] + [f"without {name}" for name in gone]
    return ", ".join(said[:4]) or "its artifact is gone or damaged"


def _differences(path: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for name in sorted(old.keys() | new.keys()):
            found += _differences(f"{path}.{name}" if path else name, old.get(name), new.get(name))
        return found
    return [] if old == new else [f"{path} {old!r} -> {new!r}"]


def _gathered(store: Store, settings: Settings, stage: Stage) -> dict[str, ArtifactRef]:
    """Inputs that no other stage makes."""
    found: dict[str, ArtifactRef] = named(stage.dynamic_inputs)(store, settings) if stage.dynamic_inputs else {}
    return dict(found)


def resolve_inputs(
    store: Store, settings: Settings, name: str, pins: Mapping[str, str] | None = None
) -> dict[str, ArtifactRef]:
    """The artifacts that `pins` name, else the latest upstream ones for these settings.

    Raises `UpstreamMissing` naming what to run first, and `ConfigError` for a pin that leads nowhere.
    """
    stage = STAGES[name]
    pinned = resolve_pins(store, settings, stage, pins or {})
    known: dict[str, Planned] = {}
    inputs = _gathered(store, settings, stage)
    for input_name, need in stage.inputs.items():
        if input_name in pinned:
            inputs[input_name] = pinned[input_name]
            continue
        upstream = plan(store, settings, need.stage, known)
        if upstream.entry is None:
            # The base model is published by the stages that need it, the first of which is distill.
            first = next((p.name for p in known.values() if not p.cached and p.name in RECIPE), "distill")
            raise _missing(settings, name, input_name, first)
        inputs[input_name] = upstream.entry.outputs[need.output]
    return inputs


def _missing(settings: Settings, name: str, input_name: str, first: str) -> UpstreamMissing:
    need = STAGES[name].inputs[input_name]
    return UpstreamMissing(
        f"{name} needs the {need.output} of {need.stage}, which is not in {settings.storage.root}: "
        f"run `thinkreward run` or, stage by stage, `thinkreward {first}` first; where flows are deployed, "
        f"`prefect deployment run {first}/default`, or this one with -p build_missing=true"
    )


def refuse_missing(store: Store, settings: Settings, stages: Sequence[str], pins: Mapping[str, str]) -> None:
    """Raises `UpstreamMissing` for an input that none of these stages makes and that is known not to be there.

    To be asked before anything is started. What cannot be known yet, since it depends on what these stages make or on a
    base model that has not been published, passes.
    """
    for name in stages:
        for input_name, need in STAGES[name].inputs.items():
            if input_name in pins:
                continue
            known: dict[str, Planned] = {}
            plan(store, settings, need.stage, known)
            for one in known.values():
                if one.key is not None and not one.cached and one.name in RECIPE and one.name not in stages:
                    raise _missing(settings, name, input_name, one.name)


def missing_upstream(store: Store, settings: Settings, name: str, pins: Mapping[str, str]) -> list[str]:
    """The stages of the recipe that have to run before this one, in order; none for inputs that are pinned."""
    known: dict[str, Planned] = {}
    for input_name, need in STAGES[name].inputs.items():
        if input_name not in pins:
            plan(store, settings, need.stage, known)
    return [stage for stage in RECIPE if stage in known and not known[stage].cached]


def is_cached(store: Store, settings: Settings, name: str) -> bool:
    """Whether the stage would be handed on as it is."""
    return plan(store, settings, name, {}).cached


@dataclass
class Watch:
    """How a caller follows a stage: `keyed(key)`, `progress(done, total, what)`, `say(line)`, `ended(state)` once."""

    keyed: Callable[[str], None] = lambda key: None

    progress: Callable[[int, int, str], None] = lambda done, total, what: None
    say: Callable[[str], None] = log.info
    ended: Callable[[str], None] = lambda state: None


def run_stage(
    name: str,
    settings: Settings,
    *,
    refresh: str = "",
    watch: Watch | None = None,
    pins: Mapping[str, str] | None = None,
) -> StageResult:
    """Reuse the stage's artifacts or compute them. Raises what the stage raised, by its own name.

    `refresh` names a wish to have it computed again: a further try of the same wish resumes, and takes its result.
    """
    watch = watch or Watch()
    started = time.monotonic()
    store = open_store(settings)
    stage = STAGES[name]
    inputs = resolve_inputs(store, settings, name, pins)
    key = stage_key(stage, settings, inputs)
    watch.keyed(key)
    deliver_best_effort(store, settings, watch.say)
    before = _standing(store, settings, stage, key)[0]
    if entry := _matches_refresh(before, refresh, before):
        return _result(entry, "cached", started)
    store.check_writable()
    _reach_tracking(settings)
    owner = f"{socket.gethostname()}/{os.getpid()}"
    with store.lease(
        name, key, owner=owner, ttl_s=settings.storage.lease_ttl_s, on_wait=watch.say, refs=list(inputs.values())
    ) as lease:
        if entry := _matches_refresh(_standing(store, settings, stage, key)[0], refresh, before):
            return _result(entry, "cached", started)  # another run computed it while this one waited
        work = store.work(name, key)
        progress = work.get_json(PROGRESS) or {}
        if refresh and progress.get(REFRESH_ID) != refresh:
            # Forgotten first: an interrupted refresh goes on by itself, and an old result is not handed on.
            work.clear()
            store.forget(name, key)
            progress = {}
        wish = refresh or progress.get(REFRESH_ID, "")
        resumed = bool(progress)
        work.put_json(PROGRESS, {"started": True, REFRESH_ID: wish})
        job = Job(stage=name, key=key, body=stage.body, settings=settings, inputs=inputs)
        try:
            done = run_child(
                job, timeout_s=settings.runtime.stage_timeout_s, watch_progress=watch.progress, say=watch.say
            )
        except ThinkrewardError:
            _keep_log(work, job, watch)
            raise
        lease.check()
        entry = IndexEntry(
            stage=name,
            key=key,
            outputs=done.outputs,
            inputs=inputs,
            config=stage.config(settings),
            code_version=stage.version,
            run_ids={**done.run_ids, **_flow_run()},
            facts={**done.facts, "seconds": round(time.monotonic() - started, 2), REFRESH_ID: wish},
        )
        store.record(entry)
        work.clear()
    return _result(entry, "resumed" if resumed else "computed", started)


def _keep_log(work: Work, job: Job, watch: "Watch") -> None:
    """What a stage that failed has printed, beside its work: this machine may be gone when somebody asks."""
    with suppress(StoreError, OSError):
        work.put_file(KEPT_LOG, log_file(job))
        watch.say(f"what it printed is kept in {work.path}/blobs/{KEPT_LOG} of {job.settings.storage.root}")


def _flow_run() -> dict[str, str]:
    """The Prefect flow run that this is part of, if it is."""
    from prefect import runtime

    return {"prefect": str(runtime.flow_run.id)} if runtime.flow_run.id else {}


def _matches_refresh(entry: IndexEntry | None, refresh: str, before: IndexEntry | None) -> IndexEntry | None:
    """The entry, unless it is to be computed again and is not what came of that.

    So is one that lacks rows for a cause that passes, if it was there `before`: what it is made into again has the same
    bytes, and changes nothing downstream, unless they are usable by now.
    """
    if entry is None or (refresh and entry.facts.get(REFRESH_ID) != refresh):
        return None
    return None if entry.facts.get(VOLATILE_METRICS) and entry == before else entry


_reached: set[tuple[str, str]] = set()


def _reach_tracking(settings: Settings) -> None:
    """Before this process's first work. Raises `TrackingError`; an outage later on stops no work."""
    from tasks.tracking.runs import Tracker  # seconds to import, and nothing is tracked where nothing runs

    where = (settings.tracking.uri, settings.tracking.experiment)
    if where not in _reached:
        Tracker.connect(*where)
        _reached.add(where)


def read_output(store: Store, outputs: Mapping[str, ArtifactRef], name: str) -> dict[str, Any]:
    """What the output `name` says of itself, in its file `<name>.json`."""
    said: dict[str, Any] = json.loads((store.fetch(outputs[name]) / f"{name}.json").read_text())
    return said


def load_result(
    store: Store, settings: Settings, name: str, inputs: Mapping[str, ArtifactRef], started: float
) -> StageResult:
    """What another run has just computed from these inputs, with its seconds; `StageFailed` if it is not there."""
    stage = STAGES[name]
    entry, is_stale = _standing(store, settings, stage, stage_key(stage, settings, inputs))
    if entry is None:
        raise StageFailed(
            f"{name} was computed elsewhere, but its result is not in {settings.storage.root}"
            f"{f' ({is_stale})' if is_stale else ''}: do both run with the same storage.root and the same release?"
        )
    return _result(entry, "computed", started).model_copy(update={"seconds": entry.facts.get("seconds", 0.0)})


def _result(entry: IndexEntry, state: State, started: float) -> StageResult:
    return StageResult(
        name=entry.stage,
        state=state,
        key=entry.key,
        seconds=round(time.monotonic() - started, 2),
        outputs=entry.outputs,
        mlflow_run=entry.run_ids.get("mlflow"),
        mlflow_url=entry.run_ids.get("mlflow_url"),
        facts=entry.facts,
    )
