"""What the workbench's pages send."""

from typing import Annotated, Literal

from pydantic import Field

from models.pairs.preference import Preferred, Task
from models.verdict.grammar import Mode
from tasks.serving.wire import CompareRequest, Strict
from tasks.workbench.comparing import MOST

Name = Annotated[str, Field(min_length=1, max_length=200)]


class JudgeRequest(CompareRequest):
    """One comparison by one of the models; both orders are always asked."""

    model: Name


class VoteRequest(CompareRequest):
    """A vote on candidates of their own."""

    preferred: Preferred


class PairsRequest(Strict):
    """Two models on so many training pairs."""

    left: Name
    right: Name
    task: Task | None = None
    mode: Mode = "think"
    count: Annotated[int, Field(ge=1, le=MOST)] = 12
    page: Annotated[int, Field(ge=0, le=10_000)] = 0


class PairVote(Strict):
    """A vote on a training pair."""

    pair: Annotated[str, Field(min_length=1, max_length=1000)]
    preferred: Literal[1, 2, "tie"]
