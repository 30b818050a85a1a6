"""Source `shapes`: pairs of the embedded world (`models.shapes`), made on the spot. Licence: this repository's."""

from collections.abc import Callable

from models.dataset import Split
from models.preference import PreferencePair, Task
from models.shapes.pairs import make_pair
from models.shapes.questions import parse_question
from models.shapes.world import parse_caption


def read_shapes(
    *, train_pairs: int, held_out_pairs: int, seed: int, on_progress: Callable[[int, int], None] | None = None
) -> tuple[dict[Split, list[PreferencePair]], dict[str, bytes]]:
    """Pairs a task for both splits, and their media by uri.

    The splits share no scene that a prompt is about, and so no caption; a flawed candidate may happen to
    show a scene of the other split.
    """
    splits: dict[Split, list[PreferencePair]] = {"train": [], "held_out": []}
    blobs: dict[str, bytes] = {}
    wanted: tuple[tuple[Split, int], ...] = (("train", train_pairs), ("held_out", held_out_pairs))
    total, done = len(Task) * (train_pairs + held_out_pairs), 0
    for split, count in wanted:
        for task in Task:
            for number in range(count):
                made = make_pair(task, number, seed=seed, held_out=split == "held_out")
                splits[split].append(made.pair)
                blobs.update(made.blobs)
                done += 1
                if on_progress is not None:
                    on_progress(done, total)
    return splits, blobs


def foreign(pair: PreferencePair) -> str:
    """Why a pair from elsewhere is not of this world, or nothing: the embedded teacher refuses any other prompt."""
    try:
        (parse_caption if pair.task.judges_media else parse_question)(pair.prompt)
    except ValueError:
        return "world: the source is shapes, and the prompt is not of the shapes world"
    return ""
