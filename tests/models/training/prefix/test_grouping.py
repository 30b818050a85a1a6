"""Which rows share a prompt, and where they are computed."""

import torch

from models.training.prefix.grouping import by_prompts, prompt_groups, regrouped


def test_prompts_of_equal_tokens_with_other_pictures_are_not_shared() -> None:
    one, other = torch.zeros(4, 3), torch.full((4, 3), 1e-7)
    assert prompt_groups([(1, 2)] * 4, [one, other, one.clone(), other.clone()]) == [[0, 2], [1, 3]]
    assert prompt_groups([(1, 2)] * 3, [None, one, None]) == [[0, 2], [1]]


def test_a_group_beyond_the_limit_is_divided_and_computes_its_prompt_again() -> None:
    lengths = [(50, 20)] * 4
    assert by_prompts([[0, 1, 2, 3]], lengths, tokens=90, rows=8) == [[0, 1], [2, 3]]
    assert by_prompts([[0, 1, 2, 3]], lengths, tokens=1, rows=8) == [[0], [1], [2], [3]]
    assert by_prompts([[0, 1, 2, 3]], lengths, tokens=999, rows=3) == [[0, 1, 2], [3]]


def test_there_are_as_many_parts_as_another_process_needs() -> None:
    parts = by_prompts([[0, 1], [2, 3]], [(5, 5)] * 4, tokens=999, rows=8, at_least=3)
    assert len(parts) == 3
    assert sorted(row for part in parts for row in part) == [0, 1, 2, 3]


def test_micro_batches_of_a_step_keep_their_rows_with_those_of_a_prompt_together() -> None:
    """Rows 0 and 3 show one picture and rows 1 and 2 two; rows are told apart by their advantage."""
    few, many = torch.ones(4, 3), torch.arange(24.0).view(8, 3)

    def half(rows: list[int]) -> dict[str, object]:
        pixels = [few if row in (0, 3) else many for row in rows]
        grids = [[[1, 2, 2]] if row in (0, 3) else [[1, 2, 2]] * 2 for row in rows]
        return {
            "prompt_ids": torch.tensor([[7, 8]] * 2),
            "prompt_mask": torch.tensor([[1, 1]] * 2),
            "advantages": torch.tensor([float(row) for row in rows]),
            "num_items_in_batch": torch.tensor(44),
            "pixel_values": torch.cat(pixels),
            "image_grid_thw": torch.tensor([grid for some in grids for grid in some]),
            "num_images": [len(some) for some in grids],
        }

    first, second = regrouped([half([0, 1]), half([2, 3])])
    assert [one["advantages"].tolist() for one in (first, second)] == [[0.0, 3.0], [1.0, 2.0]]
    assert torch.equal(first["pixel_values"], torch.cat([few, few]))
    assert torch.equal(second["pixel_values"], torch.cat([many, many]))
    assert first["num_images"] == [1, 1]
    assert second["image_grid_thw"].shape == (4, 3)
    assert int(second["num_items_in_batch"]) == 44
