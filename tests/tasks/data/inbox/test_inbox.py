"""What people drop is taken up once, whole and in order, or comes back with a reason; whatever is interrupted."""

import json
import os
import re
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.media.decoding import Decoders
from models.pairs.dataset import write_dataset
from models.pairs.preference import Task
from models.sources.shapes import read_shapes
from models.sources.submissions import add_submissions
from tasks.data.inbox import moves as inbox_moves
from tasks.data.inbox.inbox import Ingested, archive, ingest
from tasks.data.inbox.reading import LIMITS, Submission, SubmissionLimits, fetch, stem
from tasks.data.inbox.records import name_of, recorded
from tasks.store.artifact_types import ArtifactRef
from tasks.store.artifacts import Store
from tasks.store.gc import gc
from tasks.store.objects.base import Found, Source, hash_file
from tests.models.slow_media import slow_gif
from tests.tasks.seaweed import S3Server
from tests.tasks.shapes_drop import write_drop, zipped

SPLITS, BLOBS = read_shapes(train_pairs=2, held_out_pairs=2, seed=0)


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def s3_store(bucket: str, tmp_path: Path) -> Store:
    return Store(f"s3://{bucket}/team/store", cache_dir=tmp_path / "cache")


@pytest.fixture(params=["local", pytest.param("s3", marks=[pytest.mark.slow, pytest.mark.long])])
def store(request: pytest.FixtureRequest) -> Store:
    """Both kinds of storage, since each moves in its own way."""
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found


def put(store: Store, local: Path, name: str) -> None:
    """Copy a folder or a file into the inbox, as people do with their own tools."""
    for path in sorted(local.rglob("*")) if local.is_dir() else [local]:
        if path.is_file():
            within = f"/{path.relative_to(local).as_posix()}" if local.is_dir() else ""
            store.objects.upload(Source("", path, path.stat().st_size, hash_file(path)), f"inbox/{name}{within}")


def dropped(store: Store, tmp_path: Path, name: str, *, seed: int = 7, **options: Any) -> Path:
    folder = tmp_path / "made" / name
    write_drop(folder, seed=seed, count=options.pop("count", 1), **options)
    put(store, folder, name)
    return folder


def taken(store: Store, **options: Any) -> Ingested:
    said: list[str] = options.pop("said", [])
    return ingest(store, **{"max_frames": 8, "quiet_s": 0, "log": said.append, **options})


def prepared(store: Store, tmp_path: Path) -> ArtifactRef:
    """Preferences with every recorded drop in them, as the stage `prepare` makes them."""
    folders = {name: store.fetch(ref) for name, ref in recorded(store).items()}
    added = add_submissions(SPLITS, BLOBS, folders, max_frames=8)
    folder = tmp_path / f"preferences-{time.monotonic_ns()}"
    folder.mkdir()
    write_dataset(folder, added.splits, added.blobs, added.invalid, added.counts)
    return store.publish("preferences", folder)


def below(store: Store, folder: str) -> dict[str, bytes]:
    return {
        found.path.removeprefix(f"{folder}/"): store.objects.read(found.path) for found in store.objects.walk(folder)
    }


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rejected(store: Store, **options: Any) -> tuple[str, str]:
    """The one drop that is rejected: its reason, and what its REASON.txt says."""
    found = taken(store, **options)
    (one,) = found.rejected
    assert not found.accepted and not store.objects.walk("inbox") and not recorded(store)
    return one.reason, store.objects.read(f"inbox-rejected/{stem(one.name)}/REASON.txt").decode()


def test_a_drop_is_recorded_and_moved_when_the_preferences_hold_it(store: Store, tmp_path: Path) -> None:
    folder = dropped(store, tmp_path, "two kites")
    said: list[str] = []
    found = taken(store, said=said)
    (drop,) = found.accepted
    assert (drop.name, drop.rows, drop.usable, drop.invalid) == ("two kites", 4, 4, {})
    assert found.rows == 4 and drop.tasks == {str(task): 1 for task in Task}
    assert found.lines() == ["- two kites: 4 of 4 rows taken"] and said == ["inbox: two kites: 4 of 4 rows taken"]
    assert recorded(store) == {name_of(drop.ref): drop.ref} and drop.ref.kind == "drop"
    assert files_of(store.fetch(drop.ref)) == files_of(folder)
    assert below(store, "inbox/two kites") == files_of(folder), "it stays until the preferences hold it"
    version = prepared(store, tmp_path).short
    archive(store, version, found)
    assert not store.objects.walk("inbox")
    assert below(store, f"inbox-accepted/{version}") == {f"two kites/{n}": data for n, data in files_of(folder).items()}
    assert taken(store) == Ingested()


