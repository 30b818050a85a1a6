"""What deployments/prefect.yaml asks of the active profile when it is deployed."""

from importlib.metadata import version
from pathlib import Path

from configs.forms import complete
from configs.load import active_profile, profiles


def active() -> dict[str, str]:
    """A build step: the profile's name, how workers find it, its schedule, and the release that is deployed."""
    settings, found = complete({}), active_profile()
    return {
        "profile": settings.profile,
        # A file of one's own has to be at the same place where the worker is.
        "found": found if found in profiles() else str(Path(found).resolve()),
        "cron": settings.nightly.cron,
        "timezone": settings.nightly.timezone,
        "version": version("thinkreward"),
    }
