"""The inbox: preference files that people drop into the store, taken up by the next nightly run.

    <root>/inbox/<name>/                          a drop: pairs.jsonl and its media (README, "Your own pairs")
    <root>/inbox/<name>.zip                       the same in one archive (.zip, .tar, .tar.gz, .tgz)
    <root>/inbox-accepted/<version>/<name>/       what is in the preferences of this version, and QUARANTINED.json
    <root>/inbox-rejected/<name>/                 what could not be used at all, and REASON.txt
    <root>/index/inbox/<digest>.json              each drop there ever was; its files are an artifact of kind `drop`

A nightly run calls `ingest`, then the stage `prepare` with all `drops` among its inputs, then `settle`. A drop leaves
the inbox only when it is in new preferences, or rejected. Whatever is interrupted is taken up by the next run: a drop
that was recorded but not moved counts as a duplicate then, and is moved all the same.

A drop whose youngest file has changed within the last `quiet_s` seconds is left for the next time, since it may still
be on its way. Over a line so slow that one file takes longer, drop an archive: on S3 it appears as a whole.
"""

import json
import os
import re
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from models.errors import ArtifactMissing, DataError
from models.media.decoding import HERE, Decoding
from models.pairs.preference import Frozen
from models.sources.archives import is_litter
from models.sources.jsonl import Rows, read_rows
from models.sources.submissions import PREFIX
from tasks.data.inbox.moves import MOVES, finish_moves, free_folder, move
from tasks.data.inbox.reading import LIMITS, Changed, Limits, Submission, fetch, stem
from tasks.store.artifact_types import ArtifactRef, IndexEntry, digest_of, entries_of, read_sources
from tasks.store.artifacts import Store
from tasks.store.leases import Lease
from tasks.store.objects.base import Found, segment

INBOX = "inbox"
ACCEPTED = "inbox-accepted"
REJECTED = "inbox-rejected"
QUARANTINED = "QUARANTINED.json"
REASON = "REASON.txt"
Reading = Callable[[Path], Rows]
LATER = "changed just now, or its media took too long to decode: left for the next run"
ROWS_SHOWN = 20  # faulty rows named in a REASON.txt


class Passing(Exception):
    """No row of a drop is usable now, for a cause that passes: it is looked at again in the next run."""


class Drop(Frozen):
    """A drop that was read. `usable` of its `rows` are pairs, by task; `quarantined` counts the others by reason."""

    name: str
    ref: ArtifactRef
    rows: int
    usable: int
    tasks: dict[str, int]
    quarantined: dict[str, int]
    seen: str

    @property
    def left_out(self) -> str:
        """The quarantined rows in words, or nothing."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.quarantined.items())
        return f", {sum(self.quarantined.values())} quarantined ({reasons})" if reasons else ""


class Rejected(Frozen):
    """A drop that cannot be used, why, and the address of the folder that it was moved to."""

    name: str
    reason: str
    where: str


class Ingested(Frozen):
    """What became of the inbox. `waiting` are drops that still change, `ignored` is what is no drop at all."""

    accepted: tuple[Drop, ...] = ()
    duplicates: tuple[Drop, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    waiting: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def __add__(self, other: "Ingested") -> "Ingested":
        """Both together."""
        fields = {name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields}
        return Ingested(**fields)

    @property
    def rows(self) -> int:
        """The usable rows that are new."""
        return sum(drop.usable for drop in self.accepted)

    def lines(self) -> list[str]:
        """What became of each, as a list in Markdown."""
        said = [f"- {drop.name}: {drop.usable} of {drop.rows} rows taken{drop.left_out}" for drop in self.accepted]
        said += [f"- {drop.name}: was taken before as {name_of(drop.ref)}" for drop in self.duplicates]
        said += [f"- {one.name}: rejected, {one.reason.splitlines()[0]} ({one.where})" for one in self.rejected]
        said += [f"- {name}: {LATER}" for name in self.waiting]
        said += [f"- {name}: neither a folder nor an archive, stays where it is" for name in self.ignored]
        return said or ["- nothing in it"]


def drops(store: Store) -> dict[str, ArtifactRef]:
    """Every recorded drop by name (`drop-` and 12 digits), in the order of their digests: inputs of `prepare`."""
    refs = sorted((entry.outputs["pairs"] for entry in store.entries(INBOX)), key=lambda ref: ref.digest)
    return {name_of(ref): ref for ref in refs}


def name_of(ref: ArtifactRef) -> str:
    """A drop's name among the inputs of `prepare`, and before the ids of its pairs."""
    return f"{PREFIX}{ref.short}"


