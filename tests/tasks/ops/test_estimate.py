"""What a run is said to take: the pairs that are there, memory by stage and strategy, and hours."""

import json
from pathlib import Path
from typing import Any

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.errors import ConfigError
from models.pairs.preference import Task
from tasks.ops.counting import There, pairs_there, work_of
from tasks.ops.estimate import Quantity, estimate_run
from tasks.ops.hours import assumed_hours, measured_hours, rates_of
from tasks.ops.rehearse import repeated, scaled_down


def own(folder: Path, *sets: str, profile: str = "qwen3_vl_8b", **by_task: int) -> Settings:
    """A profile on a folder with so many pairs of each task, and a few lines that are no pairs."""
    lines = [json.dumps(pair(task, at)) for task, count in by_task.items() for at in range(count)]
    lines[1:1] = ["", "{no json", json.dumps({"id": "x", "task": "juggling"}), json.dumps(["a", "list"])]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    return load_settings(profile, [f"prepare.path={folder}", *sets])


def pair(task: str, at: int) -> dict[str, Any]:
    """A valid row, whose media need not be there."""
    candidates = [{"media": f"{one}.png"} if Task(task).judges_media else {"text": one} for one in ("a", "b")]
    context = [] if Task(task).judges_media else ["c.png"]
    row = {"id": f"{task}-{at}", "task": task, "prompt": "p", "preferred": 1}
    return row | {"context": context, "candidates": candidates}


def amounts(rows: list[Quantity]) -> dict[str, str]:
    return {row.what: row.amount for row in rows}


def test_own_pairs_are_counted_and_not_the_profiles_ceilings(tmp_path: Path) -> None:
    """120 pairs were told as 832,000 samples."""
    said = amounts(estimate_run(own(tmp_path, image_generation=100, video_understanding=20)))
    assert said["pairs"] == "120"
    training = 85 + 17  # 10 and 2 are held out, 5 and 1 validate
    assert said["samples"] == f"{training * 2 * 4:,}"
    assert said["teacher calls"] == "85 to 170"
    assert said["grpo rollouts"] == f"{training * 2 * 8:,}"
    assert said["judgments"] == f"{12 * 2 * 2 * 4:,}"
    assert said["cold-start steps"] == "3 at most"


def test_what_the_settings_take_caps_what_is_there(tmp_path: Path) -> None:
    sets = ("rejection_sampling.pairs=10", "distill.pairs=7", "evaluate.pairs=1", "grpo.pairs=5")
    settings = own(tmp_path, *sets, image_generation=100, video_understanding=20)
    said = amounts(estimate_run(settings))
    assert said["samples"] == f"{20 * 2 * 4}"
    assert said["teacher calls"] == "7 to 14"
    assert said["grpo rollouts"] == f"{5 * 2 * 8}"
    assert said["judgments"] == f"{2 * 2 * 2 * 4}"


def test_a_folder_that_is_not_here_is_told_and_the_ceilings_stand(tmp_path: Path) -> None:
    settings = load_settings("qwen3_vl_8b", [f"prepare.path={tmp_path / 'gone'}"])
    rows = {row.what: row for row in estimate_run(settings)}
    assert rows["pairs"].amount == "unknown" and "gone/pairs.jsonl is not here" in rows["pairs"].how
    assert rows["samples"].amount == "832,000"


def test_sets_that_list_their_pairs_are_counted_and_others_are_when_imported(tmp_path: Path) -> None:
    own(tmp_path, image_generation=50)
    (tmp_path / "other").mkdir()

    def found(*sources: str, **more: int) -> There | str:
        listed = [f"{{reader: own, path: {one}}}" for one in sources]
        sets = ["prepare.source=published", "prepare.path=null", f"prepare.sources=[{', '.join(listed)}]"]
        return pairs_there(load_settings("qwen3_vl_8b", [*sets, *(f"prepare.{k}={v}" for k, v in more.items())]))

    counted, capped = found(str(tmp_path)), found(str(tmp_path), pairs_per_task=20)
    assert isinstance(counted, There) and counted.total == 50
    assert isinstance(capped, There) and capped.total == 20
    assert "counted when it is imported" in str(found(str(tmp_path), str(tmp_path / "other")))


def test_memory_is_told_by_stage_and_by_strategy(tmp_path: Path) -> None:
    rows = {row.what: row for row in estimate_run(own(tmp_path, image_generation=10))}
    for part in ("cold-start", "sampling", "sampling-sft", "grpo", "judging"):
        assert "GiB: " in rows[f"memory, {part}"].amount
        assert "weights 1" in rows[f"memory, {part}"].how

    def cold(strategy: str) -> float:
        return float(rows[f"memory, {strategy}"].amount.split("cold-start ")[1].split(",")[0])

    assert 10 < cold("LoRA of rank 64") < cold("full, sharded over 8") < cold("full")
    unknown = load_settings("shapes", ["model.base=nobody/nothing"])
    assert amounts(estimate_run(unknown))["memory"] == "unknown"


