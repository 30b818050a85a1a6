"""A person's yes before the alias champion moves: what is asked, and what is done with the answer."""

from typing import Any

from configs.schema import Settings
from models.errors import ConfigError
from tasks.promoting import CHALLENGER, CHAMPION
from tasks.registry import get_alias, set_alias


def waits_for_a_yes(settings: Settings, said: dict[str, Any]) -> bool:
    """Whether the gate held for a version that is not champion yet."""
    if not (settings.promote.approval and said["passed"]):
        return False
    champion = get_alias(settings.tracking.uri, said["name"], CHAMPION)
    return champion is None or champion.version != said["version"]


def make_champion(settings: Settings, version: str) -> str:
    """Move the alias to the challenger of this version, in one sentence what changed.

    Raises `ConfigError` if another version is the challenger by now: what was approved is not what would be promoted.
    """
    uri, name = settings.tracking.uri, settings.tracking.registered_model
    challenger, champion = get_alias(uri, name, CHALLENGER), get_alias(uri, name, CHAMPION)
    if challenger is None or challenger.version != version:
        now = f"version {challenger.version}" if challenger else "none"
        raise ConfigError(f"version {version} of {name} is no longer the challenger ({now} is): look at that one")
    set_alias(uri, name, CHAMPION, version)
    before = f"version {champion.version}" if champion else "none"
    return f"version {version} of {name} is champion (before: {before})"
