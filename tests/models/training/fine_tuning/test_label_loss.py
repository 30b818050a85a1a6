"""Labels are scored alone, and as TRL's head and plain cross entropy score them."""

import copy
from typing import Any

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from models.training.fine_tuning import label_loss
from models.training.fine_tuning.label_loss import OUTPUTS, score_labels_alone
from tests.models.test_backbone import qwen2_5_vl, qwen3_vl


def batch() -> dict[str, Any]:
    """Two rows, of which the second is padded on the right."""
    ids = torch.randint(5, 50, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :3] = -100
    positions = torch.arange(9).expand(3, 2, -1)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "position_ids": positions}


def scored(model: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    out = model(**inputs, fused_lm_head=True)
    weights = torch.linspace(0.5, 2.0, int(out.label_mask.sum()))  # each position its own gradient
    flat = out.log_probs if out.log_probs.ndim == 1 else out.log_probs[out.label_mask]
    model.zero_grad()
    (flat * weights).sum().backward()
    return out, {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("family", [qwen2_5_vl, qwen3_vl])
def test_scores_and_gradients_are_those_of_trl(family: Any, frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_loss, "AT_ONCE", 1)
    monkeypatch.setattr(label_loss, "FEWEST", 4)  # several chunks
    torch.manual_seed(0)
    theirs = family()
    theirs.get_output_embeddings().weight.requires_grad_(not frozen)
    ours = copy.deepcopy(theirs)
    for model in (theirs, ours):
        add_fused_lm_head(model, outputs=OUTPUTS)
    score_labels_alone(ours)
    expected, gradients = scored(theirs, batch())
    found, own = scored(ours, batch())
    where = expected.label_mask
    assert where.sum() == 9
    assert found.label_mask.equal(where)
    for name in OUTPUTS:
        one = getattr(expected, name)[where]
        assert torch.allclose(getattr(found, name).float(), one.float(), rtol=0, atol=1e-5), name
    assert own.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(own[name], gradient, rtol=1e-4, atol=1e-6), name


def test_rows_without_a_label_have_gradients_of_zero() -> None:
    model = qwen3_vl()
    add_fused_lm_head(model, outputs=OUTPUTS)
    score_labels_alone(model)
    for one in (model.get_output_embeddings().weight, *model.model.visual.parameters()):
        one.requires_grad_(False)
    inputs = batch()
    inputs["labels"] = torch.full_like(inputs["labels"], -100)
    _, gradients = scored(model, inputs)
    assert gradients
    assert not any(one.abs().sum() for one in gradients.values())


def test_without_the_head_being_asked_for_logits_are_there() -> None:
    model = qwen3_vl()
    add_fused_lm_head(model, outputs=OUTPUTS)
    score_labels_alone(model)
    inputs = {name: one for name, one in batch().items() if name != "labels"}
    assert model(**inputs).logits.shape == (2, 9, 64)
