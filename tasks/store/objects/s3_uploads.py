"""Large uploads to S3: in parts, several at a time, hashed on the way, and visible only when all of it is right.

An upload in parts becomes an object in its last request. That is only made if the bytes that were sent hash to what
the source was, so that neither a killed upload nor a file that changes meanwhile is ever seen.
"""

import hashlib
import mimetypes
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

from models.errors import StoreError
from tasks.store.objects.base import Source, prefetch
from tasks.store.objects.s3_checksums import with_body
from tasks.store.objects.s3_errors import error_code

# Does something with the file system, and again after transient faults: what in words, for which path, the function.
Ask = Callable[[str, str, Callable[[Any], Any]], Any]

_MOST_PARTS = 9_000  # S3 takes at most 10 000 an object


class PartsUpload:
    """One file on its way to `target`, the bucket and key of the object at `path`, in parts of `part_bytes`.

    `checksums` is what the parts carry, see tasks/store/objects/s3_checksums.py.
    """

    def __init__(
        self, ask: Ask, source: Source, path: str, target: dict[str, str], part_bytes: int, checksums: str
    ) -> None:
        self._ask = ask
        self._source = source
        self._path = path
        self._target = target
        self._checksums = checksums
        self._part_bytes = max(part_bytes, -(-source.size // _MOST_PARTS))

    def run(self, parts_at_once: int, is_there: Callable[[], bool]) -> None:
        """Uploads it. `is_there` checks whether the object holds the source's bytes, should the last answer be lost."""
        begin = {**self._target, **content_type(self._path)}
        begun = self._ask("uploading to", self._path, lambda fs: fs.call_s3("create_multipart_upload", **begin))
        upload_id: str = begun["UploadId"]
        try:
            parts = self._send(upload_id, parts_at_once)
            self._finish(upload_id, parts, is_there)
        except BaseException:
            with suppress(StoreError):
                give_up(self._ask, self._path, self._target, upload_id)
            raise

    def _send(self, upload_id: str, parts_at_once: int) -> list[dict[str, Any]]:
        digest = hashlib.sha256()

        def read() -> Iterator[tuple[int, bytes]]:
            with self._source.local.open("rb") as file:
                for number in count(1):
                    part = file.read(self._part_bytes)
                    if not part:
                        return
                    yield number, part
                    digest.update(part)  # while it travels: this is reached when the next part is asked for

        def send(numbered: tuple[int, bytes]) -> dict[str, Any]:
            number, part = numbered
            where = {**self._target, "UploadId": upload_id, "PartNumber": number}
            where |= with_body(self._checksums, part)
            answer = self._ask("uploading to", self._path, lambda fs: fs.call_s3("upload_part", **where, Body=part))
            # Amazon's server wants the checksums that botocore sent along, too.
            checksums = {name: value for name, value in answer.items() if name.startswith("Checksum")}
            return {"PartNumber": number, "ETag": answer["ETag"], **checksums}

        try:
            sent = list(prefetch(send, read(), parts_at_once))
        except OSError as error:
            raise StoreError(f"reading {self._source.local} failed: {error.strerror}") from error
        if digest.hexdigest() != self._source.sha256:
            raise self._source.changed()
        return sent

    def _finish(self, upload_id: str, parts: list[dict[str, Any]], is_there: Callable[[], bool]) -> None:
        last = {**self._target, "UploadId": upload_id, "MultipartUpload": {"Parts": parts}}

        def finish(fs: Any) -> None:
            try:
                fs.call_s3("complete_multipart_upload", **last)
            except FileNotFoundError as error:
                # Finished by an earlier try whose answer was lost, or removed by somebody: the bytes decide.
                if error_code(error) != "NoSuchUpload" or not is_there():
                    raise

        self._ask("finishing the upload of", self._path, finish)


def give_up(ask: Ask, path: str, target: dict[str, str], upload_id: str) -> None:
    """Removes the parts of an unfinished upload; no error when it is finished or gone."""

    def abort(fs: Any) -> None:
        try:
            fs.call_s3("abort_multipart_upload", **target, UploadId=upload_id)
        except FileNotFoundError as error:
            if error_code(error) == "NoSuchBucket":
                raise

    ask("giving up the upload of", path, abort)


def content_type(path: str) -> dict[str, str]:
    """For browsers that open a report straight from the bucket."""
    guessed, _ = mimetypes.guess_type(path)
    return {"ContentType": guessed} if guessed else {}