def test_an_empty_inbox_is_left_untouched(store: Store) -> None:
    assert taken(store) == Ingested()
    assert store.objects.walk("") == []


@pytest.mark.parametrize("below_folder", ["", "kites/"])
def test_an_archive_is_the_same_drop_as_its_folder(store: Store, tmp_path: Path, below_folder: str) -> None:
    folder = dropped(store, tmp_path, "kites")
    put(store, zipped(folder, tmp_path / "a.zip", below=below_folder), "packed.zip")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as writer:
        writer.add(folder, arcname=".")
    put(store, tmp_path / "b.tar.gz", "packed.tar.gz")
    found = taken(store)
    assert [drop.name for drop in (*found.accepted, *found.duplicates)] == ["kites", "packed.tar.gz", "packed.zip"]
    assert len({drop.ref for drop in (*found.accepted, *found.duplicates)}) == len(recorded(store)) == 1
    version = prepared(store, tmp_path).short
    archive(store, version, found)
    moved = below(store, f"inbox-accepted/{version}")
    assert moved["packed/packed.tar.gz"] == (tmp_path / "b.tar.gz").read_bytes()
    assert moved["packed-2/packed.zip"] == (tmp_path / "a.zip").read_bytes()


def test_bad_rows_are_named_beside_the_accepted_drop(store: Store, tmp_path: Path) -> None:
    dropped(store, tmp_path, "mixed", more=[b"{", {"id": "x", "task": "poetry"}])
    found = taken(store)
    (drop,) = found.accepted
    assert (drop.rows, drop.usable, sum(drop.invalid.values())) == (6, 4, 2)
    version = prepared(store, tmp_path).short
    archive(store, version, found)
    note = json.loads(store.objects.read(f"inbox-accepted/{version}/mixed/INVALID.json"))
    assert (note["preferences"], note["submission"], note["count"]) == (version, name_of(drop.ref), 2)
    assert [row["row"] for row in note["rows"]] == ["line 5", "line 6 (x)"]
    assert "candidates is missing" in note["rows"][1]["reason"] and set(note["by_reason"]) == set(drop.invalid)


def test_rows_that_would_show_the_held_out_split_are_named_there_too(store: Store, tmp_path: Path) -> None:
    dropped(store, tmp_path, "leaky", seed=0, held_out=True, tasks=[Task.VIDEO_UNDERSTANDING])
    found = taken(store)
    assert found.rows == 1, "the inbox cannot know what is held out"
    version = prepared(store, tmp_path).short
    archive(store, version, found)
    (row,) = json.loads(store.objects.read(f"inbox-accepted/{version}/leaky/INVALID.json"))["rows"]
    assert row["reason"].startswith("leak: ") and row["uri"]


def test_a_drop_without_a_usable_row_comes_back_with_each_fault_by_line(store: Store, tmp_path: Path) -> None:
    missing = {
        "id": "m",
        "task": "image_generation",
        "prompt": "p",
        "preferred": 1,
        "candidates": [{"media": "x.png"}] * 2,
    }
    folder = dropped(store, tmp_path, "bad", count=0, more=[b"{", missing])
    reason, note = rejected(store)
    assert reason.splitlines()[0] == "none of its 2 rows is valid"
    assert "line 1: row: not JSON" in note and "line 2: media: does not exist x.png" in note
    assert f"into {store.objects.uri('inbox')} once more" in note
    moved = below(store, "inbox-rejected/bad")
    assert moved.pop("REASON.txt") and moved == files_of(folder)


