"""`prepare` in this process: drops join the training split, and what an earlier version held stays in its split."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs.load import load_settings
from configs.schema import Settings
from models.errors import ArtifactMissing
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import SPLITS, Split, Task
from models.shapes.pairs import KINDS, make_pair
from models.sources.shapes import read_shapes
from tasks.data.decoders import prepare_decoders
from tasks.data.inbox.inbox import ingest
from tasks.data.inbox.records import recorded
from tasks.pipeline.child import Child, Done, Job
from tasks.pipeline.run import open_store
from tasks.stages.prepare import prepare
from tasks.store.artifact_types import digest_of, entries_of, read_sources
from tasks.store.artifacts import ArtifactRef
from tests.models.slow_media import slow_gif
from tests.tasks.shapes_drop import row_of, write_drop


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = (
        f"storage.root={tmp_path / 'store'}",
        f"storage.cache_dir={tmp_path / 'cache'}",
        f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}",
    )
    return load_settings(
        "shapes", (*places, "prepare.train_pairs=3", "prepare.validation_pairs=2", "prepare.held_out_pairs=2")
    )


def made(settings: Settings, scratch: Path, inputs: dict[str, ArtifactRef]) -> Done:
    scratch.mkdir()
    job = Job(stage="prepare", key="0" * 64, body="tasks.stages.prepare:prepare", settings=settings, inputs=inputs)
    return prepare(job, Child(), scratch)


def test_without_drops_the_artifact_is_what_the_source_alone_gives(settings: Settings, tmp_path: Path) -> None:
    splits, blobs = read_shapes(train_pairs=3, validation_pairs=2, held_out_pairs=2, seed=settings.seed)
    alone = tmp_path / "alone"
    alone.mkdir()
    write_dataset(alone, splits, blobs)
    done = made(settings, tmp_path / "scratch", {})
    assert done.outputs["preferences"].digest == digest_of(entries_of(read_sources(alone)))
    assert "drops" not in done.facts


def test_drops_among_the_inputs_come_first_and_change_no_held_out_pair(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    elsewhere = row_of(make_pair(Task.IMAGE_GENERATION, 0, seed=8, held_out=False).pair)
    bad = [b"{", elsewhere | {"id": "x", "prompt": "a harbour at dusk"}]
    for name, seed in (("one", 7), ("two", 8)):
        write_drop(tmp_path / "store" / "inbox" / name, seed=seed, count=1, more=bad if name == "two" else [])
    ingest(store, max_frames=settings.model.max_frames, quiet_s=0, log=lambda line: None)
    found = recorded(store)
    before, after = made(settings, tmp_path / "before", {}), made(settings, tmp_path / "after", found)
    assert {name: after.facts[name] for name in ("train_pairs", "held_out_pairs", "drops", "drop_pairs")} == {
        "train_pairs": 12 + 8,
        "held_out_pairs": 8,
        "drops": 2,
        "drop_pairs": 8,
    }
    assert after.facts["quarantined"] == 2
    read, alone = (
        PreferenceDataset(store.fetch(done.outputs["preferences"]), max_pixels=64 * 64, max_frames=8)
        for done in (after, before)
    )
    assert read.pairs("held_out") == alone.pairs("held_out")
    for task in Task:
        assert [pair.id.split("/")[0] for pair in read.pairs("train", task)[:2]] == list(found)
        assert read.pairs("train", task)[2:] == alone.pairs("train", task)
    assert read.summary()["drops"] == dict.fromkeys(found, 4)


def opened(settings: Settings, done: Done) -> PreferenceDataset:
    folder = open_store(settings).fetch(done.outputs["preferences"])
    return PreferenceDataset(folder, max_pixels=64 * 64, max_frames=8)


def test_what_is_published_has_equal_shares_of_all_kinds_in_its_sealed_splits(
    settings: Settings, tmp_path: Path
) -> None:
    """Whatever the splits' rule leaves out, in a first version and in one that knows the splits of that."""
    sizes = {"held_out_pairs": 72, "validation_pairs": 45}
    whole = settings.model_copy(update={"prepare": settings.prepare.model_copy(update=sizes)})
    first = made(whole, tmp_path / "first", {})
    later = made(whole, tmp_path / "later", {"previous": first.outputs["splits"]})
    for done in (first, later):
        assert done.facts["quarantined"] == 0
        for split in ("held_out", "validation"):
            pairs = opened(whole, done).pairs(split)  # type: ignore[arg-type]
            for task, kinds in KINDS.items():
                found = Counter(pair.group for pair in pairs if pair.task == task)
                assert set(found) == set(kinds) and max(found.values()) - min(found.values()) <= 1
                assert sum(found.values()) == sizes[f"{split}_pairs"]
                if sizes[f"{split}_pairs"] % len(kinds) == 0:
                    assert len(set(found.values())) == 1


