"""The policy gradient from end to end: advantages and gradients by hand, the distribution that texts are drawn from is
the one that the loss scores, and a reward that can be raised is raised.
"""

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer
from trl import GRPOTrainer

from configs.schema import Grpo, Lora, Model, Rewards, Runtime
from models.generation.decoding.loop import Decoding
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import PreferencePair, Task
from models.shapes.pairs import make_pair
from models.training.compute import Compute
from models.training.health import NO_SPREAD
from models.training.presets import PRESETS
from models.training.rollouts import CompletionsTrainer
from models.verdict import rewards

BASE = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"
WORD = "begin"  # the untrained base writes it first in one text of ten
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
Data = tuple[Path, PreferenceDataset, list[PreferencePair]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The base with the end of a line as a further end, so that short texts end or are cut off; and pairs."""
    made = [make_pair(Task.IMAGE_UNDERSTANDING, at, seed=0, held_out=False) for at in range(20)]
    folder = tmp_path_factory.mktemp("data")
    pairs = [one.pair for one in made]
    blobs = {uri: blob for one in made for uri, blob in one.blobs.items()}
    write_dataset(folder, {"train": pairs, "held_out": pairs}, blobs)
    base = folder / "base"
    shutil.copytree(BASE, base)
    config = json.loads((base / "generation_config.json").read_text())
    lines = AutoTokenizer.from_pretrained(BASE)("\n", add_special_tokens=False)["input_ids"]
    assert len(lines) == 1
    config["eos_token_id"] = [config["eos_token_id"], *lines]
    (base / "generation_config.json").write_text(json.dumps(config))
    return base, PreferenceDataset(folder, max_pixels=147_456, max_frames=8), pairs


def optimised(data: Data, folder: Path, pairs: int = 2, **changes: Any) -> dict[str, Any]:
    from models.training.grpo import train_grpo

    base, media, made = data
    more = {name: changes.pop(name) for name in ("reserve", "resume_from") if name in changes}
    plain: dict[str, Any] = {
        "group": 8, "prompts_per_step": 2, "micro_batch": 16, "learning_rate": 1e-4, "max_tokens": 4,
        "checkpoint_every": 100, "validate_every": 100, "rewards": Rewards(format=1.0, accuracy=0.0),
    }  # fmt: skip
    return train_grpo(
        base, made[:pairs], made[-1:], media, grpo=Grpo(**(plain | changes)),
        compute=Compute(0, Model(), Runtime(device="cpu", generation_batch=64)), scratch=folder, **more,
    )  # fmt: skip


def has_word(completions: list[Any], **_: object) -> list[float]:
    return [float(WORD in rewards.completion_text(one)) for one in completions]


@pytest.mark.parametrize(("preset", "temperature"), [(name, 1.0) for name in PRESETS] + [("paper", 0.7)])
def test_a_reward_for_one_word_rises_within_twenty_steps(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str, temperature: float
) -> None:
    monkeypatch.setitem(rewards.REWARDS, "format", has_word)
    facts = optimised(
        data, tmp_path, pairs=20, preset=preset, temperature=temperature, group=16, micro_batch=32, no_spread_steps=3,
    )  # fmt: skip
    earned = [row["reward"] for row in facts["log"] if "reward" in row]
    assert earned[0] < 0.3
    assert statistics.mean(earned[-2:]) > 0.9


class Step:
    """What one step of the trainer held: the rewards, the advantages, and the gradient of the loss by token."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.rewards: list[list[float]] = []
        self.advantages: list[list[float]] = []
        self.parts: list[dict[str, Any]] = []
        trainers: Any = GRPOTrainer
        rewarded, scored = trainers._calculate_rewards, trainers._generate_and_score_completions
        loss, logps = trainers._compute_loss, trainers._get_per_token_logps_and_entropies

        def keep_rewards(trainer: Any, *given: Any) -> Any:
            found = rewarded(trainer, *given)
            self.rewards.append((found * trainer.reward_weights).sum(1).tolist())
            return found

        def keep_advantages(trainer: Any, inputs: Any) -> Any:
            found = scored(trainer, inputs)
            self.advantages.append(found["advantages"].tolist())
            return found

        def keep_logps(trainer: Any, *given: Any, **more: Any) -> Any:
            found = logps(trainer, *given, **more)
            if found[0].requires_grad:
                found[0].retain_grad()
                self.parts[-1]["logps"] = found[0]
            return found

        def keep_part(trainer: Any, model: Any, inputs: Any) -> Any:
            self.parts.append({"mask": inputs["completion_mask"], "advantages": inputs["advantages"]})
            return loss(trainer, model, inputs)

        patch.setattr(GRPOTrainer, "_calculate_rewards", keep_rewards)
        patch.setattr(GRPOTrainer, "_generate_and_score_completions", keep_advantages)
        patch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", keep_logps)
        patch.setattr(GRPOTrainer, "_compute_loss", keep_part)


def advantages_by_hand(earned: list[float], group: int, scale: str) -> list[float]:
    """GRPO's: the reward less the group's mean, over the standard deviation of the group, of the batch, or as it is."""
    found = []
    for at in range(0, len(earned), group):
        own = earned[at : at + group]
        spread = {"group": statistics.stdev(own), "batch": statistics.stdev(earned), "none": 1.0 - 1e-4}[scale]
        found += [(one - statistics.mean(own)) / (spread + 1e-4) for one in own]
    return found


@pytest.mark.parametrize("preset", PRESETS)
def test_advantages_and_the_gradient_of_each_token_are_those_by_hand(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    """At the first step all ratios are 1: the loss's gradient by a token's log-probability is its advantage, weighed.

    In two micro-batches, whose rows TRL shuffles.
    """
    by_place = [0.0, 0.0, 1.0, 0.0, 0.25, 0.0, 1.0, 0.5, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.75, 1.0]
    updates = PRESETS[preset].updates

    def given(completions: list[Any], **_: object) -> list[float]:
        return [by_place[at % 16] for at in range(len(completions))]

    monkeypatch.setitem(rewards.REWARDS, "format", given)
    step = Step(monkeypatch)
    optimised(
        data, tmp_path, pairs=updates, preset=preset, micro_batch=8, rewards=Rewards(format=2.0, accuracy=0.0)
    )  # fmt: skip
    flags = PRESETS[preset].flags
    earned = [2 * one for one in by_place] * updates
    assert step.rewards[0] == earned
    assert step.advantages[0] == pytest.approx(advantages_by_hand(earned, 8, str(flags["scale_rewards"])), abs=1e-5)
    first = step.parts[:2]
    lengths = [one["mask"].sum(1) for one in first]
    assert len(set(torch.cat(lengths).tolist())) > 1, "all completions are of one length"
    learnt = [length for length in torch.cat([one["mask"].sum(1) for one in step.parts]).tolist() if length]
    for part, length in zip(first, lengths, strict=True):
        weight = {
            "grpo": 1 / (16 * length.clamp(min=1)),  # the mean of each completion, then over the step's 16
            "dr_grpo": torch.full((8,), 1 / (16 * 4)),  # by the limit of tokens
            # by the tokens of the generation, as a share for each of its steps
            "dapo": torch.full((8,), updates / sum(learnt)),
            "cispo": torch.full((8,), updates / sum(learnt)),
        }[str(flags["loss_type"])]
        expected = -(part["advantages"] * weight)[:, None] * part["mask"]
        assert torch.allclose(part["logps"].grad, expected, rtol=1e-4, atol=1e-7)
        assert (expected != 0).any()


class Drawn:
    """Of each row that was sampled its prompt, its tokens, and the log-probability under which each was drawn."""

    def __init__(self, patch: pytest.MonkeyPatch, padding: int) -> None:
        self.rows: list[tuple[list[int], list[int], list[float]]] = []
        self.excluded: list[float] = []  # the share of the tokens that are never written, at each token
        run, choose = Decoding.run, Decoding._choose
        kept: dict[int, list[tuple[list[int], list[int], list[float]]]] = {}

        def begun(decoding: Decoding, model: Any, inputs: dict[str, Any]) -> Any:
            prompts = [[one for one in row if one != padding] for row in inputs["input_ids"].tolist()]
            kept[id(decoding)] = [(prompt, [], []) for prompt in prompts for _ in range(decoding.samples)]
            self.rows += kept[id(decoding)]
            return run(decoding, model, inputs)

        def watched(decoding: Decoding, logits: torch.Tensor, held: list[int], places: list[int]) -> torch.Tensor:
            tokens = choose(decoding, logits, held, places)
            if decoding.streams is None:  # validation
                return tokens
            logps = (logits.float() / decoding.streams._temperature).log_softmax(-1)
            self.excluded += logps[places].exp()[:, list(decoding.never)].sum(-1).tolist()
            for place in places:
                _, written, values = kept[id(decoding)][held[place]]
                written.append(int(tokens[place]))
                values.append(float(logps[place, tokens[place]]))
            return tokens

        patch.setattr(Decoding, "run", begun)
        patch.setattr(Decoding, "_choose", watched)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.3])
