"""The two automations of Prefect's server that end what a dead worker or machine leaves behind.

Both wait for an event that a living run always sends; see https://docs.prefect.io/v3/advanced/detect-zombie-flows.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore

CRASHED = "a flow run whose worker vanished is marked as crashed"
SILENCE_S = 90  # three heartbeats of 30 s
CRASHED_MESSAGE = (
    f"No sign of life for {SILENCE_S} s: its worker or machine is gone. Run it again: stages that were done are "
    "reused, and the one that was interrupted resumes from its last checkpoint."
)
NOT_STARTED = "a flow run that its worker did not start is scheduled again"
NOT_STARTED_S = 3600  # a pod may wait for a node, and for its image; `stack up` and waiting nightlies look sooner
NOT_STARTED_MESSAGE = f"Taken by a worker that did not start it within {NOT_STARTED_S} s: scheduled again."
ENDED = ("Completed", "Failed", "Crashed", "Cancelled", "TimedOut")
AWAY = ("Paused", "Suspended", "AwaitingRetry", "Scheduled", "AwaitingConcurrencySlot")


def crash_automation() -> "AutomationCore":
    """Crashes a run after `SILENCE_S` without a heartbeat, counted from its start.

    The start counts because a process that dies within the first second never sent one. What ends a run, or lets
    its process leave and come back, is expected too: a suspended run is silent and well.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState

    return _when_silent(
        CRASHED,
        f"After {SILENCE_S} s without a heartbeat, three of 30 s.",
        after=("heartbeat", "Running"),
        expect=("heartbeat", *ENDED, *AWAY),
        within_s=SILENCE_S,
        action=ChangeFlowRunState(state=StateType.CRASHED, message=CRASHED_MESSAGE),
    )


def pending_automation() -> "AutomationCore":
    """Schedules a run again that a worker took and did not start within `NOT_STARTED_S`.

    Its worker died in between. It would hold its place for ever: no heartbeat was ever expected of it.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState

    return _when_silent(
        NOT_STARTED,
        f"After {NOT_STARTED_S} s as Pending.",
        after=("Pending",),
        expect=(*ENDED, *AWAY, "Running", "Cancelling", "Late"),
        within_s=NOT_STARTED_S,
        action=ChangeFlowRunState(state=StateType.SCHEDULED, name="Scheduled", message=NOT_STARTED_MESSAGE),
    )


def _when_silent(
    name: str, when: str, *, after: Iterable[str], expect: Iterable[str], within_s: int, action: "ChangeFlowRunState"
) -> "AutomationCore":
    """`action` on each flow run that sends none of the events `expect` within `within_s` seconds of one of `after`."""
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    return AutomationCore(
        name=name,
        description=f"{when} Made by `thinkreward stack setup`.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            for_each={"prefect.resource.id"},
            after={f"prefect.flow-run.{event}" for event in after},
            expect={f"prefect.flow-run.{event}" for event in expect},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=within_s),
        ),
        actions=[action],
    )


async def put_automation(client: "PrefectClient", wanted: "AutomationCore") -> str:
    """Make or update the automation of that name, and delete doubles of it; a line that says what was done."""
    found = await client.read_automations_by_name(wanted.name)
    if not found:
        await client.create_automation(wanted)
        return f"automation: made, {wanted.name}"
    first, *doubles = found
    for double in doubles:
        await client.delete_automation(double.id)
    state = "there" if first.enabled else "there, switched off"
    # An update forgets for which runs it is waiting, and the stack is set up again just after a machine went down.
    if _content(first) != _content(wanted):
        # One that a person switched off stays off.
        await client.update_automation(first.id, wanted.model_copy(update={"enabled": first.enabled}))
        state = state.replace("there", "updated")
    return f"automation: {state}, {wanted.name}"


def _content(automation: "AutomationCore") -> dict[str, Any]:
    """What an automation does, without the ids that the server adds."""
    content: dict[str, Any] = automation.model_dump(
        mode="json", include={"description": True, "trigger": True, "actions": True}
    )
    for part in (content["trigger"], *content["actions"]):
        part.pop("id", None)
    for name in ("after", "expect", "for_each"):  # sets
        content["trigger"][name] = sorted(content["trigger"][name])
    return content
