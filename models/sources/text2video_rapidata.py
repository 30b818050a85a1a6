"""Source `text2video_rapidata`: people's votes between two generated videos, on taste, coherence and alignment.

Licence Apache-2.0. Below 10 000 pairs in all: a listing of some 100 kB a set, and the videos beside it.
https://huggingface.co/datasets/Rapidata/text-2-video-human-preferences, and its siblings with the same columns
(`…-pika2.2`, `…-wan2.1`, `…-veo3`, and others). Collected with Rapidata's annotation service (https://rapidata.ai); it
has no paper. Used for UnifiedReward-Think, Y. Wang et al., arXiv 2505.03318.

Layout: the hub's Parquet, `data/train-*.parquet`, with `prompt`, `file_name1` and `file_name2` (such as
`0010_hunyuan_421.mp4`, in `Videos/` or `videos/`), and for each of Preference, Coherence and Alignment
`weighted_results1_…` and `weighted_results2_…`. Files, folder and licence were seen on the hub's pages, the columns in
opendilab/LightRFT, lightrft/datasets/rapidata.py at 012a65e; no published row was seen. Without file names, `video1`
and `video2` are taken, as paths, in the row, or as URLs: nothing is fetched, and a URL stands for the file of its last
part in those folders.

The rule: `weighted_results` are each video's votes, weighed by how reliable the voter is. The video with more of them
in Preference is the better one; equal votes (to within 1e-9, since they are sums of floats) are a tie; no votes at all
make the row invalid. Coherence and Alignment are aspects by the same rule, left out where they are missing. Rows have
no id, so that a row's place is its id.
"""

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from models.pairs.preference import Preferred, Task
from models.sources.fields import Fields, RowError, below, different, given_id, medium, number, text, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import InFile, InvalidRow, Medium, Row

ASPECTS = ("Coherence", "Alignment")
FOLDERS = ("Videos", "videos")
EQUAL = 1e-9


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the files. Raises `DataError` where there are none."""
    files = find(root, "data/train-*.parquet", "train-*.parquet", layout="data/train-*.parquet beside Videos/")

    def candidate(where: str, row: dict[str, Any], one: int) -> Medium:
        named = f"file_name{one}" if row.get(f"file_name{one}") is not None else f"video{one}"
        return _beside(root, medium(row.get(named), named, where))

    def make(where: str, row: dict[str, Any]) -> Row:
        return Row(
            where=where,
            id=given_id(row) or where,
            task=Task.VIDEO_GENERATION,
            prompt=text(row, "prompt"),
            candidates=different(candidate(where, row, 1), candidate(where, row, 2)),
            preferred=_voted(row, "Preference"),
            aspects=tuple((name, _voted(row, name)) for name in ASPECTS if _is_there(row, name)),
        )

    return valid_rows(rows_of(root, files), make)


def _beside(root: Path, found: Medium) -> Medium:
    if isinstance(found, InFile) and found.path.lower().startswith(("http://", "https://")):
        name = InFile(PurePosixPath(found.path).name)
        inside = next((one for one in (below(root, name, folder) for folder in FOLDERS) if one != name), None)
        return inside or found  # a URL that nobody downloaded stays one, for the import to refuse
    for folder in FOLDERS:
        found = below(root, found, folder)
    return found


def _is_there(row: Fields, name: str) -> bool:
    return all(row.get(f"weighted_results{one}_{name}") is not None for one in (1, 2))


def _voted(row: Fields, name: str) -> Preferred:
    first, second = (number(row, f"weighted_results{one}_{name}") for one in (1, 2))
    if min(first, second) < 0:
        raise RowError(f"row: {name} has {min(first, second)} votes for a video, less than none")
    if first + second <= 0:
        raise RowError(f"row: {name} has no votes")
    if math.isclose(first, second, rel_tol=EQUAL, abs_tol=EQUAL):
        return "tie"
    return 1 if first > second else 2
