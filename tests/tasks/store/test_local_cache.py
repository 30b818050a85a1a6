"""The cache of downloaded artifacts, with a folder as the remote storage."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from models.errors import ArtifactCorrupt, StoreError
from tasks.store.artifact_types import FileEntry, Manifest, digest_of, entries_of, read_sources
from tasks.store.local_cache import LocalCache
from tasks.store.objects.base import hash_file

REPOSITORY = Path(__file__).resolve().parents[3]

# Spawned, not forked: other tests leave threads in this process, and Prefect's services fail a forked child at its end.
processes = multiprocessing.get_context("spawn")


class Remote:
    """A folder that files are downloaded from; `n_downloads` counts them."""

    def __init__(self, folder: Path, size: int = 1000, seed: str = "") -> None:
        folder.mkdir()
        for name in ("a.bin", "b.bin"):
            (folder / name).write_bytes((seed + name).encode().ljust(size // 2, b"."))
        self.folder = folder
        self.n_downloads = 0
        files = entries_of(read_sources(folder))
        self.manifest = Manifest(kind="model", digest=digest_of(files), files=files)

    def download(self, file: FileEntry, target: Path) -> str:
        self.n_downloads += 1
        shutil.copyfile(self.folder / file.path, target)
        return hash_file(target)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path / "remote")


@pytest.fixture
def cache(tmp_path: Path) -> LocalCache:
    return LocalCache(tmp_path / "cache")


def leftovers(cache: LocalCache) -> list[Path]:
    return list((cache.directory / "tmp").iterdir())


def test_an_artifact_is_downloaded_once(cache: LocalCache, remote: Remote) -> None:
    folder = cache.fetch(remote.manifest, remote.download)
    assert (folder / "a.bin").read_bytes() == (remote.folder / "a.bin").read_bytes()
    assert cache.fetch(remote.manifest, remote.download) == folder
    assert remote.n_downloads == 2
    assert leftovers(cache) == []


def test_a_byte_that_arrives_wrong_is_never_kept(cache: LocalCache, remote: Remote) -> None:
    (remote.folder / "a.bin").write_bytes(b"rotten")
    with pytest.raises(ArtifactCorrupt, match=r"a\.bin arrived"):
        cache.fetch(remote.manifest, remote.download)
    assert list(cache.directory.glob("files/*/*")) == []
    assert leftovers(cache) == []


def test_a_byte_that_rots_in_the_cache_is_downloaded_again(cache: LocalCache, remote: Remote) -> None:
    folder = cache.fetch(remote.manifest, remote.download)
    (folder / "b.bin").write_bytes(b"rotten")
    (folder / "a.bin").unlink()
    assert cache.fetch(remote.manifest, remote.download) == folder
    assert (folder / "b.bin").read_bytes() == (remote.folder / "b.bin").read_bytes()
    assert remote.n_downloads == 4
    assert leftovers(cache) == []


def test_what_a_killed_download_left_is_removed_by_the_next(cache: LocalCache, remote: Remote) -> None:
    half = cache.directory / "tmp" / f"{remote.manifest.digest}-half"
    half.mkdir(parents=True)
    cache.fetch(remote.manifest, remote.download)
    assert leftovers(cache) == []


def test_threads_that_want_the_same_artifact_download_it_once(cache: LocalCache, remote: Remote) -> None:
    threads = [threading.Thread(target=cache.fetch, args=(remote.manifest, remote.download)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert remote.n_downloads == 2


def fetch_and_note(cache: LocalCache, remote: Remote, notes: Path, start: Barrier) -> None:
    start.wait(60)
    folder = cache.fetch(remote.manifest, remote.download)
    assert sorted(os.listdir(folder)) == ["a.bin", "b.bin"]
    (notes / str(os.getpid())).write_text(str(remote.n_downloads))


def test_processes_that_want_the_same_artifact_download_it_once(
    cache: LocalCache, remote: Remote, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    start = processes.Barrier(6)
    children = [processes.Process(target=fetch_and_note, args=(cache, remote, notes, start)) for _ in range(6)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 6
    assert sorted(int(note.read_text()) for note in notes.iterdir()) == [0, 0, 0, 0, 0, 2]


def fetch_in_a_process_that_ends(cache: LocalCache, remote: Remote) -> None:
    child = processes.Process(target=cache.fetch, args=(remote.manifest, remote.download))
    child.start()
    child.join()
    assert child.exitcode == 0


def test_what_was_used_longest_ago_is_evicted(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path / "cache", max_bytes=2500)
    remotes = [Remote(tmp_path / name, seed=name) for name in ("one", "two", "three")]
    for age, remote in enumerate(remotes):
        fetch_in_a_process_that_ends(cache, remote)
        folder = cache.directory / "files" / "model" / remote.manifest.digest
        os.utime(folder, (1000 + age, 1000 + age))
        if age == 1:  # the first is used again
            fetch_in_a_process_that_ends(cache, remotes[0])
    left = {path.name for path in cache.directory.glob("files/*/*")}
    assert left == {remotes[0].manifest.digest, remotes[2].manifest.digest}


def test_what_a_living_process_uses_is_not_evicted(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path / "cache", max_bytes=1500)
    mine = Remote(tmp_path / "mine", seed="mine")
    folder = cache.fetch(mine.manifest, mine.download)
    os.utime(folder, (1000, 1000))
    fetch_in_a_process_that_ends(cache, Remote(tmp_path / "other", seed="other"))
    assert (folder / "a.bin").exists()


def test_a_full_disk_says_how_much_is_needed(tmp_path: Path, remote: Remote) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    try:
        big = Remote(tmp_path / "big", size=200_000)
        cache = LocalCache(disk / "cache")
        with pytest.raises(StoreError, match=r"No space left on device \(200000 bytes needed\)"):
            cache.fetch(big.manifest, big.download)
        cache.fetch(remote.manifest, remote.download)
    finally:
        # The cache holds lock files open for as long as this process lives.
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_the_cache_needs_no_storage_library() -> None:
    script = "import sys, tasks.store.local_cache; assert 'fsspec' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)
