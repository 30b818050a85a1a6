"""Listings of data sets for every reader, spoiled at random, and what reading and importing them may do."""

import csv
import io
import json
import tarfile
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import ThinkrewardError
from models.evaluation.benchmarks.registry import BENCHMARKS
from models.media.decoding import HERE
from models.sources.importing import ImportJob
from models.sources.jsonl import read_rows
from models.sources.registry import READERS
from tests.proofs.fuzz_benchmarks import IN_PAIRS
from tests.proofs.fuzz_benchmarks import LISTINGS as BENCHMARK_LISTINGS
from tests.proofs.fuzz_spoiling import bent, spoiled, written

Listings = tuple[tuple[str, str, tuple[dict[str, Any], ...]], ...]
_IMAGES, _FRAMES = ["1.png", "2.png"], ["1/a.jpg", "1/b.jpg", "2/a.jpg", "2/b.jpg"]
_THOUGHT = (
    "<think>\n1. Semantic consistency: Image 1 (4/10) - a; Image 2 (8/10) - b\nTotal score:\nImage 1: 4=4\n"
    "Image 2: 8=8\n</think>\n<answer>Image 2 is better</answer>"
)
_PNG, _OTHER = {"bytes": b"png", "path": "1.png"}, {"bytes": b"x", "path": "2.png"}


def _asked(question: str, answer: str, **more: Any) -> dict[str, Any]:
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}], **more}


_CAPTION = "<image>\n<image>\nGiven a caption and two images, compare.\nText Caption: [a kite]"
_LLAVA = "<image>\nQuestion: [What?]\nThe first response: [a]\nThe second response: [b]\nASSISTANT:\n"
_OWN = {"id": "a", "task": "image_generation", "prompt": "a kite", "preferred": 1}
_VOTED = {
    f"weighted_results_image{at}_{name}": 0.5 for at in (1, 2) for name in ("preference", "alignment", "coherence")
}

# The reader, its listing, and rows of it.
LISTINGS: Listings = (
    ("conversations", "data.json", (
        _asked(_CAPTION, _THOUGHT, images=_IMAGES, id="a"),
        _asked("two videos\nText Caption: [a kite]", "Video 1 is better", images=_FRAMES),
        _asked("a video\nQuestion: [What?]\nAnswer 1: [a]\nAnswer 2: [b]", "Answer 1 is better", images=["v.mp4"]),
    )),
    ("evalmuse", "train_data.json", (_asked(_CAPTION, "Image 1 is better.", images=_IMAGES),)),
    ("imagegen_cot_reward", "train_data.json", (_asked(_CAPTION, _THOUGHT, images=_IMAGES),)),
    ("grpo_json", "train.json", (
        {"problem": "two images\nText Caption: [a kite]", "solution": "Image 2 is better", "images": _IMAGES},
        {"problem": "two videos\nText Caption: [a kite]", "solution": "Video 2 is better", "images": _FRAMES},
    )),
    ("hpdv2", "train.json", (
        {"prompt": "a kite", "human_preference": [0, 1], "file_path": _IMAGES},
        {"prompt": "a kite", "image_path": [*_IMAGES, "3.png"], "rank": [1, 3, 2], "raw_annotations": []},
    )),
    ("hpdv3", "train.json", (
        {"prompt": "a kite", "path1": "1.png", "path2": "2.png", "choice_dist": [12, 7], "confidence": 0.9},
    )),
    ("llava_critic", "train_data.json", (_asked(_LLAVA, "The first response is better.", id="1", image="1.png"),)),
    ("llava_critic", "train-0.parquet", (_asked(_LLAVA, "Both responses are equally good.", id="1", image=_PNG),)),
    ("open_image_preferences", "a.parquet", ({"prompt": "a kite", "chosen": _PNG, "rejected": _OTHER},)),
    ("gpt4o_t2i", "a.parquet", ({"prompt": "a kite", "image1": _PNG, "image2": _OTHER, **_VOTED},)),
    ("own", "pairs.jsonl", (
        {**_OWN, "candidates": [{"media": "1.png"}, {"media": "2.png"}], "group": "g"},
        {**_OWN, "task": "image_understanding", "context": ["1.png"], "candidates": [{"text": "a"}, {"text": "b"}]},
    )),
    ("own", "a.parquet", ({**_OWN, "preferred": "1", "candidates": [{"text": None, "media": _PNG}] * 2},)),
    ("sharegpt_video_dpo", "a.jsonl", (
        {"id": "a", "video": "v", "prompt": "What?", "answer": "x", "chosen": "yes", "rejected": "no"},
    )),
    ("text2video_rapidata", "train-0.parquet", (
        {"prompt": "a kite", "file_name1": "1.mp4", "file_name2": "2.mp4", "weighted_results1_Preference": 0.9,
         "weighted_results2_Preference": 0.1, "weighted_results1_Coherence": 0.5, "weighted_results2_Coherence": 0.5},
    )),
    ("video_dpo", "pair.json", (
        {"video1": 0, "video2": 1, "label": 0, "frame_caption": "a kite"},
        {"chosen": "1.mp4", "rejected": "2.mp4", "prompt": "a kite"},
    )),
    ("webdataset", "a.tar", (
        {"task": "image_generation", "prompt": "a kite", "preferred": 1},
        {**_OWN, "task": "image_understanding", "candidates": [{"text": "a"}, {"text": "b"}]},
    )),
)  # fmt: skip


