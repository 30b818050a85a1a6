"""The judge service over a real socket: its answers, what it refuses, and that it goes on."""

import base64
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from models.errors import ConfigError
from models.generation.open import LocalOptions, open_generator
from models.judging.reward_model import RewardModel
from models.pairs.preference import Task
from tasks.serving.app import make_app
from tests.generators import batch_shapes
from tests.models.slow_media import large_png, slow_gif
from tests.tasks.serving.running import BASE, Running, asked, encoded, png, promote, serving, settings


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.fixture(scope="module")
def judge() -> Iterator[Running]:
    with serving(settings("serve.max_body_mib=2")) as running:
        yield running


@pytest.fixture(scope="module")
def alone() -> RewardModel:
    """The same model without a service."""
    generator = open_generator(BASE, LocalOptions(device="cpu", batch=1))
    return RewardModel(generator, max_pixels=settings().model.max_pixels, max_tokens=32)


@pytest.mark.parametrize("task", list(Task))
def test_a_comparison_is_the_models_own(judge: Running, alone: RewardModel, task: Task) -> None:
    answer = judge.post("/v1/compare", asked(task))
    assert answer.status_code == 200, answer.text
    outcome = alone.compare_one(**asked(task))
    said = answer.json()
    assert {name: said[name] for name in outcome.row()} == json.loads(json.dumps(outcome.row()))
    assert said["model"] == judge.service.manager.digest


def test_many_at_once_get_their_own_answers_in_few_batches(judge: Running, alone: RewardModel) -> None:
    requests = [asked(number=number) for number in range(24)]
    expected = [outcome.text for outcome in alone.compare(requests)]
    before = batches(judge)
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda body: judge.post("/v1/compare", body), requests))
    assert [answer.json()["text"] for answer in answers] == expected
    assert batches(judge) - before < 12  # of 48 texts


def test_no_batch_holds_more_tokens_than_the_settings_allow(
    alone: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [asked(number=number) for number in range(8)]
    expected = [outcome.text for outcome in alone.compare(requests)]
    bounded = settings("runtime.generation_tokens=600", "serve.pause_ms=200")
    with serving(bounded) as running, ThreadPoolExecutor(8) as pool, running.service.manager.acquire() as loaded:
        shapes = batch_shapes(loaded.hosted.model, monkeypatch)
        answers = list(pool.map(lambda body: running.post("/v1/compare", body), requests))
        assert batches(running) < len(shapes)
    assert [answer.json()["text"] for answer in answers] == expected
    assert all(rows * (width + 32) <= 600 or rows == 1 for rows, width in shapes)


def batches(judge: Running) -> float:
    """How many batches were generated so far."""
    samples = judge.service.metrics.batches.collect()[0].samples
    return next(sample.value for sample in samples if sample.name.endswith("_count"))


def test_openais_client_completes_and_streams_the_same(judge: Running) -> None:
    client = openai.OpenAI(base_url=f"{judge.url}/v1", api_key="any")
    url = f"data:image/png;base64,{png(64, 64)}"
    messages: Any = [
        {"role": "system", "content": "You judge."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Say what you see."},
                {"type": "image_url", "image_url": {"url": url}},
            ],
        },
    ]
    options: dict[str, Any] = {"model": "base", "messages": messages, "temperature": 0, "max_tokens": 12}
    whole = client.chat.completions.create(**options)
    pieces = list(client.chat.completions.create(**options, stream=True))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text.strip() == whole.choices[0].message.content
    assert len(pieces) > 4
    assert whole.usage is not None
    assert whole.usage.completion_tokens > 0
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert [one.id for one in client.models.list()] == ["base"]
    with pytest.raises(openai.NotFoundError, match="'nobody' is not served here: ask for 'base'"):
        client.chat.completions.create(**options | {"model": "nobody"})


