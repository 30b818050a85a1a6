"""The plan of a stage: its inputs, its key, whether its result is there, and why not if it is not.

A flow plans a stage once, right before it runs, and passes the plan down to where it is computed. Under the stage's
lease the store is looked at once more (`usable_entry`), since another run may have computed it meanwhile.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from configs.schema import Settings
from models.backbone import untrainable
from models.errors import ArtifactCorrupt, ArtifactMissing, ConfigError, UpstreamMissing
from tasks.pipeline.graph import PREVIOUS, RECIPE, STAGES, TRAINED, Input, Stage, named
from tasks.pipeline.pinning import resolve_pins
from tasks.store.artifacts import ArtifactRef, IndexEntry, Store

logger = logging.getLogger(__name__)
ROWS_TO_RETRY = "passing"  # the fact that counts rows left out for a transient cause, such as a timeout


@dataclass(frozen=True)
class StagePlan:
    """What would happen to a stage.

    `config` is what of the settings is in its key. `key` is None while an input is missing, and `inputs` are those that
    are there. `cached_entry` is the result that can be reused. `first` is the plan of the step that is part of it, if
    its result is an input.
    """

    stage: Stage
    config: Mapping[str, object]
    key: str | None
    inputs: Mapping[str, ArtifactRef]
    cached_entry: IndexEntry | None
    reason: str
    first: "StagePlan | None" = None

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name

    @property
    def cached(self) -> bool:
        """Whether its result can be reused."""
        return self.cached_entry is not None

    @property
    def next_step(self) -> "StagePlan":
        """What is computed next: the step that is part of it while that has no result, else the stage itself."""
        return self if self.first is None or self.first.cached else self.first

    @property
    def can_start(self) -> bool:
        """Whether it has no result, and all that it needs for one is there."""
        return not self.cached and self.next_step.key is not None


class Planner:
    """Plans stages under these settings, each once until `changed` reports that it was computed.

    `pins` name artifacts in place of the latest upstream ones, for the stage itself and not for those upstream. Methods
    raise `StoreError`, `TrackingError` (a pinned alias, a registration), and `ConfigError` for a pin that names
    nothing.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store, self._settings = store, settings
        self._plans: dict[tuple[str, frozenset[tuple[str, str]]], StagePlan] = {}

    def plan(self, name: str, pins: Mapping[str, str] | None = None) -> StagePlan:
        """The stage's plan, and those of all upstream."""
        address = (name, frozenset((pins or {}).items()))
        if address not in self._plans:
            self._plans[address] = self._made(STAGES[name], pins or {})
        return self._plans[address]

    def ready(self, name: str, pins: Mapping[str, str] | None = None) -> StagePlan:
        """The plan of a stage that is to be computed. Raises `UpstreamMissing`, which names what to run first."""
        plan = self.plan(name, pins)
        for input_name, source in plan.stage.inputs.items():
            if input_name not in plan.inputs and STAGES[source.stage].part_of != name:
                # The base model is published by the stages that need it, the first of which is distill.
                upstream = (one.name for one in self.upstream(name, pins) if not one.cached)
                raise _missing(self._settings, name, source, next(upstream, "distill"))
        return plan

    def upstream(self, name: str, pins: Mapping[str, str] | None = None) -> list[StagePlan]:
        """The plans of the recipe's stages that this one stands on, in order; none for inputs that are pinned."""
        needed: set[str] = set()
        todo = [source.stage for one, source in STAGES[name].inputs.items() if one not in (pins or {})]
        while todo:
            if (stage := todo.pop()) not in needed:
                needed.add(stage)
                todo += [source.stage for source in STAGES[stage].inputs.values()]
        return [self.plan(stage) for stage in RECIPE if stage in needed]

    def changed(self, name: str) -> None:
        """The stage was computed: what was planned of it and of those after it no longer holds."""
        order = list(STAGES)
        start = min(order.index(one.name) for one in STAGES.values() if name in (one.name, one.part_of))
        self._plans = {at: plan for at, plan in self._plans.items() if at[0] in order[:start]}

    def _made(self, stage: Stage, pins: Mapping[str, str]) -> StagePlan:
        store, settings = self.store, self._settings
        inputs: dict[str, ArtifactRef] = {}
        if stage.dynamic_inputs:
            inputs |= named(stage.dynamic_inputs)(store, settings)
        inputs |= resolve_pins(store, settings, stage, pins)
        first: StagePlan | None = None
        waits: dict[str, None] = {}
        for input_name, source in stage.inputs.items():
            if input_name in inputs:
                continue
            if is_step := STAGES[source.stage].part_of == stage.name:
                within = {one: text for one, text in pins.items() if one in STAGES[source.stage].inputs}
                upstream = first = self.plan(source.stage, within)
            else:
                upstream = self.plan(source.stage)
            if upstream.cached_entry is not None:
                inputs[input_name] = upstream.cached_entry.outputs[source.output]
            elif not is_step:
                waits[source.stage] = None
        config = stage.config(settings)
        if waits:
            return StagePlan(stage, config, None, inputs, None, f"waits for {', '.join(waits)}", first)
        if first is not None and not first.cached:
            return StagePlan(stage, config, None, inputs, None, first.reason, first)
        return _with_key(store, settings, StagePlan(stage, config, None, inputs, None, "", first))


