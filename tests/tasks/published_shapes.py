"""The embedded world as people publish data: JPEG and MP4 files, our schema, and conversations with reasoning."""

import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.stream import VideoStream
from PIL import Image

from models.media.frames import data_url, decode
from models.pairs.preference import PreferencePair, Task
from models.shapes.pairs import make_pair
from models.shapes.teacher_answers import Faults, answer_request
from models.verdict.prompts import attach, chat, data_url_part
from tests.tasks.shapes_drop import row_of

FRAMES = 8


def jpeg(data: bytes) -> bytes:
    """A picture as a JPEG of good quality."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def mp4(data: bytes) -> bytes:
    """A moving picture as an H.264 video."""
    frames = decode(data, "frames", max_frames=FRAMES)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=4, options={"crf": "12"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *frames[0].size, "yuv420p"
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
            frame.pts, frame.time_base = number, Fraction(1, 4)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def write_own(folder: Path, count: int, *, seed: int, tasks: tuple[Task, ...] = tuple(Task)) -> list[PreferencePair]:
    """`pairs.jsonl` in our schema with JPEG and MP4 files beside it, `count` pairs a task; gives the pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [make_pair(task, at, seed=seed, held_out=False) for task in tasks for at in range(count)]
    lines = []
    for one in made:
        text = json.dumps(row_of(one.pair))
        for medium in one.pair.media():
            encode, suffix = (jpeg, ".jpg") if medium.kind == "image" else (mp4, ".mp4")
            name = str(Path(medium.uri).with_suffix(suffix))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(encode(one.blobs[medium.uri]))
            text = text.replace(json.dumps(medium.uri), json.dumps(name))
        lines.append(text)
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    return [one.pair for one in made]


def write_reasoned(folder: Path, count: int, *, seed: int) -> None:
    """`data.json`: image_generation pairs as conversations whose answer is a teacher's reasoning, with JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for at in range(count):
        made = make_pair(Task.IMAGE_GENERATION, at, seed=seed, held_out=False)
        request = attach(
            chat(made.pair, "think"),
            lambda uri, blobs=made.blobs: [  # type: ignore[misc]
                data_url_part(data_url(frame)) for frame in decode(blobs[uri], uri, max_frames=FRAMES)
            ],
        )
        said = answer_request({"messages": request}, Faults(0.0, 0.0, 0.0, 0.0), seed)
        names = []
        for number, medium in enumerate(made.pair.media(), start=1):
            names.append(f"images/{at:04d}-{number}.jpg")
            (folder / names[-1]).parent.mkdir(exist_ok=True)
            (folder / names[-1]).write_bytes(jpeg(made.blobs[medium.uri]))
        asked = f"<image><image>Compare two generated images. Text Caption: [{made.pair.prompt}]"
        turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]
        rows.append({"id": f"cot-{at}", "conversations": turns, "images": names})
    (folder / "data.json").write_text(json.dumps(rows))


def write_vl_reward_bench(folder: Path, count: int) -> list[dict[str, Any]]:
    """VL-RewardBench's layout (`data.json`, `images/`) with pictures of the embedded world, its groups in turn.

    Gives the rows as they stand in the file.
    """
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(count):
        made = make_pair(Task.IMAGE_UNDERSTANDING, number, seed=11, held_out=True)
        (folder / "images" / f"{number}.png").write_bytes(made.blobs[made.pair.context[0].uri])
        rows.append(
            {
                "id": f"{('wildvision-', 'hallucination_pair-', 'mathverse_')[number % 3]}{number}",
                "query": made.pair.prompt,
                "response": [candidate.text for candidate in made.pair.candidates],
                "image": f"images/{number}.png",
                "human_ranking": [0, 1] if made.pair.preferred == 1 else [1, 0],
                "query_source": "shapes",
            }
        )
    (folder / "data.json").write_text(json.dumps(rows))
    return rows
