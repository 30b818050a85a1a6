"""Chat templates that begin the answer: each part of the recipe sees the same tokens, and the whole answer."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from configs.schema import Grpo, Model, Runtime, Sft
from models.backbone import load_model, load_processor, save
from models.errors import ModelError
from models.generation.decoding.loop import Decoding
from models.generation.open import LocalOptions, open_generator
from models.generation.protocol import SamplingParams
from models.generation.tokens import placeholder_tokens, stop_tokens
from models.generation.transformers_generator import LocalGenerator
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import PreferencePair, Task
from models.shapes.pairs import make_pair
from models.training.compute import Compute
from models.verdict import chat_template
from models.verdict.chat_template import normalise, opening, prompt_text, target, turn_end
from models.verdict.grammar import Dimension, Mode, Verdict
from models.verdict.prompts import Message, image_part
from models.verdict.rendering import render_verdict

BASE = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"
ON_CPU = Compute(0, Model(), Runtime(device="cpu", generation_batch=8))
EMPTY = "<think>\n\n</think>\n\n"
TURN = "<|im_start|>assistant\n"
MODES: tuple[Mode, ...] = ("think", "direct")

# What follows the assistant's heading in the generation prompt, and whether it is normalised already.
TEMPLATES = {
    "opens": ("{{- '<think>\\n' -}}", False),
    "empty": ("{{- '<think>\\n\\n</think>\\n\\n' -}}", False),
    "switch on": (
        (
            "{%- if enable_thinking is defined and enable_thinking is false %}"
            "{{- '<think>\\n\\n</think>\\n\\n' }}{%- else %}{{- '<think>\\n' }}{%- endif %}"
        ),
        True,
    ),
    "switch off": (
        (
            "{%- if enable_thinking is defined and enable_thinking %}{{- '<think>\\n' }}"
            "{%- else %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
        ),
        False,
    ),
    "hybrid": (
        (
            "{%- if enable_thinking is defined and enable_thinking is false %}"
            "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
        ),
        True,
    ),
    "other switch": ("{%- if thinking %}{{- '<think>' }}{%- else %}{{- '<think></think>' }}{%- endif %}", False),
}
ENDS = {  # of the prompt after the assistant's heading, to think and to answer directly
    "opens": ("<think>\n", EMPTY),
    "empty": ("", EMPTY),
    "switch on": ("<think>\n", EMPTY),
    "switch off": ("<think>\n", EMPTY),
    "hybrid": ("", EMPTY),
    "other switch": ("<think>", "<think></think>"),
}


def with_template(folder: Path, name: str) -> Path:
    """A copy of the base whose template begins the answer as told, and like Qwen3's drops reasoning that is past."""
    shutil.copytree(BASE, folder)
    template = folder / "chat_template.jinja"
    before, heading, end = template.read_text().rpartition("{{- '<|im_start|>assistant\\n' -}}")
    past = "{%- if message['role'] == 'assistant' -%}{{- message['content'][0]['text'].split('</think>')[-1] -}}"
    before = before.replace(
        "{%- if message['content'] is string -%}", past + "{%- elif message['content'] is string -%}"
    )
    template.write_text(before + heading + TEMPLATES[name][0] + end)
    return folder


@pytest.fixture(params=TEMPLATES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def user(text: str = "which?") -> list[Message]:
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]


def test_the_bases_own_template_stays_and_opens_nothing() -> None:
    processor = load_processor(BASE)
    assert processor.chat_template == (BASE / "chat_template.jinja").read_text()
    assert [opening(processor, mode) for mode in MODES] == ["", ""]
    assert turn_end(processor) == "<|im_end|>\n"


def test_think_prompts_stay_open_and_direct_prompts_are_closed(kind: str, tmp_path: Path) -> None:
    folder = with_template(tmp_path / "model", kind)
    processor = load_processor(folder)
    assert (processor.chat_template == (folder / "chat_template.jinja").read_text()) == TEMPLATES[kind][1]
    for mode, end in zip(MODES, ENDS[kind], strict=True):
        assert prompt_text(processor, user(), mode) == f"<|im_start|>user\nwhich?<|im_end|>\n{TURN}{end}"
    assert opening(processor, "think") == ENDS[kind][0]
    assert opening(processor, "direct") == ""


def test_a_saved_model_carries_a_template_that_renders_the_same_for_others(kind: str, tmp_path: Path) -> None:
    """By transformers alone, as vLLM does: think prompts by default, direct ones by enable_thinking."""
    from transformers import AutoProcessor

    processor = load_processor(with_template(tmp_path / "model", kind))
    save(load_model(BASE), processor, tmp_path / "saved")
    theirs = AutoProcessor.from_pretrained(tmp_path / "saved")  # type: ignore[no-untyped-call]
    for of in (theirs, theirs.tokenizer):
        say: Any = {"tokenize": False, "add_generation_prompt": True}
        assert of.apply_chat_template(user(), **say) == prompt_text(processor, user(), "think")
        direct = of.apply_chat_template(user(), enable_thinking=False, **say)
        assert direct == prompt_text(processor, user(), "direct")
    again = load_processor(tmp_path / "saved")
    assert again.chat_template == processor.chat_template