def test_curl_is_answered(judge: Running, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl")
    (tmp_path / "body.json").write_text(json.dumps(asked()))
    command = [curl, "-sS", "-H", "Content-Type: application/json", "-d", "@body.json", f"{judge.url}/v1/compare"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["preferred"] in (1, 2, "tie")


STILL = png(8, 8)
REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("bytes that are no image", asked(candidate_1="bm8gaW1hZ2U="), 422, "candidate_1: cannot be decoded"),
    ("text that is no base64", asked(candidate_1="%%%"), 422, "is not base64 (paths are not looked up here)"),
    ("a path of this machine", asked(candidate_1="/etc/passwd"), 422, "candidate_1"),
    ("an address", asked(candidate_1="http://169.254.169.254/x.png"), 422, "nothing is downloaded"),
    ("100 megapixels", asked(candidate_1=png(10_000, 10_000, "1")), 422, "too many pixels"),
    ("a video without frames", asked(Task.VIDEO_GENERATION, candidate_1=[]), 422, "candidate_1.frames: List should"),
    ("an image for a video", asked(Task.VIDEO_GENERATION, candidate_1=STILL), 422, "has the kind image"),
    ("texts where images belong", asked() | {"task": "image_understanding"}, 422, "needs its image"),
    ("no such task", asked() | {"task": "poetry"}, 422, "task"),
    ("an empty prompt", asked(prompt=" "), 422, "prompt: is empty"),
    ("a prompt of a megabyte", asked(prompt="a" * 2**20), 422, "prompt: String should have at most"),
    (
        "an answer of a megabyte",
        asked(Task.IMAGE_UNDERSTANDING, candidate_2="a" * 2**20),
        422,
        "above the limit of 32768",
    ),
    ("half a character", asked(prompt="\ud800"), 422, "unicode"),
    ("a field that is not there", asked(promt="x"), 422, "promt"),
    ("more than the limit", asked(candidate_1="A" * 2**22), 413, "more than 2097152 bytes"),
]


@pytest.mark.parametrize(("body", "status", "told"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_used_is_refused_in_words(judge: Running, body: dict[str, Any], status: int, told: str) -> None:
    content = json.dumps(body)  # as ASCII, which httpx would not make of half a character
    answer = httpx.post(
        f"{judge.url}/v1/compare", content=content, headers={"Content-Type": "application/json"}, timeout=60
    )
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert told in error["message"]
    assert len(error["message"]) < 500, "the request's own bytes are not sent back"
    assert judge.post("/v1/compare", asked()).status_code == 200


def test_a_body_that_does_not_say_how_long_it_is_has_the_same_limit(judge: Running) -> None:
    def pieces() -> Iterator[bytes]:
        yield json.dumps(asked())[:-1].encode()
        for _ in range(6):
            yield b" " * 2**19

    answer = httpx.post(f"{judge.url}/v1/compare", content=pieces(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(("count", "told"), [(1, "at least 2"), (40, "at most 32")])
def test_one_candidate_and_forty_are_refused(judge: Running, count: int, told: str) -> None:
    body = {"task": "image_generation", "prompt": "a cube", "candidates": [STILL] * count}
    answer = judge.post("/v1/rank", body)
    assert (answer.status_code, told in answer.text) == (422, True)


def test_no_route_reads_this_machines_files(judge: Running, tmp_path: Path) -> None:
    made = asked()
    path = tmp_path / "picture.png"
    path.write_bytes(base64.b64decode(made["candidate_1"]))
    about = {"task": "image_generation", "prompt": "a cube", "mode": "direct"}
    for body in ({"candidates": [str(path), made["candidate_2"]]}, {"candidates": [f"file://{path}", STILL]}):
        answer = judge.post("/v1/rank", about | body)
        assert (answer.status_code, "paths are not looked up" in answer.text) == (422, True)
    chat = {"messages": [{"role": "user", "content": [picture(str(path))]}]}
    assert judge.post("/v1/chat/completions", chat).status_code == 422
    assert judge.post("/v1/compare", made | {"candidate_1": str(path)}).status_code == 422


def test_candidates_are_ranked_as_the_model_ranks_them(judge: Running, alone: RewardModel) -> None:
    made = asked()
    candidates = [made["candidate_1"], made["candidate_2"], made["candidate_1"]]
    body = {"task": "image_generation", "prompt": made["prompt"], "candidates": candidates, "mode": "direct"}
    said = judge.post("/v1/rank", body).json()
    own = alone.rank(made["prompt"], candidates, task="image_generation", mode="direct")
    assert [one["candidate"] for one in said["ranking"]] == list(own.order)
    assert [one["strength"] for one in said["ranking"]] == pytest.approx([own.strengths[at].value for at in own.order])
    assert said["comparisons"] == len(own.comparisons)


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({"messages": []}, 422, "messages"),
        ({"tools": [{}]}, 422, "tools"),
        ({"n": 3, "stream": True}, 422, "n is 3 and stream is true"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "bm8="}}]}]},
            422,
            "decoded",
        ),
    ],
)
def test_a_chat_that_cannot_be_used_is_refused(judge: Running, changes: dict[str, Any], status: int, told: str) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, **changes}
    for stream in (False, True):
        answer = judge.post("/v1/chat/completions", {"stream": stream, **body})
        assert answer.status_code == status
        assert told in answer.json()["error"]["message"]


