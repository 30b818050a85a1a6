"""`thinkreward rehearse`: every stage on a random model, a table and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from configs.load import load_settings
from tasks.ops.counting import work_of
from tasks.ops.rehearse import _note, repeated, scaled_down
from tasks.pipeline.graph import REPOSITORY
from tasks.pipeline.launch import _without_report

SMALL = (
    "cold_start.batch=4",
    "cold_start.micro_batch=4",
    "rejection_sampling.sft.batch=4",
    "rejection_sampling.sft.micro_batch=4",
    "rejection_sampling.max_tokens=4",
    "distill.max_tokens=4",
    "evaluate.max_tokens=4",
    "grpo.max_tokens=4",
    "grpo.group=2",
    "grpo.prompts_per_step=1",
    "grpo.micro_batch=2",
    "runtime.generation_batch=4",
    "runtime.device=cpu",
    "model.max_frames=2",
)
STAGES = ["cold-start", "sampling", "sampling-sft", "grpo", "judging"]


def rehearse(
    folder: Path, *sets: str, options: tuple[str, ...] = ("--json",), profile: str = "shapes"
) -> "subprocess.CompletedProcess[str]":
    """The command in an empty working directory, with temporary files in `folder`/tmp."""
    (folder / "work").mkdir()
    (folder / "tmp").mkdir()
    words = [word for one in (*SMALL, *sets) for word in ("--set", one)]
    command = [sys.executable, "-m", "flows.cli.main", "rehearse", "--profile", profile, *words, *options]
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(REPOSITORY),
        "TMPDIR": str(folder / "tmp"),
        "HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "THINKREWARD__RUNTIME__THREADS": "1",
    }
    return subprocess.run(
        command, cwd=folder / "work", env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_every_stage_is_measured_and_nothing_is_left_behind(tmp_path: Path) -> None:
    done = rehearse(tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["profile"], said["reduced"]) == ("shapes", False)
    assert [row["stage"] for row in said["stages"]] == STAGES
    for row in said["stages"]:
        assert min(row[name] for name in ("peak_memory_gib", "tokens_per_second", "seconds_per_step")) > 0, row
    # Four at once of what 350 pairs a task give in two orders, twice each; 120 pairs in two orders, one a step.
    hours = {row["stage"]: (row["hours"], row["seconds_per_step"]) for row in said["stages"]}
    for stage, times in (("sampling", 350 * 4 * 2 * 2 / 4), ("grpo", 120 * 2)):
        told, seconds = hours[stage]
        assert told == pytest.approx(times * seconds / 3600, abs=0.005 + times * 0.005 / 3600)
    assert list((tmp_path / "work").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
@pytest.mark.long
def test_stages_that_fail_are_rows_and_the_others_are_measured(tmp_path: Path) -> None:
    done = rehearse(tmp_path, "model.dtype=float16")  # which nothing is trained in
    assert done.returncode == 0, done.stderr
    rows = {row["stage"]: row for row in json.loads(done.stdout)["stages"]}
    assert list(rows) == STAGES
    for name in ("cold-start", "sampling-sft", "grpo"):
        assert rows[name]["note"].startswith("failed: model.dtype is float16")
        assert rows[name]["seconds_per_step"] is None
    assert rows["sampling"]["seconds_per_step"] > 0
    assert rows["judging"]["seconds_per_step"] > 0
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
@pytest.mark.long
def test_a_large_model_is_rehearsed_on_a_cpu_as_a_reduced_copy_and_the_first_line_says_so(tmp_path: Path) -> None:
    pixels = ("model.max_pixels=4096", "prepare.path=.")
    done = rehearse(tmp_path, *pixels, options=(), profile="qwen3_vl_8b")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("REDUCED COPY of qwen3_vl: 2 layers, hidden size 256")
    assert "failed" not in done.stdout
    assert all(name in done.stdout for name in STAGES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "config.json is not on this machine"),
        ({"config.json": '{"model_type": "llama"}'}, "takes text alone"),
        ({"config.json": '{"model_type": "qwen3_vl"}'}, "has no processor"),
        ({"config.json": "{"}, "is no JSON"),
    ],
)
def test_a_base_that_cannot_be_rehearsed_is_refused(tmp_path: Path, files: dict[str, str], says: str) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name, text in files.items():
        (base / name).write_text(text)
    done = rehearse(tmp_path, f"model.base={base}")
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("profile", "sets"), [("nowhere", ()), ("shapes", ("model.base=nobody/nothing",))])
def test_an_unknown_profile_or_base_is_refused(tmp_path: Path, profile: str, sets: tuple[str, ...]) -> None:
    done = rehearse(tmp_path, *sets, profile=profile)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error:" in done.stderr


def test_hours_count_every_completion_of_the_profile() -> None:
    settings = load_settings("qwen2_5_vl_7b", ())
    for smaller in (True, False):
        scaled = scaled_down(settings, smaller)
        times = {part.name: part.times for part in repeated(settings, scaled, work_of(settings, None))}
        cold = 79 * 128 * 3  # 10,000 pairs in steps of 128, three epochs
        assert times["cold-start"] * scaled.cold_start.batch == pytest.approx(cold)
        assert times["sampling"] * scaled.runtime.generation_batch == pytest.approx(26_000 * 4 * 2)
        assert times["grpo"] * scaled.grpo.prompts_per_step == pytest.approx(100_000)


def test_only_a_lack_of_memory_is_called_one() -> None:
    starved, killed, ended = (
        _note(_without_report("grpo", code, "", starved=starved))
        for code, starved in ((-9, True), (-9, False), (-15, False))
    )
    assert starved.startswith("did not fit: grpo was killed: out of memory: lower")
    assert killed.startswith("failed: grpo's process was killed (signal SIGKILL): preempted or")
    assert ended.startswith("failed: grpo's process was ended from outside (signal SIGTERM)")
