"""The artifact store on a real file system."""

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import ArtifactCorrupt, ArtifactMissing, StoreError, StoreNotWritable
from tasks.store.artifacts import MANIFEST, ArtifactRef, IndexEntry, Store

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "made", {"weights.bin": b"0123456789" * 1000, "sub/config.json": b"{}", "empty": b""})


def make_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def stored(store: Store, ref: ArtifactRef, name: str) -> Path:
    path = store.objects.local_path(f"{ref.path}/{name}")
    assert path is not None
    return path


def everything_in(store: Store) -> list[str]:
    return [found.path for found in store.objects.walk("")]


def flip_a_byte(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_what_is_published_is_fetched_byte_for_byte(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder, metadata={"preset": "paper"})
    fetched = store.fetch(ref)
    assert sorted(p.relative_to(fetched).as_posix() for p in fetched.rglob("*") if p.is_file()) == [
        "empty",
        "sub/config.json",
        "weights.bin",
    ]
    assert (fetched / "weights.bin").read_bytes() == (folder / "weights.bin").read_bytes()
    assert (ref.size, ref.n_files, ref.short) == (10_002, 3, ref.digest[:12])
    assert ref.path == f"artifacts/model/{ref.digest[:2]}/{ref.digest}"
    assert store.manifest(ref).metadata == {"preset": "paper"}
    assert ArtifactRef.model_validate_json(ref.model_dump_json()) == ref


def test_publishing_the_same_files_again_changes_nothing(store: Store, folder: Path, tmp_path: Path) -> None:
    first = store.publish("model", folder, metadata={"by": "first"})
    before = {path: store.objects.read(path) for path in everything_in(store)}
    same = make_folder(tmp_path / "elsewhere", {p: (folder / p).read_bytes() for p in ("weights.bin", "empty")})
    make_folder(same, {"sub/config.json": b"{}"})
    assert store.publish("model", same, metadata={"by": "second"}) == first
    assert {path: store.objects.read(path) for path in everything_in(store)} == before
    assert store.manifest(first).metadata == {"by": "first"}
    assert store.artifacts() == [first]


def test_the_digest_follows_paths_and_bytes_but_not_kind_or_metadata(store: Store, tmp_path: Path) -> None:
    a = store.publish("model", make_folder(tmp_path / "a", {"x": b"1"}))
    b = store.publish("report", make_folder(tmp_path / "b", {"x": b"1"}), metadata={"other": 1})
    renamed = store.publish("model", make_folder(tmp_path / "c", {"y": b"1"}))
    changed = store.publish("model", make_folder(tmp_path / "d", {"x": b"2"}))
    assert a.digest == b.digest
    assert len({a.digest, renamed.digest, changed.digest}) == 3


def test_the_digest_formula_does_not_drift(store: Store, tmp_path: Path) -> None:
    # sha256 of '[["x","<sha256 of b"1">"]]': existing stores are addressed by it.
    ref = store.publish("model", make_folder(tmp_path / "a", {"x": b"1"}))
    assert ref.digest == "b4c39daf620e370a30c76affd5503859b1e4375ce1c3dd71f16cca84cb4cbffb"


def test_names_with_spaces_and_unicode_are_kept(store: Store, tmp_path: Path) -> None:
    names = ["a b [1] *.txt", "größe/日本 100%.json"]
    ref = store.publish("model", make_folder(tmp_path / "a", dict.fromkeys(names, b"x")))
    assert [file.path for file in store.manifest(ref).files] == sorted(names)
    assert all((store.fetch(ref) / name).read_bytes() == b"x" for name in names)


def test_a_manifest_that_leaves_its_folder_is_refused(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    for bad in ("../../secret", "/etc/passwd", "a//b", "./a"):
        manifest = json.loads(stored(store, ref, MANIFEST).read_text())
        manifest["files"][0]["path"] = bad
        stored(store, ref, MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(ArtifactCorrupt, match="must be relative"):
            store.fetch(ref)


def test_a_manifest_of_other_files_is_refused(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    manifest = json.loads(stored(store, ref, MANIFEST).read_text())
    manifest["files"].pop()
    stored(store, ref, MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactCorrupt, match="hash to"):
        store.manifest(ref)


def test_an_upload_that_is_killed_halfway_is_never_visible(store: Store, folder: Path) -> None:
    # The child dies in the middle of the copy, as by the OOM killer: no handler runs.
    script = f"""
import os
from pathlib import Path
import tasks.store.objects.local as local
from tasks.store.artifacts import Store
real = local._copy
def dying(source, target):
    real(source, target)
    if source.name == "files/sub/config.json":
        os.kill(os.getpid(), 9)
local._copy = dying
Store({store.root!r}).publish("model", Path({str(folder)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=False)
    assert killed.returncode == -9
    assert everything_in(store), "the test has to have left something behind"
    assert store.artifacts() == []
    ref = store.publish("model", folder)
    store.verify(ref, deep=True)


def test_files_without_a_manifest_are_no_artifact(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    stored(store, ref, MANIFEST).unlink()
    assert store.artifacts() == []
    with pytest.raises(ArtifactMissing, match="has to be made again"):
        store.fetch(ref)
    assert store.publish("model", folder) == ref
    store.verify(ref, deep=True)


def test_a_corrupted_byte_is_found_by_fetch_and_by_a_deep_verify(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    store.fetch(ref)
    flip_a_byte(stored(store, ref, "files/weights.bin"))
    store.verify(ref)  # sizes are right
    with pytest.raises(ArtifactCorrupt, match=r"weights\.bin"):
        store.verify(ref, deep=True)
    with pytest.raises(ArtifactCorrupt, match=r"weights\.bin"):
        store.fetch(ref)


def test_publishing_over_a_damaged_artifact_repairs_it(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    flip_a_byte(stored(store, ref, "files/weights.bin"))
    stored(store, ref, "files/sub/config.json").unlink()
    assert store.publish("model", folder) == ref
    store.verify(ref, deep=True)
    stored(store, ref, MANIFEST).write_text("{")
    assert store.publish("model", folder) == ref
    store.verify(ref, deep=True)


def test_verify_names_a_file_that_is_gone_or_cut_short(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    path = stored(store, ref, "files/weights.bin")
    path.chmod(0o644)
    path.write_bytes(b"short")
    with pytest.raises(ArtifactCorrupt, match=r"weights\.bin .* has 5 bytes, its manifest says 10000"):
        store.verify(ref)
    path.unlink()
    with pytest.raises(ArtifactMissing, match=r"weights\.bin"):
        store.verify(ref)
    with pytest.raises(ArtifactMissing, match=r"weights\.bin"):
        store.fetch(ref)


def test_a_reference_whose_artifact_is_gone_says_so(store: Store) -> None:
    ref = ArtifactRef(kind="model", digest="0" * 64, size=1, n_files=1)
    for ask in (store.fetch, store.manifest, store.verify):
        with pytest.raises(ArtifactMissing, match="000000000000"):
            ask(ref)


@pytest.mark.parametrize("prepare", ["missing", "empty", "folder link", "broken link", "fifo", "control character"])
def test_what_cannot_be_stored_is_refused(store: Store, tmp_path: Path, prepare: str) -> None:
    folder = tmp_path / "bad"
    if prepare != "missing":
        folder.mkdir()
    if prepare == "folder link":
        (folder / "link").symlink_to(tmp_path)
    if prepare == "broken link":
        (folder / "link").symlink_to(tmp_path / "nowhere")
    if prepare == "fifo":
        os.mkfifo(folder / "pipe")
    if prepare == "control character":
        (folder / "a\nb").write_bytes(b"")
    with pytest.raises(StoreError):
        store.publish("model", folder)
    assert store.artifacts() == []


def test_links_to_files_are_stored_as_their_bytes(store: Store, tmp_path: Path) -> None:
    # A Hugging Face snapshot folder consists of such links.
    blob = make_folder(tmp_path / "blobs", {"abc": b"weights"}) / "abc"
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.safetensors").symlink_to(blob)
    fetched = store.fetch(store.publish("model", tmp_path / "snapshot")) / "model.safetensors"
    assert fetched.read_bytes() == b"weights"
    assert not fetched.is_symlink()


def test_a_file_that_changes_while_it_is_published_is_refused(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.store.objects.local as local

    real = local._copy_bytes

    def trainer_still_writes(source: Path, target: Path) -> str:
        if source.name == "weights.bin":
            source.write_bytes(b"newer")
        return real(source, target)

    monkeypatch.setattr(local, "_copy_bytes", trainer_still_writes)
    with pytest.raises(StoreError, match=r"weights\.bin changed while"):
        store.publish("model", folder)
    assert everything_in(store) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, where the tests run as root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_says_how_much_is_needed_and_leaves_nothing(tiny_disk: Path, tmp_path: Path) -> None:
    store = Store(str(tiny_disk / "store"))
    small = store.publish("model", make_folder(tmp_path / "small", {"a": b"a" * 10_000}))
    before = everything_in(store)
    big = make_folder(tmp_path / "big", {f"part-{i}": os.urandom(100_000) for i in range(4)})
    with pytest.raises(StoreError, match=r"400000 bytes needed"):
        store.publish("model", big)
    assert everything_in(store) == before
    store.verify(small, deep=True)


def test_a_disk_that_fills_up_on_the_way_leaves_nothing(
    tiny_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tiny_disk / "store"))
    monkeypatch.setattr(store.objects, "free_bytes", lambda: 10**9)  # another program takes the space meanwhile
    big = make_folder(tmp_path / "big", {f"part-{i}": os.urandom(100_000) for i in range(4)})
    with pytest.raises(StoreError, match=r"disk.*400000 bytes needed.*nothing was published.*No space left"):
        store.publish("model", big)
    assert everything_in(store) == []
    store.record(IndexEntry(stage="s", key="k", outputs={}))  # there is room again


def test_a_write_that_fails_leaves_nothing(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left.*free some space"):
        store.publish("model", folder)
    monkeypatch.undo()
    assert everything_in(store) == []


def test_a_root_that_is_a_file_is_not_writable_for_anybody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreNotWritable, match=r"file.*Choose another root"):
        Store(str(tmp_path / "file")).check_writable()
    with pytest.raises(StoreNotWritable, match="Not a directory"):
        Store(str(tmp_path / "file" / "below")).check_writable()


def test_a_read_only_file_system_is_not_writable(tiny_disk: Path) -> None:
    store = Store(str(tiny_disk / "store"))
    store.check_writable()
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(StoreNotWritable, match="Read-only file system"):
        store.check_writable()


def test_checking_leaves_nothing_behind(store: Store) -> None:
    store.check_writable()
    assert everything_in(store) == []


def test_a_storage_that_ignores_create_only_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some S3-like servers take If-None-Match and overwrite all the same.
    def careless(path: str, data: bytes) -> bool:
        store.objects.write(path, data)
        return True

    monkeypatch.setattr(store.objects, "create", careless)
    with pytest.raises(StoreNotWritable, match="create-only"):
        store.check_writable()


@pytest.mark.parametrize("root", ["", "gs://bucket/x", "s3://", "file://host/path"])
def test_an_address_that_is_no_store_is_refused(root: str) -> None:
    with pytest.raises(StoreError):
        Store(root)


def test_credentials_in_the_address_are_refused_without_being_repeated() -> None:
    with pytest.raises(StoreError, match="AWS_") as caught:
        Store("s3://AKIA123:hunter2@bucket/x")
    assert "hunter2" not in str(caught.value)


def test_the_uri_of_an_artifact_opens_the_same_store(tmp_path: Path, folder: Path) -> None:
    plain = Store(str(tmp_path / "my store"))
    ref = plain.publish("model", folder)
    assert plain.uri(ref) == (tmp_path / "my store" / ref.path / "files").as_uri()
    assert Store((tmp_path / "my store").as_uri()).artifacts() == [ref]
    assert Store("s3://bucket/some/prefix/").uri(ref) == f"s3://bucket/some/prefix/{ref.path}/files"


def test_an_artifact_is_named_by_the_start_of_its_digest(store: Store, folder: Path, tmp_path: Path) -> None:
    model = store.publish("model", folder)
    report = store.publish("report", folder)
    other = store.publish("model", make_folder(tmp_path / "o", {"x": b"1"}))
    assert store.resolve(other.short) == other
    assert store.resolve(f"report/{report.short}") == report
    assert store.artifacts("model") == sorted([model, other], key=lambda ref: ref.digest)
    with pytest.raises(StoreError, match="ambiguous"):
        store.resolve(model.short)
    with pytest.raises(StoreError, match="no artifact"):
        store.resolve("0123456789abcdef")
    with pytest.raises(StoreError, match="first digits"):
        store.resolve("champion")


def test_an_entry_is_found_by_its_stage_and_key_only(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    entry = IndexEntry(
        stage="cold-start",
        key="abc",
        outputs={"model": ref},
        inputs={"distilled": ref},
        config={"lr": 2.5e-6},
        code_version="1",
        run_ids={"mlflow": "m"},
        facts={"seconds": 1.5, "loss": float("nan")},
    )
    assert store.lookup("cold-start", "abc") is None
    store.record(entry)
    found = store.lookup("cold-start", "abc")
    assert found == entry.model_copy(update={"facts": {"seconds": 1.5, "loss": None}})
    assert store.lookup("cold-start", "abd") is None
    store.record(entry.model_copy(update={"code_version": "2"}))
    assert [e.code_version for e in store.entries("cold-start")] == ["2"]
    store.forget("cold-start", "abc")
    store.forget("cold-start", "abc")
    assert store.lookup("cold-start", "abc") is None


def test_entries_come_newest_first(store: Store) -> None:
    times = ["2026-01-01T00:00:00+00:00", "2026-01-03T00:00:00+00:00", "2026-01-02T23:00:00-05:00"]
    for i, time in enumerate(times):
        store.record(IndexEntry(stage=f"s{i % 2}", key=f"k{i}", outputs={}, created_at=time))
    assert [entry.key for entry in store.entries()] == ["k2", "k1", "k0"]
    assert [entry.key for entry in store.entries("s0")] == ["k2", "k0"]


def entry_path(store: Store) -> Path:
    path = store.objects.local_path("index/grpo/k.json")
    assert path is not None
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",  # cut short
        "[]",
        '"text"',
        '{"schema_version": 1}',
        '{"schema_version": 1, "stage": "grpo", "key": "k", "outputs": {"model": {"kind": "model"}}}',
        '{"schema_version": 1, "stage": "grpo", "key": "another", "outputs": {}}',
        '{"schema_version": 1, "stage": "grpo", "key": "k", "outputs": {}, "created_at": "yesterday"}',
    ],
)
def test_an_entry_that_does_not_parse_is_no_miss(store: Store, text: str) -> None:
    entry_path(store).write_text(text)
    with pytest.raises(StoreError, match="forget the entry"):
        store.lookup("grpo", "k")


def test_an_entry_that_cannot_be_read_is_no_miss(store: Store) -> None:
    entry_path(store).mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        store.lookup("grpo", "k")


def test_an_index_that_is_no_folder_is_no_miss(store: Store) -> None:
    folder = entry_path(store).parent
    folder.rmdir()
    folder.write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        store.lookup("grpo", "k")
    with pytest.raises(StoreError):
        store.entries("grpo")


def test_a_permission_error_is_no_miss(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_path(store).write_text("{}")

    def denied(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)  # the tests may run as root, whom nothing is denied
    with pytest.raises(StoreError, match="Permission denied"):
        store.lookup("grpo", "k")


def test_what_a_newer_version_wrote_asks_for_an_upgrade(store: Store, folder: Path) -> None:
    entry_path(store).write_text('{"schema_version": 2, "whatever": true}')
    with pytest.raises(StoreError, match="upgrade"):
        store.lookup("grpo", "k")
    ref = store.publish("model", folder)
    stored(store, ref, MANIFEST).write_text('{"schema_version": 2}')
    with pytest.raises(StoreError, match="upgrade"):
        store.publish("model", folder)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "x" * 300])
def test_stage_key_and_kind_are_single_plain_names(store: Store, folder: Path, name: str) -> None:
    with pytest.raises(StoreError):
        store.lookup(name, "k")
    with pytest.raises(StoreError):
        store.lookup("s", name)
    with pytest.raises(StoreError):
        store.publish(name, folder)
    with pytest.raises(StoreError):
        store.work("s", name)
    with pytest.raises(StoreError):
        store.lease("s", name, owner="me")


def test_many_threads_publishing_the_same_files_agree(store: Store, folder: Path) -> None:
    refs: list[ArtifactRef] = []
    threads = [threading.Thread(target=lambda: refs.append(store.publish("model", folder))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refs) == 8
    assert len(set(refs)) == 1
    store.verify(refs[0], deep=True)
    assert [path for path in everything_in(store) if path.startswith("tmp/")] == []


def test_several_processes_fetch_the_same_artifact(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    script = f"""
from tasks.store.artifacts import ArtifactRef, Store
folder = Store({store.root!r}).fetch(ArtifactRef.model_validate_json({ref.model_dump_json()!r}))
assert (folder / "weights.bin").stat().st_size == 10_000
"""
    children = [subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]


def test_importing_the_store_stays_light() -> None:
    script = (
        "import sys, tasks.store.artifacts, tasks.store.maintenance\n"
        "heavy = {'s3fs', 'botocore', 'torch', 'prefect', 'mlflow', 'fsspec'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)
