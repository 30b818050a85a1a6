"""The pairs that came through the inbox since the champion, in a promotion's report: did the challenger turn there?"""

import json
from typing import Any

from models.errors import ArtifactCorrupt, ArtifactMissing
from models.evaluation.turning import Turning, turning
from models.pairs.preference import PreferencePair
from models.splits.ledger import FILE, Ledger
from tasks.stages.comparing import Rivals, rows_of
from tasks.stages.context import Context
from tasks.stages.evaluate import held_out_pairs, judged_rows
from tasks.tracking.registry import CHAMPION, get_alias

PREFERENCES_TAG = "thinkreward.input.preferences"  # of a registered version: the digest of what it was judged on
SPLITS = "splits"


def turned(context: Context, rivals: Rivals) -> Turning | None:
    """What the held-out pairs near the new ones say; None if nothing new came, or no champion was there before.

    The held-out judgments are those of the gate; nothing is chosen by what is found.
    """
    champion, model = rivals.champion, context.job.inputs["model"].digest
    if champion is None or not champion.model or champion.model == model or not (new := _new_pairs(context)):
        return None
    theirs = rows_of(context, champion)
    if theirs is None:
        return None  # nor can the gate compare them, which says so
    hashes = Ledger.read(context.input(SPLITS)).hashes if _has_ledger(context) else {}
    return turning(judged_rows(context, "model"), theirs, held_out_pairs(context), new, hashes)


def uses_an_inbox(context: Context) -> bool:
    """Whether training pairs of these preferences came through the inbox."""
    return any(context.preferences().summary().get("drops", {}).values())


def _new_pairs(context: Context) -> list[PreferencePair]:
    """The training pairs of drops that are not in the preferences of the champion."""
    drops = set(context.preferences().summary().get("drops", {})) - _known_drops(context)
    if not drops:
        return []
    trained_on = context.preferences().pairs("train")
    return [pair for pair in trained_on if pair.id.partition("/")[0] in drops]


def _known_drops(context: Context) -> set[str]:
    """The drops in what the champion was made from; none if that is gone, so that all count as new."""
    tracking = context.settings.tracking
    champion = get_alias(tracking.uri, tracking.registered_model, CHAMPION)
    digest = champion.tags.get(PREFERENCES_TAG, "") if champion is not None else ""
    try:
        ref = context.store.reference("preferences", digest)
        summary: dict[str, Any] = json.loads(context.store.objects.read(f"{ref.path}/files/summary.json"))
    except (ArtifactMissing, ArtifactCorrupt, FileNotFoundError, ValueError):
        return set()
    return {name for name, pairs in summary.get("drops", {}).items() if pairs}


def _has_ledger(context: Context) -> bool:
    return SPLITS in context.job.inputs and (context.input(SPLITS) / FILE).is_file()
