"""The bodies of `base` and `prepare`: the model to start from, and the preference data of all four tasks."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.backbone import load_processor
from models.errors import ArtifactMissing, ConfigError, DataError, HubUnreachable, ModelError
from models.hygiene.perceptual import perceptual_hash
from models.media.decoding import Decoders
from models.media.frames import decode
from models.pairs.dataset import InvalidPair, write_dataset
from models.pairs.preference import PreferencePair, Split
from models.sources.jsonl import read_rows
from models.sources.shapes import foreign, read_shapes, same_look
from models.sources.shares import held_back
from models.sources.submissions import add_submissions
from models.splits.assign import Shares, assign
from models.splits.ledger import Ledger
from models.splits.near import Confirm
from tasks.data.decoders import prepare_decoders
from tasks.data.inbox.records import PREFIX
from tasks.pipeline.child import Child, Done, Job
from tasks.pipeline.graph import PREVIOUS, find_base
from tasks.pipeline.plan import ROWS_TO_RETRY
from tasks.stages.context import Context, stage_context
from tasks.stages.mixing import mix


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
    """What the source gives: the splits, their media by uri, what was left out, and what published sets add.

    `hashes` are the perceptual hashes of the media by sha256; the shapes come without.
    """

    splits: Mapping[Split, list[PreferencePair]]
    blobs: Mapping[str, bytes]
    invalid: list[InvalidPair]
    reasoning: Mapping[str, str] = field(default_factory=dict)
    hygiene: dict[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def prepare(job: Job, child: Child, scratch: Path) -> Done:
    """Read the source into one schema with three splits; drops join the training split.

    What an earlier version held stays in its split: the ledger says which, and goes on with this version's pairs.
    """
    with (
        stage_context(job, child, scratch) as context,
        prepare_decoders(job.settings) as decoders,
    ):
        ledger = _previous(context)
        read = _read_source(context, decoders, ledger)
        drops: dict[str, int] = {}
        if folders := _drops(context):
            read, drops = _with_drops(context, decoders, ledger, read, folders)
        for one in read.invalid[:20]:
            child.log(f"invalid: {one.id}: {one.reason} {one.uri}")
        folder = context.new_folder("preferences")
        summary = write_dataset(
            folder, read.splits, read.blobs, read.invalid, drops, reasoning=read.reasoning, hygiene=read.hygiene
        )
        context.run.log_file(folder / "summary.json", "summary.json")
        facts = {f"{split}_pairs": counted["pairs"] for split, counted in summary["splits"].items()}
        if drops:
            facts |= {"drops": len(drops), "drop_pairs": sum(drops.values())}
        if held := held_back(summary["quarantined"]["by_reason"]):
            facts |= {"held_back": held}
            child.log(f"{sum(held.values())} dropped pairs held back: {held}")
        connecting = {why: n for why, n in summary["quarantined"]["by_reason"].items() if why.startswith("connects")}
        if connecting:
            facts |= {"connecting": connecting}
            child.log(f"{sum(connecting.values())} pairs excluded, since they would connect splits: {connecting}")
        ledger.add(read.splits, read.hashes)
        kept = context.new_folder("splits")
        ledger.write(kept)
        outputs = {"preferences": context.publish("preferences", folder), "splits": context.publish("splits", kept)}
        if passing := sum(one.passing for one in read.invalid):
            facts[ROWS_TO_RETRY] = passing
            child.log(
                f"{passing} pairs are invalid for now, since their media took longer than prepare.decoding_timeout_s "
                "or could not be read: the next run tries them again"
            )
        return context.done(outputs, **facts, quarantined=len(read.invalid))


def _previous(context: Context) -> Ledger:
    """The ledger of the version before, or an empty one. Raises `ArtifactMissing` if it is gone from the store."""
    if PREVIOUS not in context.job.inputs:
        return Ledger()
    try:
        return Ledger.read(context.input(PREVIOUS))
    except ArtifactMissing as error:
        raise ArtifactMissing(
            f"{error}; it says which pairs were held out so far: bring it back from a copy of the store, or begin with "
            "a store of your own if no earlier model is to be compared with"
        ) from error


def _with_drops(
    context: Context, decoders: Decoders, ledger: Ledger, read: _Read, folders: Mapping[str, Path]
) -> tuple[_Read, dict[str, int]]:
    """The source's pairs with those of the drops before them, and how many each drop gave."""
    settings = context.settings
    hashes, confirm = read.hashes, None
    if settings.prepare.source == "shapes":
        hashes, confirm = _look(read, settings.model.max_frames)
    added = add_submissions(
        read.splits,
        read.blobs,
        folders,
        ledger=ledger,
        hashes=hashes,
        near_bits=settings.prepare.near_duplicate_bits,
        confirm=confirm,
        max_frames=settings.model.max_frames,
        decoding=decoders,
        on_progress=context.progress("drops"),
        foreign=foreign if settings.prepare.source == "shapes" else None,
        conflicts=settings.prepare.conflicts,
        share=settings.prepare.inbox_share,
    )
    invalid = [*read.invalid, *added.invalid]
    together = {**read.hashes, **added.hashes}
    return replace(read, splits=added.splits, blobs=added.blobs, invalid=invalid, hashes=together), added.counts


