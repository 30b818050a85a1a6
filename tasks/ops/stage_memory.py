"""Each stage's memory on a device under a profile's settings, at its longest prompts; nothing is loaded.

The parts are those of a rehearsal (tasks/ops/rehearse.py), which measures what is estimated here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter
from pathlib import Path

from configs.schema import Grpo, Lora, Settings, Sft
from models.generation.limits import CHARACTERS_PER_TOKEN
from models.pairs.preference import Task
from models.shapes.draw import SIZE
from models.shapes.world import FRAMES
from models.sizing.memory import Memory, Sequences, Weights, generating, states, training
from models.sizing.shape import ModelShape
from models.training.presets import flags
from models.verdict.instructions import instructions
from tasks.pipeline.graph import find_base

CAPTION_TOKENS = 60  # of a caption, a question or an answer
TEMPLATE_TOKENS = 20  # that a chat template writes around a prompt
PICTURE_TOKENS = 2  # where a picture begins and ends
ALL = tuple(Task)


@dataclass(frozen=True)
class StagePart:
    """A part of a stage that has its own memory, as `thinkreward rehearse` names them.

    `moment` is what it does when it needs most, to `at_once`; `section` is the dotted name of the settings that it
    trains by.
    """

    name: str
    stage: str
    moment: str
    memory: Memory
    at_once: Sequences
    section: str | None = None

    @property
    def doing(self) -> str:
        """What it does when it needs most, and to how many tokens."""
        some = self.at_once
        return f"{self.moment} {some.count} x {some.prompt + some.completion:,} tokens at once"


def parts(settings: Settings, shape: ModelShape, *, device: str, shards: int = 1) -> list[StagePart]:
    """Every part on one device of kind `device` (cpu or cuda), in the recipe's order.

    With `shards` the states of training are divided among so many devices, which no setting does yet.
    """
    r, runtime, dtype = settings.rejection_sampling, settings.runtime, settings.model.dtype

    def tuned(name: str, stage: str, section: str, tasks: Sequence[Task], completion: int) -> StagePart:
        sft: Sft = attrgetter(section)(settings)
        how = partial(training, shape, _weights(settings, sft, shards), device=device)
        some = together(settings, shape, tasks, sft.micro_batch, completion, tokens=runtime.micro_tokens)
        needed = _largest(partial(how, checkpointing=runtime.gradient_checkpointing), some)
        return StagePart(name, stage, "training", *needed, section)

    def generated(name: str, stage: str, completion: int, samples: int = 1) -> StagePart:
        count, tokens = runtime.generation_batch, runtime.generation_tokens
        some = together(settings, shape, ALL, count, completion, tokens=tokens, each=samples)
        return StagePart(name, stage, name, *_largest(partial(generating, shape, dtype, device=device), some))

    return [
        tuned("cold-start", "cold-start", "cold_start", cold_start_tasks(settings), settings.distill.max_tokens),
        generated("sampling", "rejection-sampling", r.max_tokens, r.samples),
        tuned("sampling-sft", "rejection-sampling", "rejection_sampling.sft", ALL, r.max_tokens),
        _grpo(settings, shape, device, shards),
        generated("judging", "evaluate", settings.evaluate.max_tokens),
    ]


def _grpo(settings: Settings, shape: ModelShape, device: str, shards: int) -> StagePart:
    """The worst moment of a policy optimisation: its steps, or its rollouts and validations."""
    g, runtime, dtype = settings.grpo, settings.runtime, settings.model.dtype
    how = _weights(settings, g, shards, reference=flags(g)["beta"] != 0.0)
    generation = max(1, g.prompts_per_step * g.group * g.generation_steps // runtime.processes)
    (held,) = together(settings, shape, ALL, generation, g.max_tokens)
    checkpointing = runtime.gradient_checkpointing
    train = partial(training, shape, how, checkpointing=checkpointing, device=device, held=held)
    generate = partial(generating, shape, dtype, device=device, beside=states(shape, how))
    limits = {"training": (train, g.micro_batch, runtime.micro_tokens)}
    limits["generating"] = (generate, runtime.generation_batch, runtime.generation_tokens)
    moments = {
        moment: _largest(made, together(settings, shape, ALL, count, g.max_tokens, tokens=tokens))
        for moment, (made, count, tokens) in limits.items()
    }
    moment = max(moments, key=lambda one: moments[one][0].total)
    return StagePart("grpo", "grpo", moment, *moments[moment], "grpo")


def _largest(made: Callable[[Sequences], Memory], some: Iterable[Sequences]) -> tuple[Memory, Sequences]:
    """What the most demanding of them needs, and which that is."""
    return max(((made(one), one) for one in some), key=lambda found: found[0].total)


def bounds(settings: Settings) -> str:
    """The limits of tokens that are handled at once, in words."""
    runtime = settings.runtime
    named = {"micro_tokens": runtime.micro_tokens, "generation_tokens": runtime.generation_tokens}
    return ", ".join(f"{name} {value:,}" if value else f"{name} unset" for name, value in named.items())


def _weights(settings: Settings, section: Sft | Grpo, shards: int, *, reference: bool = False) -> Weights:
    lora: Lora | None = section.lora
    return Weights(
        settings.model.dtype,
        rank=lora.rank if lora else None,
        dropout=bool(lora and lora.dropout),
        frozen_vision=section.freeze_vision,
        reference=reference,
        shards=shards,
    )


def cold_start_tasks(settings: Settings) -> Sequence[Task]:
    """The tasks that the cold start sees."""
    return ALL if settings.distill.other_pairs or settings.cold_start.direct_pairs else (Task.IMAGE_GENERATION,)


def together(
    settings: Settings,
    shape: ModelShape,
    tasks: Sequence[Task],
    count: int,
    completion: int,
    *,
    tokens: int | None = None,
    each: int = 1,
) -> list[Sequences]:
    """What may be handled together: `count` sequences of the task whose prompt is longest, `each` of a prompt.

    Bounded by `tokens`, it is as many as they allow, of each task: more short sequences may need more than few long.
    """
    of_tasks = sorted({(prompt_tokens(settings, shape, task), shown(settings, task)) for task in tasks})
    found = []
    for prompt, pictures in of_tasks if tokens else of_tasks[-1:]:
        rows = min(count, tokens // (prompt + completion)) if tokens else count
        found.append(Sequences(max(1, rows // each) * each, pictures, pixels(settings), prompt, completion))
    return found


def prompt_tokens(settings: Settings, shape: ModelShape, task: Task) -> int:
    """Tokens of a prompt of this task whose pictures are as large and as many as the settings allow."""
    texts = 1 if task.judges_media else 3  # the question and both answers, or the caption
    seen = shown(settings, task) * (shape.tokens(pixels(settings)) + PICTURE_TOKENS)
    return seen + _asked(settings, task) + texts * CAPTION_TOKENS + TEMPLATE_TOKENS


def shown(settings: Settings, task: Task) -> int:
    """Pictures and frames that a prompt of this task shows."""
    frames = settings.model.max_frames
    if settings.prepare.source == "shapes":
        frames = min(frames, FRAMES)
    each = frames if task.media_kind == "video" else 1
    return 2 * each if task.judges_media else each


def pixels(settings: Settings) -> int:
    """Of a picture or frame at most."""
    most = settings.model.max_pixels
    return min(most, SIZE**2) if settings.prepare.source == "shapes" else most


def _asked(settings: Settings, task: Task) -> int:
    """Tokens of the instructions: by the base's tokenizer where it is here, else by their length."""
    text = instructions(task, "think")
    folder = find_base(settings)
    file = folder / "tokenizer.json" if folder else None
    if file is not None and file.is_file() and (count := _counter(file)):
        return count(text)
    return len(text) // CHARACTERS_PER_TOKEN


@cache
def _counter(file: Path) -> Callable[[str], int] | None:
    """Counts a text's tokens; None for a file that is no tokenizer's."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # noqa: BLE001  (it raises plain exceptions, whatever is wrong with the file)
        return None
    return lambda text: len(tokenizer.encode(text).ids)
