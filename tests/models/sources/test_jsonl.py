"""Your own pairs: what is whole is read, what is not is left out by name and reason, and the split is stable."""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, ClassVar, TypeVar

import pytest
from PIL import Image

from models.errors import DataError, MediaError
from models.media.decoding import Decoders, Here
from models.pairs.dataset import InvalidPair, write_dataset
from models.pairs.preference import PreferencePair, Split
from models.sources.jsonl import read_rows
from models.splits.assign import Shares, assign
from models.splits.ledger import Ledger

T = TypeVar("T")
R = TypeVar("R")


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (number % 256, number // 256, 7)).save(buffer, format="PNG")
    return buffer.getvalue()


def row(name: str, first: str, second: str, **changes: Any) -> dict[str, Any]:
    fields = {"id": name, "task": "image_generation", "prompt": f"a kite, {name}", "preferred": 1}
    return fields | {"candidates": [{"media": first}, {"media": second}]} | changes


def folder_of(folder: Path, rows: list[Any], images: int = 40) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(images):
        (folder / f"{number}.png").write_bytes(png(number))
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in rows]
    (folder / "pairs.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def read(
    folder: Path, share: float = 0.3
) -> tuple[dict[Split, list[PreferencePair]], dict[str, bytes], list[InvalidPair]]:
    rows = read_rows(folder, max_frames=8)
    splits = assign(rows.pairs, rows.hashes, Ledger(), Shares(share, 0.2), near_bits=4).splits
    return splits, rows.blobs, [one for _, one in rows.invalid]


def ids(splits: dict[Split, list[PreferencePair]]) -> dict[str, set[str]]:
    return {split: {pair.id for pair in pairs} for split, pairs in splits.items()}


def invalid(tmp_path: Path, bad: Any) -> InvalidPair:
    """The one row left out, among good ones before and after it that are read."""
    splits, blobs, invalid = read(folder_of(tmp_path, [row("a", "0.png", "1.png"), bad, row("z", "2.png", "3.png")]))
    assert {pair.id for pairs in splits.values() for pair in pairs} == {"a", "z"}
    assert set(blobs) == {"0.png", "1.png", "2.png", "3.png"}, "media that no pair shows are not carried along"
    (one,) = invalid
    return one


def test_pairs_are_read_with_their_media_and_the_folder_as_source(tmp_path: Path) -> None:
    asked = {
        "id": "b",
        "task": "image_understanding",
        "prompt": "What flies?",
        "preferred": 2,
        "context": ["0.png"],
        "candidates": [{"text": "a dog"}, {"text": "a kite"}],
        "group": "birds",
    }
    splits, blobs, invalid = read(folder_of(tmp_path, [row("a", "1.png", "2.png", source="mine"), asked]), share=0)
    given, question = splits["train"]
    assert (given.source, question.source, question.group) == ("mine", "jsonl", "birds")
    assert [media.uri for media in given.media()] == ["1.png", "2.png"]
    assert question.candidates[1].text == "a kite"
    assert blobs == {name: (tmp_path / name).read_bytes() for name in ("0.png", "1.png", "2.png")}
    assert invalid == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone.png", "media: does not exist"),
        ("../outside.png", "media: lies outside the data folder"),
        ("/etc/hostname", "media: lies outside the data folder"),
        ("broken.png", "media: cannot be decoded"),
        ("words.txt", "media: cannot be decoded"),
        ("sub", "media: does not exist"),  # a folder
        ("n" * 400, "media: cannot be read"),  # longer than a file name may be
    ],
)
def test_a_pair_whose_medium_is_unusable_is_invalid_and_the_medium_named(
    tmp_path: Path, name: str, reason: str
) -> None:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(png(1))
    (folder / "broken.png").write_bytes(png(1)[:50])
    (folder / "words.txt").write_text("no picture")
    assert invalid(folder, row("bad", "5.png", name)) == InvalidPair("bad", reason, name)


