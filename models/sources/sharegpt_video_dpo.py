"""Source `sharegpt_video_dpo`: two answers to a question about a video, ranked by ChatGPT against a detailed caption.

Licence Apache-2.0. 17 000 pairs, 9.64 MB, and the frames of their videos among those of 300 000, about 150 GB.
https://huggingface.co/datasets/ShareGPTVideo/train_video_and_instruction. R. Zhang et al., "Direct Preference
Optimization of Video Large Multimodal Models from Language Model Reward", arXiv 2404.01258.

Layout: `video_instruction/train/dpo/sft_dpo_17k.jsonl`, and `train_300k/chunk_*.tar.gz`, to be unpacked where they are.

    {"id": "v_1_q", "video": "v_1", "prompt": "What happens?", "answer": "…", "chosen": "…", "rejected": "…"}

Files, sizes and licence were seen on the hub's pages; `id`, `video`, `prompt` and `answer` in code that reads the file,
which takes `video` for a folder of frames below the unpacked archives; that videos are published as frames at one a
second, in the authors' words there; `chosen` and `rejected` from the DPO trainer that takes it. No published row was
seen, nor whether the scores are kept as `chosen_score` and `rejected_score`: where both are, equal ones are a tie and
ones that contradict the choice make the row invalid. `answer`, a reference, is not read.

A video is looked for as a folder of frames (whose names are ordered by their numbers: `f2` before `f10`) or as a file,
with or without `.mp4`, beside the listing's root, in `train_300k/`, `frames/` and `videos/`. One that is nowhere is
named `<video>.mp4`, so that the import says what is missing.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.pairs.preference import Preferred, Task
from models.sources.conversations import VIDEO_SUFFIXES
from models.sources.fields import RowError, as_text, given_id, number, question, text, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import Frames, InFile, InvalidRow, Medium, Row

FOLDERS = ("", "train_300k/", "frames/", "videos/")
FRAME_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the file, the chosen answer first. Raises `DataError` where there is no listing."""
    files = find(
        root,
        "video_instruction/train/dpo/*.jsonl",
        "sft_dpo_*.jsonl",
        "*.jsonl",
        layout="video_instruction/train/dpo/sft_dpo_17k.jsonl beside train_300k/",
    )

    def make(where: str, row: dict[str, Any]) -> Row:
        chosen, rejected = _said(row, "chosen"), _said(row, "rejected")
        if chosen == rejected:
            raise RowError("row: both candidates are the same")
        return Row(
            where=where,
            id=given_id(row) or where,
            task=Task.VIDEO_UNDERSTANDING,
            prompt=question(text(row, "prompt")),
            candidates=(chosen, rejected),
            preferred=_preferred(row),
            context=(_video(root, text(row, "video")),),
        )

    return valid_rows(rows_of(root, files), make)


def _said(row: dict[str, Any], name: str) -> str:
    """An answer, which some copies wrap in a turn of a conversation."""
    value = row.get(name)
    return as_text(value.get("value"), name) if isinstance(value, dict) else text(row, name)


def _preferred(row: dict[str, Any]) -> Preferred:
    if row.get("chosen_score") is None or row.get("rejected_score") is None:
        return 1
    chosen, rejected = number(row, "chosen_score"), number(row, "rejected_score")
    if chosen < rejected:
        raise RowError(f"row: chosen_score {chosen:g} is below rejected_score {rejected:g}")
    return 1 if chosen > rejected else "tie"


def _video(root: Path, name: str) -> Medium:
    if not _stays_below(root, name):
        return InFile(name)  # for the import to refuse; nothing outside is looked at
    for path in (f"{folder}{name.rstrip('/')}" for folder in FOLDERS):
        if os.path.isdir(root / path):
            names = [one for one in os.listdir(root / path) if os.path.splitext(one)[1].lower() in FRAME_SUFFIXES]
            if names:
                return Frames(tuple(f"{path}/{one}" for one in sorted(names, key=_by_number)))
        for file in (path, f"{path}.mp4"):
            if os.path.isfile(root / file):
                return InFile(file)
    return InFile(name if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES else f"{name}.mp4")


def _stays_below(root: Path, name: str) -> bool:
    try:
        inside = [(root / f"{folder}{name}").resolve() for folder in FOLDERS]
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or links in a circle
        return False
    return not os.path.isabs(name) and all(path.is_relative_to(root.resolve()) for path in inside)


def _by_number(name: str) -> list[tuple[int, str]]:
    """What sorts `f2` before `f10`: numbers by their value, the text around them as it is."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"([0-9]+)", name)]
