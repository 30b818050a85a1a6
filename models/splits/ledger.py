"""The ledger of splits: which split everything that any version of `preferences` ever held belongs to.

    <dir>/splits.parquet    kind (medium, pair or prompt), digest, split, hashes: perceptual, of a medium's frames

It grows with every version and lies beside the preferences, not among them: their digest depends on no history while
nothing conflicts. The same entries give the same bytes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import DataError
from models.pairs.dataset import PreferenceDataset, pairs_file
from models.pairs.preference import SPLITS, PreferencePair, Split
from models.splits.keys import Hashes, Keys, keys_of

FILE = "splits.parquet"
_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("hashes", pa.list_(pa.uint64()), nullable=False),
    ]
)


@dataclass
class Ledger:
    """Splits by digest of media (sha256), pairs and prompts (keys.py). No entry changes its split."""

    media: dict[str, Split] = field(default_factory=dict)
    pairs: dict[str, Split] = field(default_factory=dict)
    prompts: dict[str, Split] = field(default_factory=dict)
    hashes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Ledger":
        """The ledger of a directory; of a `preferences` directory from before there were ledgers, one of its pairs.

        Raises `DataError` if it holds neither.
        """
        path = folder / FILE
        if not path.is_file():
            return cls._of_dataset(folder)
        found = cls()
        of_kind = {"medium": found.media, "pair": found.pairs, "prompt": found.prompts}
        table = pq.read_table(path, schema=_SCHEMA)
        columns = [table[name].to_pylist() for name in table.column_names]
        for kind, digest, split, hashes in zip(*columns, strict=True):
            of_kind[kind][digest] = split
            if hashes:
                found.hashes[digest] = tuple(hashes)
        return found

    @classmethod
    def _of_dataset(cls, folder: Path) -> "Ledger":
        there = [split for split in SPLITS if (folder / pairs_file(split)).is_file()]
        if not there:
            raise DataError(f"{folder} holds no {FILE} and no pairs: name an artifact of kind splits or preferences")
        dataset = PreferenceDataset(folder, max_pixels=1, max_frames=1)
        found = cls()
        found.add({split: dataset.pairs(split) for split in there}, {})
        return found

    def add(self, splits: Mapping[Split, Iterable[PreferencePair]], hashes: Hashes) -> None:
        """Enter what these pairs show, under their split; what is entered already stays as it is."""
        for split, pairs in splits.items():
            for pair in pairs:
                self.enter(keys_of(pair, hashes), split)

    def enter(self, keys: Keys, split: Split) -> None:
        """Enter one pair under a split; what is entered already stays as it is."""
        self.pairs.setdefault(keys.identity, split)
        if keys.prompt:
            self.prompts.setdefault(keys.prompt, split)
        for sha256, hashes in zip(keys.media, keys.hashes, strict=True):
            self.media.setdefault(sha256, split)
            if hashes:
                self.hashes.setdefault(sha256, hashes)

    def copy(self) -> "Ledger":
        """Another ledger with the same entries."""
        return Ledger(dict(self.media), dict(self.pairs), dict(self.prompts), dict(self.hashes))

    def write(self, folder: Path) -> None:
        """Write it into a directory."""
        of_kind = (("medium", self.media), ("pair", self.pairs), ("prompt", self.prompts))
        rows = [(kind, name, split) for kind, found in of_kind for name, split in sorted(found.items())]
        hashes = [list(self.hashes.get(name, ())) if kind == "medium" else [] for kind, name, _ in rows]
        columns = [*map(list, zip(*rows, strict=True))] if rows else [[], [], []]
        table = pa.Table.from_arrays(
            [pa.array(column, one.type) for column, one in zip([*columns, hashes], _SCHEMA, strict=True)],
            schema=_SCHEMA,
        )
        pq.write_table(table, folder / FILE, compression="zstd")
