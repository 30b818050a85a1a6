"""GRPO's rollouts, each drawn from a stream of its own, in batches of like length; a group's prompt is prefilled once.

TRL samples a whole generation at once and from one stream, so that memory grows with it and each text depends on all
others. Here a text depends on its prompt, the run's seed, the optimizer step and its place in the generation
(`models.generation.seeded`), not on what shares its batch: the limits of a batch change no result, and a generation of
several processes is that of one. Unlike TRL's, rollouts are drawn without the adapters' dropout, which is noise that
would come from one stream again, and which the model is not judged or served with.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import pad, split_pixel_values_by_grid, unsplit_pixel_values_by_grid

from models.generation.decoding.loop import Decoding
from models.generation.micro_batches import by_tokens
from models.generation.seeded import SeededSampling, row_seed
from models.training.prefix.attention import attending_alone
from models.training.prefix.grouping import prompt_groups, rows_of

PER_TOKEN = ("token_type_ids", "mm_token_type_ids")


def seeded_rollouts(
    trainer: Any,
    prompts: Sequence[list[int]],
    images: Sequence[Sequence[Any] | None] | None,
    fields: dict[str, Any],
    *,
    rows: int,
    tokens: int | None,
    shared: bool = True,
    attempt: int = 0,
) -> list[list[int]]:
    """A completion for each prompt, as tokens with the end that was written.

    A prompt that several rows have is computed once for them, unless `shared` is false. Each `attempt` of a step
    (`models.training.refill`) has streams of its own.

    A batch has `rows` rows at most, and `tokens` tokens with those yet to be written unless one row has more. `fields`
    are what the processor made of all `images`.
    """
    first = trainer.accelerator.process_index * len(prompts)  # processes hold a generation's rows in order
    step = f"rollouts of step {trainer.state.global_step}" + (f", attempt {attempt}" if attempt else "")
    seeds = [row_seed(trainer.args.seed, step, first + at) for at in range(len(prompts))]
    split = _by_row(fields, images)
    longest, padding = trainer.max_completion_length, trainer.generation_config.pad_token_id
    groups = [[at] for at in range(len(prompts))]
    if shared:
        groups = prompt_groups([tuple(one) for one in prompts], split.get("pixel_values") or [None] * len(prompts))
    most = tokens or len(prompts) * (max(map(len, prompts)) + longest)
    found: list[list[int]] = [[] for _ in prompts]
    checkpointing = {"gradient_checkpointing_kwargs": trainer.args.gradient_checkpointing_kwargs}
    with (
        torch.random.fork_rng(),
        unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator, **checkpointing) as model,
        attending_alone(model),
    ):
        model.eval()
        for batch in _batches(groups, [len(one) + longest for one in prompts], tokens=most, rows=rows):
            asked = [places[0] for places in batch]
            inputs = _padded([prompts[at] for at in asked], rows_of(split, asked, len(prompts)), padding)
            decoding = Decoding(
                samples=len(batch[0]),
                max_tokens=longest,
                stops=trainer.eos_token_ids,
                pad=padding,
                never=trainer.generation_config.suppress_tokens or (),
                streams=SeededSampling([seeds[at] for places in batch for at in places], trainer.temperature),
            )
            made = decoding.run(model, {name: value.to(trainer.accelerator.device) for name, value in inputs.items()})
            for at, row in zip((at for places in batch for at in places), made, strict=True):
                found[at] = row
        model.train()
    return found


def _batches(groups: Sequence[list[int]], widths: Sequence[int], *, tokens: int, rows: int) -> list[list[list[int]]]:
    """Batches of prompts, each with the places of its completions, which are as many for all prompts of a batch.

    `widths` are the tokens of each row when all are written. A group that is beyond the limits is divided.

    >>> _batches([[0, 1, 2, 3], [4, 5, 6, 7]], [10] * 8, tokens=60, rows=8)
    [[[0, 1, 2, 3]], [[4, 5, 6, 7]]]
    >>> _batches([[0, 1, 2, 3], [4, 5]], [10] * 6, tokens=60, rows=3)
    [[[0, 1, 2]], [[3]], [[4, 5]]]
    """
    pieces: dict[int, list[list[int]]] = {}
    for group in groups:
        size = max(1, min(len(group), rows, tokens // widths[group[0]]))
        for at in range(0, len(group), size):
            pieces.setdefault(len(group[at : at + size]), []).append(group[at : at + size])
    return [
        [some[at] for at in places]
        for size, some in pieces.items()
        for places in by_tokens([(widths[one[0]],) for one in some], tokens=tokens // size, rows=rows // size)
    ]


def _by_row(fields: dict[str, Any], images: Sequence[Sequence[Any] | None] | None) -> dict[str, Any]:
    """The processor's fields, each a list with what belongs to each row."""
    if images is None:
        return {}
    whole: dict[str, Any] = {
        name: value if name in PER_TOKEN or isinstance(value, torch.Tensor) else torch.tensor(np.array(value))
        for name, value in fields.items()
    }
    split: dict[str, Any] = split_pixel_values_by_grid(whole | {"num_images": [len(one or ()) for one in images]})
    return split


def _padded(prompts: list[list[int]], fields: dict[str, Any], padding: int) -> dict[str, torch.Tensor]:
    """A batch as the model takes it, padded on the left."""
    ids = [torch.tensor(prompt) for prompt in prompts]
    made = {
        "input_ids": pad(ids, padding_value=padding, padding_side="left"),
        "attention_mask": pad([torch.ones_like(one) for one in ids], padding_value=0, padding_side="left"),
    }
    for name, value in unsplit_pixel_values_by_grid(fields).items():
        if name in PER_TOKEN:
            made[name] = pad([torch.tensor(one) for one in value], padding_value=0, padding_side="left")
        elif name != "num_images":
            made[name] = value
    return made
