"""Generation with a model in this process: what it is shown of a video."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.backbone import load_model, load_processor, save, takes_video
from models.errors import Cancelled
from models.generation.open import LocalOptions, open_generator
from models.generation.protocol import SamplingParams, transformers_identity
from models.generation.transformers_generator import LocalGenerator
from models.judging.judge import UNKNOWN_RATE, Judge
from models.media.frames import decode, inspect
from models.pairs.preference import PreferencePair, Task
from models.shapes.pairs import make_pair
from tests.generators import batch_shapes

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
    Judge(generator, frames, seconds=seconds if native else None).judge([pair], "direct", SamplingParams(max_tokens=2))
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
    generator = open_generator(foreign, LocalOptions(device="cpu", batch=3))
    judge = Judge(generator, frames, seconds=seconds)
    pairs = [made.pair for made in PAIRS]
    together = [one.text for one in judge.judge(pairs, "direct", SamplingParams(max_tokens=4))]
    alone = [one.text for pair in pairs for one in judge.judge([pair], "direct", SamplingParams(max_tokens=4))]
    assert together == alone
    assert [one.text for one in judge.judge(pairs[::-1], "direct", SamplingParams(max_tokens=4))] == together[::-1]


def test_a_video_that_tells_no_time_has_the_usual_rate(foreign: Path) -> None:
    generator = Recorded.of(foreign)
    pair = next(made.pair for made in PAIRS if made.pair.task == Task.VIDEO_UNDERSTANDING)
    Judge(generator, frames, seconds=lambda uri: 0.0).judge([pair], "direct", SamplingParams(max_tokens=2))
    assert f"<{0.5 / UNKNOWN_RATE:.1f} seconds>" in generator.shown["texts"][0]


def sampled(
    pairs: list[PreferencePair], *, batch: int, seed: int = 1, micro_tokens: int | None = None
) -> dict[tuple[str, bool, int], str]:
    """Three sampled answers to each presentation, by pair, order and sample."""
    generator = open_generator(BASE, LocalOptions(device="cpu", batch=batch, tokens=micro_tokens))
    judged = Judge(generator, frames).judge(
        pairs, "think", SamplingParams(n=3, temperature=1.0, max_tokens=24, seed=seed), both_orders=True
    )
    return {(one.pair.id, one.swapped, one.sample): one.text for one in judged}


def test_sampled_texts_depend_on_no_batch_no_order_and_no_company() -> None:
    pairs = [made.pair for made in PAIRS]
    texts = sampled(pairs, batch=64)
    assert len(texts) == len(pairs) * 2 * 3
    assert len(set(texts.values())) > 0.9 * len(texts), "hardly any two samples begin alike"
    assert sampled(pairs, batch=1) == texts
    assert sampled(pairs, batch=7) == texts
    for tokens in (1, 1500, 100_000):
        assert sampled(pairs, batch=64, micro_tokens=tokens) == texts
    assert sampled(pairs[::-1], batch=64) == texts
    assert sampled(pairs[:3], batch=64) == {key: texts[key] for key in texts if key[0] in {p.id for p in pairs[:3]}}
    assert sampled(pairs, batch=64, seed=2) != texts


def test_no_batch_holds_more_tokens_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, prompts padded to the longest, and what is yet to be written."""
    generator = open_generator(BASE, LocalOptions(device="cpu", batch=64, tokens=600))
    shapes = batch_shapes(generator.model, monkeypatch)
    done: list[tuple[int, int]] = []
    pairs = [made.pair for made in PAIRS]
    Judge(generator, frames).judge(
        pairs,
        "think",
        SamplingParams(n=2, temperature=1.0, max_tokens=8),
        on_progress=lambda at, of: done.append((at, of)),
    )
    assert all(2 * rows * (width + 8) <= 600 or rows == 1 for rows, width in shapes)
    assert sum(rows for rows, _ in shapes) == len(pairs)
    assert 1 < len(shapes) < len(pairs)
    assert done[-1][0] == done[-1][1]


def test_sampling_leaves_the_random_state_of_this_process_alone() -> None:
    import torch

    torch.manual_seed(3)
    wanted = torch.rand(2).tolist()
    torch.manual_seed(3)
    sampled([PAIRS[0].pair], batch=4)
    assert torch.rand(2).tolist() == wanted


def test_what_wrote_a_text_is_named_as_it_was_before_loading() -> None:
    generator = open_generator(BASE, LocalOptions(device="cpu", batch=1))
    assert generator.identity == transformers_identity("float32")
    assert (generator.identity.kind, generator.identity.precision) == ("transformers", "float32")


def test_a_pair_that_the_processor_refuses_costs_itself_alone() -> None:
    generator = open_generator(BASE, LocalOptions(device="cpu", batch=8))
    pairs = [made.pair for made in PAIRS if made.pair.task == Task.IMAGE_GENERATION]
    good = pairs[0]
    thin = {medium.uri for medium in pairs[1].media()}

    def shown(uri: str) -> list[Image.Image]:
        return [Image.new("RGB", (400, 1))] if uri in thin else frames(uri)

    judge = Judge(generator, shown)
    (alone,) = judge.judge([good], "direct", SamplingParams(max_tokens=4))
    kept, refused = judge.judge([good, pairs[1]], "direct", SamplingParams(max_tokens=4))
    assert (kept.text, kept.refused) == (alone.text, "")
    assert "aspect ratio" in refused.refused
    assert refused.preferred is None
    with pytest.raises(ValueError, match="aspect ratio"):  # nothing else succeeded, so the fault may be the model's
        judge.judge([pairs[1]], "direct", SamplingParams(max_tokens=4))


def test_nothing_more_is_written_once_nobody_waits() -> None:
    generator = open_generator(BASE, LocalOptions(device="cpu", batch=4))
    judge = Judge(generator, frames)
    conversations = [judge.conversation(made.pair, "think") for made in PAIRS[:2]]
    asked = 0

    def gone() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    with pytest.raises(Cancelled, match="nobody waits"):
        generator.generate(conversations, SamplingParams(max_tokens=200), is_cancelled=gone)
    assert asked == 6  # at the sixth token, not after two hundred
    with pytest.raises(Cancelled):
        generator.generate(conversations, SamplingParams(max_tokens=200), is_cancelled=lambda: True)
    assert len(generator.generate(conversations, SamplingParams(max_tokens=4), is_cancelled=lambda: False)) == 2


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_models_own_defaults_change_no_text(temperature: float) -> None:
    """Qwen2.5-VL's own penalty of repetitions, for instance, which would hold for greedy answers and samples alike."""
    generator = open_generator(BASE, LocalOptions(device="cpu", batch=8))
    params = SamplingParams(max_tokens=16, temperature=temperature, seed=1)

    def texts() -> list[str]:
        return [one.text for one in Judge(generator, frames).judge([made.pair for made in PAIRS], "think", params)]

    plain = texts()
    config = generator.model.generation_config
    config.repetition_penalty, config.no_repeat_ngram_size, config.min_p = 1.5, 1, 0.9
    assert texts() == plain
    assert generator.model.generation_config is config  # it is saved with the model