def test_a_target_is_the_answer_without_its_opening_and_with_the_turns_end(kind: str, tmp_path: Path) -> None:
    processor = load_processor(with_template(tmp_path / "model", kind))
    answer = "<think>\n1. ...\n</think>\n<answer>Image 1 is better</answer>"
    assert opening(processor, "think") + target(processor, answer, "think") == answer + "<|im_end|>\n"
    assert target(processor, "Image 1 is better", "direct") == "Image 1 is better<|im_end|>\n"
    if opening(processor, "think"):
        with pytest.raises(ModelError, match="begins with 'Image 1"):
            target(processor, "Image 1 is better", "think")


def test_a_template_that_cannot_be_normalised_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(with_template(tmp_path / "model", "opens"))  # type: ignore[no-untyped-call]
    before = processor.chat_template
    monkeypatch.setattr(chat_template, "EMPTY_BLOCK_END", "")
    with pytest.raises(ModelError, match=r"another chat_template\.jinja"):
        normalise(processor)
    assert processor.chat_template == before


# ---------------------------------------------------------------- the same tokens everywhere


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreferenceDataset, list[PreferencePair], list[str]]:
    made = [make_pair(Task.IMAGE_GENERATION, at, seed=0, held_out=False) for at in range(4)]
    pairs = [one.pair for one in made]
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, {"train": pairs, "held_out": pairs}, {u: b for one in made for u, b in one.blobs.items()})
    scores = {1: (9, 3), 2: (3, 9)}
    verdicts = [
        Verdict.from_dimensions(p.task, (Dimension("Aesthetics", scores[p.preferred], ("a", "b")),), p.preferred)  # type: ignore[index]
        for p in pairs
    ]
    return PreferenceDataset(folder, max_pixels=147_456, max_frames=8), pairs, [render_verdict(v) for v in verdicts]


class Stop(Exception):
    """What was to be seen has been seen."""


