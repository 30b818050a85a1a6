"""Which submissions are recorded, and whether others wait: looked up for every plan, so without what reads them."""

from tasks.store.artifact_types import ArtifactRef
from tasks.store.artifacts import Store

INBOX = "inbox"
PREFIX = "drop-"  # before the digits that name a submission


def recorded(store: Store) -> dict[str, ArtifactRef]:
    """Every recorded submission by name (`drop-` and 12 digits), in the order of their digests: inputs of `prepare`."""
    refs = sorted((entry.outputs["pairs"] for entry in store.entries(INBOX)), key=lambda ref: ref.digest)
    return {name_of(ref): ref for ref in refs}


def name_of(ref: ArtifactRef) -> str:
    """A submission's name among the inputs of `prepare`, and before the ids of its pairs."""
    return f"{PREFIX}{ref.short}"


def is_empty(store: Store) -> bool:
    """Whether there is no file in the inbox at all."""
    return not store.objects.walk(INBOX)
