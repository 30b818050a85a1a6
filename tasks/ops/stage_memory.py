"""Each stage's memory on a device under a profile's settings, at its longest prompts; nothing is loaded.

The parts are those of a rehearsal (tasks/ops/rehearse.py), which measures what is estimated here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from configs.schema import Grpo, Lora, Settings, Sft
from models.pairs.preference import Task
from models.shapes.draw import SIZE
from models.shapes.world import FRAMES
from models.sizing.memory import Memory, Sequences, Weights, generating, states, training
from models.sizing.shape import Shape
from models.teacher.limits import CHARACTERS_PER_TOKEN
from models.training.presets import PRESETS
from models.verdict.instructions import instructions
from tasks.pipeline.graph import find_base

CAPTION_TOKENS = 60  # of a caption, a question or an answer
TEMPLATE_TOKENS = 20  # that a chat template writes around a prompt
PICTURE_TOKENS = 2  # where a picture begins and ends
ALL = tuple(Task)


@dataclass(frozen=True)
class Part:
    """A part of a stage that has its own memory, as `thinkreward rehearse` names them.

    `moment` is what it does when it needs most.
    """

    name: str
    stage: str
    moment: str
    memory: Memory


def parts(settings: Settings, shape: Shape, *, device: str, shards: int = 1) -> list[Part]:
    """Every part on one device of kind `device` (cpu or cuda), in the recipe's order.

    With `shards` the states of training are divided among so many devices, which no setting does yet.
    """
    r = settings.rejection_sampling
    seen, micro = cold_start_tasks(settings), settings.cold_start.micro_batch
    cold = longest(settings, shape, seen, micro, settings.distill.max_tokens)
    kept = longest(settings, shape, ALL, r.sft.micro_batch, r.max_tokens)
    at_once = max(1, settings.runtime.generation_batch // r.samples) * r.samples
    sampled = longest(settings, shape, ALL, at_once, r.max_tokens)
    judged = longest(settings, shape, ALL, settings.runtime.generation_batch, settings.evaluate.max_tokens)
    dtype = settings.model.dtype

    def tuned(name: str, stage: str, sft: Sft, some: Sequences) -> Part:
        how = _weights(settings, sft, shards)
        checkpointing = settings.runtime.gradient_checkpointing
        return Part(name, stage, "training", training(shape, how, some, checkpointing=checkpointing, device=device))

    return [
        tuned("cold-start", "cold-start", settings.cold_start, cold),
        Part("sampling", "rejection-sampling", "sampling", generating(shape, dtype, sampled, device=device)),
        tuned("sampling-sft", "rejection-sampling", r.sft, kept),
        _grpo(settings, shape, device, shards),
        Part("judging", "evaluate", "judging", generating(shape, dtype, judged, device=device)),
    ]


def _grpo(settings: Settings, shape: Shape, device: str, shards: int) -> Part:
    """The worst moment of a policy optimisation: its steps, its rollouts, or its validations."""
    g, dtype = settings.grpo, settings.model.dtype
    how = _weights(settings, g, shards, reference=PRESETS[g.preset].flags["beta"] != 0.0)
    generation = g.prompts_per_step * g.group * PRESETS[g.preset].updates // settings.runtime.processes

    def some(count: int) -> Sequences:
        return longest(settings, shape, ALL, count, g.max_tokens)

    rollouts, held = some(max(1, generation)), states(shape, how)
    moments = {
        "training": training(
            shape,
            how,
            some(g.micro_batch),
            checkpointing=settings.runtime.gradient_checkpointing,
            device=device,
            held=rollouts,
        ),
        "sampling": generating(shape, dtype, rollouts, device=device, beside=held),
        "validating": generating(shape, dtype, some(settings.runtime.generation_batch), device=device, beside=held),
    }
    moment = max(moments, key=lambda one: moments[one].total)
    return Part("grpo", "grpo", moment, moments[moment])


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


def longest(settings: Settings, shape: Shape, tasks: Sequence[Task], count: int, completion: int) -> Sequences:
    """`count` sequences of that task whose prompt is longest."""
    of_tasks = [(prompt_tokens(settings, shape, task), shown(settings, task)) for task in tasks]
    prompt, pictures = max(of_tasks)
    return Sequences(count, pictures, pixels(settings), prompt, completion)


def prompt_tokens(settings: Settings, shape: Shape, task: Task) -> int:
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
