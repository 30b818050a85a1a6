"""What is in a good archive is written, and what is wrong with another one is said; nothing lands outside."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import DataError
from models.sources.archives import is_archive, unpack
from tasks.store.objects.base import relative_path

FILES = {"pairs.jsonl": b"{}\n", "sub/1.png": b"one"}


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, data in files.items():
            writer.writestr(name, data)
    return path


def tar_of(path: Path, files: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] = lambda info: None) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as writer:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            change(info)
            writer.addfile(info, io.BytesIO(data))
    return path


def made(path: Path, files: dict[str, bytes]) -> Path:
    return zip_of(path, files) if path.suffix == ".zip" else tar_of(path, files)


def unpacked(archive: Path, max_bytes: int = 1000, max_files: int = 10) -> dict[str, bytes]:
    folder = archive.parent / "into"
    folder.mkdir(exist_ok=True)
    unpack(archive, folder, max_bytes=max_bytes, max_files=max_files, check=relative_path)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])
def test_files_are_written_and_what_systems_leave_behind_is_not(tmp_path: Path, name: str) -> None:
    litter = {".DS_Store": b"x", "__MACOSX/._1.png": b"x", "sub/.hidden": b"x"}
    assert is_archive(name) and is_archive(name.upper())
    assert unpacked(made(tmp_path / name, FILES | litter), max_bytes=20_000) == FILES


def test_names_as_tar_and_windows_write_them_are_understood(tmp_path: Path) -> None:
    assert unpacked(tar_of(tmp_path / "a.tar", {f"./{name}": data for name, data in FILES.items()})) == FILES
    other = tmp_path / "other"
    other.mkdir()
    assert unpacked(zip_of(other / "a.zip", {"sub\\1.png": b"one"})) == {"sub/1.png": b"one"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in ("zip", "tar") for name in ("../out", "/out", "a/../../out", "a//b", "a\nb")]
    + [("zip", "..\\out")],
)
def test_a_name_that_leads_out_is_refused_before_anything_is_written(tmp_path: Path, kind: str, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    archive = made(inside / f"a.{kind}", {name: b"x"})
    with pytest.raises(DataError, match="outside its folder"):
        unpacked(archive)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [archive.name]
    assert not Path("/out").exists()


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    def link(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/hostname", 0

    def device(info: tarfile.TarInfo) -> None:
        info.type, info.size = tarfile.CHRTYPE, 0

    with pytest.raises(DataError, match=r"'1\.png' is a link"):
        unpacked(tar_of(tmp_path / "a.tar", {"1.png": b""}, link))
    with pytest.raises(DataError, match=r"'1\.png' is no regular file"):
        unpacked(tar_of(tmp_path / "b.tar", {"1.png": b""}, device))
    info = zipfile.ZipInfo("1.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as writer:
        writer.writestr(info, "/etc/hostname")
    with pytest.raises(DataError, match=r"'1\.png' is a link"):
        unpacked(tmp_path / "a.zip")


def test_bytes_are_counted_as_they_unfold(tmp_path: Path) -> None:
    bomb = zip_of(tmp_path / "a.zip", {"pairs.jsonl": bytes(100_000)})
    assert bomb.stat().st_size < 1000
    with pytest.raises(DataError, match="more bytes than the limit"):
        unpacked(bomb)
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(DataError, match="more bytes than the limit"):
        unpacked(tmp_path / "b.tar.gz")
    several = zip_of(tmp_path / "c.zip", {f"{at}.png": bytes(300) for at in range(5)})
    with pytest.raises(DataError, match="more bytes than the limit"):
        unpacked(several)
    assert sum(path.stat().st_size for path in (tmp_path / "into").iterdir()) <= 1300


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="more than 10 files"):
        unpacked(zip_of(tmp_path / "a.zip", {f"{at}.png": b"" for at in range(11)}))


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as writer:
        writer.writestr("1.png", b"one")
        with pytest.warns(UserWarning, match="Duplicate"):
            writer.writestr("1.png", b"two")
    with pytest.raises(DataError, match=r"'1\.png' twice"):
        unpacked(tmp_path / "a.zip")
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpacked(zip_of(tmp_path / "b.zip", {"a": b"file", "a/b": b"below it"}))


@pytest.mark.parametrize(
    ("name", "damage"),
    [(name, damage) for name in ("a.zip", "a.tar", "a.tar.gz") for damage in ("empty", "text", "cut")]
    + [("a.zip", "flipped"), ("a.tar.gz", "flipped")],  # within a tar, flipped bytes are other bytes of a file
)
def test_a_broken_archive_is_refused_with_words(tmp_path: Path, name: str, damage: str) -> None:
    whole = made(tmp_path / name, {"pairs.jsonl": b"line\n" * 4000}).read_bytes()
    broken = {
        "empty": b"",
        "text": b"no archive at all " * 60,
        "cut": whole[: len(whole) // 3],
        "flipped": whole[:20] + bytes(255 - byte for byte in whole[20:40]) + whole[40:],
    }[damage]
    (tmp_path / name).write_bytes(broken)
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpacked(tmp_path / name, max_bytes=50_000)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    data = bytearray(zip_of(tmp_path / "a.zip", {"1.png": b"one"}).read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= 1  # the flag in the central directory
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"'1\.png' is encrypted"):
        unpacked(tmp_path / "a.zip")
