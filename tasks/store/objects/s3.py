"""A storage root in an S3 bucket, through s3fs (imported on first use).

Credentials, region and endpoint come from the environment only: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION, AWS_ENDPOINT_URL. The listings cache is off: other runs write to the same bucket.
A move is not atomic here, so visibility rests on the seal (a manifest) that is written last.

Faults: botocore repeats a request that got no answer or a 5xx (AWS_MAX_ATTEMPTS times, 5 if unset, with growing
pauses); what it cannot see, such as a body that is cut off, has the whole operation repeated here, so s3fs's own
repeating, which would multiply both, is off. What then remains is a `StoreUnreachable`. Operations are
written to be repeated: a create or a completed upload whose answer was lost is recognised by the bytes that are there.

How often and how long it is tried is in tasks/store/objects/s3_retries.py.

Large files travel in parts, several at a time, and are hashed meanwhile (uploads: tasks/store/objects/s3_uploads.py).
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from models.errors import StoreError, StoreUnreachable
from tasks.store.objects.base import TRANSFER_THREADS, Found, Objects, Source, Unfinished, in_parallel, prefetch
from tasks.store.objects.s3_checksums import chosen, client_options, with_body
from tasks.store.objects.s3_errors import endpoint_url, explain_error, is_absent, is_past_end, is_taken, is_transient
from tasks.store.objects.s3_retries import attempts, operation_policy
from tasks.store.objects.s3_uploads import PartsUpload, content_type, give_up

Result = TypeVar("Result")

# Memory of one transfer is about PART_BYTES x PARTS_AT_ONCE, times objects.TRANSFER_THREADS at a time.
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 4
_ONE_PUT_BYTES = 5 << 30
# More connections than transfers take: a lease's heartbeat does not wait for a part to go through.
_CONNECTIONS = TRANSFER_THREADS * PARTS_AT_ONCE + 8
_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 30


class S3Objects(Objects):
    """Objects below `s3://bucket/prefix`. One object's put is atomic; a conditional put is create-only.

    `checksums` is what uploads carry, see tasks/store/objects/s3_checksums.py; empty: what the environment sets.
    """

    def __init__(self, root: str, checksums: str = "") -> None:
        address = root.removeprefix("s3://").strip("/")
        if "@" in address:
            # The value is left out of the message: it holds the secret.
            raise StoreError("store root s3://...@...: no credentials in the address, use the AWS_* variables")
        if not address:
            raise StoreError(f"store root {root!r} names no bucket: use s3://bucket/prefix")
        self.root = address
        self._bucket = address.partition("/")[0]
        self._checksums = chosen(checksums)
        self._connected: tuple[int, Any] | None = None
        self._failures: tuple[type[BaseException], ...] = (OSError,)
        self._lost: tuple[type[BaseException], ...] = ()

    def uri(self, path: str) -> str:
        return f"s3://{self.root}/{path}"

    def read(self, path: str) -> bytes:
        # One request: more than one at a time would have s3fs ask for the size first.
        data: bytes = self._ask("reading", path, lambda fs: fs.cat_file(self._key(path), max_concurrency=1))
        return data

    def exists(self, path: str) -> bool:
        # A listing, since its errors, unlike those of asking for the one object, say what is wrong.
        asked = {**self._target(path), "MaxKeys": 1}
        asked["Prefix"] = key = asked.pop("Key")
        answer = self._ask("looking at", path, lambda fs: fs.call_s3("list_objects_v2", **asked))
        return any(found["Key"] == key for found in answer.get("Contents", ()))

    def sha256(self, path: str, size: int | None = None) -> str:
        digest = hashlib.sha256()
        for part in self._parts(path, size):
            digest.update(part)
        return digest.hexdigest()

    def write(self, path: str, data: bytes) -> None:
        self._put(path, data)

    def create(self, path: str, data: bytes) -> bool:
        put = {"chunksize": _ONE_PUT_BYTES, **with_body(self._checksums, data)}

        def ask(fs: Any) -> bool:
            try:
                fs.pipe_file(self._key(path), data, mode="create", **put)
            except OSError as error:
                if not is_taken(error):
                    raise
                # What is there decides: our own bytes mean that this put went through and only its answer was lost.
                try:
                    return bool(fs.cat_file(self._key(path), max_concurrency=1) == data)
                except FileNotFoundError:
                    if is_transient(error, self._lost):
                        raise error from error.__cause__  # somebody is just creating it
                    return False  # it was there, and was removed since
            return True

        return self._ask("creating", path, ask)

    def upload(self, source: Source, path: str) -> None:
        try:
            data = source.local.read_bytes() if source.size <= PART_BYTES else None
        except OSError as error:
            raise StoreError(f"reading {source.local} failed: {error.strerror}") from error
        if data is None:
            upload = PartsUpload(self._ask, source, path, self._target(path), PART_BYTES, self._checksums)
            upload.run(PARTS_AT_ONCE, lambda: self._holds(path, source))
            return
        if hashlib.sha256(data).hexdigest() != source.sha256:
            raise source.changed()
        self._put(path, data, **content_type(path))

    def download(self, path: str, local: Path, size: int | None = None) -> str:
        digest = hashlib.sha256()
        parts = self._parts(path, size)
        try:
            with local.open("wb") as file:
                for part in parts:
                    digest.update(part)
                    file.write(part)
        except FileNotFoundError:
            raise
        except OSError as error:
            needed = f" ({size} bytes needed)" if size is not None else ""
            raise StoreError(f"writing {local} failed: {error.strerror}{needed}") from error
        return digest.hexdigest()

    def add_tree(self, prefix: str, sources: Sequence[Source], seal: str, data: bytes, *, replace: bool) -> None:
        # Straight to the final keys, which nobody looks at before the seal is there. What a failure leaves
        # is not removed here, since another run may be storing the same bytes: gc does, after its grace.
        in_parallel(lambda source: self.upload(source, f"{prefix}/{source.name}"), sources)
        if replace:
            self.write(f"{prefix}/{seal}", data)
        else:
            self.create(f"{prefix}/{seal}", data)

    def walk(self, prefix: str) -> list[Found]:
        listing = self._ask("listing", prefix, lambda fs: fs.find(self._key(prefix), detail=True))
        start = len(self.root) + 1
        found = (
            Found(name[start:], int(info["size"]), info["LastModified"].timestamp())
            for name, info in listing.items()
            if info["type"] == "file"  # an emptied folder, which SeaweedFS removes a moment later, is none
        )
        # The folder markers that S3 consoles leave are no objects of ours.
        return sorted(item for item in found if not item.path.endswith("/") and item.path != prefix)

    def folders(self, prefix: str) -> list[str]:
        try:
            listing = self._ask("listing", prefix, lambda fs: fs.ls(self._key(prefix), detail=True))
        except FileNotFoundError:
            return []
        return sorted(info["name"].rsplit("/", 1)[1] for info in listing if info["type"] == "directory")

    def remove(self, path: str) -> None:
        # Not rm(), which takes [ and * in a name for a pattern.
        self._ask("removing", path, lambda fs: fs.rm_file(self._key(path)))

    def remove_tree(self, prefix: str) -> None:
        in_parallel(lambda found: self.remove(found.path), self.walk(prefix))

    def unfinished(self) -> list[Unfinished]:
        below = self._key("").partition("/")[2]
        listed: list[Unfinished] = []
        page: dict[str, str] = {}
        while True:
            asked = {"Bucket": self._bucket, "Prefix": below, **page}
            answer = self._ask("listing uploads to", "", partial(_list_uploads, asked))
            listed += [
                Unfinished(upload["Key"].removeprefix(below), upload["UploadId"], upload["Initiated"].timestamp())
                for upload in answer.get("Uploads", ())
            ]
            if not answer.get("IsTruncated"):
                return sorted(listed)
            page = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def give_up(self, upload: Unfinished) -> None:
        give_up(self._ask, upload.path, self._target(upload.path), upload.upload_id)

    def _put(self, path: str, data: bytes, **more: str) -> None:
        put = {"chunksize": _ONE_PUT_BYTES, **more, **with_body(self._checksums, data)}
        self._ask("writing", path, lambda fs: fs.pipe_file(self._key(path), data, **put))

    def _parts(self, path: str, size: int | None) -> Iterator[bytes]:
        """The stored object's bytes in order, fetched a few ranges ahead.

        The last range has no end, so that an object that is longer than it should be does not pass for the right one.
        """
        if size is None:
            size = int(self._ask("looking at", path, lambda fs: fs.info(self._key(path))["size"]))
        if size <= PART_BYTES:
            yield self.read(path)
            return

        def fetch(start: int) -> bytes:
            end = start + PART_BYTES if start + PART_BYTES < size else None
            try:
                data: bytes = self._ask(
                    "reading", path, lambda fs: fs.cat_file(self._key(path), start=start, end=end, max_concurrency=1)
                )
            except StoreError as error:
                if error.__cause__ is not None and is_past_end(error.__cause__):
                    return b""  # it ends before: whoever hashes it sees that
                raise
            return data

        yield from prefetch(fetch, range(0, size, PART_BYTES), PARTS_AT_ONCE)

    def _holds(self, path: str, source: Source) -> bool:
        try:
            return self.sha256(path, source.size) == source.sha256
        except FileNotFoundError:
            return False

    def _key(self, path: str) -> str:
        return f"{self.root}/{path}"

    def _target(self, path: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._key(path).partition("/")[2]}

    def _fs(self) -> Any:
        """The s3fs file system of this process: an event loop does not survive a fork."""
        if self._connected is None or self._connected[0] != os.getpid():
            import aiohttp
            import fsspec
            from botocore import exceptions as boto
            from botocore.parsers import ResponseParserError

            # A LookupError is an answer that lacks what it must have, a ValueError an address that is none.
            self._lost = (
                boto.ConnectionError,
                boto.HTTPClientError,
                boto.IncompleteReadError,
                boto.FlexibleChecksumError,
                ResponseParserError,
                aiohttp.ClientError,
                TimeoutError,
                ConnectionError,
                LookupError,
            )
            self._failures = (OSError, ValueError, boto.BotoCoreError, boto.ClientError, *self._lost)
            fs = fsspec.filesystem(
                "s3",
                use_listings_cache=False,
                skip_instance_cache=True,  # one that met no credentials would go on having none
                endpoint_url=endpoint_url(),
                client_kwargs={"region_name": os.environ.get("AWS_DEFAULT_REGION", "us-east-1")},
                config_kwargs={
                    "retries": {"mode": "standard", "total_max_attempts": attempts()},
                    "connect_timeout": _CONNECT_TIMEOUT_S,
                    "read_timeout": _READ_TIMEOUT_S,
                    "max_pool_connections": _CONNECTIONS,
                    **client_options(self._checksums),
                },
            )
            fs.retries = 1
            self._connected = (os.getpid(), fs)
        return self._connected[1]

    def _ask(self, doing: str, path: str, ask: Callable[[Any], Result]) -> Result:
        """What `ask` returns for the file system, tried again after transient faults.

        Raises `FileNotFoundError` when there is no such object, `StoreUnreachable`, or `StoreError` with the cure.
        """
        try:
            return operation_policy().call(lambda: ask(self._fs()), self._is_transient)
        except self._failures as error:
            if is_absent(error):
                raise FileNotFoundError(self.uri(path)) from error
            transient = self._is_transient(error)
            reason = explain_error(error, self._bucket, transient=transient, checksums=self._checksums)
            kind = StoreUnreachable if transient else StoreError
            raise kind(f"{doing} {self.uri(path)} failed: {reason}") from error

    def _is_transient(self, error: BaseException) -> bool:
        return isinstance(error, self._failures) and not is_absent(error) and is_transient(error, self._lost)


def _list_uploads(asked: dict[str, str], fs: Any) -> Any:
    return fs.call_s3("list_multipart_uploads", **asked)
