"""What `thinkreward doctor` looks at: versions, accelerator, memory, storage, MLflow, teacher."""

import hashlib
import importlib.metadata
import os
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from configs.schema import Settings
from models.errors import ThinkrewardError
from tasks.ops.base_shape import base_shape
from tasks.ops.devices import devices_for, gpus
from tasks.ops.fitting import GIB, cure, fits, refusal, seen
from tasks.ops.stage_memory import bounds, parts
from tasks.pipeline.graph import find_base
from tasks.pipeline.run import open_store
from tasks.store.remembering import remembered
from tasks.tracking.address import absolute_uri, check_database, settled_database
from tasks.tracking.client import Experiment

PACKAGES = (
    "prefect",
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "openai",
    "s3fs",
    "mlflow",
    "fastapi",
    "sqlalchemy",
)


@dataclass(frozen=True)
class HealthCheck:
    """One line: whether it is well, and what was found or what to do."""

    name: str
    ok: bool
    detail: str


def examine(settings: Settings) -> list[HealthCheck]:
    """All checks; none stops another."""
    checks = [
        ("versions", _versions),
        ("accelerator", _accelerator),
        ("base model", _base),
        ("memory", _memory),
        ("storage", _storage),
        ("mlflow", _mlflow),
        ("teacher", _teacher),
    ]
    return [_guarded(name, check, settings) for name, check in checks]


def _guarded(name: str, check: Callable[[Settings], str], settings: Settings) -> HealthCheck:
    try:
        return HealthCheck(name, True, check(settings))
    except (ThinkrewardError, ImportError) as error:
        return HealthCheck(name, False, str(error))


def _once(settings: Settings, what: str, check: Callable[[], None], *files: Path) -> None:
    """Check what takes seconds, unless it was well with these files and the packages that are installed now."""
    kept = Path(settings.storage.cache_dir) / "doctor" / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.json"
    remembered((*files, Path(sysconfig.get_path("platlib"))), kept, check)


def _versions(settings: Settings) -> str:
    try:
        return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(f"{error.name} is not installed: run `make setup`") from error


def _accelerator(settings: Settings) -> str:
    if found := gpus():
        return f"{len(found)} x {', '.join(sorted({one.name for one in found}))}"
    if settings.runtime.device == "cuda":
        raise ThinkrewardError(
            "runtime.device is cuda but torch sees no GPU: set runtime.device=auto, or install a driver"
        )
    cores = os.cpu_count() or 1
    if settings.runtime.threads > cores:
        raise ThinkrewardError(
            f"runtime.threads is {settings.runtime.threads} on {cores} cores: set runtime.threads={cores}"
        )
    return f"none; the CPU with {settings.runtime.threads} of {cores} threads"


def _base(settings: Settings) -> str:
    folder = find_base(settings)
    if folder is None:
        from tasks.stages.prepare import check_hub_id  # with all that prepares

        check_hub_id(settings.model.base)
        return f"{settings.model.base}: a hub id, downloaded when first used"

    def load() -> None:
        from models.backbone import load_processor  # transformers and torch: six seconds

        load_processor(folder)

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    _once(settings, f"processor {folder.resolve()}", load, folder, *files)
    return str(folder)


def _memory(settings: Settings) -> str:
    """Whether each stage fits the smallest device that it would run on here, at its longest prompts."""
    shape, found = base_shape(settings), devices_for(settings)
    if shape is None:
        return f"unknown: no config.json of {settings.model.base} is here, or its family is none that is estimated"
    if not found:
        return "no device to compare with"
    device = min(found, key=lambda one: one.total)
    needed = parts(settings, shape, device=device.kind)
    if large := [one for one in needed if fits(one, device) == "no"]:
        raise ThinkrewardError("\n".join(refusal(settings, shape, one, device) for one in large))
    text = ", ".join(f"{one.name} {one.memory.total / GIB:.1f}" for one in needed)
    text = f"{seen(settings, device)}; at its longest prompts ({bounds(settings)}) needs about, GiB: {text}"
    if tight := [one for one in needed if fits(one, device) == "tight"]:
        cures = "; ".join(f"{one.name}: {cure(settings, shape, one, device)}" for one in tight)
        text += f"; tight, if memory runs out: {cures}"
    if most := [one.name for one in needed if one.memory.total > device.free]:
        text += f"; but {device.free / GIB:.1f} GiB are free now, too little for {', '.join(most)}"
    return text


def _storage(settings: Settings) -> str:
    open_store(settings).check_writable()
    return f"{settings.storage.root} can be written"


def _mlflow(settings: Settings) -> str:
    uri, experiment = settings.tracking.uri, settings.tracking.experiment

    def connect() -> None:
        Experiment.connect(uri, experiment)

    if database := settled_database(absolute_uri(uri)):
        check_database(database, uri)
        _once(settings, f"mlflow {database.resolve()} {experiment}", connect, database)
    else:
        connect()
    return f"{uri} answers"


def _teacher(settings: Settings) -> str:
    if settings.distill.teacher == "embedded":
        return "embedded: a local server that reads pixels"
    if settings.distill.teacher == "published":
        return "published: nobody is asked"
    from models.generation.endpoint_address import Endpoint

    endpoint = Endpoint.from_environment(settings.distill.model)
    return f"{settings.distill.model} at {endpoint.host}; the key is set (not tried: a call costs money)"