def test_a_link_out_of_the_folder_is_outside(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(png(1))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    assert invalid(folder, row("bad", "5.png", "link.png")).reason == "media: lies outside the data folder"


@pytest.mark.parametrize(
    ("line", "name", "says"),
    [
        (b'{"id": "cut", "task": ', "line 2", "not JSON"),
        (b"\xff\xfe\xfd", "line 2", "not JSON"),  # begins as UTF-16 does
        (b'{"id": "\xff"}', "line 2", "can't decode byte 0xff"),  # no UTF-8
        (b"[1, 2]", "line 2", "is no object but of type list"),
        (b'"a text"', "line 2", "is no object but of type str"),
        (b"[" * 100_000, "line 2", "recursion"),
        ({"id": "t", "prompt": "p"}, "t", "candidates is missing"),
        (row("t", "0.png", "1.png", task="poetry"), "t", "task is 'poetry', none of image_generation"),
        (row("p", "0.png", "1.png", preferred=3), "p", "preferred"),
        (row("p", "0.png", "1.png", prompt=""), "p", "prompt"),
        (row("w", "0.png", "1.png", winner=1), "w", "winner"),  # an unknown field
        (row("c", "0.png", "1.png", context=["2.png"]), "c", "context has 1 media, and image_generation takes none"),
        (row("c", "0.png", "1.png", context="2.png"), "c", "context is of type str: give a list of media"),
        (row("n", "0.png", "1.png", candidates=["0.png", "1.png"]), "n", "candidates[0] is neither"),
        (row("o", "0.png", "1.png", candidates=[{"media": "0.png"}]), "o", "candidates"),
        (row("e", "0.png", "1.png", candidates=None), "e", "candidates is missing"),
        (row("a", "0.png", "1.png"), "a", "its id is there twice"),
    ],
)
def test_a_row_that_cannot_be_read_is_left_out_with_its_reason(tmp_path: Path, line: Any, name: str, says: str) -> None:
    one = invalid(tmp_path, line)
    assert one.id == name and one.uri == ""
    assert one.reason.startswith("row: ") and says in one.reason


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    _, _, invalid = read(folder_of(tmp_path, [b"", row("a", "0.png", "1.png"), b"  ", b"{"]))
    assert [one.id for one in invalid] == ["line 4"]


def test_every_row_is_known_by_its_line(tmp_path: Path) -> None:
    bad = row("bad", "gone.png", "1.png")
    rows = read_rows(
        folder_of(tmp_path, [b"", row("a", "0.png", "1.png"), bad, row("b", "2.png", "3.png")]), max_frames=8
    )
    assert [pair.id for pair in rows.pairs] == ["a", "b"] and rows.lines == {"a": 2, "b": 4}
    assert [(at, one.id) for at, one in rows.invalid] == [(3, "bad")]
    assert rows.count == 3


@pytest.mark.parametrize("name", ["a\x00b.png", "loop.png"])
def test_a_name_that_no_file_can_have_costs_its_pair_alone(tmp_path: Path, name: str) -> None:
    tmp_path.joinpath("loop.png").symlink_to("other.png")
    tmp_path.joinpath("other.png").symlink_to("loop.png")
    one = invalid(tmp_path, row("bad", "5.png", name))
    assert (one.reason, one.uri) == ("media: cannot be read", name)


def test_windows_line_ends_and_line_separators_within_texts_break_no_line(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [row("a", "0.png", "1.png", prompt="one\u2028two\x85three")])
    text = json.dumps(json.loads((folder / "pairs.jsonl").read_bytes()), ensure_ascii=False)
    (folder / "pairs.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n")
    splits, _, invalid = read(folder)
    assert invalid == []
    assert [pair.prompt for pairs in splits.values() for pair in pairs] == ["one\u2028two\x85three"]


def test_what_was_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    rows = [row(f"g{n}", f"{n}.png", f"{n + 1}.png", preferred=1 + n % 2) for n in range(0, 30, 2)]
    rows += [row(f"p{n}", f"{n}.png", f"{n + 1}.png", preferred=2) for n in range(30, 38, 2)]
    rows += [row(f"m{n}", "gone.png", "0.png") for n in range(3)]
    splits, blobs, invalid = read(folder_of(tmp_path / "data", rows), share=0.5)
    splits = {"train": [pair for pairs in splits.values() for pair in pairs]}
    summary = write_dataset(tmp_path, splits, blobs, invalid)
    assert summary["quarantined"]["count"] == 3
    assert summary["quarantined"]["by_reason"] == {"media: does not exist": 3}


def test_the_split_depends_on_the_media_and_not_on_the_order_of_lines(tmp_path: Path) -> None:
    rows = [row(f"r{n}", f"{2 * n}.png", f"{2 * n + 1}.png") for n in range(20)]
    given, _, _ = read(folder_of(tmp_path, rows))
    Random(1).shuffle(rows)
    shuffled, _, _ = read(folder_of(tmp_path, rows))
    assert ids(given) == ids(shuffled)
    assert all(ids(given).values()), "every split holds something"
    for split in given.values():
        for pair in split:
            swapped = row(pair.id, pair.media()[1].uri, pair.media()[0].uri)
            (alone,) = [name for name, there in ids(read(folder_of(tmp_path, [swapped]))[0]).items() if there]
            assert pair.id in ids(given)[alone], "alone, and with its candidates swapped"


def test_pairs_that_share_a_medium_stay_together_also_through_others(tmp_path: Path) -> None:
    chains = [[f"{at}.png" for at in range(start, start + 5)] for start in range(0, 60, 5)]
    rows = [row(f"{a}-{b}", a, b) for chain in chains for a, b in pairwise(chain)]
    Random(2).shuffle(rows)
    folder = folder_of(tmp_path, rows, images=60)
    (folder / "0.png").write_bytes(png(7))  # the bytes of 7.png under another name
    splits, _, _ = read(folder)
    shown = [{media.sha256 for pair in pairs for media in pair.media()} for pairs in splits.values()]
    assert len(shown) == 3 and all(shown) and len(set.union(*shown)) == sum(map(len, shown))


def test_a_folder_without_a_listing_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pairs\.jsonl does not exist: put one JSON object a line there"):
        read(tmp_path)


def test_progress_ends_with_all_lines(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    folder = folder_of(tmp_path, [row("a", "0.png", "1.png"), b"{", row("b", "2.png", "3.png")])
    read_rows(folder, max_frames=8, on_progress=lambda at, of: done.append((at, of)))
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_a_codec_that_crashes_costs_its_pairs_alone(tmp_path: Path) -> None:
    class Crashing(Here):
        """As the processes of `Decoders` tell of one that died."""

        def map(self, function: Callable[[T], R], items: Iterable[tuple[str, T]]) -> Iterator[R | MediaError]:
            crash = MediaError("2.png", "crashes its decoder: the process was ended by SIGSEGV")
            for uri, item in items:
                yield from [crash] if uri == "2.png" else super().map(function, [(uri, item)])

    folder = folder_of(tmp_path, [row("a", "0.png", "1.png"), row("b", "2.png", "1.png"), row("c", "3.png", "0.png")])
    rows = read_rows(folder, max_frames=8, decoding=Crashing())
    assert [pair.id for pair in rows.pairs] == ["a", "c"]
    assert rows.invalid == [(2, InvalidPair("b", "media: crashes its decoder", "2.png"))]


def test_media_are_decoded_in_processes_of_their_own(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path, [row("a", "0.png", "1.png"), row("b", "0.png", "broken.png"), row("c", "3.png", "4.png")]
    )
    (folder / "broken.png").write_bytes(png(1)[:40])
    with Decoders(2, 60) as decoders:
        apart = read_rows(folder, max_frames=8, decoding=decoders)
    assert apart == read_rows(folder, max_frames=8)
    assert [one.id for _, one in apart.invalid] == ["b"]


def test_each_medium_is_decoded_once(tmp_path: Path) -> None:
    class Counting(Here):
        seen: ClassVar[list[str]] = []

        def map(self, function: Callable[[T], R], items: Iterable[tuple[str, T]]) -> Iterator[R | MediaError]:
            for uri, item in items:
                self.seen.append(uri)
                yield from super().map(function, [(uri, item)])

    rows = [row("a", "0.png", "1.png"), row("b", "1.png", "0.png", preferred=2), row("c", "1.png", "2.png")]
    read_rows(folder_of(tmp_path, rows), max_frames=8, decoding=Counting())
    assert Counting.seen == ["0.png", "1.png", "2.png"]
