"""Multimodal RewardBench 2, the parts that our tasks can show: text-to-image, and reasoning answered in text.

Licence CC BY-NC 4.0, for evaluation alone. 1000 pairs each of text-to-image, editing, interleaved and reasoning, about
2 GB. https://github.com/facebookresearch/MMRB2, https://huggingface.co/datasets/rl-research/multimodal-rewardbench-2.
Y. Hu et al., "Multimodal RewardBench 2: Evaluating Omni Reward Models for Interleaved Text and Image", arXiv
2512.16899.

Layouts: `t2i.json` and `reasoning.json` as the repository builds them, `{"pairs": [...]}` with `id`, `prompt_content`
and `response_a`, `response_b` (each a `response_content`), whose contents are lists of ["text", …] and
["image", path], and `chosen`, A or B; or the hub's Parquet of the configs `t2i` and `reasoning`, with `pair_id`,
`prompt_text`, `prompt_images`, the same for both responses, `<image_1>` where an image stands, and `chosen`. Read in
the repository's files and its script `build_from_hf.py`; the names of the hub's files are taken to be the usual ones.

`edit.json` and `interleaved.json` are not read: their candidates are images about images, or images among text, which
none of our four tasks shows. For the same cause a pair of `reasoning.json` whose answer holds an image is reported as
invalid with the reason `task`, and so is one whose question has no image.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.errors import DataError
from models.evaluation.benchmarks.benchmark import Benchmark, Quoted
from models.pairs.preference import Preferred, Task
from models.sources.fields import RowError, as_text, label, medium, text, valid_rows
from models.sources.listings import rows_of
from models.sources.rows import InvalidRow, Medium, Row

GROUPS = ("t2i", "reasoning")
CHOSEN: dict[str, Preferred] = {"A": 1, "B": 2}
_PLACEHOLDER = re.compile(r"<image_\d+>")
Part = str | Medium


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs of both groups in the order of their files. Raises `DataError` where there is no listing."""
    return _read_all(root, _listings(root))


def _listings(root: Path) -> list[tuple[str, Path]]:
    """The files of the groups, all of one layout."""
    for pattern in ("{}.json", "{}/*.parquet", "data/{}-*.parquet"):
        if found := [(group, file) for group in GROUPS for file in sorted(root.glob(pattern.format(group)))]:
            return found
    raise DataError(
        f"{root} has neither t2i.json nor reasoning.json: expected them beside images/ and input_images/, or the hub's "
        "t2i/*.parquet and reasoning/*.parquet"
    )


def _read_all(root: Path, files: list[tuple[str, Path]]) -> Iterator[Row | InvalidRow]:
    for group, file in files:
        rows = _json_rows(root, file) if file.suffix == ".json" else rows_of(root, [file])
        make = _drawn if group == "t2i" else _reasoned
        yield from valid_rows(rows, make)


def _json_rows(root: Path, file: Path) -> Iterator[tuple[str, Any]]:
    """The items of "pairs"; a file is a few megabytes."""
    try:
        listing = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not JSON: {str(error).splitlines()[0]}") from error
    pairs = listing.get("pairs") if isinstance(listing, dict) else None
    if not isinstance(pairs, list):
        raise DataError(f'{file} holds no list of pairs: expected {{"pairs": [...]}}')
    for number, pair in enumerate(pairs, start=1):
        yield f"{file.relative_to(root).as_posix()}#{number}", pair


def _drawn(where: str, row: dict[str, Any]) -> Row:
    asked = _parts(row, "prompt", where)
    if any(not isinstance(part, str) for part in asked):
        raise RowError("task: an image is asked for with an image, which image_generation does not show")
    candidates = []
    for name in ("response_a", "response_b"):
        parts = _parts(row, name, where)
        if len(parts) != 1 or isinstance(parts[0], str):
            raise RowError("task: a response is not one image alone, which image_generation compares")
        candidates.append(parts[0])
    return Row(
        where=where,
        id=_id(row),
        task=Task.IMAGE_GENERATION,
        prompt=as_text(_told(asked), "prompt"),
        candidates=(candidates[0], candidates[1]),
        preferred=label(row, "chosen", CHOSEN),
        group="t2i",
    )


