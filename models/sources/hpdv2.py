"""Source `hpdv2`: Human Preference Dataset v2, people's rankings of images that several models drew for one prompt.

Licence Apache-2.0. 798 000 pairs of 430 000 images, 645 000 of them in the training half; train.json has 116 MB,
train.tar.gz 31.7 GB. https://huggingface.co/datasets/ymhao/HPDv2. X. Wu et al., "Human Preference Score v2: A Solid
Benchmark for Evaluating Human Preferences of Text-to-Image Synthesis", arXiv 2306.09341.

Layout: two listings of different form, and the images in the unpacked `train/` and `test/`, which they leave out.

    train.json   {"prompt": …, "human_preference": [1, 0], "file_path": ["00001.jpg", "00002.jpg"]}
    test.json    {"prompt": …, "image_path": ["00003.jpg", …], "rank": [2, 1, …], "raw_annotations": […]}

The fields are those of the hub's card; its own loading script and others who read train.json say `image_path` there
too, and either is taken. That the lowest rank is the best was read in tgxs002/HPSv2 (hpsv2/evaluation.py at 067feee),
which compares it with the places of its own scores, highest first. No published row was seen.

A row gives every pair of its images that differ in rank or preference, first image first; those that are equal give no
pair, and a row whose images are all equal is invalid. Only train.json is read where both are there, since the other is
what HPS v2 is measured on.
"""

import math
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from models.pairs.preference import Task
from models.sources.fields import SHOWN, Fields, RowError, as_text, below, given_id, text
from models.sources.listings import find, rows_of
from models.sources.rows import InFile, InvalidRow, Medium, Row


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs of each row in the order of the file. Raises `DataError` where there is no listing."""
    file = find(root, "train.json", "test.json", layout="train.json beside train/, or test.json beside test/")[0]
    return _read(root, file)


def _read(root: Path, file: Path) -> Iterator[Row | InvalidRow]:
    for where, row in rows_of(root, [file]):
        if isinstance(row, InvalidRow):
            yield row
        elif not isinstance(row, dict):
            yield InvalidRow(where, "", f"row: is no object but of type {type(row).__name__}")
        else:
            try:
                yield from _pairs(where, row, root, file.stem)
            except RowError as error:
                yield InvalidRow(where, given_id(row), str(error))


def _pairs(where: str, row: Fields, root: Path, folder: str) -> list[Row]:
    """Every pair of the row's images that differ in rank: all of them, or the row is invalid."""
    prompt = text(row, "prompt")
    names = _names(row)
    ranks = _ranks(row, len(names))
    if len(set(ranks)) == 1:
        raise RowError("tie: all images of the row rank the same")
    images: list[Medium] = [below(root, InFile(name), folder) for name in names]
    return [
        Row(
            where=where,
            id=f"{given_id(row) or where}/{first + 1}-{second + 1}",
            task=Task.IMAGE_GENERATION,
            prompt=prompt,
            candidates=(images[first], images[second]),
            preferred=1 if ranks[first] < ranks[second] else 2,
        )
        for first, second in combinations(range(len(images)), 2)
        if ranks[first] != ranks[second]
    ]


def _names(row: Fields) -> list[str]:
    name = "image_path" if row.get("image_path") is not None else "file_path"
    names = [as_text(value, f"{name}[{at}]") for at, value in enumerate(_list(row, name))]
    if len(names) < 2:
        raise RowError(f"row: {name} names {len(names)} images, expected at least 2")
    if len(set(names)) < len(names):
        raise RowError(f"row: {name} names an image twice")
    return names


def _ranks(row: Fields, count: int) -> list[float]:
    """The rank of each image, the lowest the best; of preferences, where 1 is the preferred, their negative."""
    name = "rank" if row.get("rank") is not None else "human_preference"
    values = _list(row, name)
    if len(values) != count:
        raise RowError(f"row: {name} has {len(values)} values for {count} images")
    for at, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise RowError(f"row: {name}[{at}] is {str(value)[:SHOWN]!r}, no finite number")
    return values if name == "rank" else [-value for value in values]


def _list(row: Fields, name: str) -> list[Any]:
    value = row.get(name)
    if value is None:
        raise RowError(f"row: {name} is missing")
    if not isinstance(value, list):
        raise RowError(f"row: {name} is no list but of type {type(value).__name__}")
    return value
