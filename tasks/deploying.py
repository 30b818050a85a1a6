"""What deployments/prefect.yaml asks of the active profile when it is deployed."""

from importlib.metadata import version

from configs.forms import complete


def active() -> dict[str, str]:
    """A build step: the profile's name, its schedule, and the release that is deployed."""
    settings = complete({})
    return {
        "profile": settings.profile,
        "cron": settings.nightly.cron,
        "timezone": settings.nightly.timezone,
        "version": version("thinkreward"),
    }
