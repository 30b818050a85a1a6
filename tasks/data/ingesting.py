"""The nightly's first and third step: what is in the inbox becomes training pairs, and then leaves the inbox."""

from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.schema import Settings
from tasks.data.inbox.records import is_empty
from tasks.pipeline.retries import run_logger, with_retries
from tasks.pipeline.run import StageResult, open_store

if TYPE_CHECKING:
    from tasks.data.inbox.inbox import Ingested


@task(name="inbox", task_run_name="inbox", cache_policy=NO_CACHE, persist_result=False)
def take_in(settings: Settings) -> "Ingested":
    """Validate each submission, publish and record the valid, move the others to inbox-rejected/ with the reason."""
    from tasks.data.decoders import prepare_decoders
    from tasks.data.inbox.inbox import ingest  # reads pictures, tables and archives

    with prepare_decoders(settings) as decoders:
        return ingest(
            open_store(settings),
            max_frames=settings.model.max_frames,
            quiet_s=settings.nightly.inbox_quiet_s,
            log=run_logger().info,
            decoding=decoders,
        )


@task(name="inbox-accepted", task_run_name="inbox-accepted", cache_policy=NO_CACHE, persist_result=False)
def move_out(settings: Settings, version: str, taken_in: "Ingested") -> None:
    """Move what was taken in to inbox-accepted/<version>/, now that the preferences hold it."""
    from tasks.data.inbox.inbox import archive

    archive(open_store(settings), version, taken_in)


def ingest_inbox(settings: Settings) -> "Ingested | None":
    """What came of the inbox; None if there is nothing in it."""
    if is_empty(open_store(settings)):
        return None
    found: Ingested = with_retries(take_in, settings)(settings)
    return found


def archive_inbox(settings: Settings, taken_in: "Ingested", prepared: StageResult) -> None:
    """Empty the inbox of what the new version of `preferences` holds."""
    with_retries(move_out, settings)(settings, prepared.outputs["preferences"].short, taken_in)
