"""Media that hang, fill memory or end the process that decodes them: the workbench refuses them and goes on."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from configs.schema import Settings
from models.pairs.preference import Task
from tasks.data.inbox.records import INBOX
from tests.models.slow_media import large_png, slow_gif
from tests.tasks.serving.running import asked, encoded
from tests.tasks.workbench.bench import workbench
from tests.tasks.workbench.test_app import last

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def within(settings: Settings, **limits: Any) -> Settings:
    return settings.model_copy(update={"serve": settings.serve.model_copy(update=limits)})


def judged(url: str, body: dict[str, Any]) -> tuple[str, str]:
    return last(url, "/judge", {**body, "model": "champion"})


def test_media_that_hang_or_fill_memory_cost_their_own_requests_alone(settings: Settings) -> None:
    hanging, bomb = encoded(slow_gif(side=3000, frames=800)), encoded(large_png())
    chosen = within(settings, decoding_timeout_s=20.0, decoding_memory_mib=300.0)
    video = {"candidate_1": hanging, "candidate_2": hanging}
    with workbench(chosen) as url, ThreadPoolExecutor(8) as pool:
        late = pool.submit(judged, url, asked(Task.VIDEO_GENERATION, **video))
        large = pool.submit(judged, url, asked(candidate_2=bomb))
        vote = {**asked(candidate_1=bomb), "preferred": 1}
        voted = pool.submit(httpx.post, f"{url}/vote", json=vote, timeout=120)
        good = list(pool.map(lambda number: judged(url, asked(number=number)), range(4)))
        assert [name for name, _ in good] == ["done"] * 4
        assert late.result()[0] == large.result()[0] == "problem"
        assert "candidate_1: takes too long: no result after 20 s" in late.result()[1]
        assert "candidate_2: needs too much memory: more than 300 MiB" in large.result()[1]
        assert voted.result().status_code == 422
        assert "needs too much memory: more than 300 MiB" in voted.result().json()["error"]["message"]
        assert judged(url, asked())[0] == "done"
    assert not list((Path(settings.storage.root) / INBOX).glob("*"))


def test_a_medium_that_ends_its_decoder_is_named_and_the_next_is_decoded(settings: Settings) -> None:
    hanging = encoded(slow_gif(side=3000, frames=800))
    video = {"candidate_1": hanging, "candidate_2": hanging}
    with (
        workbench(within(settings, decoding_processes=1, decoding_timeout_s=200.0)) as url,
        ThreadPoolExecutor(1) as pool,
    ):
        before = set(psutil.Process().children())
        ended = pool.submit(judged, url, asked(Task.VIDEO_GENERATION, **video))
        busy_one_of(before).kill()
        name, said = ended.result()
        assert (name, "candidate_1: crashes its decoder: the process was ended by SIGKILL" in said) == ("problem", True)
        assert judged(url, asked())[0] == "done"


def busy_one_of(before: set[psutil.Process]) -> psutil.Process:
    """A process started since that has computed for longer than its start takes."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        for one in set(psutil.Process().children()) - before:
            with suppress(psutil.Error):
                if one.cpu_times().user > 5:
                    return one
        time.sleep(0.1)
    raise AssertionError("no decoder has worked")
