"""The reward model as people use it: outcomes of both orders, text as it is written, several callers at once."""

import asyncio
import math
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.errors import DataError, MediaError
from models.generation.open import LocalOptions, open_generator
from models.judging.reward_model import MARGIN_SCALE, RewardModel
from models.pairs.preference import Preferred, Task
from models.shapes.pairs import make_pair
from models.verdict.grammar import Dimension, Verdict, answer_text
from models.verdict.prompts import Message
from models.verdict.rendering import render_verdict
from tests.generators import FakeGenerator, shades

BASE = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"


class Brightest(FakeGenerator):
    """Prefers the brighter of two pictures, in direct mode or thinking as it is asked."""

    def answer(self, conversation: list[Message], sample: int) -> str:
        first, second = shades(conversation)
        better: Preferred = 1 if first > second else 2
        if self.calls[-1].mode == "direct":
            return answer_text(Task.IMAGE_GENERATION, better)
        scores = (9, 2) if better == 1 else (2, 9)
        light = Dimension("Light", scores, ("a", "b"))
        return render_verdict(Verdict.from_dimensions(Task.IMAGE_GENERATION, (light,), better))


class First(FakeGenerator):
    """Sees nothing and always answers the first."""

    def answer(self, conversation: list[Message], sample: int) -> str:
        return "Image 1 is better"


class Contrary(Brightest):
    """Scores the brighter picture higher and, where it is first, answers the other."""

    def answer(self, conversation: list[Message], sample: int) -> str:
        return super().answer(conversation, sample).replace("Image 1 is better", "Image 2 is better")


def row(first: int, second: int, **more: Any) -> dict[str, Any]:
    shades = {f"candidate_{at}": Image.new("RGB", (32, 32), (shade,) * 3) for at, shade in ((1, first), (2, second))}
    return {"task": "image_generation", "prompt": "a bright square", **shades, **more}


def test_an_outcome_holds_preference_margin_and_reasons() -> None:
    bright, dark = RewardModel(Brightest()).compare([row(200, 10), row(10, 200)])
    assert (bright.preferred, bright.margin, bright.agrees, bright.first_wins) == (1, 7, True, 1.0)
    assert bright.share == pytest.approx(1 / (1 + math.exp(-7 / MARGIN_SCALE)))
    assert (dark.preferred, dark.margin, dark.agrees, dark.first_wins) == (2, -7, True, 0.0)
    assert bright.dimensions[0].name == "Light"
    assert bright.row()["both_orders_agree"] is True
    assert bright.row()["margin"] == 7


def test_an_answer_that_depends_on_the_order_alone_wins_nothing() -> None:
    outcome = RewardModel(First()).compare_one(mode="direct", **row(200, 10))
    assert (outcome.preferred, outcome.agrees, outcome.first_wins) == (1, False, 0.5)
    assert outcome.share == pytest.approx(0.5)
    assert (outcome.margin, outcome.dimensions) == (None, ())


def test_an_answer_against_its_own_totals_is_an_answer_that_decides_nothing() -> None:
    outcome = RewardModel(Contrary()).compare_one(**row(200, 10))
    assert (outcome.valid, outcome.preferred, outcome.margin, outcome.first_wins) == (True, 2, 7, 0.5)
    follows = 1 / (1 + math.exp(-7 / MARGIN_SCALE))  # the swapped order's, which names the brighter one
    assert outcome.share == pytest.approx((0.5 + follows) / 2)


def test_malformed_text_is_no_preference() -> None:
    outcome = RewardModel(First()).compare_one(**row(200, 10))
    assert (outcome.preferred, outcome.valid, outcome.agrees, outcome.first_wins) == (None, False, False, None)
    assert outcome.share is None
    assert outcome.fault == "missing_block"


def test_one_order_alone_says_nothing_about_agreement() -> None:
    outcome = RewardModel(Brightest()).compare_one(both_orders=False, **row(200, 10))
    assert (outcome.preferred, outcome.swapped, outcome.agrees) == (1, None, None)


