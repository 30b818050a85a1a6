"""A preference dataset on disk: pairs and media in Parquet, opened without unpacking.

Its directory holds::

    <dir>/pairs-train.parquet      one pair a row: id, task, preferred, group, source, and the pair as JSON
    <dir>/pairs-validation.parquet
    <dir>/pairs-held_out.parquet
    <dir>/media-00000.parquet      uri, sha256, data: the encoded bytes, in shards
    <dir>/reasoning.parquet        id, text: published reasoning about training pairs, where a source has any
    <dir>/summary.json             counts by task, label and group; which pairs are invalid and why (its key is
                                   `quarantined`); pairs by submission; of published sources what hygiene removed

The same pairs and media give the same bytes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from models.errors import DataError, SplitSealed
from models.media.frame_cache import BUDGET, FrameCache
from models.media.frames import decode, shrink
from models.pairs.media_files import MediaFiles
from models.pairs.preference import SPLITS, PreferencePair, Preferred, Split, Task

MEDIA_SHARD_BYTES = 128 * 2**20
MEDIA_ROW_GROUP = 16  # media read together when one of them is asked for
REASONING = "reasoning.parquet"
LEAST_OF_ONE_CLASS = 10  # decided pairs of a task; at even odds so many agree by chance once in 500 times
MEDIA_ROW_GROUP_BYTES = 16 * 2**20
SEALED = (
    "name the split among those that the stage opens (Stage.splits in tasks/pipeline/graph.py), if its method allows it"
)


@dataclass(frozen=True)
class InvalidPair:
    """One pair that cannot be used, and why; `uri` is the medium at fault, if one is.

    `passing` is that of `MediaError`: another time it may be valid. It is not written, being no property of the data.
    """

    id: str
    reason: str
    uri: str = ""
    passing: bool = False


def pairs_file(split: Split) -> str:
    """The file of a split's pairs. They name the sha256 of each medium, so its bytes say all that the split shows."""
    return f"pairs-{split}.parquet"


class PreferenceDataset:
    """Read access to a dataset directory. Frames are reduced to the caps given here; `kept_bytes` of them stay decoded.

    Only the splits named by `opens` can be read, and only the media that their pairs show. Anything else raises
    `SplitSealed`: training must not see what it is validated or judged on.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_pixels: int,
        max_frames: int,
        kept_bytes: int = BUDGET,
        opens: Collection[Split] = SPLITS,
    ) -> None:
        self.directory = directory
        self.max_pixels = max_pixels
        self.max_frames = max_frames
        self.opens = tuple(split for split in SPLITS if split in opens)
        self._shown: frozenset[str] | None = None
        self._media = MediaFiles(directory)
        self._decoded = FrameCache(self._decode, kept_bytes)

    def pairs(self, split: Split, task: Task | None = None) -> list[PreferencePair]:
        """The pairs of a split in their stored order, of one task or of all four.

        Raises `SplitSealed` for a split that is not open, and `DataError` for one that the dataset does not have.
        """
        self._check(split)
        path = self.directory / pairs_file(split)
        if not path.is_file():
            raise DataError(f"{self.directory} has no {split} split, as of before there were three: refresh prepare")
        table = pq.read_table(path, columns=["task", "pair"])
        rows = zip(table["task"].to_pylist(), table["pair"].to_pylist(), strict=True)
        return [PreferencePair.model_validate_json(pair) for name, pair in rows if task is None or name == task]

    def blob(self, uri: str) -> bytes:
        """The encoded bytes of a medium.

        Raises `MediaError` if the dataset does not hold it, and `SplitSealed` if no pair of an open split shows it.
        """
        if len(self.opens) < len(SPLITS) and uri not in self._visible():
            raise SplitSealed(f"{uri} is not shown by any pair of {self._opened()}: {SEALED}")
        return self._media.blob(uri)

    def _check(self, split: Split) -> None:
        if split not in self.opens:
            raise SplitSealed(f"the {split} split is sealed here, and only {self._opened()} can be read: {SEALED}")

    def _opened(self) -> str:
        return " and ".join(self.opens) or "no split"

    def _visible(self) -> frozenset[str]:
        """The media that pairs of the open splits show."""
        if self._shown is None:
            there = [split for split in self.opens if (self.directory / pairs_file(split)).is_file()]
            self._shown = frozenset(
                medium.uri for split in there for pair in self.pairs(split) for medium in pair.media()
            )
        return self._shown

    def frames(self, uri: str) -> list[Image.Image]:
        """The decoded frames of a medium within the caps: one for an image."""
        return self._decoded(uri)

    def _decode(self, uri: str) -> list[Image.Image]:
        return [shrink(frame, self.max_pixels) for frame in decode(self.blob(uri), uri, max_frames=self.max_frames)]

    def reasoning(self) -> dict[str, str]:
        """Published reasoning by the id of its training pair; empty where no source has any.

        Raises `SplitSealed` unless the training split is open.
        """
        self._check("train")
        path = self.directory / REASONING
        if not path.is_file():
            return {}
        table = pq.read_table(path)
        return dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))

    def summary(self) -> dict[str, Any]:
        """What `write_dataset` counted."""
        loaded: dict[str, Any] = json.loads((self.directory / "summary.json").read_text())
        return loaded


def write_dataset(
    directory: Path,
    splits: Mapping[Split, Sequence[PreferencePair]],
    blobs: Mapping[str, bytes],
    invalid: Sequence[InvalidPair] = (),
    submissions: Mapping[str, int] | None = None,
    *,
    reasoning: Mapping[str, str] | None = None,
    hygiene: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a dataset directory; the same pairs and media give the same bytes.

    `submissions` are the training pairs that came from each (models/sources/submissions.py), `hygiene` what was removed
    from published sources (models/hygiene), both for the summary. `reasoning` is by pair id; only that of the training
    split is kept, since nothing else may be trained on.

    Raises `DataError` for an empty split or for labels of one class only, which would teach a judge
    nothing but a position.
    """
    for split, pairs in splits.items():
        _check_labels(split, pairs)
    for split, pairs in splits.items():
        rows = [
            {
                "id": p.id,
                "task": str(p.task),
                "preferred": str(p.preferred),
                "group": p.group,
                "source": p.source,
                "pair": p.model_dump_json(),
            }
            for p in pairs
        ]
        pq.write_table(pa.Table.from_pylist(rows), directory / pairs_file(split), compression="zstd")
    _write_media(directory, blobs)
    train = {pair.id for pair in splits.get("train", ())}
    texts = [{"id": name, "text": text} for name, text in sorted((reasoning or {}).items()) if name in train]
    if texts:
        pq.write_table(pa.Table.from_pylist(texts), directory / REASONING, compression="zstd")
    summary = _summarise(splits, invalid) | ({"drops": dict(submissions)} if submissions else {})
    summary |= {"hygiene": dict(hygiene)} if hygiene else {}
    (directory / "summary.json").write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")
    return summary


