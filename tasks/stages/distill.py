"""The body of `distill`: ask the teacher about pairs, every answer kept as it arrives."""

import hashlib
import json
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from configs.schema import Distill
from models.errors import DataError
from models.generation.endpoint_address import Endpoint
from models.generation.endpoint_fields import describe_fields
from models.generation.limits import Limits
from models.pairs.dataset import PreferenceDataset
from models.pairs.preference import PreferencePair, Task
from models.shapes.teacher_answers import Faults
from models.shapes.teacher_server import TeacherServer
from models.teacher.asking import ask_all
from models.teacher.distillation import Ask, published
from models.teacher.distillation import distill as distill_pairs
from tasks.pipeline.child import Child, Done, Job
from tasks.pipeline.graph import STAGES
from tasks.stages.context import stage_context
from tasks.store.artifacts import Work

TEACHER = "teacher"  # the folder of the answers, beside those of the stages


class KeptAnswers:
    """A teacher's answers by request digest: nothing is paid for twice, whatever happens to this process or run.

    They lie beside the stages' work in progress, a folder a teacher, and outlive the stage: with another budget or
    more pairs it asks only what was never answered. Each write is atomic, so runs may share the folder.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    def get(self, digest: str) -> dict[str, Any] | None:
        """The answer kept under a request's digest, or None."""
        kept: dict[str, Any] | None = self._work.get_json(f"answers/{digest}.json")
        return kept

    def put(self, digest: str, value: dict[str, Any]) -> None:
        """Keep an answer."""
        self._work.put_json(f"answers/{digest}.json", value)


def teacher_key(config: Distill, seed: int, address: str) -> str:
    """sha256 over who answers: an endpoint's address, or what the embedded teacher's answers depend on."""
    embedded = {"faults": config.embedded.model_dump(), "seed": seed, "version": STAGES["distill"].version}
    who = embedded if config.teacher == "embedded" else {"address": address}
    return hashlib.sha256(json.dumps(who, sort_keys=True).encode()).hexdigest()


def distill(job: Job, child: Child, scratch: Path) -> Done:
    """Ask, validate, keep; the yield and the cost go to MLflow and to the run's facts."""
    with stage_context(job, child, scratch) as context, ExitStack() as stack:
        config = job.settings.distill
        dataset = context.preferences()
        ask: Ask
        if config.teacher == "published":
            reasoning = dataset.reasoning()
            pairs = _pairs(dataset, config, reasoning)
            ask = published(pairs, reasoning)
        else:
            pairs = _pairs(dataset, config)
            endpoint = stack.enter_context(_endpoint(config, job.settings.seed))
            kept = KeptAnswers(context.store.work(TEACHER, teacher_key(config, job.settings.seed, endpoint.base_url)))
            stack.enter_context(child.waiting())  # a batch may take a day
            ask = partial(ask_all, endpoint=endpoint, limits=_limits(config), store=kept, mode=config.mode)
        folder = context.new_folder("distilled")
        facts = distill_pairs(
            pairs, dataset, folder, ask=ask, lenient=config.lenient, on_answer=context.progress("answers")
        )
        usage = facts["usage"]
        if facts["stopped"]:
            child.log(f"stopped early: {facts['stopped']}; {facts['answered']} answers are used")
        reasons = ", ".join(f"{reason} {count}" for reason, count in facts["rejected"].items())
        child.log(
            f"{facts['kept']} of {facts['asked']} kept ({reasons or 'none rejected'}); {usage['requests']} requests, "
            f"{usage['prompt_tokens'] + usage['completion_tokens']} tokens, ${usage['cost_usd']:.2f}"
        )
        if facts["fields"].get("refused"):
            child.log(f"the teacher's requests: {describe_fields(facts['fields'])}")
        context.run.log_file(folder / "yield.json", "yield.json")
        return context.done({"distilled": context.publish("distilled", folder)}, **facts)


def _pairs(dataset: PreferenceDataset, config: Distill, among: Container[str] | None = None) -> list[PreferencePair]:
    """So many decided training pairs of image_generation, as in the paper, and so many of each other task.

    With `among`, of the pairs with these ids alone. Raises `DataError` where there is none.
    """
    chosen: list[PreferencePair] = []
    for task in Task:
        count = config.pairs if task is Task.IMAGE_GENERATION else config.other_pairs
        decided = [pair for pair in dataset.pairs("train", task) if pair.preferred != "tie"]
        chosen += [pair for pair in decided if among is None or pair.id in among][:count]
    if not chosen:
        raise DataError(
            "no training pair can be asked about: distill.teacher=published takes image_generation pairs that come "
            "with reasoning (prepare.sources with reader imagegen_cot_reward, for instance)"
            if among is not None
            else "no training pair can be asked about: add image_generation pairs, from which reasoning is distilled"
        )
    return chosen


@contextmanager
def _endpoint(config: Distill, seed: int) -> Iterator[Endpoint]:
    """The teacher's address: a local server for the embedded one, else what the environment names."""
    if config.teacher == "openai":
        yield Endpoint.from_environment(config.model)
        return
    faults = Faults(
        wrong_perception=config.embedded.wrong_perception,
        broken_grammar=config.embedded.broken_grammar,
        rate_limited=config.embedded.rate_limited,
        server_error=config.embedded.server_error,
    )
    with TeacherServer(faults, seed=seed, model=config.model) as teacher:
        yield Endpoint(base_url=teacher.base_url, api_key=teacher.api_key, model=config.model)


def _limits(config: Distill) -> Limits:
    return Limits(
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        max_reasks=config.max_reasks,
        max_cost_usd=config.max_cost_usd,
        max_requests=config.max_requests,
        usd_per_million_input=config.usd_per_million_input,
        usd_per_million_output=config.usd_per_million_output,
        concurrency=config.concurrency,
        requests_per_minute=config.requests_per_minute,
        tokens_per_minute=config.tokens_per_minute,
        timeout_s=config.timeout_s,
        max_attempts=config.max_attempts,
        batch_poll_s=config.batch_poll_s,
    )