def test_texts_are_drawn_from_what_the_loss_scores(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    """Token by token, that of the end too, in texts that ended and in those cut off; while the model stays as it is.

    Tags of media are never written, which the loss does not know: it scores tokens among all, of which those have a
    share of 0.0004 on average in the untrained base at the highest of these temperatures.
    """
    monkeypatch.setitem(rewards.REWARDS, "format", has_word)
    scored: list[tuple[list[int], list[int], list[float]]] = []
    logps, begun = GRPOTrainer._get_per_token_logps_and_entropies, CompletionsTrainer.__init__
    ends: set[int] = set()

    def keep_ends(trainer: Any, **given: Any) -> None:
        begun(trainer, **given)
        ends.update(trainer.eos_token_ids)

    def keep(trainer: Any, model: Any, ids: Any, mask: Any, width: int, *given: Any, **more: Any) -> Any:
        found = logps(trainer, model, ids, mask, width, *given, **more)
        for row, kept, values in zip(ids, mask.bool(), found[0].detach(), strict=True):
            prompt, completion = row[:-width][kept[:-width]].tolist(), row[-width:][kept[-width:]].tolist()
            scored.append((prompt, completion, values[kept[-width:]].tolist()))
        return found

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", keep)
    monkeypatch.setattr(CompletionsTrainer, "__init__", keep_ends)
    drawn = Drawn(monkeypatch, AutoTokenizer.from_pretrained(BASE).pad_token_id)
    optimised(data, tmp_path, preset="dr_grpo", temperature=temperature, learning_rate=1e-30, max_tokens=6)
    known: dict[tuple[tuple[int, ...], tuple[int, ...]], list[float]] = {}
    for prompt, tokens, values in drawn.rows:
        end = next((at + 1 for at, token in enumerate(tokens) if token in ends), len(tokens))
        known[tuple(prompt), tuple(tokens[:end])] = values[:end]
    assert len(scored) == 2 * 2 * 8
    assert {tokens[-1] in ends for _, tokens, _ in scored} == {True, False}, "some must end, and some be cut off"
    off = [
        abs(one - other)
        for prompt, tokens, values in scored
        for one, other in zip(values, known[tuple(prompt), tuple(tokens)], strict=True)
    ]
    assert statistics.mean(off) < 3e-6  # rounding: sampling and scoring attend by other kernels
    assert 0 < max(drawn.excluded) < 1e-2


def test_rollouts_take_nothing_from_a_models_own_defaults(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `generation_config.json` may forbid repetitions, and the loss would score another distribution."""
    written: list[list[list[int]]] = []
    turn = CompletionsTrainer._generate_single_turn

    def kept(trainer: Any, *given: Any, **more: Any) -> Any:
        found = turn(trainer, *given, **more)
        written.append(found[0])
        return found

    monkeypatch.setattr(CompletionsTrainer, "_generate_single_turn", kept)
    base, media, pairs = data
    other = tmp_path / "other"
    shutil.copytree(base, other)
    config = json.loads((other / "generation_config.json").read_text())
    config |= {
        "no_repeat_ngram_size": 1,
        "min_p": 0.9,
        "repetition_penalty": 1.5,
        "top_k": 1,
        "begin_suppress_tokens": [5],
    }
    (other / "generation_config.json").write_text(json.dumps(config))
    for at, folder in enumerate((base, other)):
        optimised((folder, media, pairs), tmp_path / str(at), pairs=1, max_tokens=12, lora=Lora(rank=2) if at else None)
    assert written[0] == written[1]
    assert any(len(set(one)) < len(one) for one in written[0]), "nothing is repeated, so this could not fail"


def rates(facts: dict[str, Any]) -> list[float]:
    return [row["learning_rate"] for row in facts["log"] if "learning_rate" in row]


def test_schedules_of_the_learning_rate_and_several_passes_a_generation(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight steps: of two generations, each shared out to two steps and gone through twice."""
    monkeypatch.setitem(rewards.REWARDS, "format", has_word)
    several: dict[str, Any] = {"steps_per_generation": 2, "generation_passes": 2, "pairs": 4}
    several |= {"prompts_per_step": 2, "beta": 0.1, "preset": "modern"}
    found = {}
    for schedule, warmup in (("constant", 0.25), ("linear", 0.25), ("cosine", 0.0)):
        folder = tmp_path / f"{schedule}-{warmup}"
        facts = optimised(data, folder, schedule=schedule, warmup=warmup, **several)
        found[schedule, warmup] = rates(facts)
        assert len([row for row in facts["log"] if "reward" in row]) == 2
        assert all("kl" in row for row in facts["log"] if "loss" in row)
    assert found["constant", 0.25] == pytest.approx([0.0, 5e-5] + [1e-4] * 6)
    assert found["linear", 0.25] == pytest.approx([0.0, 5e-5] + [1e-4 * left / 6 for left in (6, 5, 4, 3, 2, 1)])
    cosine = found["cosine", 0.0]
    assert cosine[0] == 1e-4 and cosine == sorted(cosine, reverse=True) and cosine[-1] < 1e-5


def test_pairs_without_spread_are_refilled_and_a_resumed_run_ends_with_the_same_bytes(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reward tells some pairs' completions apart and not others': after refilling all groups have spread."""
    made = data[2]
    flat = {pair.id for pair in made[2:6]}

    def told(completions: list[Any], pair_id: list[str], **_: object) -> list[float]:
        lengths = [len(rewards.completion_text(one)) % 7 / 7 for one in completions]
        return [0.5 if pair in flat else value for pair, value in zip(pair_id, lengths, strict=True)]

    monkeypatch.setitem(rewards.REWARDS, "format", told)
    changes: dict[str, Any] = {"pairs": 6, "checkpoint_every": 2, "validate_every": 2, "preset": "paper"}
    plain = optimised(data, tmp_path / "plain", **changes)
    assert [row[NO_SPREAD] for row in plain["log"] if NO_SPREAD in row][2:] == [1.0] * 4
    whole = optimised(data, tmp_path / "whole", refill=3, reserve=made[6:18], **changes)
    assert [row[NO_SPREAD] for row in whole["log"] if NO_SPREAD in row] == [0.0] * 6
    assert [row["refill/pairs"] for row in whole["log"] if "refill/pairs" in row] == [0.0] * 2 + [1.0] * 4
    begun = tmp_path / "whole" / "checkpoint-4"
    resumed = optimised(data, tmp_path / "resumed", refill=3, reserve=made[6:18], resume_from=begun, **changes)
    ends = [(tmp_path / name / "checkpoint-6" / "model.safetensors").read_bytes() for name in ("whole", "resumed")]
    assert ends[0] == ends[1] != (begun / "model.safetensors").read_bytes()
    assert [row["loss"] for row in resumed["log"] if "loss" in row] == [
        row["loss"] for row in whole["log"] if "loss" in row
    ]
