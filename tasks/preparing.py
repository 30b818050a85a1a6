"""The bodies of `base` and `prepare`: the model to start from, and the preference data of all four tasks."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.backbone import load_processor
from models.dataset import Quarantined, Split, write_dataset
from models.decoding import Decoders
from models.errors import ArtifactMissing, ConfigError, DataError, HubUnreachable, ModelError
from models.preference import PreferencePair
from models.sources.drops import PREFIX, add_drops
from models.sources.jsonl import read_jsonl
from models.sources.shapes import foreign, read_shapes
from tasks.context import Context, stage_context
from tasks.graph import find_base
from tasks.launching import Child, Done, Job
from tasks.mixing import mix


def base(job: Job, child: Child, scratch: Path) -> Done:
    """Publish the base model, so that every later digest stands on its bytes.

    A relative path is looked up in the working directory and then in the installed package's root; what
    is no directory is a hub id and is downloaded through `huggingface_hub`.
    """
    with stage_context(job, child, scratch) as context:
        settings = job.settings.model
        source = find_base(job.settings) or _from_hub(settings.base, settings.revision)
        load_processor(source)
        if not any(source.glob("*.safetensors")):
            raise ModelError(f"{source} holds no safetensors weights: convert them with transformers' save_pretrained")
        folder = context.new_folder("base")
        shutil.copytree(
            source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "*.bin", "*.pt", "*.md")
        )
        return context.done({"model": context.publish("model", folder)})


def check_hub_id(name: str) -> None:
    """Raises `ConfigError` for what can be no hub id, such as a mistyped path."""
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise ConfigError(
            f"model.base is {name!r}, which is neither a model directory here nor a hub id like owner/name"
        )


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    check_hub_id(name)
    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.jinja"])
        )
    except (LocalEntryNotFoundError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", 503)
        kind = HubUnreachable if status >= 500 or status == 429 else ModelError
        raise kind(f"{name} is no directory here and the hub does not answer: {error}") from error
    except Exception as error:
        raise ModelError(f"{name} is no directory here and could not be downloaded from the hub: {error}") from error


@dataclass(frozen=True)
class _Read:
    """What the source gives: both splits, their media by uri, what was left out, and what published sets add."""

    splits: Mapping[Split, list[PreferencePair]]
    blobs: Mapping[str, bytes]
    left_out: list[Quarantined]
    reasoning: Mapping[str, str] = field(default_factory=dict)
    hygiene: dict[str, Any] = field(default_factory=dict)


def prepare(job: Job, child: Child, scratch: Path) -> Done:
    """Read the source into one schema with a train and a held-out split; drops join the training split."""
    settings = job.settings.prepare
    with (
        stage_context(job, child, scratch) as context,
        Decoders(settings.decoding_processes, settings.decoding_timeout_s) as decoders,
    ):
        read = _read_source(context, decoders)
        drops: dict[str, int] = {}
        if folders := _drops(context):
            added = add_drops(
                read.splits,
                read.blobs,
                folders,
                max_frames=job.settings.model.max_frames,
                decoding=decoders,
                on_progress=context.progress("drops"),
                foreign=foreign if settings.source == "shapes" else None,
            )
            left_out = [*read.left_out, *added.left_out]
            read, drops = replace(read, splits=added.splits, blobs=added.blobs, left_out=left_out), added.counts
        for one in read.left_out[:20]:
            child.say(f"quarantined {one.id}: {one.reason} {one.uri}")
        folder = context.new_folder("preferences")
        summary = write_dataset(
            folder, read.splits, read.blobs, read.left_out, drops, reasoning=read.reasoning, hygiene=read.hygiene
        )
        context.run.log_file(folder / "summary.json", "summary.json")
        facts = {f"{split}_pairs": counted["pairs"] for split, counted in summary["splits"].items()}
        if drops:
            facts |= {"drops": len(drops), "drop_pairs": sum(drops.values())}
        return context.done(
            {"preferences": context.publish("preferences", folder)}, **facts, quarantined=len(read.left_out)
        )


def _read_source(context: Context, decoders: Decoders) -> _Read:
    """What the source that the profile names gives."""
    prepare, progress = context.settings.prepare, context.progress("pairs")
    if prepare.source == "shapes":
        splits, blobs = read_shapes(
            train_pairs=prepare.train_pairs,
            held_out_pairs=prepare.held_out_pairs,
            seed=context.settings.seed,
            on_progress=progress,
        )
        return _Read(splits, blobs, [])
    if prepare.source == "published":
        mixed = mix(context)
        return _Read(mixed.splits, mixed.blobs, mixed.left_out, mixed.reasoning, mixed.hygiene)
    if prepare.path is None:
        raise DataError("prepare.path is empty")
    splits, blobs, left_out = read_jsonl(
        Path(prepare.path),
        held_out_share=prepare.held_out_share,
        max_frames=context.settings.model.max_frames,
        decoding=decoders,
        on_progress=progress,
    )
    return _Read(splits, blobs, left_out)


def _drops(context: Context) -> dict[str, Path]:
    """The folders of the inputs that are drops, by name. Raises `ArtifactMissing` naming one that is gone."""
    folders = {}
    for name in sorted(name for name in context.job.inputs if name.startswith(PREFIX)):
        try:
            folders[name] = context.input(name)
        except ArtifactMissing as error:
            raise ArtifactMissing(f"{name}: {error}; put its files into the inbox once more to have it back") from error
    return folders
