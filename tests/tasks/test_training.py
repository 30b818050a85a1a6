"""What fine-tuning is given beside the reasoning."""

from models.preference import Task
from models.shapes.pairs import make_pair
from tasks.training import answered_directly


def test_direct_answers_favour_neither_place_and_need_a_better_candidate() -> None:
    pairs = [make_pair(Task.IMAGE_GENERATION, at, seed=0, held_out=False).pair for at in range(8)]
    alternating = answered_directly(pairs, 8)
    assert sorted(str(pair.preferred) for pair in alternating) == ["1"] * 4 + ["2"] * 4
    one_sided = answered_directly(pairs[::2] * 2, 8)
    assert sorted(str(pair.preferred) for pair in one_sided) == ["1"] * 4 + ["2"] * 4
    tied = [pairs[0].model_copy(update={"preferred": "tie"}), *pairs[1:]]
    assert [pair.id for pair in answered_directly(tied, 3)] == [pair.id for pair in pairs[1:4]]
    assert answered_directly(pairs, 0) == []
