"""The inbox: submissions, which are preference files that people put into the store for the next nightly run.

    <root>/inbox/<name>/                          a submission: pairs.jsonl, its media (README, "Your own pairs")
    <root>/inbox/<name>.zip                       the same in one archive (.zip, .tar, .tar.gz, .tgz)
    <root>/inbox-accepted/<version>/<name>/       what is in the preferences of this version, and INVALID.json
    <root>/inbox-rejected/<name>/                 what has no valid row, and REASON.txt
    <root>/index/inbox/<digest>.json              every submission; its files are an artifact of kind `drop`

A nightly run calls `ingest`, then the stage `prepare` with all `recorded` submissions among its inputs, then `archive`.
A submission leaves the inbox only when it is in new preferences, or rejected. The next run resumes whatever was
interrupted: a submission that was recorded but not moved counts as a duplicate then, and is moved all the same.

A submission whose youngest file has changed within the last `quiet_s` seconds waits for the next run, since it may not
be complete. Over a line so slow that one file takes longer, submit an archive: on S3 it appears as a whole.
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
from tasks.data.inbox.moves import MOVES, finish_moves, free_folder, move
from tasks.data.inbox.reading import LIMITS, Submission, SubmissionChanged, SubmissionLimits, fetch, stem
from tasks.data.inbox.records import INBOX, name_of
from tasks.store.artifact_types import ArtifactRef, IndexEntry, digest_of, entries_of, read_sources
from tasks.store.artifacts import Store
from tasks.store.leases import Lease
from tasks.store.objects.base import Found, segment

KIND = "drop"  # of the artifacts, as the first version named them
ACCEPTED = "inbox-accepted"
REJECTED = "inbox-rejected"
INVALID = "INVALID.json"
REASON = "REASON.txt"
# Of ours, and so no part of a submission that is put in again; the last is the name that version 0.1 used.
NOTES = (REASON, INVALID, "QUARANTINED.json")
Reading = Callable[[Path], Rows]
LATER = "changed just now, or its media took too long to decode: waits for the next run"
ROWS_SHOWN = 20  # invalid rows named in a REASON.txt


class Transient(Exception):
    """No row of a submission is valid now, for a transient cause: the next run reads it again."""


class Recorded(Frozen):
    """A submission that was read and recorded. `usable` of its `rows` are pairs, by task; `invalid` counts the others.

    `fingerprint` is the listing's, to find out later whether somebody changed a file since.
    """

    name: str
    ref: ArtifactRef
    rows: int
    usable: int
    tasks: dict[str, int]
    invalid: dict[str, int]
    fingerprint: str

    @property
    def invalid_words(self) -> str:
        """The invalid rows in words, or nothing."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.invalid.items())
        return f", {sum(self.invalid.values())} invalid ({reasons})" if reasons else ""


class Rejected(Frozen):
    """A submission that cannot be used, why, and the address of the folder that it was moved to."""

    name: str
    reason: str
    where: str


class Ingested(Frozen):
    """What became of the inbox. `waiting` may not be complete, `ignored` are no submissions at all."""

    accepted: tuple[Recorded, ...] = ()
    duplicates: tuple[Recorded, ...] = ()
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
        return sum(one.usable for one in self.accepted)

    def lines(self) -> list[str]:
        """What became of each, as a list in Markdown."""
        lines = [f"- {one.name}: {one.usable} of {one.rows} rows taken{one.invalid_words}" for one in self.accepted]
        lines += [f"- {one.name}: was taken before as {name_of(one.ref)}" for one in self.duplicates]
        lines += [f"- {one.name}: rejected, {one.reason.splitlines()[0]} ({one.where})" for one in self.rejected]
        lines += [f"- {name}: {LATER}" for name in self.waiting]
        lines += [f"- {name}: neither a folder nor an archive, stays where it is" for name in self.ignored]
        return lines or ["- nothing in it"]


def ingest(
    store: Store,
    *,
    max_frames: int,
    quiet_s: float,
    log: Callable[[str], None],
    limits: SubmissionLimits = LIMITS,
    decoding: Decoding = HERE,
) -> Ingested:
    """Record every complete submission, and move away what is invalid; what is recorded waits for `archive`.

    `max_frames` is the profile's, `quiet_s` in seconds on the storage's clock, `log` receives each outcome in a line;
    media are decoded by `decoding`.
    Only a storage that fails raises (`StoreError`): an invalid submission is an outcome.
    """
    everything = Ingested()
    reading = partial(read_rows, max_frames=max_frames, decoding=decoding)
    if not store.objects.walk(INBOX) and not store.work(INBOX, MOVES).names():
        return everything
    with _lease(store, log) as lease:
        for target in finish_moves(store):
            log(f"inbox: finished a move to {store.objects.uri(target)} that was interrupted")
        submissions, ignored = _submissions(store)
        now = store.now() if submissions else 0.0
        for one in submissions:
            arriving = one.is_arriving(store, now, quiet_s)
            found = Ingested(waiting=(one.shown,)) if arriving else _outcome(store, one, lease, reading, limits)
            for line in found.lines():
                log(f"inbox: {line.removeprefix('- ')}")
            everything += found
    return everything + Ingested(ignored=tuple(ignored))


