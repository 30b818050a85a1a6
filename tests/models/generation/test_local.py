"""Generation with a model in this process: what it is shown of a video."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.backbone import load_model, load_processor, save, takes_video
from models.generation.local import LocalGenerator
from models.judge import UNKNOWN_RATE, Judge
from models.media import decode, inspect
from models.preference import PreferencePair, Task
from models.shapes.pairs import make_pair

BASE = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"
PAIRS = [make_pair(task, number, seed=5, held_out=True) for number in range(2) for task in Task]
BLOBS = {uri: data for made in PAIRS for uri, data in made.blobs.items()}


def frames(uri: str) -> list[Image.Image]:
    return decode(BLOBS[uri], uri, max_frames=4)


def seconds(uri: str) -> float:
    return inspect(BLOBS[uri], uri).seconds


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base as if it came from elsewhere: nothing says what its training showed it."""
    folder = tmp_path_factory.mktemp("models") / "foreign"
    shutil.copytree(BASE, folder)
    config = json.loads((folder / "config.json").read_text())
    del config["thinkreward"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


class Recorded(LocalGenerator):
    """Notes what its processor made of the media."""

    shown: dict[str, Any]

    @classmethod
    def of(cls, folder: Path) -> "Recorded":
        processor = load_processor(folder)
        made = cls(load_model(folder), processor, batch=16)
        inner = made.model.generate

        def generate(**inputs: Any) -> Any:
            made.shown = {name: value for name, value in inputs.items() if name.endswith("_grid_thw")}
            made.shown["texts"] = processor.tokenizer.batch_decode(inputs["input_ids"])
            return inner(**inputs)

        made.model.generate = generate
        return made


def asked(folder: Path, pair: PreferencePair, *, native: bool) -> dict[str, Any]:
    generator = Recorded.of(folder)
    Judge(generator, frames, seconds=seconds if native else None).judge([pair], "direct", max_tokens=2)
    return generator.shown


def test_a_model_from_elsewhere_takes_video_if_its_processor_does(foreign: Path) -> None:
    assert takes_video(foreign)
    settings = json.loads((foreign / "processor_config.json").read_text())
    assert settings["video_processor"]


def test_a_model_saved_here_takes_frames_whatever_its_processor_could(foreign: Path, tmp_path: Path) -> None:
    assert not takes_video(BASE)
    save(load_model(foreign), load_processor(foreign), tmp_path)
    assert not takes_video(tmp_path)


def test_a_video_is_shown_as_one_medium_with_the_times_of_its_frames(foreign: Path) -> None:
    pair = next(made.pair for made in PAIRS if made.pair.task == Task.VIDEO_GENERATION)
    shown = asked(foreign, pair, native=True)
    assert shown["video_grid_thw"][:, 0].tolist() == [2, 2]  # four frames each, two of them a patch
    assert "image_grid_thw" not in shown
    apart = seconds(pair.media()[0].uri) / 4
    assert shown["texts"][0].count(f"<{apart / 2:.1f} seconds>") == 2  # of either video's first two frames


def test_the_same_video_is_four_images_without(foreign: Path) -> None:
    pair = next(made.pair for made in PAIRS if made.pair.task == Task.VIDEO_GENERATION)
    shown = asked(foreign, pair, native=False)
    assert shown["image_grid_thw"][:, 0].tolist() == [1] * 8
    assert "video_grid_thw" not in shown


def test_images_and_videos_may_stand_in_one_batch_in_any_order(foreign: Path) -> None:
    generator = LocalGenerator.load(foreign, device="cpu", dtype="float32", attention="sdpa", batch=3)
    judge = Judge(generator, frames, seconds=seconds)
    pairs = [made.pair for made in PAIRS]
    together = [one.text for one in judge.judge(pairs, "direct", max_tokens=4)]
    alone = [one.text for pair in pairs for one in judge.judge([pair], "direct", max_tokens=4)]
    assert together == alone
    assert [one.text for one in judge.judge(pairs[::-1], "direct", max_tokens=4)] == together[::-1]


def test_a_video_that_tells_no_time_has_the_usual_rate(foreign: Path) -> None:
    generator = Recorded.of(foreign)
    pair = next(made.pair for made in PAIRS if made.pair.task == Task.VIDEO_UNDERSTANDING)
    Judge(generator, frames, seconds=lambda uri: 0.0).judge([pair], "direct", max_tokens=2)
    assert f"<{0.5 / UNKNOWN_RATE:.1f} seconds>" in generator.shown["texts"][0]


def test_a_pair_that_the_processor_refuses_costs_itself_alone() -> None:
    generator = LocalGenerator.load(BASE, device="cpu", dtype="float32", attention="sdpa", batch=8)
    pairs = [made.pair for made in PAIRS if made.pair.task == Task.IMAGE_GENERATION]
    good = pairs[0]
    thin = {medium.uri for medium in pairs[1].media()}

    def shown(uri: str) -> list[Image.Image]:
        return [Image.new("RGB", (400, 1))] if uri in thin else frames(uri)

    judge = Judge(generator, shown)
    (alone,) = judge.judge([good], "direct", max_tokens=4)
    kept, refused = judge.judge([good, pairs[1]], "direct", max_tokens=4)
    assert (kept.text, kept.refused) == (alone.text, "")
    assert "aspect ratio" in refused.refused
    assert refused.preferred is None
    with pytest.raises(ValueError, match="aspect ratio"):  # nothing else succeeded, so the fault may be the model's
        judge.judge([pairs[1]], "direct", max_tokens=4)
