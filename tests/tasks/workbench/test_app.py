"""The workbench's routes over a real socket: what they say, what they keep, and what they refuse."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from configs.schema import Settings
from models.pairs.preference import Task
from models.sources.jsonl import read_rows
from models.sources.shares import contributor_of
from tasks.data.inbox.inbox import ingest
from tasks.data.inbox.records import INBOX
from tasks.pipeline.run import open_store
from tasks.workbench.comparing import RANKS
from tasks.workbench.feed import AT_ONCE, slots
from tests.tasks.serving.running import asked, encoded, png
from tests.tasks.workbench.bench import INJECTED, TRAIN, settings_below, workbench

PAGES = ("/", "/compare", "/traces", "/runs")


def told(url: str, path: str, body: dict[str, Any]) -> list[tuple[str, Any]]:
    """The events of a stream, in order, without its signs of life."""
    answer = httpx.post(f"{url}{path}", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in answer.text.strip().split("\n\n") if not block.startswith(":")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def last(url: str, path: str, body: dict[str, Any]) -> tuple[str, str]:
    name, data = told(url, path, body)[-1]
    return name, data


@pytest.mark.parametrize("path", PAGES)
def test_every_page_answers_under_a_policy_that_runs_nothing_foreign(url: str, path: str) -> None:
    page = httpx.get(f"{url}{path}", timeout=60)
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert 'aria-current="page"' in page.text


@pytest.mark.parametrize("task", list(Task))
def test_a_judgment_streams_both_orders_and_ends_with_a_verdict(url: str, task: Task) -> None:
    events = told(url, "/judge", {**asked(task), "model": "champion"})
    written = ["".join(piece for name, (at, piece) in pieces(events) if at == order) for order in (0, 1)]
    name, page = events[-1]
    assert name == "done"
    assert all(text.endswith(("is better", "equally good")) for text in written)
    assert f"<h2>{written[0]}</h2>" in page
    assert ("both orders agree" in page) == (written[0] != written[1])


def pieces(events: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, data) for name, data in events if name == "text"]


def test_thinking_is_streamed_and_a_text_outside_the_grammar_is_no_verdict(url: str) -> None:
    events = told(url, "/judge", {**asked(), "mode": "think", "model": "base"})
    assert len(pieces(events)) > 4
    assert events[-1][0] == "done"
    assert "The text breaks the grammar" in events[-1][1]


BAD = [
    ("no image", {"candidate_1": encoded(b"not an image")}, "cannot be decoded"),
    ("100 megapixels", {"candidate_1": png(10_000, 10_001, "1")}, "pixels"),
    ("an image for a video task", {"task": "video_generation"}, "takes videos"),
    ("a path of this machine", {"candidate_2": "/etc/passwd"}, "base64"),
    ("nothing to look at", {"task": "image_understanding", "candidate_1": "a", "candidate_2": "b"}, "image as context"),
    ("an unknown model", {"model": "nobody"}, "there is no model 'nobody' here: choose of champion, challenger"),
]


@pytest.mark.parametrize(("changes", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_what_cannot_be_judged_is_said_and_the_workbench_goes_on(url: str, changes: dict[str, Any], words: str) -> None:
    name, said = last(url, "/judge", {**asked(), "model": "champion", **changes})
    assert (name, words in said) == ("problem", True), said
    assert httpx.get(f"{url}/", timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"prompt": "  "}, 422, "prompt: is empty"),
        ({"prompt": "a" * 2**20}, 422, "prompt: String should have at most 32768 characters"),
        ({"task": "audio"}, 422, "task:"),
        ({"candidate_1": "A" * (65 * 2**20)}, 413, "above|the limit"),
    ],
    ids=["empty prompt", "1 MB prompt", "unknown task", "too large"],
)
def test_a_request_of_another_form_is_refused(url: str, changes: dict[str, Any], status: int, words: str) -> None:
    answer = httpx.post(f"{url}/judge", json={**asked(), "model": "champion", **changes}, timeout=60)
    assert answer.status_code == status
    assert any(one in answer.json()["error"]["message"] for one in words.split("|"))


@pytest.mark.parametrize("task", list(Task))
def test_a_vote_is_a_drop_that_the_nightly_takes(tmp_path: Path, task: Task) -> None:
    settings = settings_below(tmp_path)
    with workbench(settings) as url:
        row = asked(task)
        answer = httpx.post(f"{url}/vote", json={**row, "preferred": 2}, timeout=60)
    assert answer.status_code == 200, answer.text
    store = open_store(settings)
    folder = store.objects.local_path(f"{INBOX}/{answer.json()['saved']}")
    assert folder is not None
    (pair,) = read_rows(folder, max_frames=8).pairs
    assert (pair.task, pair.prompt, pair.preferred) == (task, row["prompt"], 2)
    acquire = ingest(store, max_frames=8, quiet_s=0, log=lambda line: None)
    assert [drop.usable for drop in acquire.accepted] == [1]


def test_a_vote_with_a_broken_image_is_refused_and_leaves_nothing(url: str, settings: Settings) -> None:
    store = open_store(settings)
    before = len(store.objects.walk(INBOX))
    answer = httpx.post(f"{url}/vote", json={**asked(), "candidate_1": encoded(b"no"), "preferred": 1}, timeout=60)
    assert answer.status_code == 422
    assert len(store.objects.walk(INBOX)) == before


def test_two_models_are_compared_with_those_first_on_which_they_differ(url: str, settings: Settings) -> None:
    body = {"left": "champion", "right": "challenger", "count": 24, "mode": "direct"}
    name, page = last(url, "/compare", body)
    assert name == "done"
    ranks = [RANKS.index(words) for words in re.findall(r'<span class="verdict \w+">(.*?)</span>', page)]
    assert len(ranks) == 24 and ranks[0] == 0 and ranks == sorted(ranks)
    assert f"differ on {ranks.count(0)} of 24 pairs" in page
    assert "★" not in page and "label" not in page.replace("aria-label", "")
    pair = page.split('data-pair="')[1].split('"')[0]
    answer = httpx.post(f"{url}/compare/vote", json={"pair": pair, "preferred": "tie"}, timeout=60)
    folder = open_store(settings).objects.local_path(f"{INBOX}/{answer.json()['saved']}")
    assert folder is not None
    assert read_rows(folder, max_frames=8).pairs[0].preferred == "tie"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"right": "base"}, "champion and base are the same model"),
        ({"right": "nobody"}, "there is no model 'nobody' here"),
        ({"page": 9}, f"there is no page 10: {4 * TRAIN} training pairs make 2"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_said(url: str, changes: dict[str, Any], words: str) -> None:
    body = {"left": "champion", "right": "challenger", "count": 24, "mode": "direct", **changes}
    name, said = last(url, "/compare", body)
    assert (name, words in said) == ("problem", True), said


@pytest.mark.parametrize(
    ("user", "source"),
    [(None, "workbench"), ("anna", "workbench/anna"), (" ", "workbench"), ("x" * 99, f"workbench/{'x' * 64}")],
)
def test_the_user_who_signed_in_is_the_source_of_a_vote(
    url: str, settings: Settings, user: str | None, source: str
) -> None:
    auth = None if user is None else httpx.BasicAuth(user, "")
    answer = httpx.post(f"{url}/vote", json={**asked(), "preferred": 1}, auth=auth, timeout=60)
    folder = open_store(settings).objects.local_path(f"{INBOX}/{answer.json()['saved']}")
    assert folder is not None
    pairs = read_rows(folder, max_frames=8).pairs
    assert pairs[0].source == source == contributor_of("drop-1", pairs)


def test_an_unknown_pair_gets_no_vote(url: str) -> None:
    answer = httpx.post(f"{url}/compare/vote", json={"pair": "held-out-1", "preferred": 1}, timeout=60)
    assert answer.status_code == 404
    assert "there is no training pair 'held-out-1'" in answer.json()["error"]["message"]


def test_traces_are_filtered_by_outcome_reason_and_words(url: str) -> None:
    def counted(**query: str) -> int:
        page = httpx.get(f"{url}/traces", params=query, timeout=60).text
        return int(page.split('<p role="status">')[1].split(" of ")[0])

    accepted, rejected = counted(outcome="accepted"), counted(outcome="rejected")
    assert accepted and rejected and accepted + rejected == counted() == 4 * TRAIN
    assert 0 < counted(reason="answer_not_label") < rejected
    assert 0 < counted(task="video_generation") <= TRAIN
    assert 0 < counted(words="video_generation-") <= TRAIN
    assert counted(words="no such words") == 0
    assert (counted(source="grpo"), counted(source="grpo", reason="no accuracy")) == (2, 1)


def test_what_a_model_wrote_is_text_never_markup(url: str) -> None:
    page = httpx.get(f"{url}/traces", params={"source": "samples", "words": "taken"}, timeout=60).text
    assert INJECTED not in page
    assert "&lt;script&gt;" in page


def test_runs_shows_states_lineage_and_curves(url: str) -> None:
    page = httpx.get(f"{url}/runs", timeout=60).text
    assert page.count('<th scope="row">') == 8
    assert "What the champion was made from" in page and "by base" in page
    assert "Validation accuracy" in page and "<svg" in page


def test_a_request_under_another_name_than_this_machine_is_refused(url: str) -> None:
    assert httpx.get(f"{url}/", headers={"Host": "evil.example"}, timeout=60).status_code == 400


def test_with_a_token_a_browser_is_asked_for_it(settings: Settings) -> None:
    with workbench(settings, token="secret") as url:
        refused = httpx.get(f"{url}/", timeout=60)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Basic")
        assert httpx.get(f"{url}/", auth=("me", "wrong"), timeout=60).status_code == 401
        assert httpx.get(f"{url}/", auth=("me", "secret"), timeout=60).status_code == 200


def test_a_vote_on_media_that_an_api_gives_as_a_list_is_saved(url: str) -> None:
    row = asked(Task.IMAGE_UNDERSTANDING)
    answer = httpx.post(f"{url}/vote", json={**row, "media": [row["media"]], "preferred": 1}, timeout=60)
    assert answer.status_code == 200, answer.text


def test_the_embedded_world_takes_no_vote_on_other_prompts(url: str) -> None:
    answer = httpx.post(f"{url}/vote", json={**asked(), "prompt": "my cat", "preferred": 1}, timeout=60)
    assert answer.status_code == 422
    assert "this is not saved" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("path", "status"), [("/report/0000", 404), ("/traces?page=x", 422), ("/nowhere", 404)])
def test_a_browser_is_told_what_is_wrong_on_a_page(url: str, path: str, status: int) -> None:
    page = httpx.get(f"{url}{path}", headers={"Accept": "text/html"}, timeout=60)
    assert page.status_code == status
    assert 'role="alert"' in page.text and 'aria-label="Pages"' in page.text


def test_more_at_once_than_may_be_is_said(url: str) -> None:
    for _ in range(AT_ONCE):
        slots.acquire()
    try:
        name, said = last(url, "/judge", {**asked(), "model": "champion"})
    finally:
        for _ in range(AT_ONCE):
            slots.release()
    assert (name, said) == ("problem", f"{AT_ONCE} requests are running, which is the limit: try again later")


def test_whoever_hangs_up_stops_nobody_else(url: str) -> None:
    body = {**asked(), "mode": "think", "model": "base"}
    with httpx.stream("POST", f"{url}/judge", json=body, timeout=60) as answer:
        next(answer.iter_raw())
    assert last(url, "/judge", {**asked(), "model": "champion"})[0] == "done"


def test_without_any_result_the_pages_say_what_to_do(tmp_path: Path) -> None:
    with workbench(settings_below(tmp_path)) as url:
        assert "thinkreward run" in httpx.get(f"{url}/compare", timeout=60).text
        assert "thinkreward run" in httpx.get(f"{url}/traces", timeout=60).text
        assert "There is no champion yet" in httpx.get(f"{url}/runs", timeout=60).text
        example = httpx.get(f"{url}/example", params={"task": "video_generation"}, timeout=60).json()
        assert last(url, "/judge", {**example, "mode": "direct", "model": "base"})[0] == "done"
