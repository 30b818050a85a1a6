"""The instructions say what the reader of answers wants."""

import re

import pytest

from models.pairs.preference import Task
from models.verdict.grammar import (
    CORE_DIMENSIONS,
    QUOTE_CLOSE,
    QUOTE_OPEN,
    candidate_names,
)
from models.verdict.instructions import instructions, mode_instructions, task_instructions


@pytest.mark.parametrize("task", list(Task))
def test_instructions_name_the_task_its_dimensions_and_what_the_parser_wants(task: Task) -> None:
    think = instructions(task, "think")
    assert think == f"{task_instructions(task)}\n{mode_instructions('think')}"
    for wanted in (*CORE_DIMENSIONS[task], *candidate_names(task), "Total score:", "<think>", "</answer>"):
        assert wanted in think
    assert re.findall("<.*?>", instructions(task, "direct")) == [QUOTE_OPEN, QUOTE_CLOSE]
