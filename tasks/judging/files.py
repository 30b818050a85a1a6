"""Judging a few files with a registered or local model, in this process."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from configs.schema import Settings
from models.backbone import takes_video
from models.errors import ArtifactUnknown, ConfigError, MediaError
from models.generation.open import open_generator
from models.generation.protocol import SamplingParams
from models.judging.judge import Judge, Judgment
from models.media.frames import decode, inspect, shrink
from models.pairs.preference import Candidate, Media, PreferencePair, Task, agree
from models.verdict.grammar import Malformed, Mode, answer_text
from tasks.pipeline.graph import find_base
from tasks.pipeline.pinning import find_artifact
from tasks.pipeline.run import open_store
from tasks.stages.generators import local_options


def judge_files(
    settings: Settings,
    *,
    prompt: str,
    files: Sequence[Path],
    about: Path | None,
    answers: Sequence[str],
    model: str,
    mode: Mode,
) -> dict[str, Any]:
    """The verdict on two files, or on two answers about one; also with the candidates swapped.

    Raises `MediaError` for a file that cannot be read, `ConfigError` for a model that is not to be found.
    """
    frames: dict[str, list[Image.Image]] = {}
    seconds: dict[str, float] = {}

    def medium(path: Path) -> Media:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise MediaError(str(path), f"cannot be read: {error.strerror}") from error
        decoded = decode(data, str(path), max_frames=settings.model.max_frames)
        digest = hashlib.sha256(data).hexdigest()
        frames[digest] = [shrink(frame, settings.model.max_pixels) for frame in decoded]
        seconds[digest] = (found := inspect(data, str(path))).seconds
        return Media(kind=found.kind, uri=digest, sha256=digest)

    shown = [medium(path) for path in files]
    context = (medium(about),) if about else ()
    kinds = {one.kind for one in (*shown, *context)}
    if len(kinds) > 1:
        raise ConfigError(f"{files[0]} and {files[1]} are not of one kind: give two images or two videos")
    task = Task(f"{kinds.pop()}_{'understanding' if answers else 'generation'}")
    candidates = [Candidate(text=answer) for answer in answers] or [Candidate(media=one) for one in shown]
    pair = PreferencePair(
        id="asked",
        task=task,
        prompt=prompt,
        context=context,
        candidates=(candidates[0], candidates[1]),
        preferred="tie",
        source="command line",
    )
    folder = find_model(settings, model)
    judge = Judge(
        open_generator(folder, local_options(settings)),
        frames.__getitem__,
        seconds=seconds.__getitem__ if takes_video(folder) else None,
    )
    given, swapped = judge.judge(
        [pair], mode, SamplingParams(max_tokens=settings.evaluate.max_tokens), both_orders=True
    )
    return {
        "task": str(task),
        "text": given.text,
        "answer": _answer(given),
        "answer_swapped": _answer(swapped),
        "preferred": given.preferred,
        "preferred_swapped": swapped.preferred,
        "both_orders_agree": agree(given.preferred, swapped.preferred),
        "valid": given.valid,
    }


def _answer(judgment: Judgment) -> str:
    if isinstance(judgment.verdict, Malformed):
        return f"no valid verdict ({judgment.verdict.reason})"
    return answer_text(judgment.pair.task, judgment.verdict.preferred)


def model_folder(settings: Settings, name: str) -> Path | None:
    """The folder that a name means outside the store: a path with a separator in it, such as `./model`, or `base`.

    A bare name is never a folder's, so that a folder of that name in the working directory changes nothing.
    """
    if name == "base":
        return find_base(settings)
    if ("/" in name or os.sep in name) and Path(name).is_dir():
        return Path(name)
    return None


def find_model(settings: Settings, name: str) -> Path:
    """A model directory by path (`./model`), `base`, artifact digest or registry alias.

    Raises `ConfigError` for what is none of them; its message gives the spelling for a folder of that name.
    """
    if folder := model_folder(settings, name):
        return folder
    store = open_store(settings)
    try:
        ref = find_artifact(store, settings, name)
    except ArtifactUnknown as error:
        if Path(name).is_dir():
            raise ConfigError(f"{name!r} is no model's name ({error}): for the folder write ./{name}") from error
        raise ConfigError(
            f"there is no model {name!r} ({error}): give a directory, an artifact digest, `base`, or an alias of "
            f"{settings.tracking.registered_model}; `thinkreward run` makes the alias champion"
        ) from error
    return store.fetch(ref)
