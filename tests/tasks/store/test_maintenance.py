"""Garbage collection, verification, lineage and copying of a whole store."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from models.errors import ArtifactCorrupt, StoreError
from tasks.store.artifact_types import to_json
from tasks.store.artifacts import MANIFEST, ArtifactRef, IndexEntry, Store
from tasks.store.leases import current_lease
from tasks.store.maintenance import copy_store, gc, lineage, raw_data, verify_store

HOUR = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def publish(store: Store, tmp_path: Path, text: str, kind: str = "model") -> ArtifactRef:
    folder = tmp_path / "made" / text
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").write_text(text)
    return store.publish(kind, folder, metadata={"text": text})


def local(store: Store, path: str) -> Path:
    found = store.objects.local_path(path)
    assert found is not None
    return found


def age(store: Store, seconds: float, below: str = "") -> None:
    """Makes everything below `below` look `seconds` older than it is."""
    for found in store.objects.walk(below):
        os.utime(local(store, found.path), (found.modified - seconds, found.modified - seconds))


def removed(store: Store, **options: object) -> list[tuple[str, str]]:
    chosen = {"grace_s": HOUR, "dry_run": False, **options}
    return [(removal.what, removal.path) for removal in gc(store, **chosen)]  # type: ignore[arg-type]


def record(store: Store, stage: str, key: str, outputs: list[ArtifactRef], inputs: list[ArtifactRef]) -> IndexEntry:
    entry = IndexEntry(
        stage=stage,
        key=key,
        outputs={f"out{i}": ref for i, ref in enumerate(outputs)},
        inputs={f"in{i}": ref for i, ref in enumerate(inputs)},
    )
    store.record(entry)
    return entry


def test_gc_removes_what_nothing_refers_to(store: Store, tmp_path: Path) -> None:
    names = ["output", "input", "pinned", "orphan"]
    output, source, pinned, orphan = (publish(store, tmp_path, name) for name in names)
    record(store, "grpo", "k", [output], [source])
    age(store, 2 * HOUR)
    planned = removed(store, pinned={pinned.digest}, dry_run=True)
    assert planned == [("artifact", orphan.path)]
    assert len(store.artifacts()) == 4, "a dry run removes nothing"
    assert removed(store, pinned={pinned.digest}) == planned
    assert set(store.artifacts()) == {output, source, pinned}
    assert removed(store, pinned={pinned.digest}) == []
    assert verify_store(store).ok


def test_gc_leaves_what_is_young(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "young")
    assert removed(store) == []
    assert len(removed(store, grace_s=0)) == 1


def test_an_old_artifact_that_is_published_again_is_young(store: Store, tmp_path: Path) -> None:
    ref = publish(store, tmp_path, "old")
    age(store, 2 * HOUR)
    assert publish(store, tmp_path, "old") == ref
    assert removed(store) == []


def test_gc_refuses_a_pin_that_is_no_digest(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "champion")
    age(store, 2 * HOUR)
    with pytest.raises(StoreError, match="64 hex digits"):
        removed(store, pinned={"champion"})
    assert len(store.artifacts()) == 1


def test_gc_removes_nothing_when_the_index_cannot_be_read(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "maybe referred to")
    store.objects.write("index/grpo/k.json", b"{")
    age(store, 2 * HOUR)
    with pytest.raises(StoreError, match=r"k\.json"):
        removed(store)
    assert len(store.artifacts()) == 1


def test_gc_leaves_what_a_live_lease_refers_to_or_made(store: Store, tmp_path: Path) -> None:
    source, orphan = publish(store, tmp_path, "source"), publish(store, tmp_path, "orphan")
    age(store, 2 * HOUR)
    with store.lease("grpo", "k", owner="run", refs=[source]):
        output = publish(store, tmp_path, "output, not recorded yet")
        assert removed(store, grace_s=0) == [("artifact", orphan.path)]
        assert set(store.artifacts()) == {source, output}
    assert len(removed(store, grace_s=0)) == 2


def test_a_live_lease_that_is_held_for_long_keeps_its_first_outputs(store: Store, tmp_path: Path) -> None:
    with store.lease("grpo", "k", owner="run"):
        output = publish(store, tmp_path, "made five hours ago")
        age(store, 5 * HOUR, "artifacts")
        state = current_lease(store.objects, "grpo", "k")
        assert state is not None
        longer = {"acquired_at": "2026-01-01T00:00:00+00:00", "heartbeat_at": "2026-01-01T06:00:00+00:00"}
        store.objects.write(state.path, to_json(state.model_copy(update=longer)))
        assert removed(store) == []
        assert store.artifacts() == [output]


def test_a_dead_lease_protects_nothing_and_goes_in_the_end(store: Store, tmp_path: Path) -> None:
    ref = publish(store, tmp_path, "source")
    with store.lease("grpo", "k", owner="run", refs=[ref]):
        state = current_lease(store.objects, "grpo", "k")
    assert state is not None
    store.objects.write(state.path, to_json(state.model_copy(update={"machine": "elsewhere"})))
    age(store, 2 * HOUR)
    assert removed(store) == [("artifact", ref.path), ("lease", "leases/grpo/k")]
    assert store.objects.walk("leases") == []


def test_gc_removes_what_killed_uploads_left(store: Store, tmp_path: Path) -> None:
    half = publish(store, tmp_path, "half removed")
    local(store, f"{half.path}/{MANIFEST}").unlink()
    store.objects.write("tmp/1234/files/data", b"half an upload")
    store.objects.write("tmp/5678", b"half a write")
    assert removed(store) == []
    age(store, 2 * HOUR)
    assert sorted(removed(store)) == [
        ("incomplete artifact", half.path),
        ("leftover", "tmp/1234"),
        ("leftover", "tmp/5678"),
    ]


def test_gc_removes_the_work_of_finished_keys_only(store: Store, tmp_path: Path) -> None:
    for key in ("finished", "unfinished", "redone"):
        store.work("distill", key).put_bytes("answers/1", b"paid for")
    record(store, "distill", "finished", [], [])
    record(store, "distill", "redone", [], [])
    assert removed(store) == [], "too young"
    age(store, 2 * HOUR)
    with store.lease("distill", "redone", owner="run"):
        assert removed(store) == [("work", "work/distill/finished")]
    assert store.work("distill", "unfinished").get_bytes("answers/1") == b"paid for"
    assert store.work("distill", "redone").names() == ["answers/1"]


def test_gc_removes_checkpoints_that_were_never_completed(store: Store, tmp_path: Path) -> None:
    work = store.work("grpo", "k")
    ref = publish(store, tmp_path, "checkpoint")
    work.put_tree("checkpoint-1", store.fetch(ref))
    half = f"work/grpo/k/trees/checkpoint-2/{'0' * 32}"
    store.objects.write(f"{half}/data", b"half")
    store.objects.write(f"{half}/sub/data", b"half")
    record(store, "s", "k", [ref], [])
    age(store, 2 * HOUR)
    assert removed(store) == [("leftover", half)]
    work.get_tree("checkpoint-1", tmp_path / "out")


def test_gc_does_not_touch_what_became_young_after_it_looked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = publish(store, tmp_path, "reused in the last moment")
    age(store, 2 * HOUR)
    real = store.entries

    def publish_meanwhile(stage: str | None = None) -> list[IndexEntry]:
        found = real(stage)
        timer.append(publish(store, tmp_path, "reused in the last moment"))
        return found

    timer: list[ArtifactRef] = []
    monkeypatch.setattr(store, "entries", publish_meanwhile)
    assert removed(store) == []
    assert timer == [ref]
    assert store.artifacts() == [ref]


def test_verifying_reports_every_fault_and_does_not_stop_at_the_first(store: Store, tmp_path: Path) -> None:
    good, rotten, cut, gone = (publish(store, tmp_path, name) for name in ("good", "rotten", "cut", "gone"))
    record(store, "s", "good", [good], [])
    record(store, "s", "dangling", [good, gone], [])
    store.objects.write("index/s/broken.json", b"{")
    store.objects.write(f"{rotten.path}/files/data", b"rotted")
    store.objects.write(f"{cut.path}/{MANIFEST}", b"{")
    store.objects.remove_tree(gone.path)
    report = verify_store(store)
    assert not report.ok
    assert {problem.where for problem in report.problems} == {
        f"model {rotten.digest}",
        f"model {cut.digest}",
        "index/s/broken.json",
        "index/s/dangling.json",
    }
    assert (report.n_artifacts, report.n_entries, report.n_bytes) == (1, 2, len("good"))
    shallow = verify_store(store, deep=False)
    assert f"model {rotten.digest}" not in {problem.where for problem in shallow.problems}


def test_what_is_damaged_is_dropped_on_request_and_can_be_published_again(store: Store, tmp_path: Path) -> None:
    good, rotten = (publish(store, tmp_path, name) for name in ("good", "rotten"))
    store.objects.write(f"{rotten.path}/files/data", b"rotted")
    assert not verify_store(store, drop=True).ok
    assert verify_store(store).ok
    assert store.artifacts() == [good]
    assert publish(store, tmp_path, "rotten") == rotten
    store.verify(rotten, deep=True)


def test_lineage_goes_back_to_what_no_stage_made(store: Store, tmp_path: Path) -> None:
    base, pairs, distilled, model = (publish(store, tmp_path, n) for n in ("base", "pairs", "distilled", "model"))
    record(store, "distill", "d", [distilled], [pairs])
    record(store, "cold-start", "c", [model], [base, distilled])
    tree = lineage(store, model)
    (made,) = tree.made_by
    assert (made.entry.stage, made.output) == ("cold-start", "out0")
    assert made.inputs["in0"].made_by == ()
    (distill,) = made.inputs["in1"].made_by
    assert distill.entry.stage == "distill"
    assert distill.inputs["in0"].ref == pairs
    assert lineage(store, base).made_by == ()


def test_lineage_ends_where_an_output_equals_an_input(store: Store, tmp_path: Path) -> None:
    model = publish(store, tmp_path, "a model that training did not change")
    record(store, "grpo", "k", [model], [model])
    (made,) = lineage(store, model).made_by
    assert made.inputs["in0"].made_by == ()


def test_lineage_names_what_made_an_artifact_before_what_passed_it_through(store: Store, tmp_path: Path) -> None:
    trajectories, model = publish(store, tmp_path, "samples"), publish(store, tmp_path, "tuned")
    record(store, "sampling", "s", [trajectories], [])
    record(store, "rejection-sampling", "r", [trajectories, model], [trajectories])
    assert [made.entry.stage for made in lineage(store, trajectories).made_by] == ["sampling", "rejection-sampling"]


def test_a_copy_has_the_same_references(store: Store, tmp_path: Path) -> None:
    refs = [publish(store, tmp_path, name) for name in ("one", "two")]
    entry = record(store, "grpo", "k", refs[:1], refs[1:])
    target = Store(str(tmp_path / "target"))
    report = copy_store(store, target)
    assert (report.n_copied, report.n_there, report.n_entries, report.n_bytes) == (2, 0, 1, 6)
    assert target.artifacts() == store.artifacts()
    assert target.lookup("grpo", "k") == entry
    assert target.manifest(refs[0]).metadata == {"text": "one"}
    assert verify_store(target).ok
    assert copy_store(store, target).n_there == 2


def test_a_damaged_artifact_is_not_copied(store: Store, tmp_path: Path) -> None:
    ref = publish(store, tmp_path, "one")
    store.objects.write(f"{ref.path}/files/data", b"eno")
    target = Store(str(tmp_path / "target"))
    with pytest.raises(ArtifactCorrupt):
        copy_store(store, target)
    assert target.artifacts() == []


def test_collecting_a_store_of_many_entries_is_quick(store: Store, tmp_path: Path) -> None:
    ref = publish(store, tmp_path, "shared")
    for i in range(300):
        local(store, f"index/s/k{i}.json").parent.mkdir(parents=True, exist_ok=True)
        local(store, f"index/s/k{i}.json").write_bytes(to_json(IndexEntry(stage="s", key=f"k{i}", outputs={"m": ref})))
    start = time.monotonic()
    assert removed(store, grace_s=0) == []
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"seed": 3, "prepare": {"source": "shapes"}}, ["raw data: shapes, seed 3"]),
        (
            {"prepare": {"source": "jsonl", "path": "/mine"}, "files": "ab" * 32},
            ["raw data: /mine (sha256 abababababab)"],
        ),
        (
            {
                "prepare": {"source": "published", "sources": [{"reader": "hpdv3", "path": "s3://b/h"}]},
                "published": ["1" * 64, "2" * 64],  # of the source, and of a benchmark kept out of it
            },
            ["raw data: hpdv3 at s3://b/h (sha256 111111111111)"],
        ),
        ({"grpo": {}}, []),
    ],
)
def test_lineage_names_the_raw_data(config: dict[str, Any], told: list[str]) -> None:
    assert raw_data(IndexEntry(stage="prepare", key="0" * 64, outputs={}, inputs={}, config=config)) == told
