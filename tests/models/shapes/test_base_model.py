"""The tiny base model that comes with the repository, and how one like it is made."""

from pathlib import Path
from typing import Any

import pytest

from models.backbone import load_model, load_processor
from models.errors import ModelError
from models.pairs.preference import Task
from models.shapes import base_model
from models.shapes.base_model import END, PAD, build_config, build_processor, build_tokenizer, instruction_tokens
from models.shapes.pairs import make_pair
from models.verdict.grammar import Dimension, Verdict
from models.verdict.instructions import instructions
from models.verdict.prompts import image_part
from models.verdict.rendering import render_verdict

BASE = Path(base_model.__file__).parent / "base"
VERDICT = render_verdict(
    Verdict.from_dimensions(Task.IMAGE_GENERATION, (Dimension("Aesthetics", (10, 1), ("a", "b")),), 1)
)
TEXTS = [
    VERDICT,
    *instruction_tokens(),
    " 1 10 9",
    "ÄÖ 🙂 明",
    "1+2=3: the first is more",
    "<think>\n\n</think>",
    "a  b\n c",
]


@pytest.fixture(scope="module")
def processor() -> Any:
    return load_processor(BASE)


def test_each_half_of_the_instructions_is_one_token(processor: Any) -> None:
    encode = processor.tokenizer.encode
    assert {len(encode(text)) for text in instruction_tokens()} == {1}
    for task in Task:
        assert len(encode(instructions(task, "think"))) == 3  # two halves and a line break


def test_a_score_after_a_blank_is_one_token(processor: Any) -> None:
    assert all(len(processor.tokenizer.encode(f" {score}")) == 1 for score in range(1, 11))


@pytest.mark.parametrize("text", TEXTS)
def test_texts_come_back_as_they_were(processor: Any, text: str) -> None:
    tokenizer = processor.tokenizer
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_end_of_a_turn_stops_generation(processor: Any) -> None:
    tokenizer = processor.tokenizer
    assert (tokenizer.eos_token, tokenizer.pad_token) == (END, PAD)
    assert tokenizer.encode(VERDICT + END)[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("task", list(Task))
def test_a_frame_is_four_tokens_and_a_prompt_fits_the_context(processor: Any, task: Task) -> None:
    made = make_pair(task, 0, seed=1, held_out=False)
    frames = [frame for several in made.frames.values() for frame in several]
    messages = [{"role": "user", "content": [*map(image_part, frames), {"type": "text", "text": made.pair.prompt}]}]
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], images=frames, return_tensors="pt")
    places = int((inputs["input_ids"] == processor.image_token_id).sum())
    assert places == 4 * len(frames)
    assert inputs["input_ids"].shape[1] < base_model.CONTEXT // 2


def test_a_saved_tokenizer_reloads_tokenising_as_the_built_one(tmp_path: Path) -> None:
    learned = [VERDICT] * 50 + [f"the {colour} circle is {n}" for n in range(50) for colour in ("red", "blue")]
    built = build_tokenizer(learned, more_fixed=["Say what you see."])
    build_processor(built).save_pretrained(tmp_path)
    reloaded = load_processor(tmp_path).tokenizer
    for text in [*TEXTS, *learned[-4:], "Say what you see.", f"{PAD}{END}"]:
        assert reloaded.encode(text) == built.encode(text)
    assert len(reloaded.encode("Say what you see.")) == 1
    assert len(reloaded.encode(" 1")) == len(built.encode(" 1")) == 1
    assert reloaded.chat_template == built.chat_template
    assert build_config(reloaded).text_config.eos_token_id == built.eos_token_id


def test_a_directory_without_a_processor_is_refused_by_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no processor"):
        load_processor(tmp_path)
    with pytest.raises(ModelError, match="no model can be loaded"):
        load_model(tmp_path)


def test_the_base_loads_as_a_stock_model_and_knows_its_own_tokens(processor: Any) -> None:
    import torch

    model = load_model(BASE)
    assert type(model).__name__ == "Qwen3VLForConditionalGeneration"
    assert sum(parameter.numel() for parameter in model.parameters()) < 4_000_000
    assert model.get_input_embeddings().num_embeddings == len(processor.tokenizer)
    inputs = processor(text=["Say what you see."], return_tensors="pt")
    with torch.inference_mode():
        assert model(**inputs).logits.isfinite().all()
