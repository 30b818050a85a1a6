"""The estimate of memory next to what the trainers and the judge really allocate, on reduced models of each family."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from configs.schema import Grpo, Lora, Model, Runtime, Sft
from models.generation.protocol import SamplingParams
from models.pairs.dataset import PreferenceDataset
from models.pairs.preference import Task
from models.rehearsal.architecture import fit_tokens, read_config, reduced, write_random_model
from models.rehearsal.known import KNOWN
from models.rehearsal.pairs import longest, words, write_pairs
from models.rehearsal.processor import processor_for
from models.sizing.memory import Memory, Sequences, Weights, cached, generating, states, trained, training
from models.sizing.shape import ModelShape, shape_of
from models.training.compute import Compute
from tasks.ops.fitting import FACTOR
from tests.models.training.peak import Peak

PIXELS, FRAMES, TOKENS, TOGETHER = 64 * 64, 4, 64, 4
TEXT = 80  # tokens of a caption and the template around it; the stand-in's instructions are one
GB = 1e9
BASES = list(KNOWN)
ADAPTERS = Lora(rank=8, alpha=16)
Dtype = Literal["float32", "bfloat16", "float16"]


class Rehearsed(NamedTuple):
    """A reduced random model, and pairs with pictures of `PIXELS`."""

    folder: Path
    shape: ModelShape
    media: PreferenceDataset
    tokenizer: Any


@pytest.fixture(scope="module", params=BASES)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rehearsed:
    folder = tmp_path_factory.mktemp("reduced")
    full = read_config(KNOWN[request.param], request.param)
    processor, _ = processor_for(None, "nobody/nothing", None, full)
    config = fit_tokens(reduced(full, len(processor.tokenizer)), processor.tokenizer)
    write_random_model(config, processor, folder / "model", dtype="float32", device="cpu", seed=0)
    (folder / "data").mkdir()
    media = write_pairs(folder / "data", processor.tokenizer, max_pixels=PIXELS, frames=FRAMES)
    shape = shape_of(config.to_dict())
    assert shape is not None
    return Rehearsed(folder, shape, media, processor.tokenizer)


def together(shape: ModelShape) -> Sequences:
    return Sequences(TOGETHER, 2 * FRAMES, PIXELS, 2 * FRAMES * (shape.tokens(PIXELS) + 2) + TEXT, TOKENS)


def computed(dtype: Dtype = "bfloat16", checkpointing: bool = True) -> Compute:
    runtime = Runtime(device="cpu", gradient_checkpointing=checkpointing, generation_batch=TOGETHER)
    return Compute(0, Model(dtype=dtype), runtime)


def within_the_factor(estimate: Memory, measured: int) -> None:
    expected = estimate.total - estimate.overhead
    assert measured / FACTOR < expected < measured * FACTOR, (expected / 1e6, measured / 1e6, vars(estimate))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lora", "how", "frozen"),
    [
        (ADAPTERS, computed(), True),
        (None, computed(), True),
        (ADAPTERS, computed("float32", checkpointing=False), True),
        (None, computed(checkpointing=False), False),
    ],
)
def test_fine_tuning_allocates_what_is_estimated(
    small: Rehearsed, tmp_path: Path, lora: Lora | None, how: Compute, frozen: bool
) -> None:
    from models.training.sft import train_sft

    pairs = longest(small.media, tuple(Task), 2 * TOGETHER)
    sft = Sft(
        epochs=1.0, learning_rate=1e-4, schedule="constant", warmup=0.0, batch=TOGETHER, micro_batch=TOGETHER,
        lora=lora, freeze_vision=frozen,
    )  # fmt: skip
    answers = [words(small.tokenizer, TOKENS)] * len(pairs)
    with Peak() as peak:
        train_sft(
            small.folder / "model", pairs, answers, small.media, tmp_path / "out", sft=sft, section="cold_start",
            compute=how, scratch=tmp_path / "t",
        )  # fmt: skip
    weights = Weights(how.model.dtype, lora.rank if lora else None, frozen_vision=frozen)
    checkpointing = how.runtime.gradient_checkpointing
    within_the_factor(
        training(small.shape, weights, together(small.shape), checkpointing=checkpointing, device="cpu"), peak.bytes
    )


@pytest.mark.slow
@pytest.mark.parametrize("small", ["Qwen/Qwen3-VL-8B-Instruct"], indirect=True)
@pytest.mark.parametrize("lora", [ADAPTERS, None])
def test_policy_optimisation_allocates_what_is_estimated(small: Rehearsed, tmp_path: Path, lora: Lora | None) -> None:
    from models.training.grpo import train_grpo

    pairs = longest(small.media, tuple(Task), 2)
    section = Grpo(
        preset="paper", group=2, prompts_per_step=2, micro_batch=TOGETHER, learning_rate=1e-4, max_tokens=TOKENS,
        lora=lora, checkpoint_every=100, validate_every=100, completions_every=100,
    )  # fmt: skip
    how: Any = {"grpo": section, "compute": computed(), "scratch": tmp_path / "t"}
    with Peak() as peak:
        train_grpo(small.folder / "model", pairs, pairs[:1], small.media, **how)
    some, weights = together(small.shape), Weights("bfloat16", lora.rank if lora else None, reference=True)
    moments = (
        training(small.shape, weights, some, checkpointing=True, device="cpu", held=some),
        generating(small.shape, "bfloat16", some, device="cpu", beside=states(small.shape, weights)),
    )
    within_the_factor(max(moments, key=lambda one: one.total), peak.bytes)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_judging_allocates_what_is_estimated(small: Rehearsed, dtype: str) -> None:
    from models.generation.open import LocalOptions, open_generator
    from models.judging.judge import Judge

    generator = open_generator(small.folder / "model", LocalOptions(device="cpu", dtype=dtype, batch=TOGETHER))
    judge = Judge(generator, small.media.frames)
    pairs = longest(small.media, tuple(Task), TOGETHER)
    with Peak() as peak:
        judge.judge(pairs, "think", SamplingParams(n=1, max_tokens=TOKENS))
    within_the_factor(generating(small.shape, dtype, together(small.shape), device="cpu"), peak.bytes)


def shape(base: str = "Qwen/Qwen2.5-VL-7B-Instruct") -> ModelShape:
    found = shape_of(KNOWN[base])
    assert found is not None
    return found


def gb(memory: Memory, *names: str) -> float:
    return float(sum(getattr(memory, name) for name in names) / GB)


def test_a_trained_weight_costs_sixteen_bytes_and_two_for_its_copy() -> None:
    """What configs/qwen2_5_vl_7b_full.yaml and docs/training.md say."""
    whole, frozen = states(shape(), Weights("bfloat16", frozen_vision=False)), states(shape(), Weights("bfloat16"))
    masters = 16 * 8_292_166_656
    assert whole.certain == masters + 2 * 8_292_166_656
    assert round(masters / GB) == 133
    language = 8_292_166_656 - 676_550_144
    assert frozen.certain == 18 * language + 2 * 676_550_144
    assert round((16 * language + 2 * 676_550_144) / GB) == 123
    exact = states(shape(), Weights("float32", frozen_vision=False))
    assert exact.certain == masters  # float32 is cast to nothing


def test_adapters_leave_the_base_in_the_compute_type() -> None:
    s = shape()
    held = states(s, Weights("bfloat16", rank=64, reference=True))
    assert trained(s, Weights("bfloat16", rank=64)) == 161_480_704
    assert held.weights == 2 * s.weights + (4 + 2) * 161_480_704
    assert held.optimizer == 2 * held.gradients == 8 * 161_480_704
    assert held.reference == 0  # the base without them


def test_the_reference_of_full_training_is_a_second_model_in_the_compute_type() -> None:
    assert gb(states(shape(), Weights("bfloat16", reference=True)), "reference") == pytest.approx(16.6, abs=0.05)


def test_shards_divide_what_is_held_and_not_what_is_computed() -> None:
    some = Sequences(2, 16, 147_456, 3500, 1024)

    def needed(shards: int) -> Memory:
        how = Weights("bfloat16", reference=True, shards=shards)
        return training(shape(), how, some, checkpointing=True, device="cuda")

    one, eight = needed(1), needed(8)
    assert eight.gradients * 8 == pytest.approx(one.gradients, rel=1e-6)
    assert eight.optimizer * 8 == pytest.approx(one.optimizer, rel=1e-6)
    assert (eight.activations, eight.media, eight.logits) == (one.activations, one.media, one.logits)
    # A layer at a time is gathered in the compute type: the copy of all is not there any more.
    assert one.weights / 8 > eight.weights - 2 * 2 * shape().text.embeddings


def test_checkpointing_keeps_one_number_a_layer_and_token_instead_of_a_layer() -> None:
    def kept(checkpointing: bool) -> int:
        how = Weights("bfloat16", rank=64)
        some = Sequences(4, 16, 147_456, 3500, 1024)
        return training(shape(), how, some, checkpointing=checkpointing, device="cuda").activations

    # Korthikanti et al.'s 34 bytes a layer, token and hidden unit are GPT's; SwiGLU with adapters keeps more.
    a_unit = kept(False) / (4 * 4524 * 28 * 3584)
    assert 34 < a_unit < 90
    assert kept(False) > 10 * kept(True)


def test_linear_attention_keeps_no_keys_that_grow() -> None:
    def cache(base: str, tokens: int) -> int:
        return cached(shape(base).text, Sequences(1, 0, 1024, tokens, 0), 2)

    growing = cache("Qwen/Qwen3.5-9B", 20_000) - cache("Qwen/Qwen3.5-9B", 10_000)
    assert growing == 10_000 * 8 * 2 * 4 * 256 * 2  # of its 8 full layers
    assert cache("Qwen/Qwen3-VL-8B-Instruct", 10_000) == 10_000 * 36 * 2 * 8 * 128 * 2


@pytest.mark.parametrize(
    ("more", "of"),
    [
        (lambda s: Sequences(8, s.pictures, s.pixels, s.prompt, s.completion), "activations"),
        (lambda s: Sequences(4, s.pictures, s.pixels, 2 * s.prompt, s.completion), "activations"),
        (lambda s: Sequences(4, 2 * s.pictures, s.pixels, s.prompt, s.completion), "media"),
        (lambda s: Sequences(4, s.pictures, 2 * s.pixels, s.prompt, s.completion), "media"),
    ],
)
def test_more_at_once_needs_more(more: Callable[[Sequences], Sequences], of: str) -> None:
    some = Sequences(4, 16, 147_456, 3500, 1024)
    for base in BASES:
        for made in (
            lambda seen, base=base: training(
                shape(base), Weights("bfloat16", rank=64), seen, checkpointing=True, device="cuda"
            ),
            lambda seen, base=base: generating(shape(base), "bfloat16", seen, device="cuda"),
        ):
            assert getattr(made(more(some)), of) > 1.5 * getattr(made(some), of)
