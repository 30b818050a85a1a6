"""Judging through an endpoint: a scripted server on a real socket, and the embedded teacher as a judge end to end."""

import asyncio
import base64
import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import pytest
from PIL import Image

from models.errors import TeacherRefused, TeacherUnreachable
from models.generation.endpoint import PROBES, EndpointGenerator
from models.generation.endpoint_address import Endpoint
from models.generation.limits import Limits
from models.generation.protocol import Generated, Generator, SamplingParams
from models.judging.judge import Judge
from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from models.shapes.teacher_answers import Faults
from models.shapes.teacher_server import TeacherServer
from models.verdict.grammar import Fault, Malformed
from models.verdict.prompts import Message, image_part

KEY = "sk-very-secret-0123456789"
Body = dict[str, Any]
Reply = tuple[int, dict[str, str], Body | str] | Literal["cut"]
Script = Callable[[int, Body], Reply]


class Server(ThreadingHTTPServer):
    """A chat endpoint whose every reply `script(number, body)` decides; "cut" ends the connection half way."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.lock = threading.Lock()
        self.seen: list[tuple[float, Body]] = []
        self.under_way = self.most_under_way = 0

    @property
    def bodies(self) -> list[Body]:
        return [body for _, body in self.seen]

    def generator(self, **limits: Any) -> EndpointGenerator:
        endpoint = Endpoint(f"http://127.0.0.1:{self.server_port}/v1", KEY, "m")
        return EndpointGenerator(endpoint, Limits(**({"backoff_s": 0.01, "max_attempts": 3, "timeout_s": 10} | limits)))


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None: ...

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.seen.append((time.monotonic(), body))
            number = len(server.seen)
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        reply = server.script(number, body)
        with server.lock:
            server.under_way -= 1
        status, headers, content = (200, {}, completion("never whole")) if reply == "cut" else reply
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:20] if reply == "cut" else data)
        if reply == "cut":
            self.close_connection = True


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    with Server(script) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def completion(*texts: str | None, finish: str = "stop", **message: Any) -> Body:
    choices = [
        {"index": at, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        for at, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 100, "completion_tokens": 10 * len(texts), "total_tokens": 0}
    return {
        "id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": choices, "usage": usage,
    }  # fmt: skip


def error(message: str, code: str = "") -> Body:
    return {"error": {"message": message, "code": code, "type": code, "param": None}}


def ok(*texts: str | None) -> Reply:
    return 200, {}, completion(*texts)


def question(body: Body) -> str:
    return str(body["messages"][0]["content"][-1]["text"])


def ask(*words: str) -> list[list[Message]]:
    return [[{"role": "user", "content": [{"type": "text", "text": word}]}] for word in words]


def texts(results: list[list[Generated]]) -> list[list[str]]:
    return [[one.text for one in samples] for samples in results]


def test_results_come_in_the_order_given_and_progress_is_told() -> None:
    def slower_first(number: int, body: Body) -> Reply:
        time.sleep(0.03 * (number % 3))
        return ok(question(body).upper())

    heard: list[tuple[int, int]] = []
    with serving(slower_first) as server:
        generator: Generator = server.generator()
        found = generator.generate(
            ask(*"abcdefgh"), SamplingParams(max_tokens=9), on_progress=lambda done, total: heard.append((done, total))
        )
    assert texts(found) == [[letter] for letter in "ABCDEFGH"]
    assert heard == [(done, 8) for done in range(1, 9)]


def test_the_request_names_model_greed_tokens_and_seed() -> None:
    with serving(lambda number, body: ok("x")) as server:
        server.generator().generate(ask("a"), SamplingParams(max_tokens=77, seed=5))
        server.generator().generate(ask("a"), SamplingParams(n=1, temperature=0.8, max_tokens=77, seed=6))
    sent = [{name: value for name, value in body.items() if name != "messages"} for body in server.bodies]
    assert sent == [
        {"model": "m", "temperature": 0.0, "max_tokens": 77, "seed": 5},
        {"model": "m", "temperature": 0.8, "max_tokens": 77, "seed": 6},
    ]


def test_each_conversation_has_its_own_seed_cut_to_what_servers_take() -> None:
    with serving(lambda number, body: ok("x")) as server:
        generator = server.generator(concurrency=1)
        generator.generate(ask("a", "b"), SamplingParams(temperature=1.0, max_tokens=9, seed=[5, 2**40 + 6]))
        with pytest.raises(ValueError, match="1 seeds for 2 conversations"):
            generator.generate(ask("a", "b"), SamplingParams(max_tokens=9, seed=[5]))
    assert [(question(body), body["seed"]) for body in server.bodies] == [("a", 5), ("b", 6)]


def test_an_endpoint_is_known_by_its_host_and_model_and_not_by_anything_secret() -> None:
    identity = EndpointGenerator(Endpoint("https://user:secret@host:8000/v1", KEY, "m")).identity
    assert (identity.kind, identity.version, identity.precision) == ("endpoint", "host:8000 m", "")


def test_decoded_images_travel_as_data_urls_in_their_place() -> None:
    image = Image.new("RGB", (3, 2), (250, 10, 20))
    content = [{"type": "text", "text": "before"}, image_part(image), {"type": "text", "text": "after"}]
    with serving(lambda number, body: ok("x")) as server:
        server.generator().generate([[{"role": "user", "content": content}]], SamplingParams(max_tokens=9))
    first, shown, last = server.bodies[0]["messages"][0]["content"]
    assert (first["text"], shown["type"], last["text"]) == ("before", "image_url", "after")
    head, _, payload = shown["image_url"]["url"].partition("base64,")
    decoded = Image.open(io.BytesIO(base64.b64decode(payload)))
    assert head == "data:image/png;" and decoded.size == (3, 2) and decoded.getpixel((1, 1)) == (250, 10, 20)
    assert content[1]["image"] is image  # the caller's messages are as they were


def test_an_answer_that_met_the_token_limit_is_truncated() -> None:
    with serving(lambda number, body: (200, {}, completion(" cut o", finish="length"))) as server:
        assert server.generator().generate(ask("a"), SamplingParams(max_tokens=9)) == [
            [Generated("cut o", truncated=True)]
        ]


def test_several_samples_come_from_one_request() -> None:
    with serving(lambda number, body: ok(*"xyz"[: body["n"]])) as server:
        found = server.generator().generate(ask("a", "b"), SamplingParams(n=3, temperature=1.0, max_tokens=9))
    assert texts(found) == [["x", "y", "z"]] * 2
    assert [body["n"] for body in server.bodies] == [3, 3]


@pytest.mark.parametrize("refuses", [True, False])
def test_an_endpoint_that_gives_one_sample_is_asked_again_with_other_seeds(refuses: bool) -> None:
    def single(number: int, body: Body) -> Reply:
        if refuses and "n" in body:
            return 400, {}, error("n must be 1")  # vLLM, when greedy
        return ok(f"{question(body)}{body['seed']}")  # others ignore it

    with serving(single) as server:
        generator = server.generator()
        found = generator.generate(ask("a", "b"), SamplingParams(n=3, temperature=1.0, max_tokens=9, seed=7))
    assert texts(found) == [["a7", "a8", "a9"], ["b7", "b8", "b9"]]
    assert sum("n" in body for body in server.bodies) == 1  # learnt from the first
    assert generator.spent.requests == 6


def test_no_more_requests_are_under_way_than_allowed() -> None:
    def slow(number: int, body: Body) -> Reply:
        time.sleep(0.05)
        return ok("x")

    with serving(slow) as server:
        server.generator(concurrency=3).generate(ask(*"abcdefghij"), SamplingParams(max_tokens=9))
    assert server.most_under_way == 3


def test_tokens_are_counted_as_the_endpoint_reports_them() -> None:
    def reply(number: int, body: Body) -> Reply:
        told = completion("x", "y")
        if question(body) == "b":
            del told["usage"]
        return 200, {}, told

    with serving(reply) as server:
        generator = server.generator()
        for _ in range(2):
            generator.generate(ask("a", "b", "c"), SamplingParams(n=2, max_tokens=9))
    spent = generator.spent
    assert (spent.requests, spent.prompt_tokens, spent.completion_tokens) == (6, 400, 80)
    assert (spent.rejected, spent.retries) == (0, 0)


def test_retry_after_is_waited_for() -> None:
    def limited_once(number: int, body: Body) -> Reply:
        return (429, {"Retry-After": "0.4"}, error("slow down")) if number == 1 else ok("x")

    with serving(limited_once) as server:
        generator = server.generator()
        assert texts(generator.generate(ask("a"), SamplingParams(max_tokens=9))) == [["x"]]
    assert server.seen[1][0] - server.seen[0][0] >= 0.4
    assert generator.spent.retries == 1


@pytest.mark.parametrize("fault", [(500, {}, error("oops")), (503, {}, "busy"), (200, {}, '{"id": '), "cut"])
def test_a_passing_fault_is_tried_again(fault: Reply) -> None:
    with serving(lambda number, body: fault if number <= 2 else ok("x")) as server:
        assert texts(server.generator().generate(ask("a"), SamplingParams(max_tokens=9))) == [["x"]]
    assert len(server.seen) == 3


def test_a_lasting_fault_ends_after_the_bounded_tries_and_says_what_to_do() -> None:
    with (
        serving(lambda number, body: ok("x") if number == 1 else (500, {}, error(f"broken {KEY}"))) as server,
        pytest.raises(TeacherUnreachable, match=r"3 tries .*500 .*broken .*start it again") as raised,
    ):
        server.generator(concurrency=1).generate(ask("a", "b", "c"), SamplingParams(max_tokens=9))
    assert len(server.seen) == 4
    assert KEY not in str(raised.value) and "distill" not in str(raised.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_costs_one_request_and_is_never_shown(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        serving(lambda number, body: (status, {}, error(f"wrong key {KEY}"))) as server,
        pytest.raises(TeacherRefused, match="OPENAI_API_KEY") as raised,
    ):
        server.generator().generate(ask(*"abcdef"), SamplingParams(max_tokens=9))
    assert len(server.seen) == 1
    assert KEY not in str(raised.value) + caplog.text + repr(server.generator().endpoint)


def test_an_unknown_model_is_named() -> None:
    with TeacherServer() as teacher:
        generator = EndpointGenerator(Endpoint(teacher.base_url, teacher.api_key, "other"))
        with pytest.raises(TeacherRefused, match=r"no model 'other'.*the model's name"):
            generator.generate(ask("a"), SamplingParams(max_tokens=9))


def test_key_and_address_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(TeacherRefused, match=r"OPENAI_API_KEY is not set.*checks none\)$"):
        EndpointGenerator.from_environment("m")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert EndpointGenerator.from_environment("m").endpoint == Endpoint("https://api.openai.com/v1", KEY, "m")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://here:1/v1")
    assert EndpointGenerator.from_environment("m").endpoint.base_url == "http://here:1/v1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_API_KEY", "sk-secret\nsk-other"),  # two lines of a file
        ("OPENAI_API_KEY", "sk-secrét"),
        ("OPENAI_BASE_URL", "user:sk-secret@here/v1"),  # no scheme
    ],
)
def test_an_unusable_key_or_address_is_refused_without_showing_it(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv(name, value)
    with pytest.raises(TeacherRefused, match=name) as raised:
        EndpointGenerator.from_environment("m")
    assert "secr" not in str(raised.value)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None, "refusal": "I cannot judge this."}, "I cannot judge this."),  # OpenAI's refusal
        ({"content": ""}, ""),
        ({"content": None}, ""),
        ({"content": [{"type": "text"}]}, ""),  # another API's content parts
    ],
)
def test_a_refusal_or_an_empty_answer_is_an_answer(message: Body, text: str) -> None:
    with serving(lambda number, body: (200, {}, completion(None, **message))) as server:
        assert server.generator().generate(ask("a"), SamplingParams(max_tokens=9)) == [
            [Generated(text, truncated=False)]
        ]


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
def test_a_request_rejected_for_its_content_is_an_empty_answer_even_where_it_is_the_only_one(code: str) -> None:
    with serving(lambda number, body: (400, {}, error("flagged", code))) as server:
        generator = server.generator()
        assert texts(generator.generate(ask("a"), SamplingParams(n=2, max_tokens=9))) == [["", ""]]
    assert (generator.spent.rejected, len(server.seen)) == (1, 1)


def test_a_single_rejected_request_is_an_empty_answer_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def picky(number: int, body: Body) -> Reply:
        return (400, {}, error("image too large")) if question(body) in "ad" else ok("x")

    with serving(picky) as server:
        generator = server.generator()
        assert texts(generator.generate(ask(*"abcd"), SamplingParams(max_tokens=9))) == [[""], ["x"], ["x"], [""]]
        assert texts(generator.generate(ask("a"), SamplingParams(max_tokens=9))) == [
            [""]
        ]  # it has answered others before
    assert generator.spent.rejected == 3
    assert "rejects request 3: 400" in caplog.text and "image too large" in caplog.text


@pytest.mark.parametrize("count", [1, 9])
def test_requests_that_are_all_rejected_stop_everything_with_the_reason(count: int) -> None:
    with (
        serving(lambda number, body: (400, {}, error("images are not supported"))) as server,
        pytest.raises(TeacherRefused, match=r"rejects every request.*images are not supported"),
    ):
        server.generator().generate(ask(*"abcdefghi"[:count]), SamplingParams(max_tokens=9))
    assert len(server.seen) == min(count, PROBES)


def test_a_model_that_wants_max_completion_tokens_gets_it() -> None:
    def newer(number: int, body: Body) -> Reply:
        if "max_tokens" in body:
            return 400, {}, error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return ok(str(body["max_completion_tokens"]))

    with serving(newer) as server:
        assert texts(server.generator().generate(ask(*"abc"), SamplingParams(max_tokens=9))) == [["9"]] * 3
    assert len(server.seen) == 4


def test_a_direct_answer_is_asked_for_without_thinking_where_the_endpoint_takes_that() -> None:
    with serving(lambda number, body: (200, {}, completion("fine"))) as server:
        server.generator().generate(ask("a"), SamplingParams(max_tokens=5), mode="direct")
        server.generator().generate(ask("a"), SamplingParams(max_tokens=5))
    direct, thinking = server.bodies
    assert direct["chat_template_kwargs"] == {"enable_thinking": False}
    assert "chat_template_kwargs" not in thinking


def test_an_endpoint_that_knows_no_template_arguments_is_asked_without_them() -> None:
    def script(number: int, body: Body) -> Reply:
        if "chat_template_kwargs" in body:
            return 400, {}, error("Unrecognized request argument supplied: chat_template_kwargs")
        return 200, {}, completion("fine")

    with serving(script) as server:
        said = server.generator(concurrency=1).generate(ask(*"abcd"), SamplingParams(max_tokens=5), mode="direct")
    assert [one.text for (one,) in said] == ["fine"] * 4
    assert len(server.bodies) == 5


REFUSALS: list[tuple[str, str, str | None]] = [  # the field, the server's words, and the field named beside them
    ("temperature", "Unsupported value: 'temperature' does not support 0 with this model.", "temperature"),
    ("temperature", "`temperature` is deprecated for this model.", None),
    ("seed", 'Invalid JSON payload received. Unknown name "seed": Cannot find field.', None),
    ("seed", "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted'}]", None),
    ("seed", "unsupported", "seed"),
]


@pytest.mark.parametrize(("field", "words", "param"), REFUSALS)
def test_a_field_that_is_refused_is_left_out_from_the_first_refusal_on(
    field: str, words: str, param: str | None
) -> None:
    def picky(number: int, body: Body) -> Reply:
        if field in body:
            return 400, {}, {"error": {"message": words, "type": "invalid_request_error", "param": param, "code": None}}
        return ok("fine")

    with serving(picky) as server:
        generator = server.generator(concurrency=1)
        assert texts(generator.generate(ask(*"abc"), SamplingParams(max_tokens=9))) == [["fine"]] * 3
        assert texts(generator.generate(ask("d"), SamplingParams(max_tokens=9))) == [["fine"]]
    assert [field in body for body in server.bodies] == [True, False, False, False, False]
    assert all({"temperature", "seed"} - {field} <= body.keys() for body in server.bodies)
    told = generator.learned.as_dict()
    assert field not in told["sent"] and {"temperature", "seed", "max_tokens"} - {field} == set(told["sent"])
    assert list(told["refused"]) == [field]


def test_fields_are_learned_one_after_another_and_several_at_once_as_far_as_named() -> None:
    def picky(number: int, body: Body) -> Reply:
        if "max_tokens" in body:
            return 400, {}, error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "temperature" in body or "seed" in body:
            return 400, {}, error("temperature, top_p and seed are fixed for this model")
        if "chat_template_kwargs" in body:
            return 400, {}, error("Unrecognized request argument supplied: chat_template_kwargs")
        return ok("fine")

    with serving(picky) as server:
        generator = server.generator(concurrency=4)
        assert texts(generator.generate(ask(*"abcdef"), SamplingParams(max_tokens=9), mode="direct")) == [["fine"]] * 6
    assert len(server.bodies) == 4 + 6
    assert generator.learned.as_dict()["sent"] == ["max_completion_tokens"]


def test_a_refusal_that_another_field_does_not_cure_is_counted_and_costs_one_try_alone() -> None:
    def script(number: int, body: Body) -> Reply:
        if "bad" in json.dumps(body["messages"]):
            return 400, {}, error("the prompt is too long; try a lower temperature setting or seed")
        return ok("fine")

    with serving(script) as server:
        generator = server.generator(concurrency=1)
        said = generator.generate(ask("a", "bad", "bad", "b"), SamplingParams(max_tokens=9))
    assert [one.refused for (one,) in said] == ["", "400", "400", ""]
    assert [{"temperature", "seed"} <= body.keys() for body in server.bodies].count(False) == 2
    assert generator.learned.as_dict()["refused"] == {}


def test_what_is_refused_for_its_content_is_not_tried_in_another_form() -> None:
    with serving(lambda number, body: (400, {}, error("a seed of hate", "content_filter"))) as server:
        server.generator().generate(ask("a"), SamplingParams(max_tokens=9))
    assert len(server.bodies) == 1


@pytest.mark.parametrize("key", ["temperature", "t", "seed"])
def test_fields_are_found_in_the_servers_own_words_and_shown_without_the_key(key: str) -> None:
    def picky(number: int, body: Body) -> Reply:
        if "temperature" in body:
            return 400, {}, error(f"key {key}: 'temperature' is not supported")
        return ok("fine")

    with serving(picky) as server:
        generator = EndpointGenerator(replace(server.generator().endpoint, api_key=key))
        assert texts(generator.generate(ask("a"), SamplingParams(max_tokens=9))) == [["fine"]]
    assert f"key {key}" not in generator.learned.as_dict()["refused"]["temperature"]


def test_reasoning_that_stands_beside_the_content_is_put_back_in_front() -> None:
    answer = "<answer>Image 1 is better</answer>"
    for name in ("reasoning", "reasoning_content"):
        reply: Reply = (200, {}, completion(answer, **{name: "1. ..."}))
        with serving(lambda number, body, reply=reply: reply) as server:  # type: ignore[misc]
            ((said,),) = server.generator().generate(ask("a"), SamplingParams(max_tokens=5))
        assert said.text == f"<think>\n1. ...\n</think>\n{answer}"
    whole = f"<think>\n1. ...\n</think>\n{answer}"
    with serving(lambda number, body: (200, {}, completion(whole, reasoning="first I think"))) as server:
        ((said,),) = server.generator().generate(ask("a"), SamplingParams(max_tokens=5))
    assert said.text == whole


def test_an_answer_whose_block_the_prompt_opened_gets_its_opening() -> None:
    with serving(lambda number, body: ok("1. ...\n</think>\n<answer>Image 1 is better</answer>")) as server:
        ((said,),) = server.generator().generate(ask("a"), SamplingParams(max_tokens=5))
    assert said.text == "<think>\n1. ...\n</think>\n<answer>Image 1 is better</answer>"


def test_it_runs_in_a_thread_without_a_loop_and_inside_a_running_one() -> None:
    async def inside() -> list[list[Generated]]:
        return generator.generate(ask("a"), SamplingParams(max_tokens=9))

    with serving(lambda number, body: ok("x")) as server:
        generator = server.generator()
        with ThreadPoolExecutor(1) as other:
            assert texts(other.submit(generator.generate, ask("a"), SamplingParams(max_tokens=9)).result()) == [["x"]]
        assert texts(asyncio.run(inside())) == [["x"]]


def test_no_conversations_make_no_request() -> None:
    with serving(lambda number, body: ok("x")) as server:
        assert server.generator().generate([], SamplingParams(max_tokens=9)) == []
    assert server.seen == []


def judged_by(teacher: TeacherServer, task: Task, count: int) -> tuple[Judge, list[Any]]:
    made = [make_pair(task, number, seed=8, held_out=False) for number in range(count)]
    frames = {uri: shown for one in made for uri, shown in one.frames.items()}
    endpoint = Endpoint(teacher.base_url, teacher.api_key, teacher.model)
    limits = Limits(backoff_s=0.01, max_attempts=12)
    return Judge(EndpointGenerator(endpoint, limits), frames.__getitem__), [one.pair for one in made]


@pytest.mark.parametrize("task", list(Task))
def test_the_embedded_teacher_judges_pairs_in_both_orders(task: Task) -> None:
    with TeacherServer(Faults(rate_limited=0.2, server_error=0.1), seed=2, retry_after_s=(0.01, 0.02)) as teacher:
        judge, pairs = judged_by(teacher, task, 3)
        judgments = judge.judge(pairs, both_orders=True)
    assert [(one.pair.id, one.swapped) for one in judgments] == [(p.id, s) for p in pairs for s in (False, True)]
    assert all(one.valid and one.correct for one in judgments)


def test_a_judge_that_breaks_the_grammar_is_counted_and_not_a_crash() -> None:
    with TeacherServer(Faults(broken_grammar=1.0), seed=3) as teacher:
        judge, pairs = judged_by(teacher, Task.IMAGE_GENERATION, 8)
        judgments = judge.judge(pairs)
    faults = {one.verdict.reason for one in judgments if isinstance(one.verdict, Malformed)}
    assert faults and faults <= set(Fault)
    assert not any(one.correct for one in judgments if not one.valid)


def test_a_refusal_reads_as_no_verdict() -> None:
    made = make_pair(Task.IMAGE_GENERATION, 0, seed=8, held_out=False)
    with serving(lambda number, body: (200, {}, completion(None, refusal="I cannot judge this."))) as server:
        (one,) = Judge(server.generator(), made.frames.__getitem__).judge([made.pair])
    assert one.verdict == Malformed(Fault.MISSING_BLOCK, 0) and not one.correct
    assert one.text == "I cannot judge this."


@pytest.mark.parametrize("key", ["x", "token"])
def test_a_short_key_neither_hides_the_servers_words_nor_is_shown(key: str) -> None:
    def newer(number: int, body: Body) -> Reply:
        if "max_tokens" in body:
            return 400, {}, error("Unsupported parameter: use 'max_completion_tokens' instead of 'max_tokens'")
        return ok("yes")

    with serving(newer) as server:
        generator = EndpointGenerator(replace(server.generator().endpoint, api_key=key))
        assert texts(generator.generate(ask("a"), SamplingParams(max_tokens=9))) == [["yes"]]
