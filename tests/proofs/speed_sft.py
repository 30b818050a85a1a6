"""Fine-tuning as it is done here against stock TRL: CPU seconds of whole runs, one after the other, and their losses.

    python -m tests.proofs.speed_sft

Each round is a process with one thread that trains twice on the embedded world, as cold-start does: reasoning of the
embedded teacher and direct answers, LoRA, four epochs. Stock TRL is `SFTTrainer` with its own collator on the rows, a
batch of a step at once. Imports and loading are not counted; preparing rows and running the vision tower are.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from tests.proofs.speed_rows import Row, main_of, row

BASE = Path(__file__).resolve().parents[2] / "models" / "shapes" / "base"
BATCH, EPOCHS, DIRECT = 64, 4, 6  # one in so many is answered directly, as in the embedded profile
MICRO_TOKENS = 2048
TARGET = 3.0


def stock(**options: Any) -> Any:
    """TRL's own trainer on the same rows."""
    from trl import SFTTrainer

    rows = options.pop("rows")
    for name in ("micro_tokens", "micro_batch"):
        options.pop(name)
    return SFTTrainer(train_dataset=rows, **options)


def child(steps: int) -> None:
    """Both runs in this process; prints seconds and losses as JSON."""
    import torch

    from configs.schema import Lora, Model, Runtime, Sft
    from models.pairs.dataset import PreferenceDataset, write_dataset
    from models.pairs.preference import Task
    from models.shapes.pairs import make_pair
    from models.shapes.teacher_answers import Faults, answer_request
    from models.training.compute import Compute
    from models.training.hooks import Hooks
    from models.training.sft import train_sft
    from models.verdict.prompts import with_data_urls

    torch.set_num_threads(1)
    count = steps * BATCH
    made = [make_pair(list(Task)[at % 4], at // 4, seed=0, held_out=False) for at in range(count)]
    pairs = [one.pair for one in made]
    lora = Lora(rank=16, alpha=32, dropout=0.0)
    sft = Sft(
        epochs=EPOCHS, learning_rate=3e-3, warmup=0.1, batch=BATCH, micro_batch=BATCH, lora=lora, checkpoint_every=999,
    )  # fmt: skip
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        write_dataset(data, {"train": pairs}, {uri: blob for one in made for uri, blob in one.blobs.items()})

        def run(name: str, micro_tokens: int | None, *patches: Any) -> None:
            media = PreferenceDataset(data, max_pixels=147_456, max_frames=8)
            times: list[float] = []
            hooks = Hooks(on_progress=lambda done, total: times.append(time.process_time()))
            compute = Compute(0, Model(), Runtime(device="cpu", threads=1, micro_tokens=micro_tokens))
            out = Path(folder) / name
            how: Any = {"sft": sft, "section": "cold_start", "compute": compute, "scratch": out / "t", "hooks": hooks}
            direct = pairs[-(count // DIRECT) :]
            with ExitStack() as stack:
                for one in patches:
                    stack.enter_context(one)
                stack.enter_context(mock.patch("transformers.Trainer._inner_training_loop", timed(times)))
                facts = train_sft(BASE, pairs[: -len(direct)], texts, media, out, direct=direct, **how)
            losses = [one["loss"] for one in facts["log"] if "loss" in one]
            found[name] = {"seconds": (times[-1] - times[0]) / len(losses), "losses": losses}

        media = PreferenceDataset(data, max_pixels=147_456, max_frames=8)
        asked = [with_data_urls(one, "think", media.frames) for one in pairs[: -(count // DIRECT)]]
        texts = [answer_request({"messages": messages}, Faults(), 0) for messages in asked]
        run("stock", None, mock.patch("models.training.fine_tuning.trainer.StepwiseSft", stock))
        run("ours", MICRO_TOKENS)
    sys.stdout.write("\n" + json.dumps(found) + "\n")


def timed(times: list[float]) -> Any:
    """The trainer's loop, which notes when it begins."""
    from transformers import Trainer

    loop = Trainer._inner_training_loop

    def begun(trainer: Any, *args: Any, **more: Any) -> Any:
        times.append(time.process_time())
        return loop(trainer, *args, **more)

    return begun


def rounds(steps: int, count: int) -> Iterator[dict[str, Any]]:
    """Each round's figures: by `stock` and `ours`, seconds a step and losses."""
    for _ in range(count):
        command = [sys.executable, "-m", "tests.proofs.speed_sft", "--child", str(steps)]
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=one_thread)
        yield json.loads(done.stdout.strip().splitlines()[-1])


def rows(full: bool = False) -> Iterator[Row]:
    """One row: a step of fine-tuning against stock TRL."""
    steps = 6 if full else 2
    found = list(rounds(steps, 3 if full else 1))
    apart = max(abs(a - b) for one in found for a, b in zip(one["ours"]["losses"], one["stock"]["losses"], strict=True))
    last = found[-1]
    note = (
        f"embedded base, {steps} steps of {BATCH} an epoch, {EPOCHS} epochs, LoRA 16, micro_tokens {MICRO_TOKENS}; "
        f"CPU seconds a step {last['stock']['seconds']:.2f} and {last['ours']['seconds']:.2f}; "
        f"losses apart by {apart:.1e} at most"
    )
    ratios = [one["stock"]["seconds"] / one["ours"]["seconds"] for one in found]
    yield row("a step of fine-tuning against stock TRL", ratios, TARGET, note)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]))
    else:
        sys.exit(main_of(rows, __doc__))
