"""Looking after a whole store: garbage collection, verification, lineage, copying."""

from models.errors import ArtifactCorrupt, ArtifactMissing, StoreError
from models.pairs.preference import Frozen
from tasks.store.artifacts import MANIFEST, ArtifactRef, IndexEntry, Store
from tasks.store.gc import gc
from tasks.store.lending import unnamed_files

__all__ = [
    "CopyReport",
    "Lineage",
    "Production",
    "StoreProblem",
    "VerifyReport",
    "copy_store",
    "gc",
    "lineage",
    "verify_store",
]


class StoreProblem(Frozen):
    """One fault found in a store: where, and what is wrong with it."""

    where: str
    fault: str


class VerifyReport(Frozen):
    """What `verify_store` looked at and found."""

    n_artifacts: int
    n_entries: int
    n_bytes: int
    problems: tuple[StoreProblem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_store(store: Store, deep: bool = True, drop: bool = False) -> VerifyReport:
    """Checks every artifact (its bytes too when `deep`) and that every index entry's outputs are there.

    A file within an artifact that its manifest does not name is a fault too, and spoils nothing else. With `drop` it is
    removed, and a damaged artifact as a whole, for whoever needs it to make it again. Faults are reported, not raised;
    only a storage that cannot be listed raises `StoreError`.
    """
    problems: list[StoreProblem] = []
    good: dict[str, ArtifactRef] = {}
    for kind, digest in store.addresses():
        try:
            if not store.objects.exists(f"artifacts/{kind}/{digest[:2]}/{digest}/{MANIFEST}"):
                continue  # being stored or removed: not visible, so no fault
            ref = store.reference(kind, digest)
            store.verify(ref, deep=deep)
            good[ref.path] = ref
            problems += _unnamed(store, ref, drop)
        except StoreError as error:
            problems.append(StoreProblem(where=f"{kind} {digest}", fault=str(error)))
            if drop and isinstance(error, ArtifactCorrupt):
                store.drop(kind, digest)
    n_entries = 0
    for found in store.objects.walk("index"):
        stage, name = found.path.split("/")[1:3]
        try:
            entry = store.lookup(stage, name.removesuffix(".json"))
        except StoreError as error:
            problems.append(StoreProblem(where=found.path, fault=str(error)))
            continue
        if entry is None:
            continue
        n_entries += 1
        gone = [f"{name} ({ref.kind} {ref.short})" for name, ref in entry.outputs.items() if ref.path not in good]
        if gone:
            problems.append(StoreProblem(where=found.path, fault=f"outputs missing or damaged: {', '.join(gone)}"))
    n_bytes = sum(ref.size for ref in good.values())
    return VerifyReport(n_artifacts=len(good), n_entries=n_entries, n_bytes=n_bytes, problems=tuple(problems))


def _unnamed(store: Store, ref: ArtifactRef, drop: bool) -> list[StoreProblem]:
    paths = unnamed_files(store, ref)
    if drop:
        for path in paths:
            store.objects.remove(path)
    fault = "is not in the manifest: another program wrote it into the store"
    return [
        StoreProblem(where=f"{ref.kind} {ref.digest}", fault=f"{store.objects.uri(path)} {fault}") for path in paths
    ]


class Production(Frozen):
    """One stage entry that made an artifact, under which output name, and where its inputs came from."""

    entry: IndexEntry
    output: str
    inputs: dict[str, "Lineage"]


class Lineage(Frozen):
    """An artifact and the entries that made it, newest first, then those that passed it through.

    What came from outside has none.

    An artifact already shown on the way here (a stage whose output equals an input) has no entries again.
    """

    ref: ArtifactRef
    made_by: tuple[Production, ...]


def raw_data(entry: IndexEntry) -> list[str]:
    """What a stage read from outside the store, a line each: where it is, and the sha256 of what was there."""
    settings = entry.config.get("prepare")
    if not isinstance(settings, dict):
        return []
    if settings["source"] == "jsonl":
        return [f"raw data: {settings['path']} (sha256 {str(entry.config.get('files', ''))[:12]})"]
    if settings["source"] != "published":
        return [f"raw data: {settings['source']}, seed {entry.config['seed']}"]
    digests = [str(one)[:12] for one in entry.config.get("published", ())]
    sources = settings["sources"]  # the digests are of them, and then of the benchmarks that were kept out
    return [
        f"raw data: {one['reader']} at {one['path']} (sha256 {digest})"
        for one, digest in zip(sources, digests[: len(sources)], strict=True)
    ]


def lineage(store: Store, ref: ArtifactRef) -> Lineage:
    """Where an artifact comes from, back to what no stage made. Raises `StoreError` if the index is unreadable."""
    makers: dict[str, list[tuple[IndexEntry, str]]] = {}
    for entry in store.entries():
        for output, made in entry.outputs.items():
            makers.setdefault(made.path, []).append((entry, output))

    for path, found in makers.items():  # a stage that passes an input through comes after the one that made it
        found.sort(key=lambda maker: any(source.path == path for source in maker[0].inputs.values()))

    def trace(ref: ArtifactRef, on_the_way: frozenset[str]) -> Lineage:
        if ref.path in on_the_way:
            return Lineage(ref=ref, made_by=())
        further = on_the_way | {ref.path}
        made_by = tuple(
            Production(
                entry=entry,
                output=output,
                inputs={name: trace(source, further) for name, source in entry.inputs.items()},
            )
            for entry, output in makers.get(ref.path, ())
        )
        return Lineage(ref=ref, made_by=made_by)

    return trace(ref, frozenset())


class CopyReport(Frozen):
    """What `copy_store` did: artifacts and entries copied, artifacts that were there, bytes copied."""

    n_copied: int
    n_there: int
    n_entries: int
    n_bytes: int


def copy_store(source: Store, target: Store) -> CopyReport:
    """Copies every artifact and then every index entry; digests, and so references, stay what they are.

    Can be repeated after a failure: what is there already is not copied again. Work in progress and leases stay
    behind. A remote source needs temporary space for its largest artifact. Raises `StoreError`: also for a source
    that holds nothing or is the target, and `ArtifactCorrupt` for a damaged artifact of `source`.
    """
    if source.objects.uri("") == target.objects.uri(""):
        raise StoreError(f"{source.objects.uri('')} cannot be copied to itself: give another root to copy to")
    entries = source.entries()  # before the artifacts, so that those of the last entry are among them
    refs = source.artifacts()
    if not refs and not entries:
        raise StoreError(f"{source.objects.uri('')} holds no artifact: is this the root to copy from?")
    missing = [ref for ref in refs if not _is_there(target, ref)]
    for ref in missing:
        with source.borrow(ref) as folder:
            target.publish(ref.kind, folder, metadata=source.manifest(ref).metadata)
    for entry in entries:
        target.record(entry)
    return CopyReport(
        n_copied=len(missing),
        n_there=len(refs) - len(missing),
        n_entries=len(entries),
        n_bytes=sum(ref.size for ref in missing),
    )


def _is_there(store: Store, ref: ArtifactRef) -> bool:
    try:
        store.verify(ref)
    except (ArtifactMissing, ArtifactCorrupt):
        return False
    return True