def test_a_drop_that_could_not_be_decoded_in_time_is_not_sent_back(store: Store, tmp_path: Path) -> None:
    slow: dict[str, Any] = {"id": "s", "task": "video_generation", "prompt": "a pan", "preferred": 1}
    slow["candidates"] = [{"media": "slow.gif"}, {"media": "slow.gif"}]
    folder = tmp_path / "slow"
    write_drop(folder, seed=1, count=0, more=[slow])
    (folder / "slow.gif").write_bytes(slow_gif())
    put(store, folder, "slow")
    with Decoders(1, seconds=1) as decoders:
        found = taken(store, decoding=decoders)
    assert found == Ingested(waiting=("slow",)) and not recorded(store)
    assert store.objects.walk("inbox/slow") and not store.objects.walk("inbox-rejected")


def test_many_faulty_rows_are_counted_rather_than_all_named(store: Store, tmp_path: Path) -> None:
    dropped(store, tmp_path, "bad", count=0, more=[b"{"] * 50)
    reason, _ = rejected(store)
    assert len(reason.splitlines()) == 22 and reason.endswith("and 30 more")


def test_a_rejected_drop_can_be_corrected_where_it_lies_and_moved_back(store: Store, tmp_path: Path) -> None:
    folder = dropped(store, tmp_path, "kites")
    listing = (folder / "pairs.jsonl").read_bytes()
    store.objects.write("inbox/kites/pairs.jsonl", b"{")
    rejected(store)
    for name, data in below(store, "inbox-rejected/kites").items():
        store.objects.write(f"inbox/kites/{name}", listing if name == "pairs.jsonl" else data)
    (drop,) = taken(store).accepted
    assert files_of(store.fetch(drop.ref)) == files_of(folder), "the reason is no part of it"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"images/1.png": b"x", "list.json": b"{}"}, "has no pairs.jsonl"),
        ({"kites.zip": b"x"}, "it holds 'kites.zip'"),
        ({"pairs.jsonl": b""}, "none of its 0 rows is valid"),
        ({".DS_Store": b"x"}, "it holds no file"),
    ],
)
def test_a_folder_that_is_no_drop_comes_back(store: Store, files: dict[str, bytes], says: str) -> None:
    for name, data in files.items():
        store.objects.write(f"inbox/odd/{name}", data)
    reason, note = rejected(store)
    assert says in reason and says in note
    assert below(store, "inbox-rejected/odd").keys() == {*files, "REASON.txt"}


