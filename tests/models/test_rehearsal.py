"""Random models of an architecture's shape, reduced copies of them, and made-up pairs with the longest prompts."""

import json
from pathlib import Path

import pytest
from transformers import LlamaConfig

from models.backbone import load_model, load_processor
from models.errors import ConfigError
from models.generation.protocol import SamplingParams
from models.generation.transformers_generator import LocalGenerator
from models.judging.judge import Judge
from models.pairs.preference import Task
from models.rehearsal.architecture import fit_tokens, parameters, read_config, reduced, write_random_model
from models.rehearsal.known import KNOWN
from models.rehearsal.pairs import longest, words, write_pairs
from models.rehearsal.processor import EMBEDDED, processor_for


@pytest.mark.parametrize("base", KNOWN)
def test_a_reduced_copy_judges_and_is_of_the_same_family(base: str, tmp_path: Path) -> None:
    full = read_config(KNOWN[base], base)
    assert 8e9 < parameters(full) < 10e9
    processor, own = processor_for(None, "nobody/nothing", None, full)
    assert not own
    small = fit_tokens(reduced(full, len(processor.tokenizer)), processor.tokenizer)
    assert small.model_type == full.model_type
    assert parameters(small) < parameters(full) / 100
    was, now = full.text_config, small.text_config
    assert now.hidden_size == was.hidden_size / 16
    assert set(getattr(now, "layer_types", None) or []) == set(getattr(was, "layer_types", None) or [])
    assert now.num_attention_heads / now.num_key_value_heads == was.num_attention_heads / was.num_key_value_heads
    write_random_model(small, processor, tmp_path / "model", dtype="bfloat16", device="cpu", seed=0)
    (tmp_path / "data").mkdir()
    media = write_pairs(tmp_path / "data", processor.tokenizer, max_pixels=4096, frames=2)
    model = load_model(tmp_path / "model", dtype="bfloat16")
    judge = Judge(LocalGenerator(model, load_processor(tmp_path / "model"), batch=4), media.frames)
    said = judge.judge([media.pairs("train", task)[0] for task in Task], params=SamplingParams(max_tokens=2))
    assert len(said) == 4


def test_the_longest_pairs_show_all_frames_at_the_most_pixels(tmp_path: Path) -> None:
    tokenizer = load_processor(EMBEDDED).tokenizer
    media = write_pairs(tmp_path, tokenizer, max_pixels=147_456, frames=8)
    pairs = longest(media, tuple(Task), 5)
    assert {pair.task for pair in pairs} == {Task.VIDEO_GENERATION}
    assert len({pair.id for pair in pairs}) == 5
    frames = [frame for one in pairs[0].media() for frame in media.frames(one.uri)]
    assert [frame.width * frame.height for frame in frames] == [147_456] * 16
    assert abs(len(tokenizer.encode(words(tokenizer, 1024))) - 1024) < 16


def test_a_text_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="takes text alone"):
        read_config(json.loads(LlamaConfig().to_json_string(use_diff=False)), "some/llama")


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ConfigError, match="model_type 'qwen9'"):
        read_config({"model_type": "qwen9"}, "some/model")


def test_a_folder_without_a_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no processor"):
        processor_for(tmp_path, str(tmp_path), None, None)