def listing(rng: Random) -> bytes:
    """The reader, the file's name and its bytes."""
    return _example(rng, LISTINGS)


def benchmark_listing(rng: Random) -> bytes:
    """The same of a public benchmark."""
    return _example(rng, BENCHMARK_LISTINGS)


def _example(rng: Random, listings: Listings) -> bytes:
    reader, name, good = rng.choice(listings)
    rows = [bent(rng, row) if rng.random() < 0.8 else row for row in good * rng.choice((1, 1, 2))]
    data = _file_of(name, rows) or _file_of(name, list(good)) or b""
    data = spoiled(rng, data) if rng.random() < 0.3 else data
    return f"{reader} {name}\n".encode() + data


def _file_of(name: str, rows: list[Any]) -> bytes | None:
    """A listing in the form of its name; None where Parquet has no type for the rows."""
    if name.endswith(".parquet"):
        buffer = io.BytesIO()
        try:
            pq.write_table(pa.Table.from_pylist(rows), buffer)
        except (pa.ArrowException, AttributeError, OverflowError, UnicodeError, TypeError, ValueError):
            return None
        return buffer.getvalue()
    if name.endswith(".tar"):
        return _tar(rows)
    if name.endswith(".csv"):
        return _csv(rows)
    if name.endswith(".jsonl"):
        return "\n".join(map(written, rows)).encode()
    return written({"pairs": rows} if name in IN_PAIRS else rows).encode()


def _csv(rows: list[Any]) -> bytes:
    table = [row for row in rows if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in table for name in row))
    text = io.StringIO()
    csv.writer(text).writerows([names, *([row.get(name) for name in names] for row in table)])
    return text.getvalue().encode(errors="surrogatepass")


def _tar(rows: list[Any]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for at, row in enumerate(rows):
            for suffix, data in (("json", written(row).encode()), ("1.png", b"first"), ("2.png", b"second")):
                info = tarfile.TarInfo(f"k{at}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def check_listing(data: bytes) -> None:
    """Read the listing, and import what it names, none of which is there but for what its rows hold."""
    head, _, content = data.partition(b"\n")
    reader, name = head.decode().split(" ")
    read = READERS[reader] if reader in READERS else BENCHMARKS[reader].read
    with tempfile.TemporaryDirectory(prefix="thinkreward-fuzz-") as folder:
        root, into = Path(folder) / "set", Path(folder) / "into"
        into.mkdir()
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(content)
        try:
            for row in read(root):
                json.dumps(repr(row)).encode()
            if name == "pairs.jsonl":
                read_rows(root, max_frames=2)
            # In this process: what would end another is what is looked for.
            job = ImportJob(read, root, into, source="x", decoders=HERE, max_bad_share=1.0, max_media_bytes=1 << 20)
            job.run()
        except ThinkrewardError as error:
            str(error).encode()
