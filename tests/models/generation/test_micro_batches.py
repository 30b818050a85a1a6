"""Batches bounded by tokens: the limit, like lengths, and tokens that are counted before media are processed."""

from pathlib import Path

import pytest
from PIL import Image

from models.backbone import load_processor
from models.generation.micro_batches import TokenCounter, by_tokens

BASE = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"
LENGTHS = [(30, 5), (300, 5), (31, 9), (290, 7), (29, 5), (30, 5), (900, 5), (28, 40)]


@pytest.mark.parametrize("tokens", [1, 40, 100, 700, 5000])
@pytest.mark.parametrize("rows", [1, 3, 8])
def test_no_batch_is_larger_than_either_limit_and_each_sequence_is_in_one(tokens: int, rows: int) -> None:
    batches = by_tokens(LENGTHS, tokens=tokens, rows=rows)
    assert sorted(at for batch in batches for at in batch) == list(range(len(LENGTHS)))
    for batch in batches:
        padded = len(batch) * sum(max(LENGTHS[at][part] for at in batch) for part in (0, 1))
        assert len(batch) <= rows
        assert padded <= tokens or len(batch) == 1


def test_short_and_long_sequences_are_apart_and_equal_ones_keep_their_order() -> None:
    assert by_tokens(LENGTHS, tokens=700, rows=8) == [[4, 0, 5, 2, 7], [3, 1], [6]]


def test_so_many_batches_as_other_processes_have() -> None:
    batches = by_tokens([(5,)] * 6, tokens=100, rows=8, at_least=4)
    assert [len(batch) for batch in batches] == [1, 2, 1, 2]
    assert len(by_tokens([(5,)] * 3, tokens=100, rows=8, at_least=4)) == 3


@pytest.mark.parametrize("size", [(64, 64), (200, 40), (97, 131)])
def test_a_prompt_is_counted_as_the_processor_writes_it(size: tuple[int, int]) -> None:
    processor = load_processor(BASE)
    picture = Image.new("RGB", size)
    text = f"first {processor.image_token} and second {processor.image_token}, which is better?"
    written = processor(text=[text], images=[picture, picture.rotate(90, expand=True)], add_special_tokens=False)
    counted = TokenCounter(processor).count(text, [picture, picture.rotate(90, expand=True)])
    assert counted == len(written["input_ids"][0])


def test_a_video_is_counted_as_no_fewer_tokens_than_the_processor_writes() -> None:
    processor = load_processor(BASE)
    clip = [Image.new("RGB", (64, 64))] * 4
    times = [{"fps": 2.0, "total_num_frames": 4, "frames_indices": [0, 1, 2, 3]}]
    text = f"a clip {processor.video_token} of a circle"
    written = processor(
        text=[text], videos=[clip], video_metadata=times, do_sample_frames=False, add_special_tokens=False
    )
    actual = len(written["input_ids"][0])
    assert actual <= TokenCounter(processor).count(text, clips=[clip]) <= actual + 4 * len(clip)
