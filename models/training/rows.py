"""Pairs as rows of a training dataset, decoded when they are read."""

import json
from collections.abc import Sequence
from typing import Any

from models.pairs.dataset import PreferenceDataset
from models.pairs.preference import PreferencePair
from models.verdict.chat_template import prompt_text, target
from models.verdict.grammar import Mode
from models.verdict.prompts import with_images


def training_rows(
    pairs: Sequence[PreferencePair],
    media: PreferenceDataset,
    completions: Sequence[str] | None = None,
    modes: Sequence[Mode] | None = None,
    processor: Any = None,
) -> Any:
    """A `datasets.Dataset` in TRL's conversational form: `prompt`, `images` and, for SFT, `completion`.

    With `processor`, prompts and completions are texts as its chat template has them, so that together they are what
    `LocalGenerator` prompts and is answered; TRL's own rendering would lose reasoning that a template leaves out of
    earlier turns, and put the part of the answer that a prompt opens into the completion.
    `modes` says how each pair is asked; without it all are asked to think. Rows hold the pair's JSON; images are
    decoded as they are read, so memory does not grow with the data. `task`, `preferred` (as text) and `pair_id` ride
    along for the rewards.
    """
    from datasets import Dataset

    columns: dict[str, list[str]] = {
        "pair": [pair.model_dump_json() for pair in pairs],
        "mode": list(modes or ["think"] * len(pairs)),
    }
    if completions is not None:
        columns["text"] = list(completions)

    def decoded(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        shown = [PreferencePair.model_validate(json.loads(row)) for row in batch["pair"]]
        asked = zip(shown, batch["mode"], strict=True)
        prompts, images = zip(*(_prompt_and_images(pair, mode, media) for pair, mode in asked), strict=True)
        rows: dict[str, list[Any]] = {
            "prompt": list(prompts),
            "images": list(images),
            "task": [str(pair.task) for pair in shown],
            "preferred": [str(pair.preferred) for pair in shown],
            "pair_id": [pair.id for pair in shown],
        }
        if "text" in batch:
            rows["completion"] = [[{"role": "assistant", "content": text}] for text in batch["text"]]
        return _as_texts(rows, batch["mode"], processor) if processor is not None else rows

    return Dataset.from_dict(columns).with_transform(decoded)


def _as_texts(rows: dict[str, list[Any]], modes: Sequence[Mode], processor: Any) -> dict[str, list[Any]]:
    """The rows with prompts and completions rendered."""
    rows["prompt"] = [prompt_text(processor, one, mode) for one, mode in zip(rows["prompt"], modes, strict=True)]
    if "completion" in rows:
        rows["completion"] = [
            target(processor, one[0]["content"], mode) for one, mode in zip(rows["completion"], modes, strict=True)
        ]
    return rows


def _prompt_and_images(
    pair: PreferencePair, mode: Mode, media: PreferenceDataset
) -> tuple[list[dict[str, Any]], list[Any]]:
    """Messages with bare image placeholders, which TRL fills from `images` in order."""
    messages = with_images(pair, mode, media.frames)
    images = [part["image"] for message in messages for part in message["content"] if part["type"] == "image"]
    prompt = [
        {**message, "content": [part if part["type"] == "text" else {"type": "image"} for part in message["content"]]}
        for message in messages
    ]
    return prompt, images