def ingest(
    store: Store,
    *,
    max_frames: int,
    quiet_s: float,
    say: Callable[[str], None],
    limits: Limits = LIMITS,
    decoding: Decoding = HERE,
) -> Ingested:
    """Record every drop that has settled, and move away what cannot be used; what is recorded waits for `settle`.

    `max_frames` is the profile's, `quiet_s` in seconds on the storage's clock, `say` is told each outcome in a line;
    media are decoded by `decoding`.
    Only a storage that fails raises (`StoreError`): a faulty drop is an outcome.
    """
    everything = Ingested()
    reading = partial(read_rows, max_frames=max_frames, decoding=decoding)
    if not store.objects.walk(INBOX) and not store.work(INBOX, MOVES).names():
        return everything
    with _lease(store, say) as lease:
        for target in finish_moves(store):
            say(f"inbox: finished a move to {store.objects.uri(target)} that was interrupted")
        dropped, ignored = _dropped(store)
        now = store.now() if dropped else 0.0
        for one in dropped:
            arriving = one.is_arriving(store, now, quiet_s)
            found = Ingested(waiting=(one.shown,)) if arriving else _outcome(store, one, lease, reading, limits)
            for line in found.lines():
                say(f"inbox: {line.removeprefix('- ')}")
            everything += found
    return everything + Ingested(ignored=tuple(ignored))


def settle(store: Store, version: str, ingested: Ingested, *, say: Callable[[str], None] = lambda line: None) -> None:
    """Move what was ingested out of the inbox, now that it is in the preferences of this version.

    `version` is the first digits of their digest. A drop that was changed since it was read, or that is not in these
    preferences after all, stays for the next run. Raises `StoreError` if there are no such preferences.
    """
    pending = (*ingested.accepted, *ingested.duplicates)
    if not pending:
        return
    segment(version, "version")
    with _lease(store, say) as lease:
        finish_moves(store)
        left_out = _left_out(store, version)
        there = {one.shown: one for one in _dropped(store)[0]}
        for drop in pending:
            one, name = there.get(drop.name), name_of(drop.ref)
            if one is None:
                continue  # another run has moved it
            if one.seen != drop.seen:
                say(f"inbox: {drop.name} changed after it was read and stays for the next run")
                continue
            if name not in left_out:
                say(f"inbox: {drop.name} stays, since preferences {version} were made without it")
                continue
            lease.check()
            target = free_folder(store, f"{ACCEPTED}/{version}/{stem(drop.name)}")
            notes = {QUARANTINED: _quarantine_note(version, name, left_out[name])} if left_out[name] else {}
            move(store, one.files, source=one.path, target=target, notes=notes)
            say(f"inbox: {drop.name} is in {store.objects.uri(target)}")


def _lease(store: Store, say: Callable[[str], None]) -> AbstractContextManager[Lease]:
    return store.lease(INBOX, INBOX, owner=f"{socket.gethostname()}/{os.getpid()}", on_wait=say)


def _dropped(store: Store) -> tuple[list[Submission], list[str]]:
    """The drops by name, and the names of what is none but may have been meant as one."""
    found: dict[str, list[Found]] = {}
    for file in store.objects.walk(INBOX):
        found.setdefault(file.path.split("/")[1], []).append(file)
    everything = [Submission(f"{INBOX}/{name}", tuple(files)) for name, files in sorted(found.items())]
    meant = [one for one in everything if not is_litter(one.name) and one.name not in ("", "README.md")]
    return [one for one in meant if one.is_drop], [one.shown for one in meant if not one.is_drop]