@pytest.mark.parametrize(
    ("words", "rates"),
    [
        (["1500"], (1500.0, 1500.0)),
        (["training=4000", "sampling=900"], (4000.0, 900.0)),
        (["1000", "sampling=10"], (1000.0, 10.0)),
    ],
)
def test_rates_are_for_both_or_each(words: list[str], rates: tuple[float, float]) -> None:
    assert tuple(rates_of(words).values()) == rates


@pytest.mark.parametrize(
    "words", [["fast"], ["0"], ["-1"], ["nan"], ["inf"], ["judging=3"], ["training=1"], ["=3"], [""]]
)
def test_what_is_no_rate_is_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="--tokens-per-second"):
        rates_of(words)


def test_hours_follow_from_tokens_and_rates(tmp_path: Path) -> None:
    settings = own(tmp_path, image_generation=100)
    slow = amounts(assumed_hours(settings, rates_of(["100"])))
    fast = amounts(assumed_hours(settings, rates_of(["training=100", "sampling=1000"])))
    sampled = 85 * 2 * 4 * 1024
    assert slow["hours, sampling"] == f"{sampled / 100 / 3600:.1f}"
    assert fast["hours, sampling"] == f"{sampled / 1000 / 3600:.2f}"
    assert fast["hours, cold-start"] == slow["hours, cold-start"]
    assert float(fast["hours, all"]) < float(slow["hours, all"])


def test_hours_at_an_assumed_rate_need_the_base_to_be_known() -> None:
    with pytest.raises(ConfigError, match="of whose shape nothing is known"):
        assumed_hours(load_settings("shapes", ["model.base=nobody/nothing"]), rates_of(["100"]))


def rehearsal(settings: Settings, file: Path, **changes: Any) -> Path:
    """A rehearsal in which every step took 3 s, as `rehearse --json` prints it."""
    parts = repeated(settings, scaled_down(settings, smaller=False), work_of(settings, None))
    rows = [{"stage": one.name, "seconds_per_step": 3.0, "note": one.what} for one in parts]
    file.write_text(json.dumps({"profile": "x", "reduced": False, "device": "a GPU", "stages": rows, **changes}) + "\n")
    return file


def test_hours_follow_from_a_rehearsal(tmp_path: Path) -> None:
    settings = own(tmp_path, image_generation=100)
    rows = {row.what: row for row in measured_hours(settings, rehearsal(settings, tmp_path / "said.json"))}
    assert rows["hours, cold-start"].amount == f"{3 * 128 / 8 * 3 / 3600:.2f}"  # 3 steps of 128, 8 of which took 3 s
    assert rows["hours, sampling"].amount == f"{85 * 2 * 4 / 64 * 3 / 3600:.2f}"
    assert "measured on a GPU" in rows["hours, grpo"].how


def test_a_stage_that_was_not_measured_has_no_hours(tmp_path: Path) -> None:
    settings = own(tmp_path, image_generation=100)
    rows = [{"stage": "grpo", "seconds_per_step": None, "note": "did not fit: CUDA out of memory"}]
    file = rehearsal(settings, tmp_path / "said.json", stages=rows)
    said = {row.what: row for row in measured_hours(settings, file)}
    assert (said["hours, grpo"].amount, said["hours, grpo"].how) == ("unknown", f"not measured: {rows[0]['note']}")
    assert "of those that are known" in said["hours, all"].how


def test_a_rehearsal_of_other_settings_or_of_a_reduced_copy_is_refused(tmp_path: Path) -> None:
    settings = own(tmp_path, image_generation=100)
    file = rehearsal(settings, tmp_path / "said.json")
    with pytest.raises(ConfigError, match="measured cold-start by 'a step of 8 completions, 4 at once"):
        measured_hours(own(tmp_path, "cold_start.micro_batch=2", image_generation=100), file)
    with pytest.raises(ConfigError, match="reduced copy"):
        measured_hours(settings, rehearsal(settings, tmp_path / "reduced.json", reduced=True))


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", '{"stages": 3}', '{"reduced": 0, "device": "x", "stages": []}', "{}\x00", "\xff",
             '{"reduced": false, "device": "x", "stages": [{"stage": "grpo", "note": "", "seconds_per_step": "soon"}]}']
)  # fmt: skip
def test_a_file_that_is_no_rehearsal_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "said.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="rehearse --json"):
        measured_hours(own(tmp_path, image_generation=1), tmp_path / "said.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        measured_hours(own(tmp_path, image_generation=1), tmp_path / "gone.json")


def test_the_embedded_worlds_pairs_are_as_many_as_it_is_asked_for() -> None:
    found = pairs_there(load_settings("shapes"))
    assert isinstance(found, There)
    assert (found.total, found.held_out[Task.VIDEO_GENERATION]) == (4 * (1600 + 360 + 360), 360)
