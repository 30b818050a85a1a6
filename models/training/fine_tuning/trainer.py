"""`SFTTrainer` whose batch is a whole optimizer step, computed in parts of sequences of like length.

The step takes the sequences that it always takes; short ones are not padded to the long ones. Rows are prepared once
where the vision tower is frozen, and collated by TRL where it is trained. Logits are computed at labels alone.
"""

import sys
from typing import Any

import torch
from accelerate.utils import DistributedType
from trl import SFTTrainer

from models.adapters import without_adapters
from models.generation.micro_batches import TokenCounter, by_tokens
from models.training.fine_tuning.fused_lora import fuse_lora
from models.training.fine_tuning.label_loss import score_labels_alone
from models.training.fine_tuning.prepared import PreparedRows
from models.training.token_bound import averaged, split_evenly_often, unsynchronised

SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)  # in which all processes must run the tower together


class Whole:
    """An optimizer step's rows on one process, and the parts that they are computed in; it stays on the CPU."""

    def __init__(self, examples: list[dict[str, Any]]) -> None:
        self.places = [one["at"] for one in examples]
        self.parts: list[dict[str, Any]] = []


class StepwiseSft(SFTTrainer):
    """`SFTTrainer` over the rows of `rows`, in parts of `micro_batch` rows and `micro_tokens` tokens at most.

    With weights that are `sharded` over processes the forward pass is TRL's, since all run each layer together.
    """

    def __init__(
        self, *, rows: Any, micro_tokens: int | None, micro_batch: int, sharded: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(train_dataset=numbered(len(rows)), **kwargs)
        self._rows = rows
        self._limits = {"tokens": micro_tokens or sys.maxsize, "rows": micro_batch}
        self._counter = TokenCounter(self.processing_class)
        self._collate = self.data_collator
        whole: Any = Whole
        self.data_collator = whole
        self.model_accepts_loss_kwargs = True  # TRL's loss takes the count of tokens whether or not the model does
        model = self.accelerator.unwrap_model(self.model)
        sharded = sharded or self.accelerator.distributed_type in SHARDED
        suited = PreparedRows.suit(model) and not sharded
        self._prepared = PreparedRows(rows, self.processing_class, model) if suited else None
        self._flops_a_token = 0.0
        if not sharded:
            score_labels_alone(without_adapters(model))
            fuse_lora(model)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The step's rows in parts, and the number of tokens in all of them that are learnt."""
        whole = next(epoch_iterator)
        if self._prepared is not None:
            lengths = [(len(row),) for row in self._prepared.rows(whole.places)]
            chosen = split_evenly_often(self, lengths, by_tokens, **self._limits)
            whole.parts = [self._prepared.batch([whole.places[at] for at in part]) for part in chosen]
        else:
            examples = [self._rows[at] for at in whole.places]
            lengths = [(self._counter.count(one["prompt"] + one["completion"], one["images"]),) for one in examples]
            chosen = split_evenly_often(self, lengths, by_tokens, **self._limits)
            whole.parts = [self._collate([examples[at] for at in part]) for part in chosen]
        return [whole], self._get_num_items_in_batch(whole.parts, device)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """The loss of a step, from its parts."""
        before = {name: len(values) for name, values in self._metrics["train"].items()}
        learnt = [float((part["labels"] != -100).sum()) for part in inputs.parts]
        losses = []
        for at, part in enumerate(inputs.parts):
            with unsynchronised(self, model, at == len(inputs.parts) - 1):
                losses.append(super().training_step(model, part, num_items_in_batch))
        if self._prepared is not None:
            self._prepared.end_of_step()
        averaged(self._metrics["train"], before, learnt)
        return torch.stack(losses).sum()

    def floating_point_ops(self, inputs: Any) -> int:
        """Of all parts: as many for each token, which are counted once, since that walks through all modules."""
        if not self._flops_a_token:
            first = inputs.parts[0]
            self._flops_a_token = super().floating_point_ops(first) / first["input_ids"].numel()
        return int(self._flops_a_token * sum(part["input_ids"].numel() for part in inputs.parts))


def numbered(count: int) -> Any:
    """A dataset that TRL takes for one of prompts, images and completions, and that holds the rows' places alone.

    So that an epoch's data are not read to find out which they are.
    """
    from datasets import Dataset

    def places(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        size = len(batch["at"])
        return {"at": batch["at"], "prompt": [""] * size, "images": [[]] * size, "completion": [""] * size}

    return Dataset.from_dict({"at": list(range(count))}).with_transform(places)
