"""How the tiny base is pretrained: batches that teach something else than which batch it is, and a tower that sees."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from models.backbone import load_processor
from models.shapes import base_model
from models.shapes.base_model import build_config
from models.shapes.lessons.mixes import COMPARING, MATCHING, REASONING, SEEING, Mix
from models.shapes.pretraining.batches import batches
from models.shapes.pretraining.schedule import Phase
from models.shapes.pretraining.sight import train_sight
from models.shapes.pretraining.training import settle_unseen_tokens
from models.verdict.grammar import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from models.verdict.instructions import mode_instructions

BASE = Path(base_model.__file__).parent / "base"


@pytest.fixture(scope="module")
def processor() -> Any:
    return load_processor(BASE)


@pytest.mark.parametrize("mix", [SEEING, COMPARING], ids=["seeing", "comparing"])
def test_a_batch_holds_different_answers(processor: Any, mix: Mix) -> None:
    for batch in batches(processor, [Phase(12, 32, mix)], seed=1, rng=Random(1)):
        first = {int(row[row != -100][0]) for row in batch["labels"]}
        assert len(first) >= 3


def test_the_base_never_sees_a_tag_of_the_grammar(processor: Any) -> None:
    """The instructions to think are one token of their own, in which the tags they name are not to be seen."""
    tags = {processor.tokenizer.convert_tokens_to_ids(t) for t in (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)}
    asked = processor.tokenizer.convert_tokens_to_ids(mode_instructions("think"))
    seen: set[int] = set()
    for mix in (SEEING, MATCHING, COMPARING, REASONING):
        for batch in batches(processor, [Phase(4, 32, mix)], seed=4, rng=Random(4)):
            seen |= set(batch["input_ids"].unique().tolist())
    assert asked in seen
    assert not tags & seen


def test_a_batch_has_labels_on_the_answers_alone(processor: Any) -> None:
    (batch,) = batches(processor, [Phase(1, 8, SEEING)], seed=2, rng=Random(2))
    end = processor.tokenizer.eos_token_id
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        taught = labels[labels != -100]
        assert taught[-1] == end
        assert (ids[labels != -100] == taught).all()
        assert processor.image_token_id not in taught


def test_batches_follow_from_their_seeds(processor: Any) -> None:
    one, same, other = (
        next(batches(processor, [Phase(1, 8, SEEING)], seed=3, rng=Random(rng)))["input_ids"].tolist()
        for rng in (3, 3, 4)
    )
    assert one == same != other


@pytest.mark.slow
@pytest.mark.long
def test_the_tower_learns_to_see_from_its_own_heads(processor: Any) -> None:
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    visual = AutoModelForImageTextToText.from_config(build_config(processor.tokenizer)).model.visual
    seen = train_sight(visual, processor, steps=60, batch=48, peak_lr=1.2e-3, rng=Random(0))
    assert seen["colour"] > 0.6  # always saying that a place is empty is right in 0.4 of them


def test_tokens_that_were_never_shown_are_put_among_the_others(processor: Any) -> None:
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_config(build_config(processor.tokenizer))
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        weight[5] += 100.0
    known = weight[10:].clone()
    assert settle_unseen_tokens(model, set(range(10, len(weight)))) == 10
    assert weight[5].abs().max() < 2.0
    assert torch.equal(weight[10:], known)


def test_no_tag_of_the_base_lies_on_another_token() -> None:
    """Where one does, half of the samples write the other."""
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    weight = AutoModelForImageTextToText.from_pretrained(BASE).get_input_embeddings().weight.detach()
    tags = [THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE]
    tokens = AutoTokenizer.from_pretrained(BASE).convert_tokens_to_ids(tags)
    spread = torch.nn.functional.normalize((weight - weight.mean(0)) / weight.std(0), dim=1)
    alike = spread[tokens] @ spread.T
    alike[range(len(tokens)), tokens] = 0.0
    assert alike.max() < 0.6