def test_no_json_is_told_from_json_that_does_not_fit(judge: Running) -> None:
    answer = httpx.post(f"{judge.url}/v1/compare", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


def test_a_caller_that_hangs_up_disturbs_nobody(judge: Running) -> None:
    body = json.dumps(asked(mode="think")).encode()
    head = (
        f"POST /v1/compare HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for cut in (len(body) // 2, len(body)):
        with socket.create_connection(("127.0.0.1", judge.server.config.port)) as one:
            one.sendall(head.encode() + body[:cut])
    assert judge.post("/v1/compare", asked()).status_code == 200
    deadline = time.monotonic() + 30
    while judge.service.limiter.in_flight:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_health_readiness_figures_and_the_document_need_no_token() -> None:
    with serving(settings(), token="secret") as guarded:
        assert httpx.get(f"{guarded.url}/health").json() == {"status": "ok"}
        assert httpx.get(f"{guarded.url}/ready").json()["model"] == guarded.service.manager.digest
        assert httpx.get(f"{guarded.url}/openapi.json").status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
            refused = guarded.post("/v1/compare", asked(), headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        allowed = guarded.post("/v1/compare", asked(), headers={"Authorization": "Bearer secret"})
        assert allowed.status_code == 200
        figures = httpx.get(f"{guarded.url}/metrics").text
        assert 'thinkreward_requests_total{route="/v1/compare",status="401"} 3.0' in figures
        assert 'thinkreward_requests_total{route="/v1/compare",status="200"} 1.0' in figures


def test_more_than_may_be_at_work_are_told_when_to_come_back() -> None:
    with serving(settings("serve.requests=2")) as small, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: small.post("/v1/compare", asked(mode="think")), range(12)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert small.post("/v1/compare", asked()).status_code == 200


def test_a_request_that_takes_too_long_is_given_up() -> None:
    with serving(settings("serve.timeout_s=0.001")) as hasty:  # decoding the media alone takes longer
        answer = hasty.post("/v1/compare", asked(mode="think"))
        assert answer.status_code == 504
        assert "no answer within 0.001 s" in answer.json()["error"]["message"]


def test_what_has_begun_is_answered_before_the_service_ends() -> None:
    with serving(settings("evaluate.max_tokens=200")) as running, ThreadPoolExecutor(1) as pool:
        begun = pool.submit(running.post, "/v1/compare", asked(mode="think"))
        while not running.service.limiter.in_flight:
            time.sleep(0.005)
        running.server.should_exit = True
        assert begun.result(60).status_code == 200


def test_an_alias_that_moves_is_followed_and_no_request_is_lost(tmp_path: Path) -> None:
    chosen = settings(
        f"storage.root={tmp_path}/store", f"storage.cache_dir={tmp_path}/cache",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", "serve.follow_s=0.2",
    )  # fmt: skip
    first = promote(chosen, tmp_path, 1)
    with serving(chosen, "champion") as running, ThreadPoolExecutor(4) as pool:
        stop = threading.Event()

        def ask_on() -> list[httpx.Response]:
            answers = []
            while not stop.is_set():
                answers.append(running.post("/v1/compare", asked()))
            return answers

        asking = [pool.submit(ask_on) for _ in range(4)]
        second = promote(chosen, tmp_path, 2)
        deadline = time.monotonic() + 60
        while running.service.manager.digest != second:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        stop.set()
        answers = [answer for one in asking for answer in one.result(60)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["model"] for answer in answers} == {first, second}
    assert len({answer.json()["text"] for answer in answers}) == 1, "both have the same weights"


def test_a_model_that_is_not_there_is_refused_before_anything_listens(tmp_path: Path) -> None:
    chosen = settings(f"storage.root={tmp_path}/store", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(ConfigError, match="there is no model 'nobody' to serve"):
        make_app("nobody", chosen)


def test_one_picture_that_no_processor_takes_costs_its_own_request_alone(judge: Running) -> None:
    thin = asked(candidate_2=png(400, 1))
    bodies = [asked(number=number) for number in range(9)]
    with ThreadPoolExecutor(10) as pool:
        refused = pool.submit(judge.post, "/v1/compare", thin)
        answers = list(pool.map(lambda body: judge.post("/v1/compare", body), bodies))
    assert [answer.status_code for answer in answers] == [200] * 9
    assert refused.result().status_code == 422
    assert "400.0 to 1" in refused.result().json()["error"]["message"]


def test_media_that_hang_or_fill_memory_cost_their_own_requests_alone() -> None:
    hanging, bomb = slow_gif(side=3000, frames=800), large_png()  # whose frames are far below the limit of memory
    chosen = settings("serve.decoding_timeout_s=20", "serve.decoding_memory_mib=300")
    with serving(chosen) as running, ThreadPoolExecutor(6) as pool:
        video = {"candidate_1": encoded(hanging), "candidate_2": encoded(hanging)}
        late = pool.submit(running.post, "/v1/compare", asked(Task.VIDEO_GENERATION, **video))
        large = pool.submit(running.post, "/v1/compare", asked(candidate_2=encoded(bomb)))
        url = f"data:image/png;base64,{encoded(bomb)}"
        said = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
        chat = pool.submit(running.post, "/v1/chat/completions", {"messages": said})
        good = list(pool.map(lambda number: running.post("/v1/compare", asked(number=number)), range(6)))
        assert [one.status_code for one in good] == [200] * 6
        answers = [one.result() for one in (late, large, chat)]
        assert running.post("/v1/compare", asked()).status_code == 200
    assert [one.status_code for one in answers] == [422] * 3
    words = [one.json()["error"]["message"] for one in answers]
    assert "candidate_1: takes too long: no result after 20 s" in words[0]
    assert all("needs too much memory: more than 300 MiB" in one for one in words[1:])


def test_a_new_champion_that_cannot_be_loaded_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(
        f"storage.root={tmp_path}/store", f"storage.cache_dir={tmp_path}/cache",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", "serve.follow_s=0.1",
    )  # fmt: skip
    old = promote(chosen, tmp_path, 1)
    with serving(chosen, "champion") as running:
        manager, load = running.service.manager, running.service.manager._load

        def no_memory(digest: str, folder: Path) -> Any:
            raise MemoryError("two models do not fit")

        monkeypatch.setattr(manager, "_load", no_memory)
        new = promote(chosen, tmp_path, 2)
        until(lambda: bool(manager.problem))
        said = httpx.get(f"{running.url}/ready").json()
        assert (said["status"], said["model"]) == ("ready", old)
        assert "MemoryError" in said["problem"]
        assert "thinkreward_model_is_current 0.0" in httpx.get(f"{running.url}/metrics").text
        monkeypatch.setattr(manager, "_load", load)
        until(lambda: manager.digest == new)
        until(lambda: "problem" not in httpx.get(f"{running.url}/ready").json())


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
