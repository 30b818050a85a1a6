"""Judging the held-out pairs, and the gate before a promotion."""

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from configs.sections.base import Fraction, Positive, Section


class Evaluate(Section):
    """Greedy judging of the held-out pairs, thinking and direct, both presentation orders."""

    pairs: int | None = Field(None, gt=0, description="held-out pairs a task at most; none: all of them")
    max_tokens: Positive = Field(1024, description="tokens of a thinking answer at most")
    stop_malformed: bool = Field(
        True,
        description="end a thinking answer as soon as it cannot follow the grammar any more: what is right stays so, "
        "and a model that cannot think costs a token instead of max_tokens; false keeps malformed texts whole",
    )
    bootstrap: Positive = Field(2000, description="resamples of the 95 % intervals")
    examples: Positive = Field(6, description="right and wrong judgments shown in the report, each a task")
    oracle: str = Field(
        "auto",
        description="a judge whose thinking answers to the same held-out pairs stand beside the models' as a ceiling: "
        "embedded (the embedded teacher without its faults, from pixels alone; it knows shapes alone), endpoint:MODEL "
        "(of OPENAI_BASE_URL), or a model of the store by the first 8 or more digits of its digest; none; "
        "auto: embedded where the teacher is, else none",
    )

    @field_validator("oracle")
    @classmethod
    def _oracle_stays_what_it_is(cls, name: str) -> str:
        if not re.fullmatch(r"auto|none|embedded|endpoint:.+|[0-9a-f]{8,64}", name):
            raise ValueError(
                f"oracle is {name!r}, and an alias may be another model tomorrow: give embedded, endpoint:MODEL, or 8 "
                "or more digits of a model's digest, or none"
            )
        return name


class Promote(Section):
    """The gate before the alias `champion` moves."""

    RESULT_NEUTRAL = frozenset({"approval_timeout_s"})
    min_valid_rate: Fraction = Field(0.95, description="share of valid reasoning at least")
    min_both_orders: Fraction = Field(0.5, description="share of pairs right in both orders at least")
    reference: str = Field(
        "",
        description="the model compared with besides the champion: a version, an alias or a model's digest; "
        "empty: the alias reference, which stays at the best model so far",
    )
    margin: Fraction = Field(
        0.02,
        description="accuracy that may be lost against the champion, as a fraction (0.01 is a point): the lower end of "
        "the paired 95 % interval has to be above minus this, as with every margin here; 1 switches a test off",
    )
    reference_margin: Fraction = Field(0.01, description="the same against the reference, a fraction")
    task_margin: Fraction = Field(0.05, description="accuracy that may be lost in any one task, a fraction")
    both_orders_margin: Fraction = Field(
        0.04, description="share of pairs right in both orders that may be lost, a fraction"
    )
    calibration_margin: Fraction = Field(0.02, description="by how much the Brier score (0 to 1) may rise")
    position_bias_margin: Fraction = Field(
        0.03, description="by how much the share of answers for the first candidate may move away from one half"
    )
    approval: bool | None = Field(
        None,
        description="after the gate, wait for a person's yes in the Prefect UI before the alias champion moves; none: "
        "where training pairs came through the inbox",
    )
    approval_timeout_s: float = Field(86400.0, gt=0, description="seconds to wait for that yes; silence is a no")

    @model_validator(mode="after")
    def _margins_are_ordered(self) -> Self:
        if self.reference_margin > self.margin:
            raise ValueError(
                f"reference_margin {self.reference_margin} is above margin {self.margin}, so that champions could "
                "decline step by step from the reference: choose a reference_margin no larger than margin"
            )
        if self.task_margin < self.margin:
            raise ValueError(
                f"task_margin {self.task_margin} is below margin {self.margin}, but the interval of one task is wider "
                "than that of all: choose a task_margin no smaller than margin"
            )
        return self
