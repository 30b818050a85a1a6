"""The body of `promote`: register the model, and move the alias `champion` only if the gate holds.

The alias `reference` is the best model so far: the first champion, until a model that is promoted is shown to be more
accurate than it. A model that `promote.reference` names stands in its place, and then the alias stays where it is.
"""

import json
from pathlib import Path
from typing import Any

from configs.schema import Settings
from models.evaluation.comparison import accuracy, both_orders, evidence, valid_rate
from models.evaluation.gate import GateDecision, GateFacts, GateLimits, Opponent, decide, moves_reference
from models.evaluation.report.model_card import CardFacts, model_card
from models.evaluation.turning import Turning
from tasks.pipeline.child import Child, Done, Job
from tasks.pipeline.pinning import MODEL_TAG
from tasks.stages.anomaly import turned, uses_an_inbox
from tasks.stages.comparing import Rival, Rivals, find_rivals, opponents
from tasks.stages.context import Context, stage_context
from tasks.stages.evaluate import judged_rows
from tasks.store.lending import lend
from tasks.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    DIGEST_TAG,
    REFERENCE,
    RegisteredVersion,
    get_alias,
    register,
    save_registry_model,
    set_alias,
)

GATE_TAG = "thinkreward.gate"  # of a registered version: passed or failed
FAILED_TAG = "thinkreward.gate.failed"  # what failed, in sentences
AGAINST_TAG = "thinkreward.gate.champion"  # the champion's version at the time, or none
BEST_TAG = "thinkreward.gate.best"  # whether it becomes the reference when it becomes champion
ANOMALY_TAG = "thinkreward.anomaly"  # that it turned near the pairs of the inbox, in a sentence
NONE = "none"
ABOUT = "A judge of images and video that reasons in scored dimensions before it answers."


def promote(job: Job, child: Child, scratch: Path) -> Done:
    """Package the model for the registry, register it as `challenger`, and as `champion` if the gate holds."""
    with stage_context(job, child, scratch) as context:
        uri, name = job.settings.tracking.uri, job.settings.tracking.registered_model
        rivals = find_rivals(context.store, job.settings)
        decision, best = judged_against(context, rivals)
        found = turned(context, rivals)
        version = _register(context, decision, rivals, best, found)
        set_alias(uri, name, CHALLENGER, version.version)
        if (
            rivals.champion is not None
            and not job.settings.promote.reference
            and get_alias(uri, name, REFERENCE) is None
        ):
            set_alias(uri, name, REFERENCE, rivals.champion.version)
        asks = job.settings.promote.approval
        asks = uses_an_inbox(context) if asks is None else asks
        if decision.passed and not asks:
            crown(job.settings, version.version, best=best)
        content = registration(job.settings, version, decision, rivals, job.inputs["model"].digest)
        content |= {"approval": asks, "turning": found.plain if found else None}
        folder = context.new_folder("registration")
        (folder / "registration.json").write_text(json.dumps(content, indent=1) + "\n")
        child.log(f"version {version.version}: {', '.join(content['aliases'])}. {decision.headline}")
        if found is not None:
            child.log(found.sentence)
        outputs = {"registration": context.publish("registration", folder)}
        return context.done(outputs, passed=decision.passed, gate_failed=len(decision.failed))


def crown(settings: Settings, version: str, *, best: bool) -> None:
    """Make a version champion, and the reference too if it is the best so far and none is named."""
    uri, name = settings.tracking.uri, settings.tracking.registered_model
    set_alias(uri, name, CHAMPION, version)
    if best and not settings.promote.reference:
        set_alias(uri, name, REFERENCE, version)


def judged_against(context: Context, rivals: Rivals) -> tuple[GateDecision, bool]:
    """The gate's decision, and whether the model becomes the reference when it becomes champion."""
    model = context.job.inputs["model"].digest
    ours = evidence(judged_rows(context, "model"))
    facts = GateFacts(accuracy(ours), valid_rate(ours), both_orders(ours))
    found = opponents(context, ours, rivals.against(model))
    gate = context.settings.promote
    limits = GateLimits(**{limit: getattr(gate, limit) for limit in GateLimits.__dataclass_fields__})
    decision = decide(facts, found, limits, note=rivals.note(model))
    return decision, decision.passed and _best(rivals.reference, model, found)


def _best(reference: Rival | None, model: str, found: list[Opponent]) -> bool:
    if reference is not None and reference.model == model:
        return False
    return moves_reference(next((one.comparison for one in found if one.reference), None))


def registration(
    settings: Settings, version: RegisteredVersion, decision: GateDecision, rivals: Rivals, model: str
) -> dict[str, Any]:
    """What `registration.json` holds: the version, the aliases it has by now, and the decision test by test."""
    uri, name = settings.tracking.uri, settings.tracking.registered_model
    current = {alias: get_alias(uri, name, alias) for alias in (CHALLENGER, CHAMPION, REFERENCE)}
    lacking = {check.against for check in decision.checks if check.test == "comparable"}
    return {
        "version": version.version,
        "model": model,
        "name": name,
        "aliases": [alias for alias, found in current.items() if found and found.version == version.version],
        "passed": decision.passed,
        "headline": decision.headline,
        "reasons": decision.reasons,
        "champion_before": rivals.champion.version if rivals.champion else None,
        "reference_before": (rivals.reference.version or rivals.reference.model) if rivals.reference else None,
        "checks": [check.plain for check in decision.checks],
        "not_comparable": [vars(one) for one in rivals.against(model) if one.name in lacking],
    }


def _register(
    context: Context, decision: GateDecision, rivals: Rivals, best: bool, found: Turning | None
) -> RegisteredVersion:
    settings = context.settings
    report = json.loads((context.input("report") / "report.json").read_text())
    scores = report["accuracy"]["grpo"]
    model = context.job.inputs["model"]
    packaged = context.scratch / "registry-model"
    config = {
        "max_pixels": settings.model.max_pixels,
        "max_frames": settings.model.max_frames,
        "dtype": settings.model.dtype,
        "max_tokens": settings.evaluate.max_tokens,
    }
    made_from = {f"input.{name}": one.digest for name, one in context.job.inputs.items()}
    reasons = [*decision.reasons, *([found.sentence] if found else ())]
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
        **{f"thinkreward.accuracy.{mode}_macro": one["accuracy"] for mode, one in scores.get("macro", {}).items()},
        "thinkreward.accuracy.direct": scores["direct"]["overall"],
        "thinkreward.valid_rate": scores["valid_rate"],
        "thinkreward.both_orders": scores["both_orders"],
        GATE_TAG: "passed" if decision.passed else "failed",
        FAILED_TAG: " ".join(check.sentence for check in decision.failed) or NONE,
        AGAINST_TAG: rivals.champion.version if rivals.champion else NONE,
        BEST_TAG: str(best).lower(),
        ANOMALY_TAG: NONE if found is None or not found.is_anomaly else found.sentence,
        **{f"thinkreward.{name}": digest for name, digest in made_from.items()},
    }
    return register(
        settings.tracking.uri,
        settings.tracking.registered_model,
        source_uri=lend(context.store, ref),
        run_id=context.run.run_id,
        tags=tags,
        description="\n\n".join((ABOUT, decision.headline, "\n".join(f"- {one}" for one in reasons))),
    )
