"""The loop writes what transformers' own does, whatever leaves the batch, is shared, or ends early."""

from pathlib import Path

import pytest
import torch
from transformers.cache_utils import DynamicLayer

from models.backbone import load_model, load_processor
from models.generation.decoding.growing_cache import BLOCK, GrowingLayer
from models.generation.decoding.loop import Decoding
from models.generation.protocol import Generated, SamplingParams
from models.generation.seeded import SeededSampling
from models.generation.transformers_generator import LocalGenerator
from models.judging.judge import Judge
from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from models.verdict.chat_template import prompt_text

BASE = Path(__file__).resolve().parents[4] / "models" / "shapes" / "base"
MADE = [make_pair(task, 0, seed=5, held_out=True) for task in Task]
FRAMES = {uri: shown for one in MADE for uri, shown in one.frames.items()}


@pytest.fixture(scope="module")
def generator() -> LocalGenerator:
    return LocalGenerator(load_model(BASE), load_processor(BASE), batch=64)


@pytest.mark.parametrize("samples", [1, 3])
def test_tokens_are_those_of_the_stock_loop(generator: LocalGenerator, samples: int) -> None:
    judge = Judge(generator, lambda uri: FRAMES[uri])
    asked = [judge.conversation(one.pair, "think") for one in MADE]
    images = [part["image"] for one in asked for message in one for part in message["content"] if "image" in part]
    inputs = generator.processor(
        text=[prompt_text(generator.processor, one, "think") for one in asked], images=images, return_tensors="pt",
        padding=True, padding_side="left", add_special_tokens=False,
    )  # fmt: skip

    def decoding() -> Decoding:
        streams = SeededSampling(list(range(len(asked) * samples)), 1.0) if samples > 1 else None
        ends = [*generator.ends, *generator.processor.tokenizer(" same")["input_ids"]]  # so that rows end at odds
        return Decoding(
            samples=samples, max_tokens=60, stops=ends, pad=generator.pad, never=generator.never, streams=streams
        )

    ours = decoding().run(generator.model, dict(inputs))
    assert ours == decoding().stock(generator.model, dict(inputs))
    assert len({len(row) for row in ours}) > 1, "all rows ended together: nothing left the batch"


def test_a_thinking_answer_without_its_tag_ends_at_once_and_nothing_else_does(generator: LocalGenerator) -> None:
    judge = Judge(generator, lambda uri: FRAMES[uri])
    pairs = [one.pair for one in MADE]
    whole = judge.judge(pairs, "think", SamplingParams(max_tokens=40))
    short = judge.judge(pairs, "think", SamplingParams(max_tokens=40, stop_malformed=True))
    assert [one.preferred for one in short] == [one.preferred for one in whole]
    assert all(long.text.startswith(one.text) for one, long in zip(short, whole, strict=True))
    assert sum(len(one.text) for one in short) < 0.2 * sum(len(one.text) for one in whole)
    assert not any(one.truncated for one in short)
    direct = [judge.judge(pairs, "direct", SamplingParams(max_tokens=8, stop_malformed=on)) for on in (False, True)]
    assert [one.text for one in direct[0]] == [one.text for one in direct[1]]


def test_a_text_that_begins_with_its_tag_is_written_to_its_end(
    generator: LocalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of models whose prompt opens the block."""
    import models.generation.transformers_generator as module

    monkeypatch.setattr(module, "opening", lambda processor, mode: "<think>\n")
    conversation = Judge(generator, lambda uri: FRAMES[uri]).conversation(MADE[0].pair, "think")
    found: list[Generated] = [
        generator.generate([conversation], SamplingParams(max_tokens=12, stop_malformed=on))[0][0]
        for on in (False, True)
    ]
    assert found[0] == found[1]
    assert found[0].truncated


def test_a_growing_layer_holds_what_a_dynamic_one_does() -> None:
    torch.manual_seed(0)
    plain = DynamicLayer()
    plain.update(torch.rand(3, 2, 5, 4), torch.rand(3, 2, 5, 4))
    growing = GrowingLayer(plain)
    for at in range(2 * BLOCK + 3):
        if at == BLOCK:
            for layer in (plain, growing):
                layer.reorder_cache(torch.tensor([2, 0, 0]))
        new = torch.rand(3, 2, 1, 4), torch.rand(3, 2, 1, 4)
        expected, found = plain.update(*new), growing.update(*new)
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
        assert growing.get_seq_length() == plain.get_seq_length()
        assert not found[0].room[..., growing.get_seq_length() :, :].any()  # what is read beyond it must be finite