def _look(read: _Read, max_frames: int) -> tuple[dict[str, tuple[int, ...]], Callable[[Mapping[str, bytes]], Confirm]]:
    """Perceptual hashes of what the shapes hold out and validate on, and how two of their pictures are compared."""
    sealed = {
        medium.sha256: read.blobs[medium.uri]
        for split in ("validation", "held_out")
        for pair in read.splits[split]
        for medium in pair.media()
    }
    hashes = {name: perceptual_hash(decode(data, name, max_frames=max_frames)) for name, data in sealed.items()}
    return hashes, lambda dropped: same_look({**sealed, **dropped}, max_frames)


def _read_source(context: Context, decoders: Decoders, ledger: Ledger) -> _Read:
    """What the source that the profile names gives."""
    prepare, progress = context.settings.prepare, context.progress("pairs")
    if prepare.source == "shapes":
        invalid: list[InvalidPair] = []
        splits, blobs = read_shapes(
            train_pairs=prepare.train_pairs,
            validation_pairs=prepare.validation_pairs,
            held_out_pairs=prepare.held_out_pairs,
            seed=context.settings.seed,
            ledger=ledger,
            invalid=invalid,
            on_progress=progress,
        )
        return _Read(splits, blobs, invalid)
    if prepare.source == "published":
        mixed = mix(context, ledger)
        return _Read(mixed.splits, mixed.blobs, mixed.invalid, mixed.reasoning, mixed.hygiene, mixed.hashes)
    if prepare.path is None:
        raise DataError("prepare.path is empty")
    rows = read_rows(
        Path(prepare.path),
        max_frames=context.settings.model.max_frames,
        decoding=decoders,
        on_progress=progress,
    )
    shares = Shares(prepare.held_out_share, prepare.validation_share)
    found = assign(rows.pairs, rows.hashes, ledger, shares, near_bits=prepare.near_duplicate_bits)
    shown = {medium.uri for pairs in found.splits.values() for pair in pairs for medium in pair.media()}
    invalid = [one for _, one in rows.invalid] + found.invalid
    return _Read(found.splits, rows.blobs.only(sorted(shown)), invalid, hashes=rows.hashes)


def _drops(context: Context) -> dict[str, Path]:
    """The folders of the inputs that are drops, by name. Raises `ArtifactMissing` naming one that is gone."""
    folders = {}
    for name in sorted(name for name in context.job.inputs if name.startswith(PREFIX)):
        try:
            folders[name] = context.input(name)
        except ArtifactMissing as error:
            raise ArtifactMissing(f"{name}: {error}; put its files into the inbox once more to have it back") from error
    return folders
