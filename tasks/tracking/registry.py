"""The MLflow model registry: which artifact is `champion`, and models in the form that MLflow serves.

`challenger` is the newest version, `champion` the newest that passed the gate, `reference` the best so far.

A version's source is the artifact, or a folder of links to its files (tasks/store/lending.py): weights are stored once.
Which artifact it is stands in the tag `thinkreward.artifact.digest`; garbage collection keeps what any version names
(`pinned_digests`).
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import ModelError, TrackingError
from models.judging.registry_defaults import DEFAULTS
from models.judging.request_rows import COLUMNS, OPTIONAL_COLUMNS
from tasks.tracking.address import absolute_uri, database_file, set_environment, within, without_credentials
from tasks.tracking.client import open_client
from tasks.tracking.packaging import bundle_code

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

DIGEST_TAG = "thinkreward.artifact.digest"
CHAMPION, CHALLENGER, REFERENCE = "champion", "challenger", "reference"  # the aliases that promote moves
MODEL_FILE = Path(__file__).resolve().parents[2] / "models" / "judging" / "registry_model.py"
REQUIREMENTS = (
    *("mlflow", "torch", "torchvision", "transformers", "pillow", "av", "pydantic", "pandas", "pyarrow"),
    "pebble",  # media are decoded in processes of its pool
)
ONE_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"  # a red PNG


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model."""

    name: str
    version: str
    source: str
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The artifact it is; empty if it was registered by other means."""
        return self.tags.get(DIGEST_TAG, "")


def register(
    uri: str, name: str, *, source_uri: str, run_id: str, tags: Mapping[str, object], description: str = ""
) -> RegisteredVersion:
    """Registers an artifact, and gives its version; the one that is there if it is registered already.

    `tags` must hold `thinkreward.artifact.digest`. A version that is there gets the new tags and
    description. The same digest at
    another address (a moved store) is a new version, since the old one may no longer load. Raises `TrackingError`.
    """
    values = {key: str(value)[:5000] for key, value in tags.items()}
    digest = values.get(DIGEST_TAG, "")
    if not digest:
        raise TrackingError(f"registering {source_uri} as {name} needs the tag {DIGEST_TAG}: the artifact's digest")
    with _registry(uri) as client:
        _ensure_model(client, name)
        found = [one for one in _versions(client, name) if one.digest == digest and one.source == source_uri]
        if found:
            newest = max(found, key=lambda one: int(one.version))
            for key, value in values.items():
                if newest.tags.get(key) != value:
                    client.set_model_version_tag(name, newest.version, key, value)
            if description:
                client.update_model_version(name, newest.version, description)
            return _version(client.get_model_version(name, newest.version))
        made = client.create_model_version(
            name, source_uri, run_id=run_id or None, tags=values, description=description or None, await_creation_for=30
        )
        return _version(made)


def set_alias(uri: str, name: str, alias: str, version: str) -> None:
    """Points an alias at a version. Raises `TrackingError`."""
    with _registry(uri) as client:
        client.set_registered_model_alias(name, alias, str(version))


def get_alias(uri: str, name: str, alias: str) -> RegisteredVersion | None:
    """The version that an alias points at; None if there is no such model or alias. Raises `TrackingError`."""
    from mlflow.exceptions import MlflowException

    with _registry(uri) as client:
        try:
            return _version(client.get_model_version_by_alias(name, alias))
        except MlflowException as error:
            if _is_missing(error):
                return None
            raise


def versions(uri: str, name: str) -> list[RegisteredVersion]:
    """All versions, oldest first; none if the model is not registered. Raises `TrackingError`."""
    with _registry(uri) as client:
        return sorted(_versions(client, name), key=lambda one: int(one.version))


def pinned_digests(uri: str, name: str) -> set[str]:
    """The artifacts that a version of the model names, which garbage collection must keep.

    None where there is no database yet. Raises `TrackingError` if MLflow cannot be asked: that is no permission.
    """
    database = database_file(absolute_uri(uri))
    if database is not None and not database.exists():
        return set()
    return {one.digest for one in versions(uri, name) if one.digest}


def save_registry_model(
    model_dir: Path,
    out: Path,
    *,
    config: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    card: str = "",
    requirements: Sequence[str] | None = None,
) -> Path:
    """Writes a model directory into the new folder `out` in the form that `mlflow.pyfunc.load_model` loads.

    `config` are defaults of models/judging/registry_defaults.py (max_pixels, max_tokens, dtype, …), `metadata` any JSON
    kept in the MLmodel file, `card` the README, `requirements` pip requirements (default: the installed versions).

    Equal arguments, files and installed versions give equal bytes, so that the artifact's digest identifies its
    content: times, random ids and local paths that MLflow writes are replaced by values made from the content. The
    weights are hard links where the file system allows. Raises `ModelError` for what is no model directory.
    """
    if not (model_dir / "config.json").is_file():
        raise ModelError(f"{model_dir} is no model directory: it has no config.json")
    set_environment()
    import mlflow.pyfunc

    if requirements is None:
        requirements = [f"{name}=={installed_version(name)}" for name in REQUIREMENTS]
    with tempfile.TemporaryDirectory() as aside:
        # MLflow copies artifacts twice, through the temporary folder: it gets an empty stand-in for the weights.
        stand_in = Path(aside, "model")
        stand_in.mkdir()
        shutil.copyfile(model_dir / "config.json", stand_in / "config.json")
        entry, package = bundle_code(MODEL_FILE, Path(aside, "code"))
        mlflow.pyfunc.save_model(
            str(out),
            python_model=str(entry),
            code_paths=[str(package)],
            artifacts={"model": str(stand_in)},
            model_config=DEFAULTS | dict(config or {}),
            signature=_signature(int((config or {}).get("max_tokens", 1024))),
            input_example=_input_example(),
            pip_requirements=list(requirements),
            metadata=dict(metadata or {}),
        )
    shutil.rmtree(out / "artifacts" / "model")
    shutil.copytree(model_dir, out / "artifacts" / "model", copy_function=_link_or_copy)
    if card:
        (out / "README.md").write_text(card, encoding="utf-8")
    _make_reproducible(out)
    return out


def _signature(max_tokens: int) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    any_type: Any = AnyType  # MLflow leaves its constructor untyped
    columns: list[Any] = [ColSpec(DataType.string, name) for name in COLUMNS[:2]]
    columns += [ColSpec(any_type(), name) for name in COLUMNS[2:]]
    columns += [ColSpec(any_type(), name, required=False) for name in OPTIONAL_COLUMNS]
    outputs: list[Any] = [ColSpec(DataType.boolean, name) for name in ("valid", "sums_agree", "answer_agrees")]
    outputs += [ColSpec(DataType.string, name) for name in ("mode", "text")]
    loose = ("preferred", "fault", "dimensions", "scores_1", "scores_2", "rationales", "total_1", "total_2", "margin")
    outputs += [ColSpec(any_type(), name) for name in loose]
    outputs.append(ColSpec(any_type(), "both_orders_agree", required=False))
    params = [
        ParamSpec("mode", DataType.string, "think"),
        ParamSpec("both_orders", DataType.boolean, False),
        ParamSpec("max_tokens", DataType.long, max_tokens),
    ]
    return ModelSignature(inputs=Schema(columns), outputs=Schema(outputs), params=ParamSchema(params))


def _input_example() -> list[dict[str, str]]:
    image = f"data:image/png;base64,{ONE_PIXEL}"
    return [{"task": "image_generation", "prompt": "a red square", "candidate_1": image, "candidate_2": image}]


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(Path(source).resolve(), target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _make_reproducible(out: Path) -> None:
    import yaml

    path = out / "MLmodel"
    model = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in ("model_id", "model_size_bytes", "run_id", "artifact_path"):
        model.pop(name, None)
    model["flavors"]["python_function"]["artifacts"]["model"] = {"path": "artifacts/model", "uri": "artifacts/model"}
    model["flavors"]["python_function"]["model_code_path"] = MODEL_FILE.name  # loaded by its base name
    # Absent, MLflow would put the time of loading here.
    model["utc_time_created"] = "1970-01-01 00:00:00.000000"
    model.pop("model_uuid", None)
    model["model_uuid"] = _content_id(out, model)
    path.write_text(yaml.safe_dump(model, sort_keys=True, allow_unicode=True), encoding="utf-8")


def _content_id(out: Path, model: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(model, sort_keys=True).encode())
    for path in sorted(found for found in out.rglob("*") if found.is_file() and found.name != "MLmodel"):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(out).as_posix()}\n{content}\n".encode())
    return digest.hexdigest()[:32]


@contextmanager
def _registry(uri: str) -> Iterator["MlflowClient"]:
    """A client that is known to answer; errors inside are named."""
    from mlflow.exceptions import MlflowException

    uri = absolute_uri(uri)
    client = open_client(uri)
    within(uri, lambda: client.search_registered_models(max_results=1))
    try:
        yield client
    except MlflowException as error:
        reason = str(error).strip().split("\n")[0][:400]
        cure = ""
        if "model version source" in reason:
            cure = (
                ". Fix: an MLflow server takes no model from a local folder: keep artifacts on s3:// (storage.root), "
                "or track into a sqlite:/// database (tracking.uri)"
            )
        raise TrackingError(f"the model registry at {without_credentials(uri)} refused: {reason}{cure}") from error


def _ensure_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if not _is_missing(error):
            raise
        try:
            client.create_registered_model(name, description="Chain-of-thought reward models made by Thinkreward")
        except MlflowException as again:
            if again.error_code != "RESOURCE_ALREADY_EXISTS":  # made by another process meanwhile
                raise


def _versions(client: "MlflowClient", name: str) -> list[RegisteredVersion]:
    found: list[RegisteredVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token)
        found += [_version(one) for one in page]
        token = page.token
        if not token:
            return found


def _version(found: "ModelVersion") -> RegisteredVersion:
    return RegisteredVersion(
        name=found.name,
        version=str(found.version),
        source=found.source or "",
        run_id=found.run_id or "",
        tags=dict(found.tags),
        aliases=tuple(found.aliases or ()),
    )


def _is_missing(error: Any) -> bool:
    """No such model, or no such alias (which MLflow calls an invalid parameter)."""
    return error.error_code == "RESOURCE_DOES_NOT_EXIST" or (
        error.error_code == "INVALID_PARAMETER_VALUE" and "alias" in str(error) and "not found" in str(error)
    )
