"""Fixtures that more than one folder of tests takes."""

from tests.tasks.seaweed import bucket, root, s3_server

__all__ = ["bucket", "root", "s3_server"]
