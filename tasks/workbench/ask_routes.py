"""Pages that ask models: Judge and Compare, and the votes of who looks at them."""

import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException

from models.errors import ConfigError, DataError
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.report.cards import card
from models.evaluation.report.data import Example
from models.judging.request_rows import RequestMedia, read_pairs
from models.pairs.preference import Task
from models.sources.shapes import foreign
from tasks.workbench.bench import CurrentBench, Given, check_password
from tasks.workbench.comparing import compare
from tasks.workbench.feed import Emit, events
from tasks.workbench.pairs import example, newest_preferences, open_dataset, training_pairs
from tasks.workbench.votes import save_vote
from tasks.workbench.wire import JudgeRequest, PairsRequest, PairVote, VoteRequest

router = APIRouter(dependencies=[Depends(check_password)])


@router.get("/")
def judge_page(bench: CurrentBench) -> HTMLResponse:
    """Candidates of one's own, asked of any model."""
    return bench.page("judge", "/", choices=bench.model_cache.choices())


@router.get("/example")
def example_pair(bench: CurrentBench, task: Task, number: Annotated[int, Query(ge=0, lt=2**31)] = 0) -> dict[str, Any]:
    """A pair to try with."""
    return example(bench.settings, bench.store, task, number)


@router.post("/judge", response_class=EventSourceResponse)
async def judge(body: JudgeRequest, bench: CurrentBench) -> AsyncIterator[ServerSentEvent]:
    """The texts of both orders as they are written (`text`), and then the verdict as a piece of page (`done`)."""

    def work(emit: Emit, cancelled: threading.Event) -> str:
        choice = bench.model_cache.choice(body.model)
        emit("note", f"{choice.name} is loaded …")
        with bench.model_cache.acquire(choice) as loaded:
            model = loaded.reward_model(cancelled)
            media = model.media()
            pairs = read_pairs([body.row()], media)
            emit("note", f"{choice.name} reads …")
            (outcome,) = model.judge(
                pairs, media.frames, [body.mode], on_text=lambda place, _, piece: emit("text", [place, piece])
            )
        row = JudgedRow.read(pairs[0], body.mode, False, outcome.text, outcome.given.truncated)
        shown = card(Example(row, pairs[0]))
        return bench.render(
            "outcome.html.j2", outcome=outcome, card=shown, row=row, model=body.model, digest=loaded.digest
        )

    async for event in events(work):
        yield event


@router.post("/vote")
def vote(body: VoteRequest, bench: CurrentBench, by: Given) -> dict[str, str]:
    """Put a preference about candidates of one's own into the inbox."""
    limits = bench.settings.model
    media = RequestMedia(
        max_pixels=limits.max_pixels, max_frames=limits.max_frames, files=False, decoding=bench.model_cache.decoders
    )
    (pair,) = read_pairs([body.row()], media)
    if bench.settings.prepare.source == "shapes" and (why := foreign(pair)):
        raise DataError(f"this is not saved, since the nightly would leave it out; {why}")
    return {"saved": save_vote(bench.store, pair, media.blob, body.preferred, voter=by.username if by else "")}


@router.get("/compare")
def compare_page(bench: CurrentBench) -> HTMLResponse:
    """Two models on the same pairs."""
    choices = bench.model_cache.choices()
    left = choices[0] if choices else None
    others = sorted(choices, key=lambda one: one.name == "base")  # which does not think in the grammar
    right = next((one for one in others if left and one.digest != left.digest), None)
    return bench.page("compare", "/compare", choices=choices, left=left, right=right)


@router.post("/compare", response_class=EventSourceResponse)
async def compare_models(body: PairsRequest, bench: CurrentBench) -> AsyncIterator[ServerSentEvent]:
    """How far it is (`note`), and then the pairs as a piece of page (`done`)."""

    def work(emit: Emit, cancelled: threading.Event) -> str:
        choices = bench.model_cache.choice(body.left), bench.model_cache.choice(body.right)
        if choices[0].digest == choices[1].digest:
            raise ConfigError(f"{body.left} and {body.right} are the same model: choose two that differ")
        compared = compare(
            bench.settings,
            bench.store,
            bench.model_cache,
            choices,
            task=body.task,
            mode=body.mode,
            count=body.count,
            page=body.page,
            emit=emit,
            cancelled=cancelled,
        )
        return bench.render("compared.html.j2", compared=compared, names=(body.left, body.right), mode=body.mode)

    async for event in events(work):
        yield event


@router.post("/compare/vote")
def vote_on_pair(body: PairVote, bench: CurrentBench, by: Given) -> dict[str, str]:
    """Put a preference about a training pair into the inbox."""
    dataset = open_dataset(bench.settings, bench.store, newest_preferences(bench.store))
    pair = training_pairs(dataset).get(body.pair)
    if pair is None:
        raise HTTPException(404, f"there is no training pair {body.pair!r} in the newest preferences")
    return {"saved": save_vote(bench.store, pair, dataset.blob, body.preferred, voter=by.username if by else "")}
