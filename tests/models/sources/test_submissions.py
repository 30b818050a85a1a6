"""Dropped pairs join the training split alone, ahead of the source's own, and bring nothing of the held-out split."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import PreferencePair, Split, Task, swapped_preference
from models.shapes.pairs import make_pair
from models.sources.contradictions import DISAGREE, OWN_LABEL
from models.sources.shapes import foreign, read_shapes
from models.sources.shares import BEYOND
from models.sources.submissions import Added, add_submissions, in_drawn_order
from models.splits.keys import content
from tests.tasks.shapes_drop import row_of, write_drop

SPLITS, BLOBS = read_shapes(train_pairs=4, held_out_pairs=3, seed=0)


def added(*folders: Path, splits: dict[Split, list[PreferencePair]] = SPLITS) -> Added:
    named = {f"drop-{folder.name}": folder for folder in folders}
    return add_submissions(splits, BLOBS, named, max_frames=8)


def ids(pairs: list[PreferencePair], task: Task) -> list[str]:
    return [pair.id for pair in pairs if pair.task == task]


def test_dropped_pairs_are_the_first_of_every_task_and_the_held_out_split_stays(tmp_path: Path) -> None:
    dropped = write_drop(tmp_path / "a", seed=7, count=2)
    found = added(tmp_path / "a")
    assert found.splits["held_out"] == SPLITS["held_out"]
    assert found.counts == {"drop-a": 8} and found.invalid == []
    for task in Task:
        own = ids(SPLITS["train"], task)
        assert ids(found.splits["train"], task) == [f"drop-a/{name}" for name in ids(dropped, task)] + own


def test_the_held_out_file_of_a_dataset_is_the_same_bytes_with_drops(tmp_path: Path) -> None:
    write_drop(tmp_path / "a", seed=7)
    found = added(tmp_path / "a")
    without, with_drops = tmp_path / "without", tmp_path / "with"
    without.mkdir()
    with_drops.mkdir()
    write_dataset(without, SPLITS, BLOBS)
    summary = write_dataset(with_drops, found.splits, found.blobs, found.invalid, found.counts)
    assert (without / "pairs-held_out.parquet").read_bytes() == (with_drops / "pairs-held_out.parquet").read_bytes()
    assert summary["drops"] == {"drop-a": 8} and "drops" not in json.loads((without / "summary.json").read_text())
    read = PreferenceDataset(with_drops, max_pixels=64 * 64, max_frames=8)
    for pair in read.pairs("train")[:8]:
        for media in pair.media():
            assert hashlib.sha256(read.blob(media.uri)).hexdigest() == media.sha256
            assert read.frames(media.uri)


def test_drops_take_turns_whatever_order_they_are_given_in(tmp_path: Path) -> None:
    write_drop(tmp_path / "a", seed=7, count=3, tasks=[Task.IMAGE_GENERATION])
    write_drop(tmp_path / "b", seed=8, count=1, tasks=[Task.IMAGE_GENERATION])
    given, turned = added(tmp_path / "a", tmp_path / "b"), added(tmp_path / "b", tmp_path / "a")
    assert given == turned
    drops = [name.split("/")[0] for name in ids(given.splits["train"], Task.IMAGE_GENERATION)[:4]]
    assert drops == ["drop-a", "drop-b", "drop-a", "drop-a"]


def test_equal_names_in_two_drops_are_two_pairs_with_media_of_their_own(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 8)):
        (pair,) = write_drop(tmp_path / name, seed=seed, count=1, tasks=[Task.IMAGE_GENERATION])
        folder = tmp_path / name
        for number, media in enumerate(pair.media()):
            (folder / media.uri).rename(folder / f"{number}.png")
        candidates = [{"media": "0.png"}, {"media": "1.png"}]
        (folder / "pairs.jsonl").write_text(json.dumps(row_of(pair) | {"id": "same", "candidates": candidates}))
    found = added(tmp_path / "a", tmp_path / "b")
    first, second = found.splits["train"][:2]
    assert (first.id, second.id) == ("drop-a/same", "drop-b/same")
    for pair, name in ((first, "a"), (second, "b")):
        stored = {found.blobs[media.uri] for media in pair.media()}
        assert stored == {(tmp_path / name / f"{number}.png").read_bytes() for number in (0, 1)}


def test_a_pair_with_a_medium_of_the_held_out_split_is_left_out(tmp_path: Path) -> None:
    held_out = SPLITS["held_out"]
    question = next(pair for pair in held_out if pair.task is Task.IMAGE_UNDERSTANDING)
    image = next(pair for pair in held_out if pair.task is Task.IMAGE_GENERATION)
    for pair in (question, image):
        for media in pair.media():
            (tmp_path / "a").mkdir(exist_ok=True)
            (tmp_path / "a" / media.uri).write_bytes(BLOBS[media.uri])
    other = row_of(question) | {"id": "q", "prompt": "is anything here blue ?"}
    shown = row_of(image) | {"id": "i", "prompt": "a caption that nobody wrote"}
    write_drop(tmp_path / "a", seed=7, count=1, more=[other, shown])
    found = added(tmp_path / "a")
    assert [(one.id, one.reason) for one in found.invalid] == [
        ("drop-a/line 5 (q)", "leak: shows a medium of the held-out split"),
        ("drop-a/line 6 (i)", "leak: shows a medium of the held-out split"),
    ]
    assert found.invalid[0].uri == question.media()[0].uri
    assert found.counts == {"drop-a": 4}


def test_a_caption_of_the_held_out_split_is_a_leak_where_the_source_keeps_captions_apart(tmp_path: Path) -> None:
    caption = next(pair.prompt for pair in SPLITS["held_out"] if pair.task is Task.VIDEO_GENERATION)
    (pair,) = write_drop(tmp_path / "a", seed=7, count=1, tasks=[Task.VIDEO_GENERATION])
    (tmp_path / "a" / "pairs.jsonl").write_text(json.dumps(row_of(pair) | {"id": "v", "prompt": f" {caption.upper()}"}))
    (one,) = added(tmp_path / "a").invalid
    assert (one.id, one.reason) == ("drop-a/line 1 (v)", "leak: has a caption of the held-out split")
    own = next(pair for pair in SPLITS["train"] if pair.task is Task.VIDEO_GENERATION)
    shared: dict[Split, list[PreferencePair]] = {
        **SPLITS,
        "train": [*SPLITS["train"], own.model_copy(update={"id": "shared", "prompt": caption})],
    }
    assert added(tmp_path / "a", splits=shared).invalid == []


def test_equal_pairs_are_kept_once_whatever_they_are_called_and_however_they_are_in_drawn_order(tmp_path: Path) -> None:
    pairs = write_drop(tmp_path / "a", seed=7, count=1)
    write_drop(tmp_path / "b", seed=7, count=1, more=[row_of(pairs[0].swapped()) | {"id": "turned"}])
    own = write_drop(tmp_path / "c", seed=0, count=1)
    found = added(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert found.counts == {"drop-a": 4, "drop-b": 0, "drop-c": 0}
    assert {one.reason for one in found.invalid} == {"duplicate: the training split has this pair already"}
    assert len(found.invalid) == 9 and own[0] in SPLITS["train"]


def test_the_other_answer_to_the_same_question_is_a_contradiction(tmp_path: Path) -> None:
    (pair,) = write_drop(tmp_path / "a", seed=7, count=1, tasks=[Task.IMAGE_UNDERSTANDING])
    disagrees = row_of(pair) | {"id": "disagrees", "preferred": 3 - int(pair.preferred)}
    write_drop(tmp_path / "b", seed=8, count=0, more=[disagrees])
    (tmp_path / "b" / pair.media()[0].uri).write_bytes((tmp_path / "a" / pair.media()[0].uri).read_bytes())
    found = added(tmp_path / "a", tmp_path / "b")
    assert found.counts == {"drop-a": 0, "drop-b": 0}
    assert {one.reason for one in found.invalid} == {DISAGREE}
    folders = {f"drop-{name}": tmp_path / name for name in "ab"}
    kept = add_submissions(SPLITS, BLOBS, folders, max_frames=8, conflicts="keep")
    assert kept.counts == {"drop-a": 1, "drop-b": 1}


@pytest.mark.parametrize("turn", [False, True])
def test_a_drop_that_contradicts_the_sources_own_label_is_left_out_in_either_order(tmp_path: Path, turn: bool) -> None:
    own = next(pair for pair in SPLITS["train"] if pair.task is Task.IMAGE_GENERATION)
    shown = own.swapped() if turn else own
    flipped = row_of(shown) | {
        "id": "flipped",
        "preferred": swapped_preference(shown.preferred),
        "prompt": f" {own.prompt.upper()}",
    }
    write_drop(tmp_path / "a", seed=7, count=1, more=[flipped])
    for media in own.media():
        (tmp_path / "a" / media.uri).write_bytes(BLOBS[media.uri])
    for rule in ("drop", "majority"):
        found = add_submissions(SPLITS, BLOBS, {"drop-a": tmp_path / "a"}, max_frames=8, conflicts=rule)  # type: ignore[arg-type]
        assert [(one.id, one.reason) for one in found.invalid] == [("drop-a/line 5 (flipped)", OWN_LABEL)]
        assert found.counts == {"drop-a": 4} and own in found.splits["train"]


def test_one_drop_has_no_more_than_its_share_of_any_beginning_of_a_task(tmp_path: Path) -> None:
    write_drop(tmp_path / "a", seed=7, count=3)
    found = add_submissions(SPLITS, BLOBS, {"drop-a": tmp_path / "a"}, max_frames=8, share=0.25)
    # Of 4 own pairs a task: the first place, and the fifth.
    assert found.counts == {"drop-a": 8} and {one.reason for one in found.invalid} == {BEYOND}
    for task in Task:
        assert [name.startswith("drop-") for name in ids(found.splits["train"], task)] == [
            True,
            *[False] * 3,
            True,
            False,
        ]
    again = add_submissions(SPLITS, BLOBS, {"drop-a": tmp_path / "a"}, max_frames=8, share=0.25)
    assert again == found


def test_a_drop_that_always_prefers_the_first_teaches_no_position(tmp_path: Path) -> None:
    rows = []
    pairs = write_drop(tmp_path / "a", seed=7, count=60, tasks=[Task.IMAGE_UNDERSTANDING])
    rows = [row_of(pair if pair.preferred == 1 else pair.swapped()) for pair in pairs]
    (tmp_path / "a" / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    labels = Counter(pair.preferred for pair in added(tmp_path / "a").splits["train"][:60])
    assert min(labels[1], labels[2]) >= 15, labels


@pytest.mark.parametrize("task", list(Task))
def test_a_pair_is_presented_one_way_however_it_was_written(task: Task) -> None:
    pair = make_pair(task, 3, seed=7, held_out=False).pair
    assert in_drawn_order(pair) == in_drawn_order(pair.swapped())
    assert content(pair) == content(pair.swapped()) == content(in_drawn_order(pair))
    tie = pair.model_copy(update={"preferred": "tie"})
    assert in_drawn_order(tie) == tie and content(tie) != content(pair)


def test_a_pair_of_another_world_is_left_out_where_the_source_is_shapes(tmp_path: Path) -> None:
    image, question = write_drop(
        tmp_path / "a", seed=7, count=1, tasks=[Task.IMAGE_GENERATION, Task.IMAGE_UNDERSTANDING]
    )
    harbour = [row_of(one) | {"id": one.task, "prompt": "a harbour at dusk"} for one in (image, question)]
    write_drop(tmp_path / "a", seed=7, count=1, more=harbour)
    found = add_submissions(SPLITS, BLOBS, {"drop-a": tmp_path / "a"}, max_frames=8, foreign=foreign)
    assert found.counts == {"drop-a": 4}
    assert [one.id for one in found.invalid] == [
        "drop-a/line 5 (image_generation)",
        "drop-a/line 6 (image_understanding)",
    ]
    assert all(one.reason.startswith("world: ") for one in found.invalid)
    assert added(tmp_path / "a").counts == {"drop-a": 6}, "a source of people's own pairs takes any"


def test_rows_that_cannot_be_read_are_named_by_drop_and_line(tmp_path: Path) -> None:
    write_drop(tmp_path / "a", seed=7, count=1, more=[b"{", {"id": "x", "task": "poetry"}])
    found = added(tmp_path / "a")
    assert [one.id for one in found.invalid] == ["drop-a/line 5", "drop-a/line 6 (x)"]
    assert found.counts == {"drop-a": 4}
