"""A name in a data set leads to a regular file below its root, or is refused by a reason that rows are counted by."""

import os
import pickle
import socket
import threading
from pathlib import Path

import pytest

from models.errors import MediaError
from models.sources.places import read, resolve

OUTSIDE = "lies outside the data folder"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set beside a secret, with files, folders, links and odd things."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    root = tmp_path / "data"
    (root / "images" / "deep").mkdir(parents=True)
    (root / "images" / "a.png").write_bytes(b"picture")
    (root / "images" / "ümlaut 猫.png").write_bytes(b"cat")
    (root / "in.png").symlink_to("images/a.png")
    (root / "folder").symlink_to("images")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to("..")
    (root / "loop.png").symlink_to("loop.png")
    (root / "dangling.png").symlink_to("gone.png")
    os.mkfifo(root / "pipe.png")
    return root


def refusal(root: Path, name: str) -> str:
    with pytest.raises(MediaError) as caught:
        resolve(root, name)
    with pytest.raises(MediaError) as read_caught:
        read(root, name, 100)
    assert caught.value.uri == name and str(read_caught.value) == str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("images/a.png", b"picture"),
        ("./images//a.png", b"picture"),
        ("images/deep/../a.png", b"picture"),
        ("images/ümlaut 猫.png", b"cat"),
        ("in.png", b"picture"),  # a link that stays below the root
        ("folder/a.png", b"picture"),
    ],
)
def test_a_name_that_stays_below_the_root_is_read(root: Path, name: str, holds: bytes) -> None:
    assert read(root, name, 100) == holds
    assert resolve(root, name).read_bytes() == holds
    assert resolve(root, name).is_relative_to(root.resolve())


def test_the_root_may_be_a_link_and_relative(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root.parent / "linked").symlink_to(root)
    monkeypatch.chdir(root.parent)
    assert read(Path("linked"), "images/a.png", 100) == b"picture"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/hostname", f"{OUTSIDE}: it is an absolute path"),
        ("//host/share/a.png", f"{OUTSIDE}: it is an absolute path"),
        ("C:/a.png", f"{OUTSIDE}: it is an absolute path"),
        ("c:a.png", f"{OUTSIDE}: it is an absolute path"),
        ("C:\\a.png", f"{OUTSIDE}: it is an absolute path"),
        ("\\\\host\\share\\a.png", "holds a backslash"),
        ("images\\a.png", "holds a backslash"),
        ("..\\secret.png", "holds a backslash"),
        ("../secret.png", f"{OUTSIDE}: .. leads there"),
        ("images/../../secret.png", f"{OUTSIDE}: .. leads there"),
        ("../data/images/a.png", f"{OUTSIDE}: .. leads there"),  # out and in again
        ("out.png", f"{OUTSIDE}: a link leads there"),
        ("up/secret.png", f"{OUTSIDE}: a link leads there"),
        ("up/gone.png", f"{OUTSIDE}: a link leads there"),  # says nothing of what is there
        ("folder/../../secret.png", f"{OUTSIDE}: .. leads there"),
        ("gone.png", "does not exist"),
        ("dangling.png", "does not exist"),
        ("images/a.png/b.png", "does not exist: a part of its path is no folder"),
        ("images", "is a folder"),
        (".", "is a folder"),
        ("images/..", "is a folder"),
        ("pipe.png", "is no regular file"),
        ("loop.png", "cannot be read"),
        ("n" * 400, "cannot be read: File name too long"),
        ("a\0b.png", "cannot be read"),
        ("\udce9.png", "does not exist"),  # a name of other bytes than UTF-8
        ("", "has no name"),
        ("  ", "has no name"),
        ("weights.pt", "is a pickle"),
        ("images/gone.PKL", "is a pickle"),
        ("model.bin", "is a pickle"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(root: Path, name: str, reason: str) -> None:
    assert refusal(root, name).startswith(reason)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_also_under_a_pictures_name(root: Path, protocol: int) -> None:
    (root / "harmless.png").write_bytes(pickle.dumps(["code"], protocol))
    assert refusal(root, "harmless.png").startswith("is a pickle: ")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://127.0.0.1/a.png", "127.0.0.1"),
        ("https://10.1.2.3:8080/a.png", "10.1.2.3"),
        ("http://192.168.0.1/a.png", "192.168.0.1"),
        ("http://172.16.9.9/a.png", "172.16.9.9"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254"),  # where clouds keep credentials
        ("http://0.0.0.0/a.png", "0.0.0.0"),
        ("http://100.64.0.1/a.png", "100.64.0.1"),  # shared by a carrier's customers
        ("http://224.0.0.1/a.png", "224.0.0.1"),
        ("http://240.0.0.1/a.png", "240.0.0.1"),
        ("http://2130706433/a.png", "127.0.0.1"),
        ("http://0x7f000001/a.png", "127.0.0.1"),
        ("http://0x7f.1/a.png", "127.0.0.1"),
        ("http://0177.0.0.1/a.png", "127.0.0.1"),
        ("http://127.1/a.png", "127.0.0.1"),
        ("http://127.0.0.1./a.png", "127.0.0.1"),
        ("http://%31%32%37.0.0.1/a.png", "127.0.0.1"),
        ("http://１２７。０。０。１/a.png", "127.0.0.1"),  # noqa: RUF001
        ("http://public.example@127.0.0.1/a.png", "127.0.0.1"),
        ("HTTP://[::1]:80/a.png", "::1"),
        ("http://[fe80::1%25eth0]/a.png", "fe80::1%eth0"),
        ("http://[fc00::7]/a.png", "fc00::7"),
        ("http://[::ffff:10.0.0.1]/a.png", "10.0.0.1"),
        ("http://[64:ff9b::7f00:1]/a.png", "127.0.0.1"),
        ("http://[2002:7f00:1::]/a.png", "127.0.0.1"),
        ("http://localhost/a.png", "localhost"),
        ("http://LOCALHOST:9000/a.png", "localhost"),
        ("http://a.localhost./a.png", "a.localhost"),
        ("http://printer.local/a.png", "printer.local"),
        ("http://metadata.google.internal/a.png", "metadata.google.internal"),
        ("http://minio/a.png", "minio"),  # a name that only a private network knows
        ("http:///a.png", "no host"),
    ],
)
def test_a_url_with_a_private_address_is_refused_by_that_address(root: Path, url: str, named: str) -> None:
    assert refusal(root, url) == f"is a URL with a private address: {named}"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "http://93.184.215.14/a.png",
        "http://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/a.png",
        "s3://bucket/a.png",
        "hf://datasets/x/a.png",
        "ftp://127.0.0.1/a.png",
        "file:///etc/passwd",
        "file:secret.png",
        "data:image/png;base64,AAAA",
        "http://[broken/a.png",
        "gopher://x",
    ],
)
def test_any_other_url_is_refused_with_what_to_do(root: Path, url: str) -> None:
    reason = refusal(root, url)
    if url == "http://[broken/a.png":
        assert reason == "is a URL with a private address: no host"
    else:
        assert reason == "is a URL: download the files first and name them relative to the data set"


