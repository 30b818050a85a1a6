"""Which stages are refused on which device, and with what to change."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.errors import ConfigError
from tasks.ops import fitting
from tasks.ops.base_shape import base_shape
from tasks.ops.devices import Device
from tasks.ops.fitting import FACTOR, Change, check_fits, check_stages_fit, cure, fits, refusal, remedies, with_value
from tasks.ops.rehearse import scaled_down
from tasks.ops.stage_memory import StagePart, parts
from tasks.pipeline.graph import REPOSITORY, TRAINED
from tests.tasks import small_recipe as small

GIB = 2**30
# What `rehearse` measured of the embedded base with 8 frames a video on an EPYC, one thread: peak GiB of each process.
SHAPES = {"cold-start": 1.17, "sampling": 1.96, "sampling-sft": 1.37, "grpo": 1.42, "judging": 2.01}
# Completions of one prompt share it in sampling, which the estimate counts for each.
MOST = {"sampling": 2.0, "grpo": 2.0}


def device(gib: float, kind: str = "cuda") -> Device:
    return Device(kind, "a device", int(gib * GIB), int(gib * GIB))


def needed(settings: Settings, kind: str = "cuda") -> dict[str, StagePart]:
    shape = base_shape(settings)
    assert shape is not None
    return {one.name: one for one in parts(settings, shape, device=kind)}


def here(monkeypatch: pytest.MonkeyPatch, *found: Device) -> None:
    monkeypatch.setattr(fitting, "devices_for", lambda settings: list(found))


def test_estimates_are_within_the_factor_of_what_was_rehearsed() -> None:
    own = ("prepare.source=jsonl", "prepare.path=.", "distill.teacher=openai", "model.max_pixels=4096")
    found = needed(load_settings("shapes", own), "cpu")
    assert list(found) == list(SHAPES)
    for name, measured in SHAPES.items():
        assert measured / FACTOR < found[name].memory.total / GIB < measured * MOST.get(name, FACTOR), name


def measured() -> list[tuple[str, list[float]]]:
    """The peaks in GiB of reduced copies that docs/training.md, "Rehearsal", tells of, by profile."""
    text = (REPOSITORY / "docs" / "training.md").read_text().split("## Rehearsal")[1].split("## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    return [(row[0].strip("`"), [float(cell.split(" / ")[0]) for cell in row[2:]]) for row in rows]


@pytest.mark.parametrize(("profile", "peaks"), measured())
def test_estimates_are_within_the_factor_of_the_reduced_copies_that_were_rehearsed(
    profile: str, peaks: list[float], tmp_path: Path
) -> None:
    from models.rehearsal.architecture import read_config, reduced
    from models.rehearsal.known import KNOWN

    settings = load_settings(profile)
    base = settings.model.base
    (tmp_path / "config.json").write_text(json.dumps(reduced(read_config(KNOWN[base], base), 860).to_dict()))
    found = needed(scaled_down(with_value(settings, "model.base", str(tmp_path)), smaller=True), "cpu")
    for part, peak in zip(found.values(), peaks, strict=True):
        assert peak / FACTOR < part.memory.total / GIB < peak * MOST.get(part.name, FACTOR), part.name


@pytest.mark.parametrize("recipe", ["shapes", "small"])
def test_the_embedded_base_is_never_refused_on_a_machine_of_4_gib(recipe: str, tmp_path: Path) -> None:
    settings = load_settings("shapes", small.sets(tmp_path) if recipe == "small" else ())
    for name, part in needed(settings, "cpu").items():
        assert fits(part, device(4, "cpu")) == "yes", name


@pytest.mark.parametrize("profile", ["qwen2_5_vl_7b", "qwen3_vl_8b", "qwen3_5_9b"])
def test_the_real_profiles_train_adapters_on_one_gpu_of_80_gb(profile: str) -> None:
    gpu = device(79.6)  # as an H100 of 80 GB says
    found = needed(load_settings(profile))
    assert {name: fits(part, gpu) for name, part in found.items() if part.moment == "training"} == {
        "cold-start": "yes",
        "sampling-sft": "yes",
    }
    assert "no" not in {fits(part, gpu) for part in found.values()}


def test_full_training_of_7b_is_refused_on_one_gpu_of_80_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings("qwen2_5_vl_7b_full")
    here(monkeypatch, device(79.6))
    with pytest.raises(ConfigError) as refused:
        check_fits(settings, ["prepare", *TRAINED])
    lines = str(refused.value).splitlines()
    assert [line.split(" needs")[0] for line in lines] == ["cold-start", "rejection-sampling (sampling-sft)", "grpo"]
    assert "optimizer 56.7" in lines[0] and "a device has 79.6 GiB" in lines[0]
    assert lines[0].endswith("set cold_start.lora.rank=64")
    check_fits(settings, ["prepare", "distill", "evaluate"])  # what trains nothing fits
    here(monkeypatch, device(200), device(200))
    check_fits(settings, TRAINED)


def test_the_smallest_of_the_devices_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, device(200), device(24))
    with pytest.raises(ConfigError, match=r"a device has 24\.0 GiB"):
        check_fits(load_settings("qwen2_5_vl_7b_full"), ["cold-start"])


@pytest.mark.parametrize(
    ("profile", "name", "gib", "changes"),
    [
        ("shapes", "cold-start", 0.8, ["runtime.micro_tokens=1024"]),
        ("shapes", "judging", 1.5, ["runtime.generation_batch=128"]),
        ("qwen3_vl_8b", "sampling", 40, ["runtime.generation_tokens=73728"]),
        ("qwen3_vl_8b", "sampling-sft", 25, ["runtime.micro_tokens=6656"]),
        ("qwen3_vl_8b", "grpo", 40, ["runtime.generation_tokens=73728"]),
        ("qwen3_vl_8b", "grpo", 30, ["runtime.generation_batch=8", "grpo.prompts_per_step=2"]),
        ("qwen2_5_vl_7b_full", "grpo", 139, ["grpo.lora.rank=64"]),
    ],
)
def test_what_to_change_is_enough_and_is_settings(profile: str, name: str, gib: float, changes: list[str]) -> None:
    settings, gpu = load_settings(profile), device(gib)
    shape = base_shape(settings)
    assert shape is not None
    part = needed(settings)[name]
    assert fits(part, gpu) != "yes"
    said = [str(one) for one in remedies(settings, shape, part, gpu)]
    assert said == changes
    assert fits(needed(load_settings(profile, said))[name], gpu) == "yes"
    for one in said:  # and nothing of it is left over
        fewer = [other for other in said if other is not one]
        assert fits(needed(load_settings(profile, fewer))[name], gpu) != "yes"


def test_where_no_setting_helps_that_is_said() -> None:
    settings = load_settings("qwen3_vl_8b")
    shape = base_shape(settings)
    assert shape is not None
    said = refusal(settings, shape, needed(settings, "cpu")["cold-start"], device(8, "cpu"))
    assert "(no GPU is seen here)" in said
    assert said.endswith("choose a smaller model.base, or a device with more memory")
    assert cure(settings, shape, needed(settings)["cold-start"], device(8)).startswith("no setting")


def test_what_is_cached_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, device(8))
    check_fits(load_settings("qwen3_vl_8b"), ["evaluate"], cached=lambda name: True)


def test_a_pinned_model_is_not_judged_by_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, device(8))
    settings = load_settings("qwen3_vl_8b", ["prepare.path=."])
    check_stages_fit(settings, ["grpo"], again=["grpo"], pins={"model": "champion"})
    with pytest.raises(ConfigError):
        check_stages_fit(settings, ["grpo"], again=["grpo"], pins={"preferences": "latest"})


def test_a_base_that_nothing_here_tells_of_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, device(0.1))
    check_fits(load_settings("shapes", ["model.base=nobody/nothing"]), TRAINED)


def test_a_value_of_an_unset_section_begins_with_its_defaults() -> None:
    changed = with_value(load_settings("qwen2_5_vl_7b_full"), "grpo.lora.rank", 16)
    assert (changed.grpo.lora.rank, changed.grpo.lora.alpha) == (16, 128)
    assert str(Change("runtime.gradient_checkpointing", True)) == "runtime.gradient_checkpointing=true"


@pytest.mark.slow
def test_a_run_that_cannot_fit_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "pairs.jsonl").write_text("{}\n")
    large = "--set grpo.group=64 --set grpo.micro_batch=64"
    words = f"run --profile qwen2_5_vl_7b_full --set prepare.path={tmp_path}/pairs {large}"
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *shlex.split(words)],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path), "OPENAI_API_KEY": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "grpo needs about" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / ".thinkreward" / "store" / "work").exists()
