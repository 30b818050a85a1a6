"""The embedded teacher, over its real socket."""

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from models.media.frames import data_url
from models.pairs.preference import Task
from models.shapes.pairs import MadePair, make_pair
from models.shapes.teacher_answers import Faults, answer_request
from models.shapes.teacher_server import TeacherServer
from models.training.selection import rejection
from models.verdict.prompts import attach, chat, data_url_part


def body_of(made: MadePair, seed: int | None = None) -> dict[str, Any]:
    messages = attach(chat(made.pair, "think"), lambda uri: [data_url_part(data_url(f)) for f in made.frames[uri]])
    body: dict[str, Any] = {"model": "shapes-teacher", "messages": messages, "temperature": 0.7}
    return body if seed is None else body | {"seed": seed}


def call(teacher: TeacherServer, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {teacher.api_key if key is None else key}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(teacher.base_url + path, data, headers)) as reply:
            return reply.status, json.load(reply), reply.headers
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers


@pytest.fixture
def teacher() -> Iterator[TeacherServer]:
    with TeacherServer() as running:
        yield running


def some(task: Task, count: int) -> list[MadePair]:
    return [make_pair(task, n, seed=77, held_out=False) for n in range(count)]


@pytest.mark.parametrize("task", list(Task))
def test_an_unfaulty_teacher_reasons_rightly_about_every_task(task: Task) -> None:
    for made in some(task, 20):
        assert rejection(answer_request(body_of(made), Faults(), 0), made.pair) is None


def test_it_answers_over_http_with_usage(teacher: TeacherServer) -> None:
    (made,) = some(Task.IMAGE_GENERATION, 1)
    status, reply, _ = call(teacher, "/chat/completions", body_of(made))
    assert status == 200
    assert rejection(reply["choices"][0]["message"]["content"], made.pair) is None
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"] > 0


def test_a_swapped_pair_is_judged_anew_from_its_pixels() -> None:
    for made in some(Task.IMAGE_GENERATION, 5):
        swapped = MadePair(made.pair.swapped(), made.scene, made.level, (), (), made.frames, made.blobs)
        assert rejection(answer_request(body_of(swapped), Faults(), 0), swapped.pair) is None


def test_an_answer_depends_on_the_request_and_the_seed_alone() -> None:
    (made,) = some(Task.IMAGE_GENERATION, 1)
    faults = Faults(wrong_perception=0.3, broken_grammar=0.3)
    assert answer_request(body_of(made), faults, 3) == answer_request(body_of(made) | {"user": "me"}, faults, 3)
    assert len({answer_request(body_of(made), faults, seed) for seed in range(12)}) > 3


def test_asking_again_with_another_seed_varies_the_answer() -> None:
    (made,) = some(Task.IMAGE_GENERATION, 1)
    assert len({answer_request(body_of(made, seed), Faults(), 0) for seed in range(8)}) > 1


def test_broken_answers_break_in_every_way_that_is_checked() -> None:
    faults = Faults(broken_grammar=1.0)
    made = some(Task.IMAGE_GENERATION, 60)
    reasons = Counter(rejection(answer_request(body_of(one), faults, 0), one.pair) for one in made)
    assert set(reasons) == {
        "malformed:missing_block", "malformed:score_out_of_range", "malformed:text_outside", "malformed:bad_answer",
        "wrong_sums", "answer_contradicts_totals",
    }  # fmt: skip


def test_misreading_leaves_the_grammar_whole_and_reaches_wrong_answers() -> None:
    faults = Faults(wrong_perception=1.0)
    made = some(Task.IMAGE_GENERATION, 40)
    reasons = Counter(rejection(answer_request(body_of(one), faults, 0), one.pair) for one in made)
    assert set(reasons) == {None, "answer_not_label"}


def test_transient_faults_pass_when_asked_again() -> None:
    (made,) = some(Task.IMAGE_GENERATION, 1)
    statuses = Counter[int]()
    with TeacherServer(Faults(rate_limited=0.4, server_error=0.3), seed=4) as teacher:
        for _ in range(30):
            status, _, headers = call(teacher, "/chat/completions", body_of(made))
            statuses[status] += 1
            if status == 429:
                assert 0.05 <= float(headers["Retry-After"]) <= 0.2
    assert set(statuses) == {200, 429, 500}


def test_the_key_is_checked(teacher: TeacherServer) -> None:
    status, reply, _ = call(teacher, "/models", key="wrong")
    assert (status, reply["error"]["code"]) == (401, "invalid_api_key")
    assert call(teacher, "/models")[1]["data"][0]["id"] == "shapes-teacher"


def test_an_unknown_model_is_404_and_an_unreadable_request_400(teacher: TeacherServer) -> None:
    (made,) = some(Task.IMAGE_GENERATION, 1)
    assert call(teacher, "/chat/completions", body_of(made) | {"model": "other"})[0] == 404
    hello = {"model": "shapes-teacher", "messages": [{"role": "user", "content": "hello"}]}
    assert call(teacher, "/chat/completions", hello)[0] == 400
    strange = json.loads(json.dumps(body_of(made)).replace(made.pair.prompt, "a dog on a hill"))
    assert "not a caption" in call(teacher, "/chat/completions", strange)[1]["error"]["message"]
    assert call(teacher, "/nowhere")[0] == 404


def test_its_reasoning_keeps_to_a_small_vocabulary() -> None:
    words = set()
    for task in Task:
        for made in some(task, 15):
            words |= set(answer_request(body_of(made), Faults(), 0).replace(",", " ").split())
    assert len(words) < 200
