"""A storage root in an S3 bucket, through s3fs (imported on first use).

Credentials, region and endpoint come from the environment only: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION, AWS_ENDPOINT_URL. The listings cache is off: other runs write to the same bucket.
A move is not atomic here, so visibility rests on the seal (a manifest) that is written last.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.errors import StoreError
from tasks.objects import CHUNK_BYTES, Found, Objects, Source, hash_file, in_parallel

# Memory of one transfer is about PART_BYTES x PARTS_AT_ONCE, times objects.TRANSFER_THREADS at a time.
PART_BYTES = 16 << 20
PARTS_AT_ONCE = 4


class S3Objects(Objects):
    """Objects below `s3://bucket/prefix`. One object's put is atomic; a conditional put is create-only."""

    def __init__(self, root: str) -> None:
        address = root.removeprefix("s3://").strip("/")
        if "@" in address:
            # The value is left out of the message: it holds the secret.
            raise StoreError("store root s3://...@...: no credentials in the address, use the AWS_* variables")
        if not address:
            raise StoreError(f"store root {root!r} names no bucket: use s3://bucket/prefix")
        self.root = address
        self._connected: tuple[int, Any] | None = None
        self._failures: tuple[type[BaseException], ...] = (OSError,)

    def uri(self, path: str) -> str:
        return f"s3://{self.root}/{path}"

    def read(self, path: str) -> bytes:
        with self._explained("reading", path, missing_is_error=False) as fs:
            data: bytes = fs.cat_file(self._key(path))
            return data

    def exists(self, path: str) -> bool:
        with self._explained("looking at", path) as fs:
            try:
                return bool(fs.info(self._key(path))["type"] == "file")
            except FileNotFoundError as error:
                if _code(error) == "NoSuchBucket":
                    raise
                return False

    def sha256(self, path: str) -> str:
        digest = hashlib.sha256()
        with (
            self._explained("reading", path, missing_is_error=False) as fs,
            fs.open(self._key(path), "rb", block_size=PART_BYTES, cache_type="readahead") as file,
        ):
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def write(self, path: str, data: bytes) -> None:
        with self._explained("writing", path) as fs:
            fs.pipe_file(self._key(path), data)

    def create(self, path: str, data: bytes) -> bool:
        with self._explained("creating", path) as fs:
            try:
                fs.pipe_file(self._key(path), data, mode="create")
            except OSError as error:
                # FileExistsError, OSError(EINVAL) or a conflict, depending on the server: what is there decides.
                # Our own bytes mean that this put went through and only its answer was lost.
                there = self._read_or_none(fs, path)
                if there is None:
                    raise StoreError(f"creating {self.uri(path)} failed: {_reason(error)}") from error
                return there == data
            return True

    def upload(self, source: Source, path: str) -> None:
        with self._explained("uploading to", path) as fs:
            fs.put_file(str(source.local), self._key(path), chunksize=_part_bytes(source.size))
            unchanged = source.unchanged()
        if not unchanged:
            raise StoreError(f"{source.local} changed while it was being stored: publish what is no longer written to")

    def download(self, path: str, local: Path) -> str:
        with self._explained("downloading", path, missing_is_error=False) as fs:
            fs.get_file(self._key(path), str(local), chunksize=PART_BYTES)
            return hash_file(local)

    def add_tree(self, prefix: str, sources: Sequence[Source], seal: str, data: bytes, *, replace: bool) -> None:
        # Straight to the final keys, which nobody looks at before the seal is there. What a failure leaves
        # is not removed here, since another run may be storing the same bytes: gc does, after its grace.
        in_parallel(lambda source: self.upload(source, f"{prefix}/{source.name}"), sources)
        if replace:
            self.write(f"{prefix}/{seal}", data)
        else:
            self.create(f"{prefix}/{seal}", data)

    def walk(self, prefix: str) -> list[Found]:
        with self._explained("listing", prefix) as fs:
            listing = fs.find(self._key(prefix), detail=True)
        start = len(self.root) + 1
        found = (
            Found(name[start:], int(info["size"]), info["LastModified"].timestamp()) for name, info in listing.items()
        )
        # The folder markers that S3 consoles leave are no objects of ours.
        return sorted(item for item in found if not item.path.endswith("/") and item.path != prefix)

    def folders(self, prefix: str) -> list[str]:
        with self._explained("listing", prefix, missing_is_error=False) as fs:
            try:
                listing = fs.ls(self._key(prefix), detail=True)
            except FileNotFoundError as error:
                if _code(error) == "NoSuchBucket":
                    raise StoreError(f"listing {self.uri(prefix)} failed: {_reason(error)}") from error
                return []
        return sorted(info["name"].rsplit("/", 1)[1] for info in listing if info["type"] == "directory")

    def remove(self, path: str) -> None:
        with self._explained("removing", path) as fs:
            fs.rm_file(self._key(path))  # not rm(), which takes [ and * in a name for a pattern

    def remove_tree(self, prefix: str) -> None:
        in_parallel(lambda found: self.remove(found.path), self.walk(prefix))

    def _key(self, path: str) -> str:
        return f"{self.root}/{path}"

    def _read_or_none(self, fs: Any, path: str) -> bytes | None:
        try:
            data: bytes = fs.cat_file(self._key(path))
        except FileNotFoundError:
            return None
        return data

    def _fs(self) -> Any:
        """The s3fs file system of this process: an event loop does not survive a fork."""
        if self._connected is None or self._connected[0] != os.getpid():
            import aiohttp
            import fsspec
            from botocore.exceptions import BotoCoreError, ClientError

            self._failures = (OSError, BotoCoreError, ClientError, aiohttp.ClientError)
            fs = fsspec.filesystem(
                "s3",
                use_listings_cache=False,
                skip_instance_cache=True,  # one that met no credentials would go on having none
                endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"),
                client_kwargs={"region_name": os.environ.get("AWS_DEFAULT_REGION", "us-east-1")},
                default_block_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
            self._connected = (os.getpid(), fs)
        return self._connected[1]

    @contextmanager
    def _explained(self, doing: str, path: str, *, missing_is_error: bool = True) -> Iterator[Any]:
        fs = self._fs()
        try:
            yield fs
        except self._failures as error:
            # A bucket that is not there also arrives as FileNotFoundError, and is no missing object.
            absent = isinstance(error, FileNotFoundError) and _code(error) != "NoSuchBucket"
            if absent and not missing_is_error:
                raise
            raise StoreError(f"{doing} {self.uri(path)} failed: {_reason(error)}") from error


def _code(error: BaseException) -> str:
    response = getattr(error.__cause__, "response", None) or getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _reason(error: BaseException) -> str:
    code = _code(error)
    return f"{code + ': ' if code else ''}{error}".strip() or type(error).__name__


def _part_bytes(size: int) -> int:
    """Bytes of one part: S3 takes at most 10 000 parts an object."""
    return max(PART_BYTES, -(-size // 9_000))
