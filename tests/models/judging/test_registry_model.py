"""The judge as MLflow serves it: rows in, rows out, over a generator that answers from a script."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from models.errors import DataError, MediaError, ModelError
from models.judging.request_rows import read_media
from models.judging.reward_model import RewardModel
from models.pairs.preference import Preferred, Task
from models.verdict.grammar import Dimension, Verdict, answer_text
from models.verdict.prompts import Message
from models.verdict.rendering import render_verdict
from tests.generators import FakeGenerator, batch_shapes

BASE = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"
CONTEXT = None  # the judge needs no MLflow context once it is loaded


def png(colour: str = "red", size: tuple[int, int] = (56, 56)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def film(kind: str, frames: int = 3) -> bytes:
    images = [Image.new("RGB", (32, 32), (60 * at, 0, 0)) for at in range(frames)]
    buffer = io.BytesIO()
    images[0].save(buffer, kind, save_all=True, append_images=images[1:])
    return buffer.getvalue()


class Script(FakeGenerator):
    """Says the next line of its script for each conversation."""

    def __init__(self, *lines: str) -> None:
        super().__init__()
        self.lines = list(lines)

    def answer(self, conversation: list[Message], sample: int) -> str:
        assert self.calls[-1].params.temperature == 0.0
        return self.lines.pop(0)


def served(script: Script, max_frames: int = 8, max_pixels: int = 147_456) -> Any:
    from models.judging.registry_model import PairwiseJudge

    model = PairwiseJudge()
    model.judge = RewardModel(script, max_pixels=max_pixels, max_frames=max_frames)
    return model


def reasoning(preferred: Preferred, task: Task = Task.IMAGE_GENERATION) -> str:
    scores = (8, 6) if preferred == 1 else (5, 9)
    dimensions = (
        Dimension("Aesthetics", scores, ("calm; clear", "1/10 of it is noisy")),
        Dimension("Authenticity", (7, 7), ("real", "real")),
    )
    return render_verdict(Verdict.from_dimensions(task, dimensions, preferred))


def images_of(conversation: list[Message]) -> list[Image.Image]:
    return [part["image"] for message in conversation for part in message["content"] if part["type"] == "image"]


def generation(**fields: Any) -> dict[str, Any]:
    return {
        "task": "image_generation", "prompt": "a red square", "candidate_1": png(), "candidate_2": png("blue"), **fields
    }  # fmt: skip


def understanding(**fields: Any) -> dict[str, Any]:
    return {
        "task": "image_understanding", "prompt": "Which colour?", "candidate_1": "red", "candidate_2": "blue",
        "media": png(), **fields,
    }  # fmt: skip


def test_a_valid_verdict_is_spread_over_the_columns() -> None:
    answer = served(Script(reasoning(1))).predict(CONTEXT, pd.DataFrame([generation()])).iloc[0].to_dict()
    assert answer["preferred"] == 1
    assert answer["valid"] is True
    assert answer["fault"] is None
    assert answer["text"] == reasoning(1)
    assert answer["dimensions"] == ["Aesthetics", "Authenticity"]
    assert (answer["scores_1"], answer["scores_2"]) == ([8, 7], [6, 7])
    assert answer["rationales"] == [["calm; clear", "1/10 of it is noisy"], ["real", "real"]]
    assert (answer["total_1"], answer["total_2"]) == (15, 13)
    assert answer["sums_agree"] is True
    assert answer["answer_agrees"] is True
    assert "both_orders_agree" not in answer


def test_a_malformed_verdict_prefers_nothing_and_says_its_fault() -> None:
    answer = served(Script("1 or 2")).predict(CONTEXT, pd.DataFrame([generation()])).iloc[0].to_dict()
    assert (answer["preferred"], answer["valid"], answer["fault"]) == (None, False, "missing_block")
    assert (answer["scores_1"], answer["rationales"], answer["total_1"]) == ([], [], None)


def test_the_mode_comes_from_the_row_or_else_from_the_request_and_rows_keep_their_order() -> None:
    rows = pd.DataFrame([generation(mode="think"), generation(), generation(mode=np.nan)], index=["a", "b", "c"])
    one, tie = (answer_text(Task.IMAGE_GENERATION, choice) for choice in (1, "tie"))
    script = Script(one, tie, reasoning(2))
    answers = served(script).predict(CONTEXT, rows, {"mode": "direct"})
    assert list(answers.index) == ["a", "b", "c"]
    assert list(answers["mode"]) == ["think", "direct", "direct"]
    assert list(answers["preferred"]) == [2, 1, "tie"]
    assert list(answers["total_2"]) == [16, None, None]


@pytest.mark.parametrize(
    ("second", "agree"),
    [(reasoning(2), True), (reasoning(1), False), ("not a verdict", False)],
)
def test_both_orders_agree_when_the_same_candidate_wins_from_either_place(second: str, agree: bool) -> None:
    script = Script(reasoning(1), second)
    answer = served(script).predict(CONTEXT, pd.DataFrame([generation()]), {"both_orders": True}).iloc[0]
    assert answer["preferred"] == 1
    assert answer["both_orders_agree"] is agree
    given, swapped = script.conversations
    assert [image.getpixel((0, 0)) for image in images_of(given)] == [(255, 0, 0), (0, 0, 255)]
    assert [image.getpixel((0, 0)) for image in images_of(swapped)] == [(0, 0, 255), (255, 0, 0)]


def forms(folder: Path) -> Iterator[Any]:
    data = png("lime")
    (folder / "a b.png").write_bytes(data)
    text = base64.b64encode(data).decode()
    yield from (data, bytearray(data), memoryview(data), text, f"data:image/png;base64,{text}")
    yield from (folder / "a b.png", str(folder / "a b.png"), (folder / "a b.png").as_uri())


def test_an_image_may_come_in_every_form(tmp_path: Path) -> None:
    for form in forms(tmp_path):
        assert read_media(form, "here") == png("lime")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_a_video_is_its_frames_up_to_the_cap(kind: str) -> None:
    script = Script(answer_text(Task.VIDEO_UNDERSTANDING, 1))
    row = understanding(task="video_understanding", media=film(kind, 6))
    served(script, max_frames=4).predict(CONTEXT, pd.DataFrame([row]), {"mode": "direct"})
    assert len(images_of(script.conversations[0])) == 4


def test_several_context_images_may_come_as_a_list_or_an_array() -> None:
    several = np.empty(2, dtype=object)
    several[:] = [png("red"), png("blue")]
    script = Script(*[answer_text(Task.IMAGE_UNDERSTANDING, 2)] * 2)
    rows = [understanding(media=[png("red"), png("blue")]), understanding(media=several)]
    answers = served(script).predict(CONTEXT, rows, {"mode": "direct"})
    assert list(answers["preferred"]) == [2, 2]
    assert [len(images_of(conversation)) for conversation in script.conversations] == [2, 2]


def test_images_are_reduced_to_the_cap() -> None:
    script = Script(reasoning(1))
    served(script, max_pixels=2500).predict(CONTEXT, [generation(candidate_1=png("red", (500, 100)))])
    assert all(image.width * image.height <= 2500 for image in images_of(script.conversations[0]))


BAD_ROWS = [
    (generation(task="poetry"), DataError, "row 1: task 'poetry' is none of image_generation"),
    (generation(prompt=None), DataError, "row 1: prompt missing"),
    (generation(candidate_2=np.nan), DataError, "row 1: candidate_2 missing"),
    (generation(mode="maybe"), DataError, "row 1: mode 'maybe' is none of think, direct"),
    (generation(media=png()), DataError, "row 1: image_generation takes no context media"),
    (understanding(media=None), DataError, "row 1: image_understanding needs its image"),
    (understanding(candidate_1=png()), DataError, "row 1, candidate_1 is bytes: image_understanding compares"),
    (understanding(candidate_1="  "), DataError, "row 1: a candidate's text is empty"),
    (generation(candidate_1="no/such.png"), MediaError, "row 1, candidate_1: 'no/such.png' is neither an existing"),
    (generation(candidate_1="https://a.b/c.png"), MediaError, "row 1, candidate_1: is an address"),
    (generation(candidate_1=7), MediaError, "row 1, candidate_1: is int"),
    (generation(candidate_1=png()[:60]), MediaError, "row 1, candidate_1: cannot be decoded"),
    (understanding(media=[png(), b"no image"]), MediaError, "row 1, media: cannot be decoded"),
]


@pytest.mark.parametrize(("row", "error", "message"), BAD_ROWS, ids=[message[:50] for _, _, message in BAD_ROWS])
def test_a_bad_row_is_named_before_any_row_is_judged(row: dict[str, Any], error: type[Exception], message: str) -> None:
    script = Script()
    with pytest.raises(error) as refused:
        served(script).predict(CONTEXT, [generation(), row])
    assert message in str(refused.value)
    assert script.conversations == []


def test_no_rows_give_no_answers() -> None:
    assert len(served(Script()).predict(CONTEXT, pd.DataFrame([], columns=["task", "prompt"]))) == 0


def test_a_bound_of_generation_tokens_splits_a_batch_and_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.pyfunc.model import PythonModelContext

    from models.judging.registry_defaults import DEFAULTS
    from models.judging.registry_model import PairwiseJudge

    assert DEFAULTS["generation_tokens"] is None, "MLflow lets only be set what a model was saved with"
    context: Any = PythonModelContext
    rows = [understanding(candidate_1="a b " * at, mode="direct") for at in range(1, 5)]
    answers, batches = [], []
    for bound in (None, 150):
        model = PairwiseJudge()
        config = {"device": "cpu", "max_tokens": 8, "decoding_processes": 0, "generation_tokens": bound}
        model.load_context(context({"model": str(BASE)}, config))
        shapes = batch_shapes(model.judge.generator.model, monkeypatch)
        answers.append(list(model.predict(CONTEXT, pd.DataFrame(rows))["text"]))
        batches.append(shapes)
    assert answers[0] == answers[1]
    assert [rows for rows, _ in batches[0]] == [4]
    assert len(batches[1]) > 1
    assert all(rows * (width + 8) <= 150 or rows == 1 for rows, width in batches[1])


def test_a_model_without_a_processor_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    from mlflow.pyfunc.model import PythonModelContext

    from models.judging.registry_model import PairwiseJudge

    (tmp_path / "config.json").write_text("{}")
    context: Any = PythonModelContext
    with pytest.raises(ModelError, match="processor"):
        PairwiseJudge().load_context(context({"model": str(tmp_path)}, {}))