def jpeg(data: bytes) -> bytes:
    """A picture in other bytes: as JPEG, of three quarters the size."""
    with Image.open(io.BytesIO(data)) as image:
        made = image.convert("RGB").resize((image.width * 3 // 4, image.height * 3 // 4))
    buffer = io.BytesIO()
    made.save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def picture(number: int) -> bytes:
    """A picture with enough course of brightness for its perceptual hash to tell it from others."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), "RGB")
    buffer = io.BytesIO()
    coarse.resize((96, 96), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def own_pairs(folder: Path, pairs: list[tuple[int, int]]) -> Path:
    """A folder of our own schema; each pair compares two numbered pictures under a caption of its own."""
    folder.mkdir()
    rows: list[dict[str, Any]] = []
    for first, second in pairs:
        for number in (first, second):
            (folder / f"{number}.png").write_bytes(picture(number))
        candidates = [{"media": f"{first}.png"}, {"media": f"{second}.png"}]
        row: dict[str, Any] = {"id": f"{first}-{second}", "task": "image_generation", "candidates": candidates}
        rows.append(row | {"prompt": f"scene {first} or {second}", "preferred": 1 + len(rows) % 2})
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


OPENAI = {"teacher": "openai", "model": "anyone"}


def of_own(settings: Settings, folder: Path) -> Settings:
    update = {"source": "jsonl", "path": str(folder), "held_out_share": 0.3, "validation_share": 0.2}
    prepare, distill = settings.prepare.model_copy(update=update), settings.distill.model_copy(update=OPENAI)
    return settings.model_copy(update={"prepare": prepare, "distill": distill})


def splits_of(dataset: PreferenceDataset) -> dict[str, Split]:
    return {pair.id: split for split in SPLITS for pair in dataset.pairs(split)}


def test_a_dropped_video_that_timed_out_is_counted_to_be_tried_again(settings: Settings, tmp_path: Path) -> None:
    store, video = open_store(settings), {"task": str(Task.VIDEO_GENERATION), "prompt": "a pan", "preferred": 1}
    slow = video | {"id": "slow", "candidates": [{"media": "slow.gif"}, {"media": "slow.gif"}]}
    folder = tmp_path / "store" / "inbox" / "one"
    write_drop(folder, seed=7, count=1, more=[slow])
    (folder / "slow.gif").write_bytes(slow_gif())
    hurried = settings.model_copy(update={"prepare": settings.prepare.model_copy(update={"decoding_timeout_s": 3.0})})
    with prepare_decoders(hurried) as decoders:
        ingest(store, max_frames=8, quiet_s=0, log=lambda _: None, decoding=decoders)
    done = made(hurried, tmp_path / "scratch", recorded(store))
    assert (done.facts["drop_pairs"], done.facts["quarantined"], done.facts["passing"]) == (4, 1, 1)


def test_pairs_that_share_media_move_no_pair_of_an_earlier_version(settings: Settings, tmp_path: Path) -> None:
    pairs = [(2 * n, 2 * n + 1) for n in range(60)]
    small = of_own(settings, own_pairs(tmp_path / "small", pairs))
    first = made(small, tmp_path / "a", {})
    old = splits_of(opened(small, first))
    linking = [(2 * n, 2 * n + 3) for n in range(0, 58, 2)]
    large = of_own(settings, own_pairs(tmp_path / "large", [*linking, *pairs]))
    second = made(large, tmp_path / "b", {"previous": first.outputs["splits"]})
    new = splits_of(opened(large, second))
    assert set(old.values()) == set(SPLITS) and {name: new[name] for name in old} == old
    reasons = opened(large, second).summary()["quarantined"]["by_reason"]
    assert reasons == second.facts["connecting"] and sum(reasons.values()) == 89 - len(new) > 0
    assert {reason.split(": ")[1] for reason in reasons} == {"same medium"}
    alone = made(large, tmp_path / "c", {})
    moved = [name for name, split in splits_of(opened(large, alone)).items() if old.get(name, split) != split]
    assert moved, "without the ledger the same pairs move"


def test_preferences_do_not_depend_on_history_while_nothing_conflicts(settings: Settings, tmp_path: Path) -> None:
    first = made(settings, tmp_path / "a", {})
    again = made(settings, tmp_path / "b", {"previous": first.outputs["splits"]})
    assert again.outputs == first.outputs


def test_more_pairs_of_the_shapes_move_none_and_reuse_no_validation_caption(settings: Settings, tmp_path: Path) -> None:
    first = made(settings, tmp_path / "a", {})
    grown = settings.prepare.model_copy(update={"train_pairs": 40})
    larger = settings.model_copy(update={"prepare": grown})
    second = made(larger, tmp_path / "b", {"previous": first.outputs["splits"]})
    before, after = opened(settings, first), opened(larger, second)
    for split in ("validation", "held_out"):
        assert after.pairs(split) == before.pairs(split)
    assert {pair.id for pair in before.pairs("train")} <= {pair.id for pair in after.pairs("train")}

    def captions(split: Split) -> set[str]:
        return {pair.prompt for pair in after.pairs(split) if pair.task.judges_media}

    assert not captions("train") & captions("validation") and not captions("validation") & captions("held_out")


@pytest.mark.parametrize("sealed", ["validation", "held_out"])
def test_a_re_encoded_picture_of_a_sealed_split_is_no_training_data(
    settings: Settings, tmp_path: Path, sealed: Split
) -> None:
    own = of_own(settings, own_pairs(tmp_path / "own", [(2 * n, 2 * n + 1) for n in range(40)]))
    shown = opened(own, made(own, tmp_path / "before", {})).pairs(sealed)
    drop = tmp_path / "store" / "inbox" / "again"
    drop.mkdir(parents=True)
    rows = []
    for at, pair in enumerate(shown):
        uri = pair.media()[at % 2].uri
        (drop / f"{at}.jpg").write_bytes(jpeg((tmp_path / "own" / uri).read_bytes()))
        (drop / f"new-{at}.png").write_bytes(picture(1000 + at))
        candidates = [{"media": f"{at}.jpg"}, {"media": f"new-{at}.png"}]
        rows.append({"id": f"r{at}", "task": "image_generation", "prompt": f"another {at}", "preferred": 1})
        rows[-1]["candidates"] = candidates
    (drop / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    store = open_store(own)
    ingest(store, max_frames=8, quiet_s=0, log=lambda line: None)
    done = made(own, tmp_path / "after", recorded(store))
    said = f"leak: shows what looks like a medium of the {sealed.replace('_', '-')} split"
    assert opened(own, done).summary()["quarantined"]["by_reason"] == {said: len(shown)}
    assert done.facts["drop_pairs"] == 0


def test_in_the_shapes_world_a_re_encoded_picture_is_known_and_another_scene_is_not_taken_for_it(
    settings: Settings, tmp_path: Path
) -> None:
    many = settings.prepare.model_copy(update={"held_out_pairs": 40})
    world = settings.model_copy(update={"prepare": many})
    dataset = opened(world, made(world, tmp_path / "before", {}))
    (pair,) = dataset.pairs("held_out", Task.IMAGE_UNDERSTANDING)[:1]
    (shown,) = pair.media()
    write_drop(tmp_path / "store" / "inbox" / "new", seed=7, count=30)
    drop = tmp_path / "store" / "inbox" / "again"
    drop.mkdir()
    (drop / "again.jpg").write_bytes(jpeg(dataset.blob(shown.uri)))
    row = row_of(pair) | {"context": ["again.jpg"], "id": "again"}
    (drop / "pairs.jsonl").write_text(json.dumps(row))
    store = open_store(world)
    ingest(store, max_frames=8, quiet_s=0, log=lambda line: None)
    done = made(world, tmp_path / "after", recorded(store))
    by_reason = opened(world, done).summary()["quarantined"]["by_reason"]
    assert by_reason.pop("leak: shows what looks like a medium of the held-out split") == 1
    assert not [reason for reason in by_reason if "looks like" in reason]


def test_a_ledger_that_is_gone_is_no_reason_to_begin_anew(settings: Settings, tmp_path: Path) -> None:
    gone = {"previous": ArtifactRef(kind="splits", digest="0" * 64, size=1, n_files=1)}
    with pytest.raises(ArtifactMissing, match="it says which pairs were held out so far"):
        made(settings, tmp_path / "scratch", gone)


def test_a_drop_that_is_gone_from_the_store_says_how_to_have_it_back(settings: Settings, tmp_path: Path) -> None:
    gone = {"drop-000000000000": ArtifactRef(kind="drop", digest="0" * 64, size=1, n_files=1)}
    with pytest.raises(ArtifactMissing, match=r"^drop-000000000000: .* put its files into the inbox once more"):
        made(settings, tmp_path / "scratch", gone)
