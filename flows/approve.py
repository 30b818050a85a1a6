"""A person's yes or no before the alias champion moves; the run waits, paused, with a form in the Prefect UI.

The nightly starts it where promote.approval is set. `thinkreward approve` says yes from a terminal.
"""

from typing import Annotated

from prefect import flow, runtime
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field

from configs.forms import complete
from configs.schema import Settings
from tasks.pipeline.graph import STAGES
from tasks.pipeline.retries import run_logger

FORM = STAGES["promote"].form


class Answer(RunInput):
    """The form of the paused run."""

    approve: bool = Field(False, description="yes: the challenger becomes champion")
    remark: str = Field("", description="kept in the run's log")


@flow(name="approve")
def approve(
    version: str,
    reasons: list[str] | None = None,
    settings: Annotated[Settings, FORM] = FORM.defaults,
) -> bool:
    """Ask whether a registered version shall become champion; silence until the timeout is a no.

    Args:
        version: the registered version that is asked about
        reasons: what the gate found
        settings: the profile's; promote.approval_timeout_s is how long the question stands
    """
    from tasks.stages.approve import make_champion  # imports MLflow

    settings, log = complete(settings), run_logger()
    asked = f"## Shall version {version} become champion?\n\n" + "\n".join(f"- {reason}" for reason in reasons or ())
    form = Answer.with_initial_data(description=asked, approve=False)
    try:
        answer = pause_flow_run(
            wait_for_input=form,
            timeout=int(settings.promote.approval_timeout_s),
            poll_interval=2,
            key=str(runtime.flow_run.run_count),  # a run that is tried again asks again
        )
    except FlowPauseTimeout:
        log.warning("nobody answered within %g s, which is a no", settings.promote.approval_timeout_s)
        return False
    if not answer.approve:
        log.info("declined. %s", answer.remark)
        return False
    log.info("%s. %s", make_champion(settings, version), answer.remark)
    return True
