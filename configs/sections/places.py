"""Where artifacts, runs and registered models are kept."""

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from configs.sections.base import Section


class Storage(Section):
    """Where artifacts live."""

    root: str = Field(
        ".thinkreward/store", min_length=1, description="store root: a folder, file:// or s3://bucket/prefix"
    )
    cache_dir: str = Field(".thinkreward/cache", description="local folder for downloaded artifacts")
    cache_max_gib: float = Field(
        50.0, gt=0, description="size at which the local cache drops what was used longest ago, GiB"
    )
    checksums: Literal["crc32", "md5", "none"] = Field(
        "crc32",
        description="what uploads to S3 carry: crc32 (Amazon's way), or for stores that refuse it none, or Content-MD5",
    )
    lease_ttl_s: float = Field(
        60.0, ge=1, description="seconds without a heartbeat after which a run counts as dead and loses its lease"
    )


class Tracking(Section):
    """Where runs and registered models are recorded (MLflow)."""

    uri: str = Field(
        "sqlite:///.thinkreward/mlflow.db", description="MLflow tracking URI; file: stores are refused by MLflow 3"
    )
    experiment: str = Field("thinkreward", min_length=1, description="MLflow experiment name")
    registered_model: str = Field("thinkreward", min_length=1, description="name in the MLflow model registry")

    @model_validator(mode="after")
    def _no_password(self) -> Self:
        if "@" in urlsplit(self.uri).netloc and ":" in urlsplit(self.uri).netloc.rpartition("@")[0]:
            # The value is left out of the message, and of everything that settings are written into.
            raise ValueError(
                "uri holds a password: leave it out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
                "(a server), or PGPASSWORD (a database)"
            )
        return self

    @model_validator(mode="after")
    def _not_a_file_store(self) -> Self:
        if self.uri.startswith("file:") or ("://" not in self.uri and self.uri != "databricks"):
            raise ValueError(
                f"uri is {self.uri!r}, a file store, which MLflow 3 refuses: "
                "give sqlite:///PATH, or the http(s):// address of a tracking server"
            )
        return self
