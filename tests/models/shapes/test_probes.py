"""Probes of the base model: equal classes, and a figure that tells seeing from not seeing."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
import torch

from models.backbone import load_model, load_processor
from models.shapes import base_model
from models.shapes.pretraining.probes import PROBES, probe

BASE = Path(base_model.__file__).parent / "base"


@pytest.mark.parametrize("name", list(PROBES))
def test_classes_have_like_shares(name: str) -> None:
    rng = Random(0)
    counts = Counter(PROBES[name](rng).truth for _ in range(400))
    assert min(counts.values()) > 0.8 * max(counts.values()) * (0.7 if len(counts) > 2 else 1)


@pytest.mark.slow
def test_a_tower_that_sees_places_is_told_from_one_that_does_not() -> None:
    model, processor = load_model(BASE), load_processor(BASE)
    seen = probe(model, processor, seed=3, train=200, test=100, names=["place"])["place"]["tower"]
    torch.manual_seed(0)
    for parameter in model.model.visual.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    blind = probe(model, processor, seed=3, train=200, test=100, names=["place"])["place"]["tower"]
    assert seen > 0.9 > 0.5 > blind
