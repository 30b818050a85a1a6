"""What one item does to its process costs that item alone; order, bounds and time hold for all."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import psutil
import pytest
from PIL import Image

from models.errors import MediaError
from models.media.decoding import WAITING, Decoders
from models.media.frames import decode
from tests.models.slow_media import large_png

REPOSITORY = Path(__file__).parents[3]


def behave(way: str) -> str:
    """What a medium might do to its decoder."""
    if way == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if way == "leave":
        os._exit(3)
    if way == "hang":
        time.sleep(60)
    if way == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "large":
        return str(len(bytearray(2**30)))
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


def test_what_was_not_the_items_own_doing_is_said_to_pass() -> None:
    with Decoders(1, seconds=1) as decoders:
        said = list(decoders.map(behave, named(["crash", "hang", "refuse", "killed"])))
    assert [isinstance(one, MediaError) and one.passing for one in said] == [False, True, False, True]


def test_an_item_that_needs_too_much_memory_is_named_and_its_process_goes_on() -> None:
    with Decoders(1, seconds=30, memory_mib=512) as decoders:
        large, after = decoders.map(behave, named(["large", "a"]))
    assert str(large) == (
        "0.png: needs too much memory: more than 512 MiB, the limit: scale it down, or raise the limit"
    )
    assert after == "A"


def test_a_bomb_within_the_limit_on_pixels_needs_no_more_than_its_process_may_have() -> None:
    with Decoders(1, seconds=60, memory_mib=300) as decoders:
        (said,) = decoders.map(first_pixel, [("bomb.png", large_png())])
    assert isinstance(said, MediaError) and said.reason.startswith("needs too much memory: "), said


def test_a_plain_script_is_not_run_again_in_its_workers(tmp_path: Path) -> None:
    script = tmp_path / "plain.py"
    script.write_text(
        dedent("""
        print("runs")
        from models.media.decoding import Decoders

        with Decoders(2, seconds=30) as decoders:
            print([str(one) for one in decoders.map(len, [("a", "bc"), ("d", "e")])])
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.split("\n")[:2] == ["runs", "['2', '1']"], done.stderr


def test_several_threads_share_one_pool() -> None:
    with Decoders(2, seconds=30) as decoders, ThreadPoolExecutor(8) as threads:
        said = threads.map(lambda number: list(decoders.map(slowly, [(str(number), number / 100)])), range(24))
        assert list(said) == [[number / 100] for number in range(24)]


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


@pytest.mark.parametrize(
    ("last", "seconds"),
    [("time.sleep(600)", 300), ("re.match('(a+)+b', 'a' * 60)", 0.5)],
    ids=["at-once", "held-up-in-c-when-its-time-is-over"],
)
def test_workers_end_with_a_program_that_is_killed(last: str, seconds: float, tmp_path: Path) -> None:
    (tmp_path / "decodes.py").write_text(
        dedent(f"""
        import os, re, time
        from models.media.decoding import Decoders

        def report(wait):
            os.write(1, b"%d\\n" % os.getpid())  # in one piece beside the other's
            time.sleep(wait)
            if wait > 0.1:
                {last}

        def main():
            with Decoders(2, seconds={seconds}) as decoders:
                list(decoders.map(report, [("a", 0), ("b", 0), ("c", 0.1), ("d", 0.2)]))
        """)
    )
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{tmp_path}"}
    command = [sys.executable, "-c", "import decodes; decodes.main()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as program:
        assert program.stdout is not None
        workers = {int(program.stdout.readline()) for _ in range(4)}
        time.sleep(0.3)  # the last is amid what holds it up
        program.kill()
    until = time.monotonic() + 20
    while any(map(runs, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    left = [worker for worker in workers if runs(worker)]
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    assert not left


def runs(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(("processes", "seconds"), [(0, 1), (1, 0)])
def test_a_pool_that_could_do_nothing_is_refused(processes: int, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"{processes} processes and {seconds} s: give at least 1"):
        Decoders(processes, seconds)
