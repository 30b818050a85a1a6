"""Which kind of storage an address means."""

from models.errors import StoreError
from tasks.store.objects.base import Objects
from tasks.store.objects.local import LocalObjects
from tasks.store.objects.s3 import S3Objects


def open_objects(root: str, checksums: str = "") -> Objects:
    """The storage behind a root: a plain path, `file:///path` (percent-encoded) or `s3://bucket/prefix`.

    `checksums` is what uploads to S3 carry (tasks/store/objects/s3_checksums.py), empty: what the environment sets.
    Touches nothing yet. Raises `StoreError` for any other address, and for credentials in the address.
    """
    if root.startswith("s3://"):
        return S3Objects(root, checksums)
    if "://" in root and not root.startswith("file://"):
        raise StoreError(f"store root {root!r}: give a path, a file:/// address or s3://bucket/prefix")
    if not root:
        raise StoreError("store root is empty: give a path, a file:/// address or s3://bucket/prefix")
    return LocalObjects(root)
