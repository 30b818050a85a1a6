"""What S3 requests carry so that the server can tell whether a body arrived whole.

Since version 1.36 botocore sends a CRC of its own choice along with every upload, which S3 stores other than Amazon's
may refuse; others want Content-MD5, which botocore does not send any more
(https://docs.aws.amazon.com/sdkref/latest/guide/feature-dataintegrity.html). `storage.checksums` chooses what to send.
What we store is hashed by ourselves, too, so nothing damaged passes for whole without it.
"""

import base64
import hashlib
import os
from typing import Any

from models.errors import StoreError

CRC32, MD5, NONE = KINDS = ("crc32", "md5", "none")
VARIABLE = "THINKREWARD__STORAGE__CHECKSUMS"  # for commands that go by no profile


def chosen(checksums: str = "") -> str:
    """The given kind, or else the environment's. Raises `StoreError` for another one."""
    kind = checksums or os.environ.get(VARIABLE) or CRC32
    if kind not in KINDS:
        raise StoreError(f"{VARIABLE} is {kind!r}: give one of {', '.join(KINDS)}")
    return kind


def client_options(kind: str) -> dict[str, str]:
    """Of botocore's `Config`; none with `crc32`: AWS_REQUEST_CHECKSUM_CALCULATION or botocore's default holds."""
    if kind == CRC32:
        return {}
    return dict.fromkeys(("request_checksum_calculation", "response_checksum_validation"), "when_required")


def with_body(kind: str, data: bytes) -> dict[str, Any]:
    """Further arguments of a request that stores `data`."""
    if kind != MD5:
        return {}
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return {"ContentMD5": base64.b64encode(digest).decode()}


def checksum_hint(code: str, message: str, kind: str) -> str:
    """What to do if the server refused what a request carried, or nothing if that was not the reason."""
    text = message.lower()
    about = any(word in text for word in ("checksum", "x-amz-sdk", "x-amz-trailer", "content-sha256", "content-md5"))
    if code == "MissingContentMD5" or (code == "InvalidRequest" and "content-md5" in text):
        if kind != MD5:
            return _set(MD5, "{endpoint} takes nothing without Content-MD5")
    elif code in ("NotImplemented", "501") or (code in ("InvalidRequest", "InvalidArgument") and about):
        if kind == CRC32:
            return _set(NONE, "{endpoint} refuses a header of this request, most likely the checksum of its body")
        return (
            "{endpoint} lacks something that is needed, perhaps create-only writes (If-None-Match): use a server that "
            "has them, or another root"
        )
    return ""


def _set(kind: str, reason: str) -> str:
    return f"{reason}: set storage.checksums={kind} ({VARIABLE}={kind} in the environment)"