def _with_key(store: Store, settings: Settings, plan: StagePlan) -> StagePlan:
    """The plan of a stage whose inputs are all there."""
    key = key_of(plan.stage, plan.config, plan.inputs)
    entry, stale = usable_entry(store, settings, plan.stage, key)
    reason = _unchanged(entry) if entry else stale or _why_not(store, plan)
    return replace(plan, key=key, cached_entry=entry, reason=reason)


def with_first(store: Store, settings: Settings, plan: StagePlan) -> StagePlan:
    """The plan now that the step that is part of the stage has run. Raises `ArtifactMissing` if its result is gone."""
    step = plan.first
    entry = verified_entry(store, step.name, step.key) if step is not None and step.key is not None else None
    if step is None or entry is None:
        raise ArtifactMissing(f"{plan.name} cannot run: its inputs are not all in {settings.storage.root}")
    from_step = {at: source for at, source in plan.stage.inputs.items() if source.stage == step.name}
    inputs = {**plan.inputs, **{at: entry.outputs[source.output] for at, source in from_step.items()}}
    return _with_key(store, settings, replace(plan, inputs=inputs, first=replace(step, cached_entry=entry)))


def stage_key(stage: Stage, settings: Settings, inputs: Mapping[str, ArtifactRef]) -> str:
    """sha256 over the stage, its code version, the settings that change its result, and its inputs' digests."""
    return key_of(stage, stage.config(settings), inputs)


def key_of(stage: Stage, config: Mapping[str, object], inputs: Mapping[str, ArtifactRef]) -> str:
    """The `stage_key` of settings of which `config` enters it."""
    content = {
        "stage": stage.name,
        "version": stage.version,
        "config": config,
        "inputs": {name: ref.digest for name, ref in inputs.items()},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def verified_entry(store: Store, stage: str, key: str) -> IndexEntry | None:
    """The index entry if all its artifacts are whole by manifest and size; damaged ones are rebuilt."""
    entry = store.lookup(stage, key)
    if entry is None:
        return None
    for name, ref in entry.outputs.items():
        try:
            store.verify(ref)
        except (ArtifactMissing, ArtifactCorrupt) as error:
            logger.warning("%s: its %s is damaged and will be rebuilt: %s", stage, name, error)
            return None
    return entry


def usable_entry(store: Store, settings: Settings, stage: Stage, key: str) -> tuple[IndexEntry | None, str]:
    """The entry that can be reused; or none, and what was undone outside the store since, if that is why."""
    entry = verified_entry(store, stage.name, key)
    if entry is None or not stage.is_stale:
        return entry, ""
    stale: str = named(stage.is_stale)(store, settings, entry)
    return (None, stale) if stale else (entry, "")


def refuse_missing(planner: Planner, settings: Settings, stages: Sequence[str], pins: Mapping[str, str]) -> None:
    """Raises `UpstreamMissing` for an input that none of these stages makes and that is known not to be there.

    For use before anything is started. What cannot be known yet, since it depends on what these stages make or on a
    base model that has not been published, passes.
    """
    if set(RECIPE) <= set(stages):
        return
    for name in stages:
        for input_name, source in STAGES[name].inputs.items():
            if input_name in pins:
                continue
            for one in [*planner.upstream(source.stage), planner.plan(source.stage)]:
                if one.can_start and one.name in RECIPE and one.name not in stages:
                    raise _missing(settings, name, source, one.name)


def check_trainable(settings: Settings, names: Iterable[str]) -> None:
    """Before any work of these stages. Raises `ConfigError` if one trains and the compute type is for inference."""
    trained = [name for name in names if name in TRAINED]
    if trained and (refused := untrainable(settings.model.dtype)):
        raise ConfigError(f"{', '.join(trained)} cannot run: {refused}")


def _missing(settings: Settings, name: str, source: Input, first: str) -> UpstreamMissing:
    return UpstreamMissing(
        f"{name} needs the {source.output} of {source.stage}, which is not in {settings.storage.root}: "
        f"run `thinkreward run` or, stage by stage, `thinkreward {first}` first; where flows are deployed, "
        f"`prefect deployment run {first}/default`, or this one with -p build_missing=true"
    )


def _unchanged(entry: IndexEntry) -> str:
    rows = entry.facts.get(ROWS_TO_RETRY, 0)
    return f"unchanged, but {rows} rows whose media timed out are tried again" if rows else "unchanged"


def _why_not(store: Store, plan: StagePlan) -> str:
    """What differs from the newest record of this stage."""
    last = store.newest(plan.name)
    if last is None:
        return "never computed in this store"
    if last.code_version != plan.stage.version:
        return f"code version {last.code_version} -> {plan.stage.version}"
    # The ledger before this version is another one whenever anything else is: it is no reason.
    old, new = ({n: ref for n, ref in found.items() if n != PREVIOUS} for found in (last.inputs, plan.inputs))
    changed = [n for n, ref in new.items() if n not in old or old[n].digest != ref.digest]
    gone = [name for name in old if name not in new]
    reasons = list(_differences("", last.config, json.loads(json.dumps(plan.config))))
    reasons += [f"new {name}" for name in changed] + [f"without {name}" for name in gone]
    return ", ".join(reasons[:4]) or "its artifact is gone or damaged"


def _differences(path: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for name in sorted(old.keys() | new.keys()):
            found += _differences(f"{path}.{name}" if path else name, old.get(name), new.get(name))
        return found
    return [] if old == new else [f"{path} {old!r} -> {new!r}"]
