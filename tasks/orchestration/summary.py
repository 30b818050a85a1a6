"""The summary of a nightly: what changed, what ran, what it cost, champion against challenger."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefect import runtime
from prefect.artifacts import create_markdown_artifact

from configs.schema import Settings
from tasks.orchestration.dispatch import DEPLOYMENT, start_run
from tasks.pipeline.retries import run_logger
from tasks.pipeline.run import StageResult, open_store, read_output

if TYPE_CHECKING:
    from tasks.data.inbox.inbox import Ingested


def ask_for_approval(settings: Settings, results: Sequence[StageResult]) -> None:
    """Where a person has to say yes, start the run that asks; once for a version, whatever runs again."""
    promoted = next((result for result in results if result.name == "promote"), None)
    if promoted is None or settings.promote.approval is False:
        return
    from tasks.stages.approve import waits_for_a_yes  # imports MLflow

    registration = read_output(open_store(settings), promoted.outputs, "registration")
    if not waits_for_a_yes(settings, registration):
        return
    if not runtime.deployment.id:
        version = registration["version"]
        run_logger().warning("version %s waits for a yes: thinkreward approve %s", version, version)
        return
    promote = {"promote": settings.promote.model_dump(mode="json")}
    question = {"version": registration["version"], "reasons": reasons_of(registration), "settings": promote}
    log, attempt = run_logger(), 1
    while True:  # a run that crashed asked nobody
        key = f"approve-{registration['name']}-{registration['version']}-{registration['model'][:12]}-{attempt}"
        asked = start_run(f"approve/{DEPLOYMENT}", question, key=key, below=False)
        if asked.state is None or not asked.state.is_final() or asked.state.is_completed():
            break
        attempt += 1
    declined = asked.state is not None and asked.state.is_completed()
    what = "was declined, or not answered, in" if declined else "waits for a yes in"
    log.info("version %s %s flow run %s", registration["version"], what, asked.name)


def summarise(
    settings: Settings, taken_in: "Ingested | None", changed: Mapping[str, str], results: Sequence[StageResult]
) -> None:
    """Attach the summary to the run; its history is the artifact `nightly-summary`."""
    if runtime.flow_run.id:
        registered = next((r for r in results if r.name == "promote"), None)
        registration = read_output(open_store(settings), registered.outputs, "registration") if registered else None
        create_markdown_artifact(
            key="nightly-summary",
            markdown=summary(taken_in, changed, results, registration),
            description="What changed, what ran, what it cost, champion against challenger.",
        )


def summary(
    taken_in: "Ingested | None",
    changed: Mapping[str, str],
    results: Sequence[StageResult],
    registered: Mapping[str, Any] | None,
) -> str:
    """The summary as Markdown."""
    ran = [result for result in results if result.state != "cached"]
    lines = [f"# {len(ran)} of {len(results)} stages ran" if ran else "# Nothing new: every stage is cached", ""]
    if taken_in is not None:
        lines += ["## Inbox", "", *taken_in.lines(), ""]
    if held := _held_back(results):
        lines += ["## Held back", "", *held, ""]
    lines += ["## Stages", "", "| stage | state | seconds | why | artifacts | tracking |", "| --- " * 6 + "|"]
    for result in results:
        made = ", ".join(f"{name} `{ref.short}`" for name, ref in result.outputs.items())
        tracked = f"[run]({result.mlflow_url})" if (result.mlflow_url or "").startswith("http") else ""
        reason = changed.get(result.name, "").replace("|", "\\|") if result.state != "cached" else "unchanged"
        lines.append(f"| {result.name} | {result.state} | {result.seconds:.1f} | {reason} | {made} | {tracked} |")
    lines += ["", "## Cost", "", _cost(ran), ""]
    if registered is not None:
        aliases = ", ".join(registered["aliases"])
        lines += ["## Champion against challenger", "", f"Version {registered['version']} is {aliases}."]
        lines[-1] += f" {registered['headline']}"
        lines.append("")
        lines += [f"- {reason}" for reason in reasons_of(registered)]
    return "\n".join(lines) + "\n"


def reasons_of(registered: Mapping[str, Any]) -> list[str]:
    """What the gate found, and whether the challenger turned near what came through the inbox."""
    found = registered.get("turning")
    return [*([found["sentence"]] if found else ()), *registered["reasons"]]


def _held_back(results: Sequence[StageResult]) -> list[str]:
    """What of all submissions contradicts a label, or is beyond the share of its contributor, as a list in Markdown."""
    held: Mapping[str, int] = next(
        (result.facts.get("held_back", {}) for result in results if result.name == "prepare"), {}
    )
    return [f"- {count} submitted pairs excluded, {reason}" for reason, count in held.items()]


def _cost(ran: Sequence[StageResult]) -> str:
    """Compute time, and what the teacher was paid."""
    seconds = sum(result.seconds for result in ran)
    text = f"{seconds:.0f} s of compute"
    for result in ran:
        usage = result.facts.get("usage")
        if usage:
            tokens = usage["prompt_tokens"] + usage["completion_tokens"]
            text += f"; teacher: {usage['requests']} requests, {tokens} tokens, ${usage['cost_usd']:.2f}"
    return text + "."
