"""The artifact store on a real file system: what is published is what is fetched."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models.errors import ArtifactCorrupt, StoreError
from tasks.store.artifacts import MANIFEST, ArtifactRef, Store
from tests.tasks.store.folders import everything_in, make_folder, stored

REPOSITORY = Path(__file__).resolve().parents[3]


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