def test_rows_may_ask_in_different_modes_and_keep_their_order() -> None:
    outcomes = RewardModel(Brightest()).compare([row(9, 1, mode="direct"), row(1, 9), row(1, 9, mode="direct")])
    assert [one.preferred for one in outcomes] == [1, 2, 2]
    assert [one.margin for one in outcomes] == [None, -7, None]


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (row(1, 2, task="image"), DataError, "row 1: task 'image'"),
        (row(1, 2, task="video_generation"), MediaError, "row 1, candidate_1: has the kind image"),
        (row(1, 2, candidate_2=b"no picture"), MediaError, "row 1, candidate_2: cannot be decoded"),
        (row(1, 2, candidate_2=[]), MediaError, "row 1, candidate_2: is a video without frames"),
        (row(1, 2, prompt=""), DataError, "row 1"),
        (row(1, 2, mode="slowly"), DataError, "row 1: mode 'slowly'"),
    ],
)
def test_a_bad_row_is_named_before_any_is_judged(bad: dict[str, Any], error: type[Exception], message: str) -> None:
    generator = Brightest()
    with pytest.raises(error, match=message):
        RewardModel(generator).compare([row(1, 2), bad])
    assert not generator.calls


def test_a_list_of_frames_is_a_video() -> None:
    frames = [Image.new("RGB", (32, 32), (shade, 0, 0)) for shade in (10, 20, 30)]
    asked = {"task": "video_understanding", "prompt": "What moves?", "candidate_1": "a", "candidate_2": "b"}
    generator = First()
    RewardModel(generator).compare_one(mode="direct", both_orders=False, media=frames, **asked)
    RewardModel(generator).compare_one(mode="direct", both_orders=False, media=[frames], **asked)
    assert [len(shades(conversation)) for conversation in generator.conversations] == [3, 3]


def test_candidates_are_ranked_and_the_best_is_found() -> None:
    candidates = [Image.new("RGB", (32, 32), (shade,) * 3) for shade in (40, 90, 10, 200, 60)]
    model = RewardModel(Brightest())
    ranking = model.rank("a bright square", candidates, task="image_generation", confidence=1.0, most=10)
    assert ranking.order == (3, 1, 4, 0, 2)
    assert model.best_of("a bright square", candidates, task="image_generation", mode="direct") == 3
    assert asyncio.run(model.arank("a bright square", candidates, task="image_generation")).best == 3


def test_a_judge_of_positions_ranks_nobody() -> None:
    candidates = [Image.new("RGB", (32, 32), (shade,) * 3) for shade in (40, 90, 10)]
    ranking = RewardModel(First()).rank("a square", candidates, task="image_generation", mode="direct")
    assert not ranking.confident
    assert len({round(one.value, 6) for one in ranking.strengths}) == 1


def test_a_coroutine_awaits_the_same_outcome() -> None:
    model = RewardModel(Brightest())
    (awaited,) = asyncio.run(model.acompare([row(200, 10)]))
    assert awaited == model.compare_one(**row(200, 10))


@pytest.fixture(scope="module")
def tiny() -> RewardModel:
    generator = open_generator(BASE, LocalOptions(device="cpu", batch=8))
    return RewardModel(generator, max_tokens=24)


def shapes(number: int) -> dict[str, Any]:
    made = make_pair(Task.IMAGE_GENERATION, number, seed=2, held_out=True)
    first, second = (made.blobs[one.media.uri] for one in made.pair.candidates if one.media)
    return {"task": str(made.pair.task), "prompt": made.pair.prompt, "candidate_1": first, "candidate_2": second}


def test_a_model_tells_what_it_writes_as_it_writes_it(tiny: RewardModel) -> None:
    asked = shapes(0)
    pieces = list(tiny.stream(**asked))
    whole = tiny.compare_one(both_orders=False, **asked).text
    assert "".join(pieces).strip() == whole
    assert len(pieces) > 10


def test_an_event_loop_may_listen(tiny: RewardModel) -> None:
    async def listen() -> str:
        return "".join([piece async for piece in tiny.astream(mode="direct", **shapes(1))])

    assert asyncio.run(listen()).strip() == tiny.compare_one(mode="direct", both_orders=False, **shapes(1)).text


def test_what_a_generator_raises_reaches_who_listens() -> None:
    class Broken(First):
        def answer(self, conversation: list[Message], sample: int) -> str:
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        list(RewardModel(Broken()).stream(**row(1, 2)))


def test_several_threads_get_their_own_answers(tiny: RewardModel) -> None:
    alone = [tiny.compare_one(mode="direct", **shapes(number)).text for number in range(4)]
    together: dict[int, str] = {}

    def ask(number: int) -> None:
        together[number] = tiny.compare_one(mode="direct", **shapes(number)).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(4)] == alone