def test_an_archive_that_cannot_be_used_comes_back_as_it_is(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    write_drop(folder, seed=7, count=1)
    whole = zipped(folder, tmp_path / "a.zip").read_bytes()
    store.objects.write("inbox/cut.zip", whole[:-300])
    reason, _ = rejected(store)
    assert "cannot be unpacked" in reason
    assert store.objects.read("inbox-rejected/cut/cut.zip") == whole[:-300]
    put(store, zipped(folder, tmp_path / "b.zip", below="../"), "climbing.zip")
    reason, note = rejected(store)
    assert "outside its folder" in reason and "'../" in note
    assert not (tmp_path / "pairs.jsonl").exists()


def test_absurd_sizes_come_back(store: Store, tmp_path: Path) -> None:
    dropped(store, tmp_path, "large")
    assert "bytes, above the limit of 100" in rejected(store, limits=SubmissionLimits(max_bytes=100))[0]
    put(store, tmp_path / "made" / "large", "many")
    assert "files, above the limit of 3" in rejected(store, limits=SubmissionLimits(max_files=3))[0]
    put(store, zipped(tmp_path / "made" / "large", tmp_path / "a.zip"), "packed.zip")
    assert "more than 3 files" in rejected(store, limits=SubmissionLimits(max_files=3))[0]


def test_equal_files_dropped_twice_are_one_drop_and_leave_the_inbox_all_the_same(store: Store, tmp_path: Path) -> None:
    folder = dropped(store, tmp_path, "first")
    found = taken(store)
    version = prepared(store, tmp_path).short
    archive(store, version, found)
    put(store, folder, "again")
    put(store, folder, "first")
    found = taken(store)
    assert not found.accepted and [drop.name for drop in found.duplicates] == ["again", "first"]
    assert found.rows == 0 and len(recorded(store)) == 1
    assert prepared(store, tmp_path).short == version
    archive(store, version, found)
    assert not store.objects.walk("inbox")
    moved = {name.split("/")[0] for name in below(store, f"inbox-accepted/{version}")}
    assert moved == {"first", "again", "first-2"}


def test_what_is_still_being_copied_is_left_for_the_next_run(store: Store, tmp_path: Path) -> None:
    dropped(store, tmp_path, "young")
    before = below(store, "inbox")
    found = taken(store, quiet_s=60)
    assert found == Ingested(waiting=("young",)) and below(store, "inbox") == before and not recorded(store)
    assert [drop.name for drop in taken(store).accepted] == ["young"]


def test_a_file_is_young_when_it_was_copied_whatever_time_its_original_has(local_store: Store, tmp_path: Path) -> None:
    dropped(local_store, tmp_path, "copied")
    for path in (tmp_path / "store" / "inbox" / "copied").iterdir():
        os.utime(path, (1e9, 1e9))  # as `cp -p` does
    assert taken(local_store, quiet_s=60).waiting == ("copied",)


def test_a_drop_that_changes_while_it_is_read_is_left_for_the_next_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped(store, tmp_path, "growing")
    download = store.objects.download

    def and_more_arrives(path: str, local: Path, size: int) -> str:
        store.objects.write("inbox/growing/late.png", b"late")
        return download(path, local, size)

    monkeypatch.setattr(store.objects, "download", and_more_arrives)
    assert taken(store).waiting == ("growing",) and not recorded(store)


def test_what_was_changed_after_it_was_read_stays_and_is_read_again(store: Store, tmp_path: Path) -> None:
    dropped(store, tmp_path, "kites")
    found = taken(store)
    version = prepared(store, tmp_path).short
    dropped(store, tmp_path, "kites", count=2)
    said: list[str] = []
    archive(store, version, found, log=said.append)
    assert said == ["inbox: kites changed after it was read and stays for the next run"]
    (drop,) = taken(store).accepted
    assert drop.usable == 8 and len(recorded(store)) == 2


def test_nothing_else_in_the_inbox_is_touched(store: Store, tmp_path: Path) -> None:
    others = {".keep": b"", "README.md": b"how to", ".hidden/pairs.jsonl": b"{", "pairs.jsonl": b"{}", "a.rar": b"x"}
    for name, data in others.items():
        store.objects.write(f"inbox/{name}", data)
    said: list[str] = []
    found = taken(store, said=said)
    assert found == Ingested(ignored=("a.rar", "pairs.jsonl")) and below(store, "inbox") == others
    assert found.lines()[0] == "- a.rar: neither a folder nor an archive, stays where it is"


def test_a_drop_made_of_links_comes_back(local_store: Store, tmp_path: Path) -> None:
    folder = dropped(local_store, tmp_path, "linked")
    inside = tmp_path / "store" / "inbox" / "linked" / "pairs.jsonl"
    inside.unlink()
    inside.symlink_to(folder / "pairs.jsonl")
    reason, _ = rejected(local_store)
    assert reason == "'linked/pairs.jsonl' is a link: put the file itself there"


def test_names_that_no_storage_holds_come_back(local_store: Store, tmp_path: Path) -> None:
    dropped(local_store, tmp_path, "odd")
    inbox = tmp_path / "store" / "inbox"
    (inbox / "odd" / "line\nbreak.png").write_bytes(b"x")
    assert "control character" in rejected(local_store)[0]
    folder = os.fsencode(inbox) + b"/caf\xe9"
    os.mkdir(folder)
    Path(os.fsdecode(folder), "pairs.jsonl").write_bytes(b"{}")
    found = taken(local_store)
    assert found.rejected[0].name == "caf\\udce9" and "UTF-8" in found.rejected[0].reason
    assert not local_store.objects.walk("inbox")


class Crash(BaseException):
    """The process is gone: nothing after this happens."""


def crash(work: Callable[[], object], owner: object, name: str, after: int = 0) -> None:
    """Do `work`, whose process is gone when it has called `name` of `owner` so many times and is about to again."""
    function, calls = getattr(owner, name), 0

    def called(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Crash
        return function(*arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, name, called)
        with pytest.raises(Crash):
            work()


@pytest.mark.parametrize("at", ["publish", "record"])
def test_a_crash_before_the_record_is_made_good_by_the_next_run(store: Store, tmp_path: Path, at: str) -> None:
    folder = dropped(store, tmp_path, "kites")
    crash(lambda: taken(store), store, at)
    assert below(store, "inbox/kites") == files_of(folder) and not recorded(store)
    assert [drop.name for drop in taken(store).accepted] == ["kites"]
    assert len(recorded(store)) == len(store.artifacts("drop")) == 1


def test_a_crash_between_record_and_move_leaves_a_duplicate_that_is_moved(store: Store, tmp_path: Path) -> None:
    folder = dropped(store, tmp_path, "kites")
    first = taken(store)  # and here the run ends
    second = taken(store)
    assert second.duplicates == first.accepted and not second.accepted
    version = prepared(store, tmp_path).short
    archive(store, version, second)
    assert below(store, f"inbox-accepted/{version}/kites") == files_of(folder)
    archive(store, version, first)  # by a run that only slept
    assert below(store, f"inbox-accepted/{version}/kites") == files_of(folder)
    assert not store.objects.walk("inbox") and len(recorded(store)) == 1


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_crash_in_the_middle_of_a_move_is_finished_by_the_next_run(store: Store, tmp_path: Path, after: int) -> None:
    folder = dropped(store, tmp_path, "kites", more=[b"{"])
    found = taken(store)
    version = prepared(store, tmp_path).short
    crash(lambda: archive(store, version, found), inbox_moves, "_move_file", after=after)
    assert len(below(store, "inbox/kites")) == len(files_of(folder)) - after
    said: list[str] = []
    assert taken(store, said=said) == Ingested() and "that was interrupted" in said[0]
    moved = below(store, f"inbox-accepted/{version}/kites")
    assert json.loads(moved.pop("INVALID.json"))["count"] == 1
    assert moved == files_of(folder) and not store.objects.walk("inbox")


def test_a_crash_in_the_middle_of_a_rejection_loses_neither_files_nor_reason(store: Store, tmp_path: Path) -> None:
    folder = dropped(store, tmp_path, "bad", count=0, more=[b"{"])
    put(store, folder / "pairs.jsonl", "bad/copy of pairs.jsonl")
    crash(lambda: taken(store), inbox_moves, "_move_file", after=1)
    assert taken(store) == Ingested()
    assert set(below(store, "inbox-rejected/bad")) == {"pairs.jsonl", "copy of pairs.jsonl", "REASON.txt"}
    assert not store.objects.walk("inbox") and store.work("inbox", inbox_moves.MOVES).names() == []


def test_a_new_drop_under_the_name_of_a_half_moved_one_is_not_moved_with_it(store: Store, tmp_path: Path) -> None:
    dropped(store, tmp_path, "kites")
    found = taken(store)
    version = prepared(store, tmp_path).short
    crash(lambda: archive(store, version, found), inbox_moves, "_move_file", after=3)
    store.objects.remove_tree("inbox/kites")
    time.sleep(1.1)  # S3 tells times of change in whole seconds; a drop that settles for longer is told apart by them
    folder = dropped(store, tmp_path / "new", "kites", seed=8)
    (drop,) = taken(store).accepted
    assert files_of(store.fetch(drop.ref)) == files_of(folder)


def test_two_runs_at_once_take_a_drop_once_and_move_it_once(store: Store, tmp_path: Path) -> None:
    folders = {name: dropped(store, tmp_path, name, seed=seed) for name, seed in (("a", 7), ("b", 8))}
    found: list[Ingested] = []
    together = threading.Barrier(2)

    def run() -> None:
        own = Store(store.root, cache_dir=tmp_path / "cache")
        together.wait()
        found.append(taken(own))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(one.accepted) for one in found) == [0, 2]
    assert sorted(len(one.duplicates) for one in found) == [0, 2]
    assert len(recorded(store)) == 2
    version = prepared(store, tmp_path).short
    movers = [
        threading.Thread(target=archive, args=(Store(store.root, cache_dir=tmp_path / "cache"), version, one))
        for one in found
    ]
    for thread in movers:
        thread.start()
    for thread in movers:
        thread.join()
    assert {name: below(store, f"inbox-accepted/{version}/{name}") for name in folders} == {
        name: files_of(folder) for name, folder in folders.items()
    }
    assert {found.path.split("/")[2] for found in store.objects.walk("inbox-accepted")} == {"a", "b"}
    assert not store.objects.walk("inbox")


def test_a_damaged_drop_is_whole_again_when_its_files_are_dropped_once_more(store: Store, tmp_path: Path) -> None:
    folder = dropped(store, tmp_path, "kites")
    (drop,) = taken(store).accepted
    store.drop(drop.ref.kind, drop.ref.digest)
    assert taken(store).duplicates[0].ref == drop.ref
    assert files_of(store.fetch(drop.ref)) == files_of(folder)


def test_what_the_preferences_do_not_hold_stays(store: Store, tmp_path: Path) -> None:
    dropped(store, tmp_path, "a")
    taken(store)
    version = prepared(store, tmp_path).short
    dropped(store, tmp_path, "b", seed=8)
    said: list[str] = []
    archive(store, version, taken(store), log=said.append)
    assert f"inbox: b stays, since preferences {version} were made without it" in said
    assert {found.path.split("/")[1] for found in store.objects.walk("inbox")} == {"b"}


def test_garbage_collection_keeps_every_recorded_drop(store: Store, tmp_path: Path) -> None:
    dropped(store, tmp_path, "kites")
    (drop,) = taken(store).accepted
    gc(store, grace_s=0, dry_run=False)
    store.verify(drop.ref, deep=True)


def test_no_folder_is_left_behind_on_a_file_system(local_store: Store, tmp_path: Path) -> None:
    local_store.objects.write("inbox/kites/sub/more.png", b"no picture")
    dropped(local_store, tmp_path, "kites")
    found = taken(local_store)
    archive(local_store, prepared(local_store, tmp_path).short, found)
    assert not list((tmp_path / "store" / "inbox").iterdir())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../../../climbing.png", "without '..'"),
        ("a//b.png", "empty components"),
        (f"{'n' * 300}.png", "more than 255 bytes"),
        ("pairs.jsonl/1.png", "is a file and a folder at once"),
    ],
)
def test_keys_that_are_no_names_of_files_are_refused_before_anything_is_copied(
    local_store: Store, tmp_path: Path, name: str, says: str
) -> None:
    """As Amazon's S3 may list them; SeaweedFS stores the last kind alone."""
    files = tuple(Found(f"inbox/odd/{one}", 1, 0.0) for one in sorted((name, "0.png", "pairs.jsonl")))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for there in ("0.png", "pairs.jsonl"):
        local_store.objects.write(f"inbox/odd/{there}", b"x")
    with pytest.raises(DataError, match=re.escape(says)):
        fetch(local_store, Submission("inbox/odd", files), scratch, LIMITS, leave_out=())
    assert not [path for path in scratch.rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.long
def test_a_key_that_is_a_folder_too_comes_back(s3_store: Store) -> None:
    s3_store.objects.write("inbox/odd/pairs.jsonl/1.png", b"x")
    s3_store.objects.write("inbox/odd/pairs.jsonl", b"{}")
    assert "is a file and a folder at once" in rejected(s3_store)[0]


@pytest.mark.slow
@pytest.mark.long
def test_a_drop_with_a_file_that_is_being_sent_in_parts_is_left_for_the_next_run(
    s3_store: Store, tmp_path: Path, s3_server: S3Server
) -> None:
    dropped(s3_store, tmp_path, "large")
    bucket, prefix = s3_store.root.removeprefix("s3://").split("/", 1)
    upload = {"Bucket": bucket, "Key": f"{prefix}/inbox/large/video.png"}
    begun = s3_server.client().create_multipart_upload(**upload)["UploadId"]
    s3_server.client().upload_part(**upload, UploadId=begun, PartNumber=1, Body=b"x" * 6_000_000)
    assert taken(s3_store).waiting == ("large",)
    s3_server.client().abort_multipart_upload(**upload, UploadId=begun)
    assert [drop.name for drop in taken(s3_store).accepted] == ["large"]
