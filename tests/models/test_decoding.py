"""What one item does to its process costs that item alone; order, bounds and time hold for all."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import psutil
import pytest
from PIL import Image

from models.decoding import WAITING, Decoders
from models.errors import MediaError
from models.media import decode

REPOSITORY = Path(__file__).parents[2]


def behave(way: str) -> str:
    """What a medium might do to its decoder."""
    if way == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if way == "leave":
        os._exit(3)
    if way == "hang":
        time.sleep(60)
    if way == "refuse":
        raise MediaError("its own name", "is no image")
    if way == "fault":
        raise KeyError("a fault of ours")
    return way.upper()


def slowly(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def size(data: bytes) -> int:
    return len(data)


def whereabouts(_: None) -> tuple[int, bool]:
    return os.getpid(), "torch" in sys.modules


def first_pixel(data: bytes) -> object:
    return decode(data, "x.png", max_frames=1)[0].getpixel((0, 0))


def named(ways: list[str]) -> list[tuple[str, str]]:
    return [(f"{at}.png", way) for at, way in enumerate(ways)]


def test_a_crash_and_an_endless_decode_cost_one_item_each_and_the_rest_goes_on_in_order() -> None:
    ways = ["a", "crash", "b", "hang", "c", "refuse", "leave", "d", "crash", "e"]
    with Decoders(2, seconds=1) as decoders:
        said = list(decoders.map(behave, named(ways)))
    assert [one for one in said if isinstance(one, str)] == ["A", "B", "C", "D", "E"]
    assert [str(one) for one in said if not isinstance(one, str)] == [
        "1.png: crashes its decoder: the process was ended by SIGSEGV",
        "3.png: takes too long: no result after 1 s, the limit: leave it out, or raise the limit",
        "its own name: is no image",
        "6.png: crashes its decoder: the process ended with status 3",
        "8.png: crashes its decoder: the process was ended by SIGSEGV",
    ]
    assert [isinstance(one, MediaError) for one in said] == [way.upper() not in said for way in ways]


def test_results_come_in_the_order_given_and_not_in_that_of_their_ends() -> None:
    waits = [0.4, 0.0, 0.1, 0.0]
    with Decoders(2, seconds=30) as decoders:
        assert list(decoders.map(slowly, [(str(wait), wait) for wait in waits])) == waits


def test_items_are_taken_as_results_are() -> None:
    taken: list[int] = []

    def items() -> Iterator[tuple[str, str]]:
        for number in range(1000):
            taken.append(number)
            yield f"{number}.png", "a"

    with Decoders(2, seconds=30) as decoders:
        results = decoders.map(behave, items())
        assert taken == []
        for done in range(1, 10):
            assert next(results) == "A"
            assert len(taken) < done + 2 * (1 + WAITING)


def test_leaving_early_waits_for_nothing_however_large_the_items() -> None:
    started = time.monotonic()
    with Decoders(2, seconds=60) as decoders:
        assert next(decoders.map(size, [(str(number), bytes(5_000_000)) for number in range(30)])) == 5_000_000
        results = decoders.map(slowly, [(str(number), 50.0 * number) for number in range(9)])
        assert next(results) == 0
    assert time.monotonic() - started < 30


def test_a_pool_serves_one_map_after_another() -> None:
    with Decoders(1, seconds=30) as decoders:
        assert isinstance(next(decoders.map(behave, named(["crash"]))), MediaError)
        assert list(decoders.map(behave, named(["a"]))) == ["A"]
        assert list(decoders.map(behave, [])) == []


def test_a_fault_of_ours_is_no_media_error() -> None:
    with Decoders(1, seconds=30) as decoders, pytest.raises(KeyError, match="a fault of ours"):
        list(decoders.map(behave, named(["fault"])))


def test_workers_are_other_processes_without_torch() -> None:
    with Decoders(2, seconds=30) as decoders:
        ((process, has_torch),) = decoders.map(whereabouts, [("x", None)])  # type: ignore[misc]
    assert process != os.getpid() and not has_torch


def test_pictures_are_decoded_in_them() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(buffer, format="PNG")
    with Decoders(1, seconds=30) as decoders:
        whole, cut = decoders.map(first_pixel, [("a.png", buffer.getvalue()), ("b.png", buffer.getvalue()[:40])])
    assert whole == (255, 0, 0)
    assert isinstance(cut, MediaError) and cut.reason.startswith("cannot be decoded: ")


def test_workers_end_with_a_program_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "decodes.py"
    script.write_text(
        dedent("""
        import os, time
        from models.decoding import Decoders

        def report(wait):
            print(os.getpid(), flush=True)
            time.sleep(wait)

        if __name__ == "__main__":
            with Decoders(2, seconds=0.5) as decoders:
                list(decoders.map(report, [("a", 0), ("b", 0), ("c", 0.3), ("d", 600)]))
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment) as program:
        assert program.stdout is not None
        workers = {int(program.stdout.readline()) for _ in range(4)}
        program.kill()
    until = time.monotonic() + 20
    while any(map(runs, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [worker for worker in workers if runs(worker)]


def runs(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(("processes", "seconds"), [(0, 1), (1, 0)])
def test_a_pool_that_could_do_nothing_is_refused(processes: int, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"{processes} processes and {seconds} s: give at least 1"):
        Decoders(processes, seconds)
