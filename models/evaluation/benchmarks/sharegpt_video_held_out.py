"""ShareGPTVideo, held out: which of two answers to a question about a video is better; 1000 pairs in the paper.

Licence Apache-2.0. Drawn from the 17 000 preference pairs at
https://huggingface.co/datasets/ShareGPTVideo/train_video_and_instruction, 9.64 MB and the frames of the videos.
R. Zhang et al., "Direct Preference Optimization of Video Large Multimodal Models from Language Model Reward", arXiv
2404.01258; held out and measured on in Y. Wang et al., arXiv 2503.05236, which does not publish which pairs it chose.

Layouts, neither of which could be verified on a published file: `data.json` as the script
`test_llava_video_understanding_assessment.py` of CodeGoat24/UnifiedReward describes it, with `prompt`, `images` (the
frames, in order, below the same folder or in `images/` there), `responses[2]` and `answer` ("Response 1 is better than
Response 2."); or JSON lines as in `sft_dpo_17k.jsonl`, with `id`, `video` (a folder of frames or a file), `prompt`,
`chosen` and `rejected`, for pairs that you hold out yourself.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.evaluation.benchmarks.benchmark import Benchmark, Quoted
from models.pairs.preference import Preferred, Task
from models.sources.fields import RowError, as_text, below, given_id, label, question, text, two, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import Frames, InFile, InvalidRow, Medium, Row

ANSWERS: dict[str, Preferred] = {
    "Response 1 is better than Response 2.": 1,
    "Response 2 is better than Response 1.": 2,
    "Answer 1 is better than Answer 2": 1,  # what the script's own prompt asks for, and its scoring cuts off the dot
    "Answer 2 is better than Answer 1": 2,
}
FRAME_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the file. Raises `DataError` where there is no listing."""
    layout = "data.json beside the frames, or JSON lines with chosen and rejected"
    files = find(root, "data.json", "*.jsonl", layout=layout)

    def make(where: str, row: dict[str, Any]) -> Row:
        chosen = "chosen" in row or "rejected" in row
        return Row(
            where=where,
            id=given_id(row) or where,
            task=Task.VIDEO_UNDERSTANDING,
            prompt=question(text(row, "prompt")),
            candidates=(_said(row, "chosen"), _said(row, "rejected")) if chosen else _responses(row),
            preferred=1 if chosen else label(row, "answer", ANSWERS),
            context=(_video(root, text(row, "video")) if chosen else _frames(root, row.get("images")),),
        )

    return valid_rows(rows_of(root, files), make)


def _responses(row: dict[str, Any]) -> tuple[str, str]:
    first, second = two(row, "responses")
    return as_text(first, "response 1"), as_text(second, "response 2")


def _said(row: dict[str, Any], name: str) -> str:
    """An answer, which some copies wrap in a turn of a conversation."""
    value = row.get(name)
    return text(value, "value") if isinstance(value, dict) else text(row, name)


def _frames(root: Path, images: object) -> Medium:
    if not isinstance(images, list) or not images:
        raise RowError("row: images is no list of frames")
    named = [below(root, InFile(as_text(one, "a frame")), "images") for one in images]
    return Frames(tuple(one.path for one in named if isinstance(one, InFile)))


def _video(root: Path, path: str) -> Medium:
    """A video's folder of frames, its file, or its file without its suffix, as the published archives have it."""
    if os.path.isdir(root / path):
        names = sorted(name for name in os.listdir(root / path) if Path(name).suffix.lower() in FRAME_SUFFIXES)
        if names:
            return Frames(tuple(f"{path.rstrip('/')}/{name}" for name in names))
    with_suffix = f"{path}.mp4"
    return InFile(with_suffix) if os.path.isfile(root / with_suffix) else InFile(path)


BENCHMARK = Benchmark(
    name="sharegpt_video",
    read=read,
    quoted=(Quoted("UnifiedReward (LLaVA-OneVision-7B)", {"overall": 84.0}, "arXiv 2503.05236, table VIII"),),
)
