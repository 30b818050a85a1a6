"""Source `video_dpo`: pairs of VideoCrafter2's videos, the better one by a score of quality and alignment.

Licence MIT. 10 000 pairs: listings of 22.6 MB, `winvideos.zip` of 15.9 GB and `losevideos.zip` of 16.1 GB, to be
unpacked beside them. https://huggingface.co/datasets/CodeGoat24/VideoDPO, made for UnifiedReward (Y. Wang et al., arXiv
2503.05236) from the pairs of R. Liu et al., "VideoDPO: Omni-Preference Alignment for Video Diffusion Generation", arXiv
2412.14167, https://videodpo.github.io.

Three layouts, told apart row by row:

    {"video1": 0, "video2": 1, "label": 0, "frame_caption": "a red kite"}                        pair.json
    {"id": "7", "caption": "a red kite", "chosen": "w/7.mp4", "rejected": "l/7.mp4"}             data.json
    {"conversations": [… "Text Caption: [a red kite]" … "Video 1 is better"], "images": […]}      train_data.json

`pair.json` is the VideoDPO authors': numbers into `metadata.json`, an array of {"video", "caption"}, and `label` 0 for
the first video, as OmniScore/metadata_pipe/win_sft_from_dpo.py of CIntellifusion/VideoDPO at 7f78c27 explains. Without
`metadata.json`, number 2n is `winvideos/<n>.mp4` and 2n+1 `losevideos/<n>.mp4`, n in six digits, as opendilab/LightRFT
reads it (lightrft/datasets/videodpo.py at 063168d). `data.json` is the form of UnifiedReward's README at 0309982.
`train_data.json` is published, and its name and size were seen on the hub's pages, but no row of it: it is read as
models/sources/conversations.py reads such files, where alone a tie can be said. Its twin for LLaMA-Factory in `qwen/`
is read where the others are missing; the `_rev` file there is not, which by its name holds the same pairs the other way
round. Rows without an id are named by their place.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from models.pairs.preference import Preferred, Task
from models.sources.conversations import conversation
from models.sources.fields import RowError, different, given_id, medium, present, text, valid_rows
from models.sources.listings import find, json_array, rows_of
from models.sources.rows import InFile, InvalidRow, Medium, Row

METADATA = "metadata.json"
LABELS: dict[int, Preferred] = {0: 1, 1: 2}


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the file. Raises `DataError` where there is no listing."""
    files = find(
        root,
        "pair.json",
        "train_data.json",
        "data.json",
        "qwen/videodpo_train_data_qwen.json",
        layout="train_data.json, pair.json or data.json beside winvideos/ and losevideos/",
    )
    video = _numbered(root)

    def make(where: str, row: dict[str, Any]) -> Row:
        if "conversations" in row:
            made = conversation(where, row)
            if made.task != Task.VIDEO_GENERATION:
                raise RowError(f"row: is a pair of {made.task}, expected video_generation")
            return made
        numbered = "video1" in row or "video2" in row
        names = ("video1", "video2") if numbered else ("chosen", "rejected")
        first, second = (video(row, name) if numbered else medium(row.get(name), name, where) for name in names)
        return Row(
            where=where,
            id=given_id(row) or where,
            task=Task.VIDEO_GENERATION,
            prompt=text(row, "frame_caption" if numbered else "caption"),
            candidates=different(first, second),
            preferred=_label(row) if numbered else 1,
        )

    return valid_rows(rows_of(root, files), make)


def _numbered(root: Path) -> Callable[[dict[str, Any], str], Medium]:
    """What gives the video that a row names by its number."""
    metadata = root / METADATA
    listed = [_named(one) for one in json_array(metadata)] if metadata.is_file() else None

    def video(row: dict[str, Any], field: str) -> Medium:
        number = _whole(row, field)
        if number < 0:
            raise RowError(f"row: {field} is {number}, no place in a list")
        if listed is None:
            half, odd = divmod(number, 2)
            return InFile(f"{'losevideos' if odd else 'winvideos'}/{half:06d}.mp4")
        if number >= len(listed) or not listed[number]:
            raise RowError(f"row: {field} is {number}, which {METADATA} has no video for")
        return InFile(listed[number])

    return video


def _named(one: object) -> str:
    found = one.get("video") if isinstance(one, dict) else None
    return found if isinstance(found, str) else ""


def _label(row: dict[str, Any]) -> Preferred:
    value = _whole(row, "label")
    if value not in LABELS:
        raise RowError(f"row: label is {value}, neither 0 nor 1")
    return LABELS[value]


def _whole(row: dict[str, Any], field: str) -> int:
    value = present(row, field)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RowError(f"row: {field} is no whole number but of type {type(value).__name__}")
    return value