def _reasoned(where: str, row: dict[str, Any]) -> Row:
    asked = _parts(row, "prompt", where)
    images = tuple(part for part in asked if not isinstance(part, str))
    if not images:
        raise RowError("task: the question has no image, which image_understanding shows")
    answers = []
    for name in ("response_a", "response_b"):
        parts = _parts(row, name, where)
        if any(not isinstance(part, str) for part in parts):
            raise RowError("task: an answer holds an image, which image_understanding does not show")
        answers.append(as_text(_told(parts), name))
    return Row(
        where=where,
        id=_id(row),
        task=Task.IMAGE_UNDERSTANDING,
        prompt=as_text(_told(asked), "prompt"),
        candidates=(answers[0], answers[1]),
        preferred=label(row, "chosen", CHOSEN),
        context=images,
        group="reasoning",
    )


def _id(row: dict[str, Any]) -> str:
    return text(row, "pair_id" if "pair_id" in row else "id")


def _parts(row: dict[str, Any], name: str, where: str) -> list[Part]:
    """The texts and images of the prompt or of a response, in order; texts that say nothing are left out."""
    if f"{name}_text" in row or f"{name}_images" in row:
        return _parquet_parts(row, name, where)
    content = row.get("prompt_content")
    if name != "prompt":
        response = row.get(name)
        content = response.get("response_content") if isinstance(response, dict) else None
    if not isinstance(content, list):
        raise RowError(f"row: {name} has no content")
    parts: list[Part] = []
    for item in content:
        match item:
            case ["text", str(words)]:
                parts += [words] if words.strip() else []
            case ["image", str(path)]:
                parts.append(medium(path, name, where))
            case _:
                raise RowError(f'row: {name} holds neither ["text", …] nor ["image", …]')
    return parts


def _parquet_parts(row: dict[str, Any], name: str, where: str) -> list[Part]:
    given, told = row.get(f"{name}_images"), row.get(f"{name}_text")
    if not isinstance(given, list | None) or not isinstance(told, str | None):
        raise RowError(f"row: {name}_text is no text, or {name}_images is no list of images")
    images = [medium(one, f"{name}_image_{n}", where) for n, one in enumerate(given or (), start=1)]
    parts: list[Part] = []
    waiting = iter(images)
    for number, words in enumerate(_PLACEHOLDER.split(told or "")):
        if number and (image := next(waiting, None)) is not None:
            parts.append(image)
        if words.strip():
            parts.append(words)
    return [*parts, *waiting]  # images that no placeholder stands for come last, as in the authors' own script


def _told(parts: list[Part]) -> str:
    """The texts, and among them where the images stand if there are several to tell apart."""
    several = sum(not isinstance(part, str) for part in parts) > 1
    told, number = [], 0
    for part in parts:
        if isinstance(part, str):
            told.append(part.strip())
        else:
            number += 1
            told += [f"[image {number}]"] if several else []
    return "\n".join(told)


_README = "github.com/facebookresearch/MMRB2, README"

# Figures of reasoning are not quoted: the authors' are over all of its pairs, ours over those answered in text.
BENCHMARK = Benchmark(
    name="multimodal_reward_bench_2",
    read=read,
    groups=GROUPS,
    quoted=(
        Quoted("Gemini 3 Pro", {"t2i": 74.4}, _README),
        Quoted("GPT-5", {"t2i": 70.5}, _README),
        Quoted("GPT-4o", {"t2i": 60.3}, _README),
        Quoted("HPSv3", {"t2i": 60.2}, _README),
        Quoted("UnifiedReward (Qwen2.5-VL-7B)", {"t2i": 59.8}, _README),
        Quoted("Qwen3-VL-8B", {"t2i": 59.4}, _README),
        Quoted("Qwen2.5-VL-7B", {"t2i": 50.4}, _README),
    ),
)
