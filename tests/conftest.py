"""Fixtures that more than one folder of tests takes."""

from tests.tasks.seaweed import bucket, s3_server

__all__ = ["bucket", "s3_server"]
