"""What is written is the same bytes each time, what is read is what was written, and what is missing is named."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.errors import DataError, MediaError
from models.pairs import dataset
from models.pairs.dataset import InvalidPair, PreferenceDataset, write_dataset
from models.pairs.preference import Candidate, Media, PreferencePair, Preferred, Split, Task
from models.verdict.prompts import with_data_urls, with_images


def png(colour: str, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format="PNG")
    return buffer.getvalue()


BLOBS = {f"{colour}.png": png(colour) for colour in ("red", "green", "blue")}


def image(name: str) -> Media:
    return Media(kind="image", uri=name, sha256=hashlib.sha256(BLOBS.get(name, b"")).hexdigest())


def pair(name: str, preferred: Preferred, first: str = "red.png", second: str = "blue.png") -> PreferencePair:
    return PreferencePair(
        id=name,
        task=Task.IMAGE_GENERATION,
        prompt="a red square",
        candidates=(Candidate(media=image(first)), Candidate(media=image(second))),
        preferred=preferred,
        source="test",
        group="colour",
    )


ASKED = PreferencePair(
    id="c",
    task=Task.IMAGE_UNDERSTANDING,
    prompt="what colour?",
    context=(image("green.png"),),
    candidates=(Candidate(text="green"), Candidate(text="red")),
    preferred=1,
    source="test",
)
SPLITS: dict[Split, list[PreferencePair]] = {"train": [pair("a", 1), pair("b", 2), ASKED], "held_out": [pair("d", 2)]}


def written(folder: Path, splits: Mapping[Split, list[PreferencePair]] = SPLITS, **caps: int) -> PreferenceDataset:
    folder.mkdir(exist_ok=True)
    write_dataset(folder, splits, BLOBS, [InvalidPair("x", "media: does not exist", "x.png")])
    limits = {"max_pixels": 10_000, "max_frames": 8} | caps
    return PreferenceDataset(folder, max_pixels=limits["max_pixels"], max_frames=limits["max_frames"])


def test_the_same_pairs_and_media_give_the_same_bytes(tmp_path: Path) -> None:
    written(tmp_path / "one")
    write_dataset(tmp_path / "one", SPLITS, BLOBS, [InvalidPair("x", "media: does not exist", "x.png")])  # over itself
    (tmp_path / "two").mkdir()
    shuffled = dict(reversed(BLOBS.items()))
    write_dataset(tmp_path / "two", SPLITS, shuffled, [InvalidPair("x", "media: does not exist", "x.png")])
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


def test_pairs_come_back_in_order_by_split_and_by_task(tmp_path: Path) -> None:
    read = written(tmp_path)
    assert read.pairs("train") == SPLITS["train"]
    assert read.pairs("held_out") == SPLITS["held_out"]
    assert read.pairs("train", Task.IMAGE_UNDERSTANDING) == [ASKED]
    assert read.pairs("train", Task.VIDEO_GENERATION) == []


def test_media_come_back_byte_for_byte_from_every_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MEDIA_SHARD_BYTES", 100)
    read = written(tmp_path)
    assert len(list(tmp_path.glob("media-*.parquet"))) > 1
    assert {uri: read.blob(uri) for uri in BLOBS} == BLOBS


def test_a_medium_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"purple\.png: is not in the dataset") as caught:
        written(tmp_path).frames("purple.png")
    assert caught.value.uri == "purple.png"


def test_frames_stay_within_the_caps(tmp_path: Path) -> None:
    (frame,) = written(tmp_path, max_pixels=16).frames("red.png")
    assert frame.size == (4, 4)


def test_labels_of_one_class_are_refused_since_they_teach_the_position_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="all 2 pairs of the train split prefer 1"):
        write_dataset(tmp_path, {"train": [pair("a", 1), pair("b", 1)], "held_out": [pair("c", 2)]}, BLOBS)
    with pytest.raises(DataError, match="held_out split prefer 'tie'"):
        write_dataset(tmp_path, {"train": SPLITS["train"], "held_out": [pair("c", "tie"), pair("d", "tie")]}, BLOBS)
    one_task = [pair(str(n), 1) for n in range(12)] + [pair("tie", "tie")]
    with pytest.raises(DataError, match="all 12 pairs of image_generation in the train split prefer 1"):
        write_dataset(tmp_path, {"train": one_task, "held_out": SPLITS["held_out"]}, BLOBS)
    assert not list(tmp_path.iterdir()), "refused before anything is written"


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="held_out split has no valid pair"):
        write_dataset(tmp_path, {"train": SPLITS["train"], "held_out": []}, BLOBS)


def test_the_summary_counts_what_is_there_and_what_was_left_out(tmp_path: Path) -> None:
    summary = written(tmp_path).summary()
    assert summary["splits"]["train"] == {
        "pairs": 3,
        "tasks": {"image_generation": 2, "image_understanding": 1},
        "labels": {"1": 2, "2": 1},
        "groups": {"image_generation/colour": 2, "image_understanding/": 1},
    }
    assert summary["quarantined"] == {
        "count": 1,
        "by_reason": {"media: does not exist": 1},
        "rows": [{"id": "x", "reason": "media: does not exist", "uri": "x.png"}],
    }


def test_trainer_and_endpoint_get_one_request_that_differs_in_the_media_alone(tmp_path: Path) -> None:
    read = written(tmp_path)

    def split(messages: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
        content = messages[0]["content"]
        return [p for p in content if p["type"] == "text"], [p for p in content if p["type"] != "text"]

    texts, images = split(with_images(pair("a", 1), "think", read.frames))
    endpoint_texts, endpoint_images = split(with_data_urls(pair("a", 1), "think", read.frames))
    assert texts == endpoint_texts
    assert [part["image"].getpixel((0, 0)) for part in images] == [(255, 0, 0), (0, 0, 255)]
    assert all(part["image_url"]["url"].startswith("data:image/png;base64,") for part in endpoint_images)
    json.dumps(endpoint_images)
