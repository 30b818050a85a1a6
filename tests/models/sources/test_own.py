"""Your own pairs, as JSON lines and as Parquet with the features of `datasets`."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Image, List, Value, Video
from PIL import Image as Picture

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.own import read
from models.sources.pair_format import FIELDS
from models.sources.rows import InFile, InRow, InvalidRow, Row


def row(name: Any, **changes: Any) -> dict[str, Any]:
    fields = {"id": name, "task": "image_generation", "prompt": "a <b>kite</b> 凧", "preferred": 1}
    return fields | {"candidates": [{"media": "1.png"}, {"media": "tief/ü/2.png"}]} | changes


def asked(name: Any, **changes: Any) -> dict[str, Any]:
    said = {"candidates": [{"text": "a dog"}, {"text": "a kite"}], "context": ["1.png", "2.png"]}
    return row(name, task="image_understanding", preferred="tie", **(said | changes))


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_json_lines_are_read_with_their_odd_rows(tmp_path: Path) -> None:
    rows = [
        row("a", group="kites", source="mine"),
        asked("b"),
        row("a", preferred=2),  # an id once more
        row("c", context=None, group=None, source=None),
        row("d", winner=1, contxt=[]),
        row(None),
        row(7),
        row("e", preferred=3),
        row("f", preferred=True),
        row("g", task="poetry"),
        row("h", candidates=[{"media": "1.png"}]),
        row("i", candidates=["1.png", "2.png"]),
        row("j", candidates=[{"media": "1.png", "text": "both"}, {"media": "2.png"}]),
        row("k", candidates=[{"media": "1.png", "label": 1}, {"media": "2.png"}]),
        asked("l", context="1.png"),
        asked("m", candidates=[{"text": "a dog"}, {"text": " "}]),
        row("n", prompt=""),
        row("o", group=5),
        [1],
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{\n", encoding="utf-8")
    good, bad = split(tmp_path)
    assert [(one.id, one.preferred, one.group) for one in good] == [
        ("a", 1, "kites"),
        ("b", "tie", ""),
        ("a", 2, ""),
        ("c", 1, ""),
    ]
    assert good[0].candidates == (InFile("1.png"), InFile("tief/ü/2.png")) and good[0].prompt == "a <b>kite</b> 凧"
    assert good[1].candidates == ("a dog", "a kite") and good[1].context == (InFile("1.png"), InFile("2.png"))
    assert [(one.id, one.reason) for one in bad[:-1]] == [
        ("d", f"row: unknown field contxt, winner, known are {', '.join(FIELDS)}"),
        ("", "row: id is missing"),
        ("7", "row: id is no text but of type int"),
        ("e", "row: preferred is '3', none of 1, 2 and tie"),
        ("f", "row: preferred is 'True', none of 1, 2 and tie"),
        ("g", f"row: task is 'poetry', none of {', '.join(Task)}"),
        ("h", "row: candidates is no list of two but 1 values"),
        ("i", 'row: candidates[0] is neither {"text": …} nor {"media": …}'),
        ("j", "row: candidates[0] is either a text or a medium: give exactly one of the two"),
        ("k", "row: candidates[0] has the unknown field label, known are text, media"),
        ("l", "row: context is of type str: give a list of media"),
        ("m", "row: candidates[1].text is empty"),
        ("n", "row: prompt is empty"),
        ("o", "row: group is no text but of type int"),
        ("", "row: is no object but of type list"),
    ]
    assert bad[-1].where == "pairs.jsonl#20" and bad[-1].reason.startswith("row: not JSON")


def features(kind: Any) -> Features:
    text = Value("string")
    fields = dict.fromkeys(("id", "task", "prompt", "preferred", "group"), text)
    return Features(fields | {"context": List(kind()), "candidates": List({"text": text, "media": kind()})})


def test_parquet_keeps_images_in_the_rows(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Picture.new("RGB", (4, 4), (1, 2, 3)).save(buffer, format="PNG")
    png = {"bytes": buffer.getvalue(), "path": "kite.png"}
    shown, none = {"media": png, "text": None}, {"media": None, "text": None}
    said = [{"text": "a dog", "media": None}, {"text": "a kite", "media": None}]
    beside = {"media": {"bytes": None, "path": "a/1.png"}, "text": None}
    rows = [
        row("a", preferred="1", candidates=[shown, shown], context=None, group=None),
        row("b", preferred="tie", task="image_understanding", candidates=said, context=[png], group="kites"),
        row("c", preferred="2", candidates=[beside, shown], context=[], group=""),
        row("d", preferred="2", candidates=[none, shown], context=[], group=""),
        row("e", preferred=None, candidates=[shown, shown], context=[], group=""),
    ]
    table = {name: [one[name] for one in rows] for name in features(Image)}
    (tmp_path / "data").mkdir()
    Dataset.from_dict(table, features=features(Image)).to_parquet(tmp_path / "data" / "train-0.parquet", batch_size=9)
    good, bad = split(tmp_path)
    assert Counter(one.preferred for one in good) == {1: 1, "tie": 1, 2: 1}
    at = "data/train-0.parquet#"
    assert good[0].candidates == tuple(InRow(f"{at}1/candidates[{n}].media.png", buffer.getvalue()) for n in (0, 1))
    assert good[1].candidates == ("a dog", "a kite") and good[1].group == "kites"
    assert good[1].context == (InRow(f"{at}2/context[0].png", buffer.getvalue()),)
    assert good[2].candidates[0] == InFile("a/1.png")
    assert [(one.id, one.reason) for one in bad] == [
        ("d", "row: candidates[0] is either a text or a medium: give exactly one of the two"),
        ("e", "row: preferred is missing"),
    ]


def test_parquet_keeps_videos_in_the_rows(tmp_path: Path) -> None:
    video = {"media": {"bytes": b"mp4", "path": "v.mp4"}, "text": None}
    one = row("a", task="video_generation", preferred="2", candidates=[video, video], context=[], group="")
    table = {name: [one[name]] for name in features(Video)}
    Dataset.from_dict(table, features=features(Video)).to_parquet(tmp_path / "mine.parquet")
    (good,), bad = split(tmp_path)
    assert bad == [] and good.task == Task.VIDEO_GENERATION
    assert good.candidates[1] == InRow("mine.parquet#1/candidates[1].media.mp4", b"mp4")


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pairs\.jsonl or \*\.parquet"):
        read(tmp_path)