def _check_labels(split: str, pairs: Sequence[PreferencePair]) -> None:
    if not pairs:
        raise DataError(f"the {split} split has no valid pair: add pairs, or look at which are invalid and why")
    # Few pairs of one class are a chance; of validation there are often few, and nothing is learnt from them.
    least = LEAST_OF_ONE_CLASS if split == "validation" else 2
    _check_class(f"the {split} split", [pair.preferred for pair in pairs], least=least)
    for task in sorted({pair.task for pair in pairs}):
        decided = [pair.preferred for pair in pairs if pair.task == task and pair.preferred != "tie"]
        _check_class(f"{task} in the {split} split", decided, least=LEAST_OF_ONE_CLASS)


def _check_class(whose: str, labels: Sequence[Preferred], least: int) -> None:
    if len(labels) >= least and len(set(labels)) == 1:
        raise DataError(
            f"all {len(labels)} pairs of {whose} prefer {labels[0]!r}: a judge would learn the position "
            "alone; shuffle the candidates' order where the data is made, or add pairs of the other class"
        )


def _write_media(directory: Path, blobs: Mapping[str, bytes]) -> None:
    """Write the media in shards. In memory is one row group at a time, and the medium after it."""
    writer, current = None, -1
    try:
        for number, group in _row_groups(blobs):
            table = pa.Table.from_pylist(group)
            if writer is None or number != current:
                if writer is not None:
                    writer.close()
                path, current = directory / f"media-{number:05d}.parquet", number
                writer = pq.ParquetWriter(path, table.schema, compression="none")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _row_groups(blobs: Mapping[str, bytes]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The media by name, with the number of their shard, in groups that are read together.

    A shard has at most `MEDIA_SHARD_BYTES`, a group `MEDIA_ROW_GROUP` media and `MEDIA_ROW_GROUP_BYTES`, or one medium.
    """
    group: list[dict[str, Any]] = []
    number = shard = size = 0
    for uri in sorted(blobs):
        data = blobs[uri]
        ends = shard > 0 and shard + len(data) > MEDIA_SHARD_BYTES
        if group and (ends or len(group) == MEDIA_ROW_GROUP or size + len(data) > MEDIA_ROW_GROUP_BYTES):
            yield number, group
            group, size = [], 0
        if ends:
            number, shard = number + 1, 0
        group.append({"uri": uri, "sha256": hashlib.sha256(data).hexdigest(), "data": data})
        shard, size = shard + len(data), size + len(data)
    if group:
        yield number, group


def _summarise(splits: Mapping[Split, Sequence[PreferencePair]], invalid: Sequence[InvalidPair]) -> dict[str, Any]:
    return {
        "splits": {split: _counts(pairs) for split, pairs in splits.items()},
        "quarantined": {
            "count": len(invalid),
            "by_reason": dict(Counter(one.reason for one in invalid)),
            "rows": [{"id": one.id, "reason": one.reason, "uri": one.uri} for one in invalid],
        },
    }


def _counts(pairs: Iterable[PreferencePair]) -> dict[str, Any]:
    pairs = list(pairs)
    return {
        "pairs": len(pairs),
        "tasks": dict(Counter(str(pair.task) for pair in pairs)),
        "labels": dict(Counter(str(pair.preferred) for pair in pairs)),
        "groups": dict(Counter(f"{pair.task}/{pair.group}" for pair in pairs)),
    }
