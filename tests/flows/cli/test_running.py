"""What a run says of its time."""

import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from configs.load import load_settings
from flows.cli.console import out
from flows.cli.running import Ran, _seconds, announce


def test_the_parts_of_a_runs_time_add_up_to_the_clocks() -> None:
    results: Any = [SimpleNamespace(seconds=1.25), SimpleNamespace(seconds=2.0)]
    created = psutil.Process().create_time()
    found = _seconds(results, created + 0.5)
    assert found["total"] == pytest.approx(time.time() - created, abs=1.0)
    assert (found["stages"], found["start"]) == (3.2, 0.5)
    spent = max(found["total"], 3.75)
    assert found["stages"] + found["start"] + found["rest"] == pytest.approx(spent, abs=0.2)


def test_the_table_is_followed_by_where_the_rest_of_the_time_went() -> None:
    seconds = {"total": 44.0, "stages": 13.0, "start": 21.5, "rest": 9.5}
    with out.capture() as captured:
        announce(load_settings("shapes"), Ran([], seconds), as_json=False, options="")
    said = " ".join(captured.get().split())
    assert "44.0 s by the clock: 13.0 s in stages, 21.5 s before the first" in said
    assert "9.5 s around them (planning, Prefect)" in said
