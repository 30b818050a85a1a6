"""A person's yes before the alias champion moves: what is asked, and what is done with the answer."""

from typing import Any

from configs.schema import Settings
from models.errors import ConfigError
from tasks.stages.promote import AGAINST_TAG, BEST_TAG, FAILED_TAG, GATE_TAG, NONE, crown
from tasks.tracking.registry import CHALLENGER, CHAMPION, RegisteredVersion, get_alias


def waits_for_a_yes(settings: Settings, registration: dict[str, Any]) -> bool:
    """Whether the gate held for a version that is not champion yet, and a person is to be asked."""
    if not (registration["approval"] and registration["passed"]):
        return False
    champion = get_alias(settings.tracking.uri, registration["name"], CHAMPION)
    return champion is None or champion.version != registration["version"]


def make_champion(settings: Settings, version: str) -> str:
    """Move the alias to the challenger of this version, in one sentence what changed.

    Raises `ConfigError` if another version is the challenger by now (what was approved is not what would be promoted),
    if the gate did not pass it, or passed it against another champion than today's.
    """
    uri, name = settings.tracking.uri, settings.tracking.registered_model
    challenger, champion = get_alias(uri, name, CHALLENGER), get_alias(uri, name, CHAMPION)
    if challenger is None or challenger.version != version:
        now = f"version {challenger.version}" if challenger else "none"
        raise ConfigError(f"version {version} of {name} is no longer the challenger ({now} is): look at that one")
    if champion is not None and champion.version == version:
        return f"version {version} of {name} is champion already"
    _passed(challenger, champion)
    crown(settings, version, best=challenger.tags[BEST_TAG] == "true")
    before = f"version {champion.version}" if champion else NONE
    return f"version {version} of {name} is champion (before: {before})"


def _passed(challenger: RegisteredVersion, champion: RegisteredVersion | None) -> None:
    which, again = f"version {challenger.version} of {challenger.name}", "run `thinkreward promote --refresh`"
    gate = challenger.tags.get(GATE_TAG)
    if gate is None:
        raise ConfigError(f"{which} was registered without a decision of the gate: {again} first")
    if gate != "passed":
        raise ConfigError(
            f"{which} did not pass the gate, so there is nothing to approve. {challenger.tags.get(FAILED_TAG, '')} "
            "To let it through nevertheless widen the margin in question (promote.*) and promote again"
        )
    now, then = champion.version if champion else NONE, challenger.tags[AGAINST_TAG]
    if now != then:
        raise ConfigError(f"{which} passed against champion {then}, but the champion is {now} by now: {again} first")
