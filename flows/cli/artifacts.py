"""`thinkreward artifacts`: look into the store, trace, verify, copy, collect."""

import json
from typing import Annotated, Any

import typer

from flows.cli.console import out, plain_table, print_json
from flows.cli.options import DEFAULT_PROFILE, Json, Profile, Sets, settings_from
from models.errors import ArtifactCorrupt
from tasks.pipeline.pinning import find_artifact
from tasks.pipeline.run import open_store
from tasks.store.artifacts import Store
from tasks.store.maintenance import Lineage, copy_store, raw_data, verify_store
from tasks.store.maintenance import lineage as trace

artifacts = typer.Typer(no_args_is_help=True, help="Look into the artifact store: ls, show, lineage, verify, copy, gc.")
Which = Annotated[str, typer.Argument(metavar="DIGEST", help="the digest's first digits, or kind/digits")]
WhichOrAlias = Annotated[
    str, typer.Argument(metavar="WHICH", help="digits of a digest, kind/digits, or a registry alias")
]
MIB = 2**20
DAY_S = 86400.0


def _store(profile: str, sets: list[str] | None) -> Store:
    return open_store(settings_from(profile, sets))


@artifacts.command("ls")
def list_artifacts(
    kind: Annotated[str | None, typer.Option(help="of this kind alone, such as model")] = None,
    profile: Profile = DEFAULT_PROFILE,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """What is in the store, newest stage first."""
    store = _store(profile, sets)
    made = {ref.digest: entry for entry in reversed(store.entries()) for ref in entry.outputs.values()}
    rows: list[dict[str, Any]] = []
    for ref in store.artifacts(kind):
        entry = made.get(ref.digest)
        rows.append(
            {
                "kind": ref.kind,
                "digest": ref.digest,
                "bytes": ref.size,
                "files": ref.n_files,
                "stage": entry.stage if entry else "",
                "created_at": entry.created_at if entry else "",
            }
        )
    rows.sort(key=lambda row: row["created_at"], reverse=True)
    if as_json:
        print_json({"artifacts": rows})
        return
    cells = [
        [r["kind"], r["digest"][:12], f"{r['bytes'] / MIB:.2f}", str(r["files"]), r["stage"], r["created_at"][:19]]
        for r in rows
    ]
    out.print(plain_table([["kind", "digest", "MiB", "files", "stage", "made"], *cells]))


@artifacts.command()
def show(which: Which, profile: Profile = DEFAULT_PROFILE, sets: Sets = None, as_json: Json = False) -> None:
    """One artifact's files, where they are, and which run made them."""
    store = _store(profile, sets)
    ref = store.resolve(which)
    manifest = store.manifest(ref)
    entries = [
        e.model_dump(mode="json") for e in store.entries() if ref.digest in {o.digest for o in e.outputs.values()}
    ]
    if as_json:
        print_json({"manifest": manifest.model_dump(mode="json"), "uri": store.uri(ref), "made_by": entries})
        return
    out.print(f"{ref.kind}/{ref.digest}\n{store.uri(ref)}")
    out.print(
        plain_table([["file", "bytes", "sha256"], *([f.path, str(f.size), f.sha256[:16]] for f in manifest.files)])
    )
    for entry in entries:
        run = entry["run_ids"].get("mlflow", "-")
        out.print(f"made by {entry['stage']} {entry['key'][:12]} at {entry['created_at'][:19]}, mlflow {run}")
        out.print_json(json.dumps(entry["config"]))


@artifacts.command()
def lineage(which: WhichOrAlias, profile: Profile = DEFAULT_PROFILE, sets: Sets = None, as_json: Json = False) -> None:
    """What an artifact, or the registry's champion, was made from, back to the raw data."""
    settings = settings_from(profile, sets)
    store = open_store(settings)
    tree = trace(store, find_artifact(store, settings, which))
    if as_json:
        print_json(tree.model_dump(mode="json"))
        return
    _print_lineage(tree, 0)


def _print_lineage(tree: Lineage, depth: int) -> None:
    makers = ", ".join(f"{p.entry.stage} {p.entry.key[:8]}" for p in tree.made_by[:1])
    out.print(f"{'  ' * depth}{tree.ref.kind} {tree.ref.short}" + (f"  <- {makers}" if makers else ""))
    for production in tree.made_by[:1]:
        for line in raw_data(production.entry):
            out.print(f"{'  ' * (depth + 1)}{line}", markup=False)
        for below in production.inputs.values():
            _print_lineage(below, depth + 1)


@artifacts.command()
def verify(
    drop: Annotated[
        bool, typer.Option("--drop", help="drop what is damaged or does not belong; runs rebuild it")
    ] = False,
    profile: Profile = DEFAULT_PROFILE,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Hash every byte in the store again; exit status 1 if anything is damaged, or not in a manifest."""
    report = verify_store(_store(profile, sets), deep=True, drop=drop)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        for problem in report.problems:
            out.print(f"{problem.where}: {problem.fault}", style="red", markup=False)
        out.print("all artifacts are whole" if report.ok else f"{len(report.problems)} problems")
    if not report.ok:
        cure = "dropped: the next run rebuilds what it needs" if drop else "`artifacts verify --drop` has them mended"
        raise ArtifactCorrupt(f"{len(report.problems)} problems; {cure}")


@artifacts.command()
def copy(
    source: Annotated[str, typer.Option("--from", metavar="ROOT", help="a folder, file:///… or s3://bucket/prefix")],
    target: Annotated[str, typer.Option("--to", metavar="ROOT", help="the other store; made if it is not there")],
    as_json: Json = False,
) -> None:
    """Copy all artifacts and index entries to another store; digests stay, and what is there is not copied again."""
    there = Store(target)
    there.check_writable()
    report = copy_store(Store(source), there)
    if as_json:
        print_json({"from": source, "to": target, **report.model_dump(mode="json")})
        return
    copied = f"{report.n_copied} artifacts copied ({report.n_bytes / MIB:.1f} MiB), {report.n_there} were there"
    out.print(f"{copied}, {report.n_entries} index entries written")


@artifacts.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, and keep it")] = False,
    grace_days: Annotated[float, typer.Option(min=0, help="keep what is younger, days")] = 1.0,
    profile: Profile = DEFAULT_PROFILE,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Remove what no index entry, registry version or running stage refers to."""
    from tasks.store.gc import gc as collect
    from tasks.tracking.registry import pinned_digests

    settings = settings_from(profile, sets)
    pinned = pinned_digests(settings.tracking.uri, settings.tracking.registered_model)
    removed = collect(open_store(settings), grace_s=grace_days * DAY_S, dry_run=dry_run, pinned=pinned)
    if as_json:
        print_json({"removed": [one.model_dump(mode="json") for one in removed], "dry_run": dry_run})
        return
    for one in removed:
        out.print(f"{'would remove' if dry_run else 'removed'} {one.what} {one.path} ({one.size / MIB:.1f} MiB)")
    out.print(f"{len(removed)} things, {sum(one.size for one in removed) / MIB:.1f} MiB")
