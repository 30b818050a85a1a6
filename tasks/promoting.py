"""The body of `promote`: register the model, and move the alias `champion` only if the gate holds."""

import json
from pathlib import Path
from typing import Any

from configs.schema import Settings
from models.gate import GateDecision, GateFacts, decide
from models.report.model_card import CardFacts, model_card
from models.scores import JudgedRow, paired_difference
from tasks.artifacts import IndexEntry, Store
from tasks.context import Context, stage_context
from tasks.launching import Child, Done, Job
from tasks.pinning import MODEL_TAG
from tasks.registry import DIGEST_TAG, RegisteredVersion, get_alias, register, save_registry_model, set_alias
from tasks.scoring import rows_of_model
from tasks.stages import read_output
from tasks.tracking_address import shown

CHAMPION, CHALLENGER = "champion", "challenger"


def promote(job: Job, child: Child, scratch: Path) -> Done:
    """Package the model for the registry, register it as `challenger`, and as `champion` if the gate holds."""
    with stage_context(job, child, scratch) as context:
        uri, name = job.settings.tracking.uri, job.settings.tracking.registered_model
        report = json.loads((context.input("report") / "report.json").read_text())
        champion = get_alias(uri, name, CHAMPION)
        decision = _decide(context, report, champion)
        version = _register(context, report)
        set_alias(uri, name, CHALLENGER, version.version)
        aliases = [CHALLENGER]
        if decision.passed and not job.settings.promote.approval:
            set_alias(uri, name, CHAMPION, version.version)
            aliases.append(CHAMPION)
        said = {"version": version.version, "aliases": aliases, "passed": decision.passed, "reasons": decision.reasons}
        folder = context.new_folder("registration")
        text = json.dumps({**said, "model": job.inputs["model"].digest, "name": name}, indent=1)
        (folder / "registration.json").write_text(text + "\n")
        child.say(f"version {version.version}: {', '.join(aliases)}")
        return context.done({"registration": context.publish("registration", folder)}, passed=decision.passed)


def lapsed(store: Store, settings: Settings, entry: IndexEntry) -> str:
    """Why a promotion has to be made again, or nothing: the registry was emptied, or another model came after it."""
    said = read_output(store, entry.outputs, "registration")
    current = get_alias(settings.tracking.uri, said["name"], CHALLENGER)
    if current is None:
        return f"the registry at {shown(settings.tracking.uri)} has no {CHALLENGER}"
    if current.version != said["version"] or current.tags.get(MODEL_TAG) != said["model"]:
        return f"the registry's {CHALLENGER} is another model, version {current.version}"
    return ""


def _register(context: Context, report: dict[str, Any]) -> RegisteredVersion:
    settings, scores = context.settings, report["accuracy"]["grpo"]
    model = context.job.inputs["model"]
    packaged = context.scratch / "registry-model"
    config = {
        "max_pixels": settings.model.max_pixels,
        "max_frames": settings.model.max_frames,
        "dtype": settings.model.dtype,
        "max_tokens": settings.evaluate.max_tokens,
    }
    made_from = {f"input.{name}": one.digest for name, one in context.job.inputs.items()}
    made_from |= {f"model.{name}": digest for name, digest in report["models"].items()}
    summary = context.preferences().summary()
    card = model_card(CardFacts(settings.profile, model.digest, settings.model.base, scores, summary, made_from))
    metadata = {"model": model.digest}
    save_registry_model(context.input("model"), packaged, config=config, metadata=metadata, card=card)
    ref = context.publish("registry-model", packaged)
    tags = {
        DIGEST_TAG: ref.digest,
        MODEL_TAG: model.digest,
        "thinkreward.profile": settings.profile,
        "thinkreward.accuracy.think": scores["think"]["overall"],
        "thinkreward.accuracy.direct": scores["direct"]["overall"],
        "thinkreward.valid_rate": scores["valid_rate"],
        "thinkreward.both_orders": scores["both_orders"],
        **{f"thinkreward.{name}": digest for name, digest in made_from.items()},
    }
    return register(
        settings.tracking.uri,
        settings.tracking.registered_model,
        source_uri=context.store.uri(ref),
        run_id=context.run.run_id,
        tags=tags,
        description="A judge of images and video that reasons in scored dimensions before it answers.",
    )


def _decide(context: Context, report: dict[str, Any], champion: RegisteredVersion | None) -> GateDecision:
    gate = context.settings.promote
    champion_facts, interval = None, None
    digest = context.job.inputs["model"].digest
    if champion is not None and champion.tags.get(MODEL_TAG) not in (None, digest):
        champion_facts = GateFacts(
            accuracy=float(champion.tags["thinkreward.accuracy.think"]),
            valid_rate=float(champion.tags["thinkreward.valid_rate"]),
            both_orders=float(champion.tags["thinkreward.both_orders"]),
        )
        interval = _interval(context, digest, champion.tags[MODEL_TAG])
    scores = report["accuracy"]["grpo"]
    challenger = GateFacts(scores["think"]["overall"], scores["valid_rate"], scores["both_orders"])
    return decide(
        challenger,
        champion_facts,
        difference_interval=interval,
        min_valid_rate=gate.min_valid_rate,
        min_both_orders=gate.min_both_orders,
        max_accuracy_drop=gate.max_accuracy_drop,
    )


def _interval(context: Context, challenger: str, champion: str) -> tuple[float, float] | None:
    """The paired interval on these held-out pairs, if this store has the champion's judgments of them."""
    preferences = context.job.inputs["preferences"].digest
    ours: list[JudgedRow] | None = rows_of_model(context.store, context.settings, challenger, preferences)
    theirs = rows_of_model(context.store, context.settings, champion, preferences)
    if not ours or not theirs:
        return None
    settings = context.settings
    found = paired_difference(ours, theirs, mode="think", bootstrap=settings.evaluate.bootstrap, seed=settings.seed)
    return found.low, found.high
