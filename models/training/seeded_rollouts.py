"""GRPO's rollouts, each drawn from a stream of its own, in batches of like length.

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
from transformers import LogitsProcessorList
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import pad, split_pixel_values_by_grid, unsplit_pixel_values_by_grid

from models.generation.micro_batches import by_tokens
from models.generation.seeded import SeededSampling, row_seed
from models.generation.tokens import without_own_defaults, written
from models.training.token_bound import rows_of

PER_TOKEN = ("token_type_ids", "mm_token_type_ids")


def seeded_rollouts(
    trainer: Any,
    prompts: Sequence[list[int]],
    images: Sequence[Sequence[Any] | None] | None,
    fields: dict[str, Any],
    *,
    rows: int,
    tokens: int | None,
    attempt: int = 0,
) -> list[list[int]]:
    """A completion for each prompt, as tokens with the end that was written.

    Each `attempt` of a step (`models.training.refill`) has streams of its own.

    A batch has `rows` rows at most, and `tokens` tokens with those yet to be written unless one row has more. `fields`
    are what the processor made of all `images`.
    """
    first = trainer.accelerator.process_index * len(prompts)  # processes hold a generation's rows in order
    step = f"rollouts of step {trainer.state.global_step}" + (f", attempt {attempt}" if attempt else "")
    seeds = [row_seed(trainer.args.seed, step, first + at) for at in range(len(prompts))]
    split = _by_row(fields, images)
    longest, padding = trainer.max_completion_length, trainer.generation_config.pad_token_id
    lengths = [(len(prompt), longest) for prompt in prompts]
    most = tokens or len(prompts) * (max(map(len, prompts)) + longest)
    found: list[list[int]] = [[] for _ in prompts]
    checkpointing = {"gradient_checkpointing_kwargs": trainer.args.gradient_checkpointing_kwargs}
    with (
        torch.random.fork_rng(),  # the draws of `generate` decide nothing, and their number follows the batches
        unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator, **checkpointing) as model,
        torch.no_grad(),
        without_own_defaults(model),
    ):
        model.eval()
        for places in by_tokens(lengths, tokens=most, rows=rows):
            inputs = _padded([prompts[at] for at in places], rows_of(split, places, len(prompts)), padding)
            streams = SeededSampling([seeds[at] for at in places], trainer.temperature)
            whole = model.generate(
                **{name: value.to(trainer.accelerator.device) for name, value in inputs.items()},
                generation_config=trainer.generation_config,
                logits_processor=LogitsProcessorList([streams]),
            )
            for at, row in zip(places, whole[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
                before, ended = written(row, trainer.eos_token_ids)
                found[at] = row[: len(before) + ended]
        model.train()
    return found


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