def prompts_of_sampling(folder: Path, data: Any, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens that a local judge's first pair is asked with."""
    from models.judging.judge import Judge

    dataset, pairs, _ = data
    generator = open_generator(folder, LocalOptions(device="cpu", batch=4))
    seen: list[list[int]] = []

    def generate(**inputs: Any) -> Any:
        seen.append(inputs["input_ids"][0].tolist())
        raise Stop

    monkeypatch.setattr(generator.model, "generate", generate)
    with pytest.raises(Stop):
        Judge(generator, dataset.frames).judge(pairs[:1], mode)
    return seen[0]


def rows_of_sft(
    folder: Path, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[list[int], int]]:
    """The tokens of the first fine-tuning batch, thinking and direct, and how many of each are its prompt's."""
    from trl import SFTTrainer

    from models.training.sft import train_sft

    dataset, pairs, texts = data
    seen: list[Any] = []

    def compute_loss(self: Any, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
        seen.append(inputs)
        raise Stop

    monkeypatch.setattr(SFTTrainer, "compute_loss", compute_loss)
    sft = Sft(epochs=1, learning_rate=1e-3, schedule="constant", warmup=0.0, batch=2, micro_batch=2)
    with pytest.raises(Stop):
        train_sft(
            folder, pairs[:1], texts[:1], dataset, tmp_path / "out", sft=sft, section="cold_start", compute=ON_CPU,
            scratch=tmp_path / "sft", direct=pairs[:1],
        )  # fmt: skip
    (batch,) = seen
    rows = []
    for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
        kept = ids[mask == 1].tolist()
        trained = int((labels != -100).sum())
        assert kept[len(kept) - trained :] == labels[labels != -100].tolist()
        rows.append((kept, len(kept) - trained))
    return sorted(rows, key=lambda row: len(row[0]), reverse=True)  # the thinking one first


def prompt_of_grpo(folder: Path, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    from models.judging.judge import Judge
    from models.training import grpo
    from models.training.rollouts import CompletionsTrainer

    dataset, pairs, _ = data
    seen: list[list[int]] = []

    def generate(self: Any, prompt_ids: Any, *_: Any, **__: Any) -> Any:
        seen.extend(prompt_ids)
        raise Stop

    monkeypatch.setattr(CompletionsTrainer, "_generate_single_turn", generate)
    monkeypatch.setattr(Judge, "judge", lambda *_, **__: [])
    section = Grpo(preset="modern", group=2, prompts_per_step=1, micro_batch=2, learning_rate=1e-5, max_tokens=4)
    with pytest.raises(Stop):
        grpo.train_grpo(folder, pairs[:1], pairs[:1], dataset, grpo=section, compute=ON_CPU, scratch=tmp_path / "grpo")
    return list(seen[0])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["opens", "empty", "switch off"])
def test_sampling_fine_tuning_and_grpo_see_the_same_tokens(
    kind: str, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_template(tmp_path / "model", kind)
    tokenizer = load_processor(folder).tokenizer
    (thinking, asked), (direct, asked_directly) = rows_of_sft(folder, data, tmp_path, monkeypatch)
    sampled = prompts_of_sampling(folder, data, "think", monkeypatch)
    assert thinking[:asked] == sampled
    assert direct[:asked_directly] == prompts_of_sampling(folder, data, "direct", monkeypatch)
    # The rollout of the same pair: the first of both orders is the pair as given.
    assert prompt_of_grpo(folder, data, tmp_path, monkeypatch) == sampled
    begun = ENDS[kind][0]
    assert begun + tokenizer.decode(thinking[asked:]) == f"{data[2][0]}<|im_end|>\n"
    assert tokenizer.decode(thinking).endswith(f"{TURN}{data[2][0]}<|im_end|>\n")
    assert tokenizer.decode(direct).endswith(f"{TURN}{EMPTY}Image {data[1][0].preferred} is better<|im_end|>\n")


# ---------------------------------------------------------------- generation


class Scripted:
    """The base, whose scores are replaced by those of given tokens, one a step."""

    def __init__(self, folder: Path, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
        import torch

        self.generator = open_generator(folder, LocalOptions(device="cpu", batch=4))
        self.configs: list[Any] = []
        tokens = self.generator.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]

        inner, steps = self.generator.model.generate, [0]

        def generate(*, generation_config: Any, **more: Any) -> Any:
            self.configs.append(generation_config)
            steps[0] = 0
            return inner(generation_config=generation_config, **more)

        def scripted(module: Any, given: Any, scores: Any) -> Any:
            token = tokens[min(steps[0], len(tokens) - 1)]
            steps[0] += 1
            return torch.full_like(scores, -1e4).index_fill(-1, torch.tensor([token]), 1e4)

        monkeypatch.setattr(self.generator.model, "generate", generate)
        self.generator.model.lm_head.register_forward_hook(scripted)


def test_what_is_sampled_is_the_whole_answer_and_so_is_what_is_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = "1. ...\n</think>\n<answer>Image 1 is better</answer>"
    scripted = Scripted(with_template(tmp_path / "model", "opens"), f"{rest}<|im_end|>", monkeypatch)
    heard: list[str] = []
    ((done,),) = scripted.generator.generate(
        [user()], SamplingParams(max_tokens=99), on_text=lambda _, __, piece: heard.append(piece)
    )
    assert done.text == f"<think>\n{rest}" == "".join(heard)
    assert not done.truncated
    ((direct,),) = scripted.generator.generate([user()], SamplingParams(max_tokens=99), mode="direct")
    assert direct.text == rest


def test_every_end_that_the_models_own_config_names_ends_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = Scripted(BASE, "Image 1<|endoftext|>better", monkeypatch)
    generator = scripted.generator
    end = generator.processor.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    ((before,),) = generator.generate([user()], SamplingParams(max_tokens=9))
    assert before.truncated
    generator.model.generation_config.eos_token_id = [end, generator.processor.tokenizer.eos_token_id]
    named = LocalGenerator(generator.model, generator.processor, batch=4)
    ((after,),) = named.generate([user()], SamplingParams(max_tokens=9))
    assert (after.text, after.truncated) == ("Image 1", False)
    assert set(scripted.configs[-1].eos_token_id) == {end, generator.processor.tokenizer.eos_token_id}


def test_tokens_of_media_are_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even by a model that wants nothing else."""
    import torch

    model, processor = load_model(BASE), load_processor(BASE)
    never = placeholder_tokens(model, processor)
    names = set(processor.tokenizer.convert_ids_to_tokens(never))
    assert names == {"<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"}
    head = model.lm_head
    bias = torch.zeros(head.out_features)
    bias[never] = 1e4
    head.register_forward_hook(lambda module, args, out: out + bias)
    picture = [{"role": "user", "content": [image_part(Image.new("RGB", (56, 56))), {"type": "text", "text": "what?"}]}]
    generator = LocalGenerator(model, processor, batch=4)
    inner, tokens = Decoding.run, []

    def run(decoding: Decoding, *given: Any) -> Any:
        tokens.append(inner(decoding, *given))
        return tokens[-1]

    monkeypatch.setattr(Decoding, "run", run)
    for temperature in (0.0, 1.0):
        generator.generate([picture], SamplingParams(temperature=temperature, max_tokens=8))
        assert tokens[-1][0], "nothing was written"
        assert not set(tokens[-1][0]) & set(never)


def test_an_end_is_never_a_token_that_may_not_be_written() -> None:
    model, processor = load_model(BASE), load_processor(BASE)
    model.generation_config.eos_token_id = processor.tokenizer.convert_tokens_to_ids("<|vision_end|>")
    assert not set(stop_tokens(model, processor)) & set(placeholder_tokens(model, processor))