def test_a_file_beyond_the_size_limit_is_refused_by_both_numbers(root: Path) -> None:
    assert read(root, "images/a.png", 7) == b"picture"
    with pytest.raises(MediaError, match="is too large: 7 bytes, the limit is 6"):
        read(root, "images/a.png", 6)
    with (root / "huge.png").open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(MediaError, match=f"is too large: {1 << 40} bytes, the limit is 1000"):
        read(root, "huge.png", 1000)


def test_a_socket_is_no_regular_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.png")
        assert refusal(root, "s.png").startswith("is no regular file")


def test_a_link_put_in_a_files_or_folders_place_meanwhile_is_never_followed(root: Path) -> None:
    (root.parent / "images").mkdir()
    (root.parent / "images" / "a.png").write_bytes(b"secret")
    stop = threading.Event()

    def swap() -> None:
        kept, link = root / "kept", root / "link"
        link.symlink_to(root.parent / "images")
        while not stop.is_set():
            (root / "images").rename(kept)
            link.rename(root / "images")
            (root / "images").rename(link)
            kept.rename(root / "images")

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[bytes | str] = set()
    try:
        for _ in range(1500):
            try:
                seen.add(read(root, "images/a.png", 100))
            except MediaError as error:
                seen.add(error.reason.split(":")[0])
    finally:
        stop.set()
        swapper.join()
    assert b"picture" in seen and b"secret" not in seen
    assert seen <= {b"picture", "does not exist", "cannot be read", OUTSIDE}


def test_no_descriptor_is_left_open(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in ("images/a.png", "images", "gone.png", "pipe.png", "out.png", "images/a.png/b"):
        for _ in range(3):
            try:
                read(root, name, 3)
            except MediaError:
                continue
    assert len(os.listdir("/proc/self/fd")) == before