def archive(store: Store, version: str, ingested: Ingested, *, log: Callable[[str], None] = lambda line: None) -> None:
    """Move what was ingested out of the inbox, now that it is in the preferences of this version.

    `version` is the first digits of their digest. A submission that was changed since it was read, or that is not in
    these preferences after all, stays for the next run. Raises `StoreError` if there are no such preferences.
    """
    pending = (*ingested.accepted, *ingested.duplicates)
    if not pending:
        return
    segment(version, "version")
    with _lease(store, log) as lease:
        finish_moves(store)
        invalid = _invalid_rows(store, version)
        there = {one.shown: one for one in _submissions(store)[0]}
        for submission in pending:
            one, name = there.get(submission.name), name_of(submission.ref)
            if one is None:
                continue  # another run has moved it
            if one.fingerprint != submission.fingerprint:
                log(f"inbox: {submission.name} changed after it was read and stays for the next run")
                continue
            if name not in invalid:
                log(f"inbox: {submission.name} stays, since preferences {version} were made without it")
                continue
            lease.check()
            target = free_folder(store, f"{ACCEPTED}/{version}/{stem(submission.name)}")
            notes = {INVALID: _invalid_note(version, name, invalid[name])} if invalid[name] else {}
            move(store, one.files, source=one.path, target=target, notes=notes)
            log(f"inbox: {submission.name} is in {store.objects.uri(target)}")


def _lease(store: Store, log: Callable[[str], None]) -> AbstractContextManager[Lease]:
    return store.lease(INBOX, INBOX, owner=f"{socket.gethostname()}/{os.getpid()}", on_wait=log)


def _submissions(store: Store) -> tuple[list[Submission], list[str]]:
    """The submissions by name, and the names of what is none but may have been meant as one."""
    found: dict[str, list[Found]] = {}
    for file in store.objects.walk(INBOX):
        found.setdefault(file.path.split("/")[1], []).append(file)
    everything = [Submission(f"{INBOX}/{name}", tuple(files)) for name, files in sorted(found.items())]
    meant = [one for one in everything if not is_litter(one.name) and one.name not in ("", "README.md")]
    return [one for one in meant if one.is_submission], [one.shown for one in meant if not one.is_submission]


def _outcome(store: Store, one: Submission, lease: Lease, reading: Reading, limits: SubmissionLimits) -> Ingested:
    try:
        submission, is_new = _take(store, one, lease, reading, limits)
    except (SubmissionChanged, Transient):
        return Ingested(waiting=(one.shown,))
    except DataError as error:
        lease.check()
        return Ingested(rejected=(_reject(store, one, str(error)),))
    return Ingested(accepted=(submission,)) if is_new else Ingested(duplicates=(submission,))


def _take(
    store: Store, one: Submission, lease: Lease, reading: Reading, limits: SubmissionLimits
) -> tuple[Recorded, bool]:
    """Publish and record one submission, unless equal files were recorded before; whether they were not."""
    with tempfile.TemporaryDirectory(prefix="thinkreward-inbox-") as scratch:
        folder = fetch(store, one, Path(scratch), limits, leave_out=NOTES)
        digest = digest_of(entries_of(read_sources(folder)))
        before = store.lookup(INBOX, digest)
        facts = _facts(reading(folder)) if before is None else before.facts
        lease.check()
        # Also what was recorded before: should the artifact be damaged, it is whole again.
        ref = store.publish(KIND, folder, metadata={"name": one.shown})
        if before is None:
            facts_of_it = {"name": one.shown, **facts}
            store.record(IndexEntry(stage=INBOX, key=digest, outputs={"pairs": ref}, facts=facts_of_it))
        counts = {name: facts[name] for name in ("rows", "usable", "tasks")}
        found = Recorded(name=one.shown, ref=ref, fingerprint=one.fingerprint, invalid=facts["quarantined"], **counts)
        return found, before is None


def _facts(rows: Rows) -> dict[str, Any]:
    """The counts of a submission. Raises `DataError` if no row is valid, `Transient` if one may be valid later."""
    if not rows.pairs and any(one.passing for _, one in rows.invalid):
        raise Transient
    if not rows.pairs:
        shown = [f"line {at}: {one.reason} {one.uri}".rstrip() for at, one in rows.invalid[:ROWS_SHOWN]]
        more = rows.count - len(shown)
        lines = [*shown, f"and {more} more"] if more else shown
        raise DataError("\n".join([f"none of its {rows.count} rows is valid", *lines]))
    return {
        "rows": rows.count,
        "usable": len(rows.pairs),
        "tasks": dict(Counter(str(pair.task) for pair in rows.pairs)),
        "quarantined": dict(Counter(one.reason for _, one in rows.invalid)),  # the name in every index entry
    }


def _reject(store: Store, one: Submission, reason: str) -> Rejected:
    safe = re.sub(r"[\x00-\x1f\x7f]", "_", stem(one.name))
    target = free_folder(store, f"{REJECTED}/{safe}")
    again = f"Correct it and put it into {store.objects.uri(INBOX)} once more."
    note = f"{one.shown} was not taken: {reason}\n\n{again} The format is in README, 'Your own pairs'.\n"
    move(store, one.files, source=one.path, target=target, notes={REASON: note})
    return Rejected(name=one.shown, reason=reason, where=store.objects.uri(target))


def _invalid_rows(store: Store, version: str) -> dict[str, list[dict[str, str]]]:
    """The rows that preferences of this version do not hold, by submission; each one that is in them has a list."""
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


def _invalid_note(version: str, name: str, rows: Iterable[dict[str, str]]) -> str:
    rows = list(rows)
    counted = dict(Counter(row["reason"] for row in rows))
    note = {"preferences": version, "submission": name, "count": len(rows), "by_reason": counted, "rows": rows}
    return json.dumps(note, indent=1, ensure_ascii=False) + "\n"
