"""The command line as a stranger meets it: what it says, its exit status, and that `--help` is instant."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.data import grouped_by_reason
from flows.cli.main import resuming
from tests.tasks import small_recipe as small

REPOSITORY = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "transformers", "mlflow", "openai", "s3fs", "prefect")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nimport flows.cli.main\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "--profile", "shpes"), "shapes"),  # an unknown profile names the nearest
        (("run", "--set", "grpo.lr=1"), "grpo.lr"),  # an unknown field is named
        (("run", "--set", "grpo.group=1"), "grpo.group"),  # out of range
        (("run", "--set", "grpo.micro_batch=3"), "micro_batch"),  # a contradiction
        (("run", "polish"), "polish"),  # an unknown stage
        (("run", "grpo", "--refresh", "distill"), "name distill as a stage too"),  # refreshed, but not run
        (("judge", "a.png"), "--prompt"),  # one file
        (("judge", "--prompt", "x", "missing-1.png", "missing-2.png"), "missing-1.png"),
    ],
)
def test_bad_input_is_one_line_that_names_it(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *arguments], cwd=tmp_path, env=small.environment(tmp_path),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("typed", "again"),
    [
        ("thinkreward run --refresh grpo --set seed=1", "thinkreward run --set seed=1"),
        ("thinkreward run grpo --refresh=grpo", "thinkreward run grpo"),
        ("thinkreward grpo --refresh --json", "thinkreward grpo --json"),
        ("thinkreward run --set 'storage.root=/a b'", "thinkreward run --set 'storage.root=/a b'"),
    ],
)
def test_resuming_does_not_begin_again(typed: str, again: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", shlex.split(typed))
    assert resuming() == again


def test_a_store_that_cannot_be_written_is_refused_before_work(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file, not a folder")
    done = small.run("prepare", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert str(tmp_path / "store") in done.stderr


def test_mlflow_that_cannot_be_reached_is_refused_before_work(tmp_path: Path) -> None:
    done = small.run("prepare", folder=tmp_path, check=False, tracking__uri="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert done.stderr.count("trying again") == 2
    assert not (tmp_path / "store" / "artifacts").exists()


def test_a_dry_run_says_what_would_run_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    done = small.run("run", "--dry-run", "--json", folder=tmp_path)
    assert loaded(done.stderr).isdisjoint(HEAVY)
    said = json.loads(done.stdout)
    assert [row["state"] for row in said["stages"]] == ["run"] * 7
    assert said["stages"][0]["reason"] == "never computed in this store"
    assert said["stages"][1]["reason"] == "waits for prepare"


def test_a_stage_without_its_upstream_names_the_one_to_run(tmp_path: Path) -> None:
    done = small.run("distill", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "thinkreward prepare" in done.stderr


def loaded(imports: str) -> set[str]:
    """The modules that Python says it imported."""
    return {line.rpartition("|")[2].strip() for line in imports.splitlines() if line.startswith("import time:")}


def test_prepare_is_computed_once_and_then_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = small.run_json("prepare", folder=tmp_path)
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    again = small.run("prepare", "--json", folder=tmp_path)
    assert loaded(again.stderr).isdisjoint(HEAVY) and "flows.cli.running" in loaded(again.stderr)
    second = json.loads(again.stdout)
    assert small.states(first) == {"prepare": "computed"}
    assert small.states(second) == {"prepare": "cached"}
    assert first["stages"][0]["artifacts"] == second["stages"][0]["artifacts"]
    kept = json.loads(small.run("artifacts", "ls", "--json", folder=tmp_path).stdout)
    assert "preferences" in [row["kind"] for row in kept["artifacts"]]


def test_own_pairs_are_read_and_what_is_broken_is_named(tmp_path: Path) -> None:
    from models.pairs.preference import Task
    from models.shapes.pairs import make_pair

    data = tmp_path / "pairs"
    data.mkdir()
    lines = []
    for number in range(60):
        made = make_pair(Task.IMAGE_GENERATION, number, seed=5, held_out=False)
        for uri, blob in made.blobs.items():
            (data / uri).write_bytes(blob)
        names = [candidate.media.uri for candidate in made.pair.candidates if candidate.media]
        lines.append({
            "id": made.pair.id, "task": "image_generation", "prompt": made.pair.prompt,
            "preferred": made.pair.preferred, "candidates": [{"media": name} for name in names],
        })  # fmt: skip
    (data / names[0]).write_bytes(b"not a picture")
    lines[3]["candidates"] = [{"media": "gone.png"}, {"media": "gone.png"}]
    (data / "pairs.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    own = {"prepare__source": "jsonl", "prepare__path": str(data), "prepare__held_out_share": 0.3}
    done = small.run("prepare", folder=tmp_path, distill__teacher="openai", **own)
    assert "gone.png" in done.stderr
    assert names[0] in done.stderr


def test_doctor_says_ok_or_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well = small.run("doctor", folder=tmp_path)
    names = [line.split()[:2] for line in well.stdout.splitlines() if line.startswith(("ok ", "fix "))]
    assert names == [
        ["ok", name] for name in ("versions", "accelerator", "base", "memory", "storage", "mlflow", "teacher")
    ]
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    ill = small.run("doctor", folder=tmp_path, check=False, distill__teacher="openai")
    assert ill.returncode == 1
    (told,) = [line for line in ill.stdout.splitlines() if line.startswith("fix ")]
    assert told.split()[1:5] == ["teacher", "OPENAI_API_KEY", "is", "not"]


def test_estimate_counts_samples_and_steps(tmp_path: Path) -> None:
    rows = json.loads(small.run("estimate", "--json", folder=tmp_path).stdout)["estimate"]
    amounts = {row["what"]: row["amount"] for row in rows}
    assert amounts["samples"] == "128"
    assert amounts["teacher cost"].startswith("nothing")


def test_invalid_rows_are_grouped_by_reason_with_the_first_few_and_the_count() -> None:
    rows = [{"where": f"data.json#{at}", "reason": "media: does not exist", "uri": f"{at}.mp4"} for at in range(1886)]
    rows.insert(3, {"where": "data.json#x", "reason": "row: prompt is missing", "uri": ""})
    lines = grouped_by_reason(rows)
    assert lines[:2] == ["1886 x media: does not exist", "  data.json#0 0.mp4"]
    assert lines[6:] == ["  and 1881 more: --json names all", "1 x row: prompt is missing", "  data.json#x"]


def test_serve_beyond_loopback_without_a_token_is_refused(tmp_path: Path) -> None:
    done = small.run("serve", "--host", "192.0.2.1", "--model", "base", folder=tmp_path, check=False)
    assert done.returncode == 2
    assert "THINKREWARD_SERVE_TOKEN" in done.stderr and "--insecure" in done.stderr
