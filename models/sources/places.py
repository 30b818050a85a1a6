"""Where a name that a data set writes leads to: a regular file below the data set's root, or a refusal.

Whoever wrote the data set is not trusted. Names are relative, with `/` between their parts; links are followed as long
as they stay below the root, and every part is opened without following links once that was decided, so that a link put
in its place meanwhile is refused as well. Nothing is fetched and no host name is looked up: what a data set gives must
not depend on the network, nor tell its author who reads it. So `http(s)` addresses are refused by their text alone,
those of private networks by that name.

Reasons begin with a few words that rows are counted by, then perhaps a colon.
"""

import errno
import os
import re
import socket
import stat
import unicodedata
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from models.errors import MediaError

PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".bin")
PICKLE_HEAD = re.compile(rb"\x80[\x02-\x05]")  # the PROTO opcode; protocols 0 and 1 have no mark
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|(data|file|https?):", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
# Names that stand for this machine or its network: RFC 6761, RFC 6762, RFC 8375, and ICANN's reserved `internal`.
LOCAL_NAMES = ("localhost", "local", "home.arpa", "internal")
_OUTSIDE = "lies outside the data folder"
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO without a writer would block


def resolve(root: Path, name: str) -> Path:
    """The file that `name` leads to, its links followed, below `root`.

    Raises `MediaError` for a name that is a URL, absolute, or holds a backslash; that leads out of the root, by `..` or
    a link; and for what is not there, no regular file, or a pickle, by its suffix or its first bytes.
    """
    real_root, parts = _parts(root, name)
    os.close(_open(real_root, parts, name))
    return real_root.joinpath(*parts)


def read(root: Path, name: str, max_bytes: int) -> bytes:
    """The bytes of the file that `name` leads to. Raises as `resolve` does, and above `max_bytes`."""
    real_root, parts = _parts(root, name)
    try:
        with os.fdopen(_open(real_root, parts, name), "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            data = opened.read(max_bytes + 1) if size <= max_bytes else b""
    except OSError as error:
        raise MediaError(name, f"cannot be read: {error.strerror}", passing=True) from error
    if max(size, len(data)) > max_bytes:
        raise MediaError(name, f"is too large: {max(size, len(data))} bytes, the limit is {max_bytes}")
    return data


def _parts(root: Path, name: str) -> tuple[Path, tuple[str, ...]]:
    """The root without links, and the parts of the path below it that `name` leads to, without links."""
    _check_name(name)
    try:
        real_root = root.resolve(strict=True)
        path = (real_root / name).resolve()
    except OSError as error:
        raise _unread(name, error) from error
    except (RuntimeError, ValueError) as error:
        raise MediaError(name, "cannot be read: a loop of links, or a name that no file can have") from error
    if not path.is_relative_to(real_root):
        raise MediaError(name, f"{_OUTSIDE}: a link leads there. Put the file itself into the folder")
    return real_root, path.relative_to(real_root).parts


def _check_name(name: str) -> None:
    if not name.strip():
        raise MediaError(name, "has no name")
    if _URL.match(name):
        _refuse_url(name)
    if name.startswith("/") or _DRIVE.match(name):
        raise MediaError(name, f"{_OUTSIDE}: it is an absolute path. Name it relative to the folder")
    if "\\" in name:
        raise MediaError(name, "holds a backslash: write / between folders")
    depth = 0
    for part in PurePosixPath(name).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            raise MediaError(name, f"{_OUTSIDE}: .. leads there. Put the file into the folder")
    if PurePosixPath(name).suffix.lower() in PICKLED:
        raise MediaError(name, "is a pickle: such files run code when they are read. Give an image or a video")


def _refuse_url(name: str) -> None:
    try:
        host = urlsplit(name).hostname or ""
    except ValueError:  # brackets without an IPv6 address
        host = ""
    if name.lower().startswith("http") and (private := _private(host)):
        raise MediaError(name, f"is a URL with a private address: {private}")
    raise MediaError(name, "is a URL: download the files first and name them relative to the data set")


def _private(host: str) -> str:
    """The private address or local name that a URL's host stands for, empty for a public one."""
    # As browsers read a host: escapes undone, full-width digits and dots made plain.
    host = unicodedata.normalize("NFKC", unquote(host)).replace("。", ".").rstrip(".").lower()
    address = _address(host)
    if address is None:
        local = "." not in host or any(host == name or host.endswith(f".{name}") for name in LOCAL_NAMES)
        return (host or "no host") if local else ""
    inner = _within(address)
    public = all(one.is_global and not one.is_multicast and not one.is_reserved for one in (address, *inner))
    return "" if public else str(inner[0] if inner else address)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    with suppress(ValueError):
        return ip_address(host)
    with suppress(OSError, ValueError):  # 2130706433, 0x7f000001, 0177.1 and 127.1, as resolvers read them
        return IPv4Address(socket.inet_aton(host))
    return None


def _within(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 one stands for: mapped, 6to4, Teredo, NAT64 (RFC 6052)."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address.packed[:12] == bytes.fromhex("0064ff9b0000000000000000"):
        found.append(IPv4Address(address.packed[12:]))
    return [one for one in found if one is not None]


def _open(root: Path, parts: tuple[str, ...], name: str) -> int:
    """A descriptor of the regular file at these parts below the root, none of which may be a link by now."""
    folder = -1
    try:
        folder = os.open(root, _OPEN | os.O_DIRECTORY)
        for part in parts[:-1]:
            below = os.open(part, _OPEN | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = below
        opened = os.open(parts[-1] if parts else ".", _OPEN, dir_fd=folder)
    except OSError as error:
        raise _unread(name, error) from error
    finally:
        if folder >= 0:
            os.close(folder)
    try:
        _check_file(opened, name)
    except BaseException:
        os.close(opened)
        raise
    return opened


def _check_file(opened: int, name: str) -> None:
    mode = os.fstat(opened).st_mode
    if stat.S_ISDIR(mode):
        raise MediaError(name, "is a folder: name a file")
    if not stat.S_ISREG(mode):
        raise MediaError(name, "is no regular file: it is a device, a pipe or a socket")
    if PICKLE_HEAD.match(os.pread(opened, 2, 0)):
        raise MediaError(name, "is a pickle: such files run code when they are read. Give an image or a video")


def _unread(name: str, error: OSError) -> MediaError:
    """The refusal of what cannot be opened. What is not the name's or the file's own doing may pass."""
    if error.errno == errno.ENOENT:
        return MediaError(name, "does not exist")
    if error.errno == errno.ENOTDIR:
        return MediaError(name, "does not exist: a part of its path is no folder")
    if error.errno == errno.ELOOP:
        return MediaError(name, f"{_OUTSIDE}: a link was put in its place while it was read", passing=True)
    if error.errno == errno.ENXIO:
        return MediaError(name, "is no regular file: it is a device, a pipe or a socket")
    return MediaError(name, f"cannot be read: {error.strerror}", passing=error.errno != errno.ENAMETOOLONG)
