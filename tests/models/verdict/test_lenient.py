"""The lenient reading: seven layouts of other models over a real socket, what stays invalid, and what always holds."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation.benchmarks.protocol import measure
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.scores import score
from models.generation.endpoint import EndpointGenerator
from models.generation.endpoint_address import Endpoint
from models.judging.judge import Judge
from models.pairs.preference import Candidate, Media, PreferencePair, Preferred, Task
from models.teacher.distillation import published
from models.training.selection import Rejection, select
from models.verdict.grammar import Dimension, Fault, Malformed, Mode, Verdict
from models.verdict.lenient import parse_lenient
from models.verdict.parsing import parse_verdict
from models.verdict.rendering import render_verdict

TASK = Task.IMAGE_UNDERSTANDING
FAIR = (
    Dimension("Semantic accuracy", (8, 6), ("names all of it", "misses the hat")),
    Dimension("Correctness", (7, 7), ("is right", "is right too")),
    Dimension("Clarity", (7, 9), ("long", "short")),
)


def verdict(better: int) -> Verdict:
    """A verdict for this candidate whose sums are right."""
    turned = tuple(Dimension(d.name, d.scores[::-1], d.rationales[::-1]) for d in FAIR)
    lead = Dimension("Tone", (9, 5) if better == 1 else (5, 9), ("kind", "kind"))
    return Verdict.from_dimensions(TASK, (*(FAIR if better == 1 else turned), lead), 1 if better == 1 else 2)


def plain(better: int) -> str:
    return render_verdict(verdict(better))


def fractions(better: int) -> str:
    return (
        plain(better)
        .replace("(8/10)", "(7.5/10)")
        .replace("8+7", "7.5+7")
        .replace("=31", "=30.5")
        .replace("=29", "=28.5")
    )


def blocks(better: int) -> str:
    """Headings, bullets and bold names, a line a candidate, totals without their terms."""
    lines = ["<think>", "Let me compare the two answers."]
    said = verdict(better)
    assert said.totals is not None
    for dimension in said.dimensions:
        lines.append(f"### {dimension.name}")
        lines += [f"- **Answer {at + 1}**: {dimension.scores[at]}/10 – {dimension.rationales[at]}" for at in range(2)]
    lines += ["**Total Score**", *(f"- **Answer {at + 1}**: {t.value}/40" for at, t in enumerate(said.totals))]
    return "\n".join([*lines, "</think>", f"<answer>Answer {better} is better.</answer>"])


def sums_of(better: int) -> str:
    text = plain(better)
    for total in verdict(better).totals or ():
        text = text.replace(f"{'+'.join(map(str, total.terms))}={total.value}", f"={total.value}/40")
    return text


STYLES: dict[str, Callable[[int], str]] = {
    "fractions": fractions,
    "bold": lambda b: plain(b).replace("Answer 1 (", "**Answer 1** (").replace("Answer 2 (", "**Answer 2** ("),
    "dash": lambda b: plain(b).replace("/10) - ", "/10) – "),
    "sums": sums_of,
    "stop": lambda b: plain(b).replace("is better</answer>", "is better.</answer>"),
    "blocks": blocks,
    "fence": lambda b: f"```xml\n{plain(b).replace('think>', 'Think>').replace('answer>', 'Answer>')}\n```",
}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = "".join(part["text"] for part in body["messages"][0]["content"] if part["type"] == "text")
        better = 1 if asked.index("the good one") < asked.index("the bad one") else 2
        message = REASONED(better) if body["model"] == "reasoned" else {"content": STYLES[body["model"]](better)}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
        data = json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(data.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def REASONED(better: int) -> dict[str, Any]:  # noqa: N802
    inside, _, rest = plain(better).removeprefix("<think>").partition("</think>")
    return {"reasoning_content": inside, "content": rest}


@contextmanager
def serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as url:
        yield url


def pair(number: int) -> PreferencePair:
    picture = Media(kind="image", uri="a.png", sha256="0" * 64)
    texts = ("the good one", "the bad one") if number % 2 else ("the bad one", "the good one")
    return PreferencePair(
        id=str(number), task=TASK, prompt="What is it?", source="test", context=(picture,),
        candidates=(Candidate(text=texts[0]), Candidate(text=texts[1])), preferred=1 if number % 2 else 2,
    )  # fmt: skip


def judged(server: str, model: str, mode: Mode = "think") -> list[JudgedRow]:
    judge = Judge(EndpointGenerator(Endpoint(server, "none", model)), lambda uri: [])
    said = judge.judge([pair(number) for number in range(6)], mode, both_orders=True)
    return [JudgedRow.read(one.pair, mode, one.swapped, one.text, one.truncated) for one in said]


@pytest.mark.parametrize("style", STYLES)
def test_right_verdicts_in_other_layouts_count_leniently_and_not_strictly(style: str, server: str) -> None:
    rows = judged(server, style)
    got = score(rows, bootstrap=10, seed=0)
    assert (got["think"]["overall"], got["valid_rate"]) == (0.0, 0.0)
    assert got["lenient"]["think"] == {"accuracy": 1.0, "valid_rate": 1.0}
    measured = measure(rows, bootstrap=10, seed=0, can_tie=False)
    assert measured["strict"]["diff"]["overall"]["value"] == 0.0
    assert measured["lenient"]["overall"]["value"] == measured["lenient"]["valid"]["share"] == 1.0
    for row in rows:
        read = parse_lenient(row.text, TASK)
        assert isinstance(read, Verdict)
        assert [one.name for one in read.dimensions] == [*(d.name for d in FAIR), "Tone"]
        assert read.sums_agree
        assert read.answer_agrees


def test_reasoning_that_an_endpoint_tells_apart_is_put_back_in_front(server: str) -> None:
    rows = judged(server, "reasoned")
    assert all(row.right and row.text == plain(int(row.label)) for row in rows)


def test_reasoning_apart_is_none_of_a_direct_answer(server: str) -> None:
    assert all(not row.text.startswith("<think>") for row in judged(server, "reasoned", "direct"))


@pytest.mark.parametrize(
    "answer",
    [
        "Answer 1 or Answer 2", "Answer 1 is better, or Answer 2 is better", "Both answers are equally good", "Neither",
        "Answer 1 is better</answer><answer>Answer 2 is better", "Answer 1 is not better", "Answer 3 is better", "",
    ],
)  # fmt: skip
def test_a_hedged_or_contradictory_answer_stays_invalid(answer: str) -> None:
    text = plain(1).replace("Answer 1 is better</answer>", f"{answer}</answer>")
    assert isinstance(parse_lenient(text, TASK), Malformed)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: f"{text}\nBut then, Answer 2 is better.",
        lambda text: text.replace("(9/10)", "(12/10)"),
        lambda text: text.replace("</think>", ""),
        lambda text: text.replace("Total score:", ""),
        lambda text: text.replace("Correctness: **Answer 1**", "Correctness: **Answer 2**"),
        lambda text: text.replace("</think>", "Answer 1: 3+3+3+3=12\n</think>"),
        lambda text: f"{text}{text}",
        lambda text: "",
    ],
)
def test_what_does_not_say_one_clear_thing_stays_invalid_for_the_same_reason(change: Callable[[str], str]) -> None:
    text = change(STYLES["bold"](1))
    read = parse_lenient(text, TASK)
    assert isinstance(read, Malformed)
    assert read == parse_verdict(text, TASK)


def test_a_direct_answer_is_read_as_freely() -> None:
    for text in ("**Answer 2 is better**", "Answer: Answer 2", "<Answer>Answer 2 is better!</Answer>", '"answer 2"'):
        read = parse_lenient(text, TASK, mode="direct")
        assert isinstance(read, Verdict)
        assert read.preferred == 2
    hedged = parse_lenient("Answer 1 or Answer 2", TASK, mode="direct")
    assert hedged == Malformed(Fault.BAD_ANSWER, 0)


# ---------------------------------------------------------------- teachers


def test_a_teachers_answer_in_another_layout_is_written_again_in_the_grammar() -> None:
    one = pair(1)
    found = select(STYLES["sums"](1), one, lenient=True)
    assert (found.text, found.rejection, found.normalised) == (plain(1), None, True)
    kept = select(STYLES["sums"](1), one, lenient=False)
    assert kept.rejection == "malformed:bad_total"
    wrong = select(STYLES["bold"](2), one, lenient=True)
    assert wrong.rejection == Rejection.ANSWER_NOT_LABEL
    assert select(plain(1), one, lenient=True).normalised is False


def test_fractional_scores_are_no_target() -> None:
    found = select(fractions(1), pair(1), lenient=True)
    assert (found.text, found.rejection) == (fractions(1), Rejection.FRACTIONAL_SCORES)


def test_distilled_rows_are_in_the_grammar_whatever_the_teacher_wrote(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from models.teacher.distillation import distill

    pairs = [pair(2 * number + 1) for number in range(len(STYLES))]
    said = {one.id: style(1) for one, style in zip(pairs, STYLES.values(), strict=True)}
    facts = distill(pairs, None, tmp_path, ask=published(pairs, said))  # type: ignore[arg-type]  # nobody is asked
    texts = pq.read_table(tmp_path / "distilled.parquet")["completion"].to_pylist()
    assert (facts["kept"], facts["normalised"], facts["rejected"]) == (6, 6, {"fractional_scores": 1})
    assert all(isinstance(parse_verdict(text, TASK), Verdict) for text in texts)


# ---------------------------------------------------------------- what always holds

names = st.sampled_from(["Aesthetics", "Spatial layout (2D)", "Überblick", "Tone - voice"])
reasons = st.text("ab; ,.:()-*0123456789/", min_size=1, max_size=30).map(str.strip).filter(bool)
dimensions = st.builds(Dimension, names, st.tuples(st.integers(1, 10), st.integers(1, 10)), st.tuples(reasons, reasons))


@settings(max_examples=150, deadline=None)
@given(st.lists(dimensions, min_size=1, max_size=5), st.sampled_from(list(Task)), st.sampled_from([1, 2]))
def test_all_that_the_grammar_reads_is_read_the_same(said: list[Dimension], task: Task, better: Preferred) -> None:
    try:
        text = render_verdict(Verdict.from_dimensions(task, tuple(said), better))
    except ValueError:
        return  # reasons that the grammar itself cannot hold
    assert parse_lenient(text, task) == parse_verdict(text, task)
    assert parse_lenient(f"\n{text} ", task) == parse_verdict(text, task)


pieces = st.sampled_from([
    "<think>", "</think>", "<answer>", "</answer>", "Answer 1", "Answer 2", " is better", "(7/10)", " - ", ": ", "\n",
    "Total score:", "=15", "8+7=15", "**", "1. ", "; ", "x",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces, max_size=40).map("".join), st.sampled_from(["think", "direct"]))
def test_any_text_is_read_or_refused_and_what_is_strict_is_read_alike(text: str, mode: Mode) -> None:
    strict, lenient = parse_verdict(text, TASK, mode=mode), parse_lenient(text, TASK, mode=mode)
    assert lenient == strict or (isinstance(strict, Malformed) and isinstance(lenient, Verdict))


@pytest.mark.parametrize(
    "unit", ["Answer 1 (8/10) - ", "8+", "< ", "<", "Answer 1 ", "\n", " ", "*", "- ", "Answer 1: 8+7=15\n", "1", "9."]
)
@pytest.mark.parametrize(
    "frame", ["<think>\n1. A: {}\nTotal score:\nAnswer 1: {}\n</think>\n<answer>{}</answer>", "{}"]
)
def test_reading_is_linear(unit: str, frame: str) -> None:
    def seconds(times: int) -> float:
        text = frame.replace("{}", unit * times)
        best = 9.0
        for _ in range(3):
            began = time.process_time()
            parse_lenient(text, TASK)
            parse_lenient(text, TASK, mode="direct")
            best = min(best, time.process_time() - began)
        return best

    assert seconds(40_000) < 30 * seconds(4_000) + 0.05
