"""Requests to a judge as plain rows, and its answers as plain rows: what the registry model serves.

A request row has `task`, `prompt`, `candidate_1`, `candidate_2`, for understanding tasks `media` (what both answers
are about; a list for several images), and perhaps `mode`. A medium is a file path, encoded bytes, base64 text, a data
URL or a PIL image; a video is an MP4, WebM, MOV, MKV, AVI, GIF, WebP or animated PNG, or the list of its frames, each
in any of those forms. Nothing is downloaded.
"""

import base64
import binascii
import hashlib
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlsplit

from PIL import Image
from pydantic import ValidationError

from models.errors import DataError, MediaError
from models.judging.judge import Judgment
from models.judging.request_media import EncodedMedium, decode_with
from models.media.decoding import HERE, Decoding
from models.media.frames import pack_frames
from models.pairs.preference import Candidate, Media, PreferencePair, Task, agree
from models.verdict.grammar import Malformed, Mode, Verdict

Row = dict[str, Any]

COLUMNS = ("task", "prompt", "candidate_1", "candidate_2")
OPTIONAL_COLUMNS = ("media", "mode")


class RequestMedia:
    """The decoded media of one request, by the sha256 of their bytes.

    Without `files` a text is never taken for a path: who asks over a network must not see this machine's files. Nor may
    what they send end this process: `decoding` is where it is decoded, `models.media.decoding.Decoders` for strangers.
    """

    def __init__(self, *, max_pixels: int, max_frames: int, files: bool = True, decoding: Decoding = HERE) -> None:
        self.max_pixels = max_pixels
        self.max_frames = max_frames
        self.files = files
        self.decoding = decoding
        self._frames: dict[str, list[Image.Image]] = {}
        self._kinds: dict[str, str] = {}
        self._encoded: dict[str, bytes] = {}

    def add(self, value: object, task: Task, where: str) -> Media:
        """Reads and decodes a medium in any of its forms. Raises `MediaError` naming `where` it was."""
        digest = self.read(value, task.media_kind, where, asked_by=task)
        return Media(kind=task.media_kind, uri=digest, sha256=digest)

    def read(self, value: object, kind: str, where: str, *, asked_by: str) -> str:
        """The digest of a medium by which `frames` finds it. Raises `MediaError`, also for one of another kind."""
        data = read_media(value, where, files=self.files)
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._frames:
            seen = decode_with(EncodedMedium(data, where, self.max_frames, self.max_pixels), self.decoding)
            self._kinds[digest], self._encoded[digest], self._frames[digest] = seen.kind, data, seen.frames
        if self._kinds[digest] != kind:
            raise MediaError(where, f"has the kind {self._kinds[digest]}: {asked_by} takes {kind}s")
        return digest

    def frames(self, uri: str) -> list[Image.Image]:
        """The frames that a judge asks for."""
        return self._frames[uri]

    def blob(self, uri: str) -> bytes:
        """A medium as it was given, encoded."""
        return self._encoded[uri]


def read_media(value: object, where: str, *, files: bool = True) -> bytes:
    """The encoded bytes of a medium; frames become one file that `models.media.frames` reads as a video.

    Raises `MediaError` naming `where` it was, never quoting its bytes.
    """
    if type(value).__name__ == "ndarray":  # as which MLflow hands lists on
        value = value.tolist()  # type: ignore[attr-defined]
    if isinstance(value, (list, tuple)):
        if not value:
            raise MediaError(where, "is a video without frames: give at least one")
        frames = (read_media(frame, f"{where}, frame {at}", files=files) for at, frame in enumerate(value))
        return pack_frames((f"{at:06d}", frame) for at, frame in enumerate(frames))
    if isinstance(value, Image.Image):
        buffer = io.BytesIO()
        value.convert("RGBA" if value.has_transparency_data else "RGB").save(buffer, format="PNG")
        return buffer.getvalue()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise MediaError(
            where, f"is {type(value).__name__}: give a file path, bytes, base64 text, a data URL or a PIL image"
        )
    text = os.fspath(value)
    if isinstance(text, bytes) or text.startswith(("http://", "https://", "s3://")):
        raise MediaError(where, "is an address, and nothing is downloaded: give a file path, bytes, or a data URL")
    if text.startswith("data:"):
        head, _, payload = text.partition(",")
        if not head.endswith(";base64"):
            raise MediaError(where, "is a data URL that is not base64: use data:image/png;base64,…")
        return _unbase64(payload, where)
    if not files:
        return _unbase64(text, where, "is not base64 (paths are not looked up here): give base64 text or a data URL")
    path = Path(unquote(urlsplit(text).path)) if text.startswith("file://") else Path(text)
    try:
        if path.is_file():
            return path.read_bytes()
    except (OSError, ValueError) as error:  # base64 text is too long for a file name
        if isinstance(error, PermissionError):
            raise MediaError(where, f"{path} cannot be read: {error.strerror}") from error
    return _unbase64(text, where)