def _outcome(store: Store, one: Submission, lease: Lease, reading: Reading, limits: Limits) -> Ingested:
    try:
        drop, is_new = _take(store, one, lease, reading, limits)
    except (Changed, Passing):
        return Ingested(waiting=(one.shown,))
    except DataError as error:
        lease.check()
        return Ingested(rejected=(_reject(store, one, str(error)),))
    return Ingested(accepted=(drop,)) if is_new else Ingested(duplicates=(drop,))


def _take(store: Store, one: Submission, lease: Lease, reading: Reading, limits: Limits) -> tuple[Drop, bool]:
    """Publish and record one drop, unless equal files were recorded before; whether they were not."""
    with tempfile.TemporaryDirectory(prefix="thinkreward-inbox-") as scratch:
        folder = fetch(store, one, Path(scratch), limits, leave_out=(REASON, QUARANTINED))
        digest = digest_of(entries_of(read_sources(folder)))
        before = store.lookup(INBOX, digest)
        facts = _facts(reading(folder)) if before is None else before.facts
        lease.check()
        # Also what was recorded before: should the artifact be damaged, it is whole again.
        ref = store.publish("drop", folder, metadata={"name": one.shown})
        if before is None:
            facts_of_it = {"name": one.shown, **facts}
            store.record(IndexEntry(stage=INBOX, key=digest, outputs={"pairs": ref}, facts=facts_of_it))
        counts = {name: facts[name] for name in ("rows", "usable", "tasks", "quarantined")}
        return Drop(name=one.shown, ref=ref, seen=one.seen, **counts), before is None


def _facts(rows: Rows) -> dict[str, Any]:
    """The counts of a drop. Raises `DataError` if none of its rows is usable, `Passing` if one may be another time."""
    if not rows.pairs and any(one.passing for _, one in rows.invalid):
        raise Passing
    if not rows.pairs:
        shown = [f"line {at}: {one.reason} {one.uri}".rstrip() for at, one in rows.invalid[:ROWS_SHOWN]]
        more = rows.count - len(shown)
        said = [*shown, f"and {more} more"] if more else shown
        raise DataError("\n".join([f"none of its {rows.count} rows is usable", *said]))
    return {
        "rows": rows.count,
        "usable": len(rows.pairs),
        "tasks": dict(Counter(str(pair.task) for pair in rows.pairs)),
        "quarantined": dict(Counter(one.reason for _, one in rows.invalid)),
    }


def _reject(store: Store, one: Submission, reason: str) -> Rejected:
    safe = re.sub(r"[\x00-\x1f\x7f]", "_", stem(one.name))
    target = free_folder(store, f"{REJECTED}/{safe}")
    again = f"Correct it and put it into {store.objects.uri(INBOX)} once more."
    note = f"{one.shown} was not taken: {reason}\n\n{again} The format is in README, 'Your own pairs'.\n"
    move(store, one.files, source=one.path, target=target, notes={REASON: note})
    return Rejected(name=one.shown, reason=reason, where=store.objects.uri(target))


def _left_out(store: Store, version: str) -> dict[str, list[dict[str, str]]]:
    """The rows that preferences of this version left out, by drop; each drop that is in them has a list."""
    ref = store.resolve(f"preferences/{version}")
    try:
        summary = json.loads(store.objects.read(f"{ref.path}/files/summary.json"))
    except FileNotFoundError as error:
        raise ArtifactMissing(f"preferences {version} have no summary.json: refresh the stage prepare") from error
    rows: dict[str, list[dict[str, str]]] = {name: [] for name in summary.get("drops", {})}
    for row in summary["quarantined"]["rows"]:
        name, _, where = row["id"].partition("/")
        if name in rows:
            rows[name].append({"row": where, "reason": row["reason"], "uri": row["uri"]})
    return rows


def _quarantine_note(version: str, name: str, rows: Iterable[dict[str, str]]) -> str:
    rows = list(rows)
    counted = dict(Counter(row["reason"] for row in rows))
    said = {"preferences": version, "drop": name, "count": len(rows), "by_reason": counted, "rows": rows}
    return json.dumps(said, indent=1, ensure_ascii=False) + "\n"
