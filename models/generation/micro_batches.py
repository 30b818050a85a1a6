"""How sequences are put together so that no batch, padded to its longest, has more tokens than a limit."""

from collections.abc import Sequence
from typing import Any

LONG_TIMES = 0.01  # frames a second, whose times have as many digits as those of a film


def by_tokens(lengths: Sequence[tuple[int, ...]], *, tokens: int, rows: int, at_least: int = 1) -> list[list[int]]:
    """The places of the sequences, in batches of like length, the short ones first.

    A length has one part for each that is padded by itself, such as the prompt and the completion; a batch's tokens are
    its rows times the sum of its longest parts. A batch has `rows` rows at most, and `tokens` tokens unless it is a
    single sequence that is longer. There are `at_least` batches if there are so many sequences. Equal lengths keep
    their order, so the same lengths give the same batches.

    >>> by_tokens([(90,), (10,), (12,), (11,), (200,)], tokens=100, rows=2)
    [[1, 3], [2], [0], [4]]
    """
    batches: list[list[int]] = []
    longest: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda at: (sum(lengths[at]), at)):
        grown = [max(pair) for pair in zip(longest or lengths[at], lengths[at], strict=True)]
        if batches and len(batches[-1]) < rows and (len(batches[-1]) + 1) * sum(grown) <= tokens:
            batches[-1].append(at)
            longest = grown
        else:
            batches.append([at])
            longest = list(lengths[at])
    while len(batches) < min(at_least, len(lengths)):
        widest = max(range(len(batches)), key=lambda one: len(batches[one]))
        whole = batches[widest]
        batches[widest : widest + 1] = [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
    return batches


class TokenCounter:
    """Counts a prompt's tokens, those of its media included, before the media are processed.

    What a medium comes to depends on its size alone and is measured once for each size, on a blank one. But some
    processors write the times of a video's frames: they are counted as long ones, so that the count is not too low.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._known: dict[tuple[str, int, int, int], int] = {}

    def count(self, text: str, images: Sequence[Any] = (), clips: Sequence[Sequence[Any]] = ()) -> int:
        """Tokens of `text`, in which one placeholder stands for each of `images` and `clips` (lists of frames)."""
        written = len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        extra = sum(self._more("image", 1, *image.size) for image in images)
        return written + extra + sum(self._more("video", len(clip), *clip[0].size) for clip in clips)

    def _more(self, kind: str, frames: int, width: int, height: int) -> int:
        """Tokens of a medium beyond its placeholder."""
        size = (kind, frames, width, height)
        if size not in self._known:
            self._known[size] = self._measured(*size)
        return self._known[size]

    def _measured(self, kind: str, frames: int, width: int, height: int) -> int:
        from PIL import Image

        holder = getattr(self._processor, f"{kind}_token")
        blank = Image.new("RGB", (width, height))
        if kind == "image":
            shown: dict[str, Any] = {"images": [blank]}
        else:
            times = {"fps": LONG_TIMES, "total_num_frames": frames, "frames_indices": list(range(frames))}
            shown = {"videos": [[blank] * frames], "video_metadata": [times], "do_sample_frames": False}
        made = self._processor(text=[holder], add_special_tokens=False, **shown)
        return len(made["input_ids"][0]) - 1