def _unbase64(text: str, where: str, fault: str = "is neither an existing file nor base64") -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        start = text[:80] + ("…" if len(text) > 80 else "")
        raise MediaError(where, f"{start!r} {fault}") from error


def read_pairs(rows: Sequence[Mapping[str, Any]], media: RequestMedia) -> list[PreferencePair]:
    """The pairs that request rows ask about; their label is a tie, since none is known.

    Raises `DataError` or `MediaError` naming the row, counted from 0, and the column.
    """
    return [_read_pair(row, number, media) for number, row in enumerate(rows)]


def _read_pair(row: Mapping[str, Any], number: int, media: RequestMedia) -> PreferencePair:
    missing = [name for name in COLUMNS if _absent(row.get(name))]
    if missing:
        raise DataError(f"row {number}: {', '.join(missing)} missing: every row needs {', '.join(COLUMNS)}")
    try:
        task = Task(row["task"])
    except ValueError as error:
        raise DataError(f"row {number}: task {row['task']!r} is none of {', '.join(Task)}") from error
    try:
        first, second = (_candidate(row[name], task, f"row {number}, {name}", media) for name in COLUMNS[2:])
        context = tuple(
            media.add(one, task, f"row {number}, media") for one in _context(row.get("media"), task) if not _absent(one)
        )
        return PreferencePair(
            id=str(number), task=task, prompt=str(row["prompt"]), context=context, candidates=(first, second),
            preferred="tie", source="request",
        )  # fmt: skip
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise DataError(f"row {number}: {reason}") from error


def _candidate(value: object, task: Task, where: str, media: RequestMedia) -> Candidate:
    if task.judges_media:
        return Candidate(media=media.add(value, task, where))
    if not isinstance(value, str):
        raise DataError(f"{where} is {type(value).__name__}: {task} compares two texts")
    return Candidate(text=value)


def read_mode(row: Mapping[str, Any], default: str, number: int) -> Mode:
    """The mode of a row: its own, or else the request's. Raises `DataError` for an unknown one."""
    value = default if _absent(row.get("mode")) else row["mode"]
    for mode in get_args(Mode):
        if value == mode:
            return mode  # type: ignore[no-any-return]
    raise DataError(f"row {number}: mode {value!r} is none of {', '.join(get_args(Mode))}")


def answer_row(judgments: Sequence[Judgment]) -> Row:
    """The answer to one row, from its judgment as given, and if there is one the judgment in swapped order.

    `preferred` is 1, 2, "tie" or None; `margin` is the first's total less the second's; lists are empty, totals and
    margin None where the text gives none.
    """
    given = judgments[0]
    fault = fault_of(given)
    row: Row = {"preferred": given.preferred, "valid": given.valid, "fault": fault, "mode": given.mode}
    row |= {"text": given.text, **_reasoning(given.verdict)}
    if len(judgments) > 1:
        row["both_orders_agree"] = agree(given.preferred, judgments[1].preferred)
    return row


def fault_of(judgment: Judgment) -> str | None:
    """Why there is no valid text, or None."""
    if judgment.refused:
        return f"refused: {judgment.refused}"
    return str(judgment.verdict.reason) if isinstance(judgment.verdict, Malformed) else None


def _reasoning(verdict: Verdict | Malformed) -> Row:
    dimensions = verdict.dimensions if isinstance(verdict, Verdict) else ()
    totals = verdict.totals if isinstance(verdict, Verdict) else None
    return {
        "dimensions": [dimension.name for dimension in dimensions],
        "scores_1": [dimension.scores[0] for dimension in dimensions],
        "scores_2": [dimension.scores[1] for dimension in dimensions],
        "rationales": [list(dimension.rationales) for dimension in dimensions],
        "total_1": totals[0].value if totals else None,
        "total_2": totals[1].value if totals else None,
        "margin": totals[0].value - totals[1].value if totals else None,
        "sums_agree": isinstance(verdict, Verdict) and verdict.sums_agree,
        "answer_agrees": isinstance(verdict, Verdict) and verdict.answer_agrees,
    }


def _context(value: object, task: Task) -> Iterable[object]:
    """The media that a row is about: for a task about a video, a list of several is that video's frames."""
    several = list(_several(value))
    return [several] if task.media_kind == "video" and len(several) > 1 else several


def _several(value: object) -> Iterable[object]:
    """A cell with one medium or several (a list, a tuple or an array) as several."""
    if isinstance(value, (list, tuple)):
        return value
    if hasattr(value, "tolist") and not isinstance(value, memoryview):
        listed = value.tolist()
        return listed if isinstance(listed, list) else [listed]
    return [value]


def _absent(value: object) -> bool:
    """Whether a cell is empty: None, NaN and pandas' NA."""
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and math.isnan(value))
