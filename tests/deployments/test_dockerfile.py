"""deployments/Dockerfile as BuildKit's own parser reads it, and those of its commands that run without an engine."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dockerfile
import pytest
from docker.utils.build import exclude_paths

from configs.load import profiles
from tests.deployments.commands import refused

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = REPOSITORY / "deployments" / "Dockerfile"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
TARGETS = ("cpu", "cuda")
OCI = "org.opencontainers.image"
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH|ACCESS_KEY|API_KEY|CREDENTIAL")


class Stage(NamedTuple):
    """One `FROM` and what follows it."""

    base: str
    commands: list[dockerfile.Command]


def read_stages() -> dict[str, Stage]:
    """The stages by name, in order."""
    stages: dict[str, Stage] = {}
    for command in dockerfile.parse_file(str(FILE)):
        if command.cmd == "FROM":
            base, _, name = command.value
            stages[name] = Stage(base, [])
        else:
            stages[list(stages)[-1]].commands.append(command)
    return stages


STAGES = read_stages()


def history(stage: str) -> list[dockerfile.Command]:
    """All commands that an image of this stage is made of, first to last."""
    own = STAGES[stage]
    return [*(history(own.base) if own.base in STAGES else []), *own.commands]


def last(stage: str, cmd: str) -> tuple[str, ...]:
    """What the last command of this kind says."""
    return tuple([command.value for command in history(stage) if command.cmd == cmd][-1])


def pairs(stage: str, cmd: str) -> dict[str, str]:
    """The names and values of all ENV, or all LABEL."""
    found: dict[str, str] = {}
    for command in history(stage):
        if command.cmd == cmd:
            found |= {
                name: value.strip('"') for name, value in zip(command.value[::2], command.value[1::2], strict=True)
            }
    return found


def runs(stage: str) -> Iterator[tuple[str, list[str]]]:
    """Each program that is run with its arguments, out of `a && b`, after the flags of its RUN."""
    for command in history(stage):
        if command.cmd == "RUN":
            for part in command.value[0].split("&&"):
                yield " ".join(command.flags), shlex.split(part)


def copied() -> set[str]:
    """What is taken from the build's context."""
    commands = [command for stage in STAGES.values() for command in stage.commands]
    assert not [command for command in commands if command.cmd == "ADD"]
    return {source for command in commands if command.cmd == "COPY" for source in command.value[:-1]}


def test_both_targets_are_there_and_a_build_without_one_is_not_a_helper_stage() -> None:
    assert set(TARGETS) <= set(STAGES)
    assert list(STAGES)[-1] in TARGETS


def test_images_from_elsewhere_are_pinned_to_a_release() -> None:
    outside = [stage.base for stage in STAGES.values() if stage.base not in STAGES]
    syntax = re.match(r"# syntax=(\S+)", FILE.read_text())
    assert syntax
    for image in (*outside, syntax[1]):
        assert re.search(r":\d+\.\d+(\.\d+-[\w-]+)?$", image), f"{image} moves"
    assert [f"docker.io/library/{base}" for base in outside] == [pairs("cpu", "LABEL")[f"{OCI}.base.name"]]


@pytest.mark.parametrize("target", TARGETS)
def test_it_says_what_it_is(target: str) -> None:
    labels = pairs(target, "LABEL")
    assert {f"{OCI}.{name}" for name in ("title", "description", "licenses", "version", "revision")} <= labels.keys()
    assert labels[f"{OCI}.licenses"] == PROJECT["license"]
    assert ("VERSION=" + PROJECT["version"],) in [tuple(c.value) for c in history(target) if c.cmd == "ARG"]


@pytest.mark.parametrize("target", TARGETS)
def test_its_processes_run_as_nobody_special_and_below_an_init(target: str) -> None:
    user, _, group = last(target, "USER")[0].partition(":")
    assert int(user) > 0 and int(group) > 0  # by number: Kubernetes' runAsNonRoot knows no names
    after = [command.cmd for command in history(target)]
    assert "RUN" not in after[after.index("USER") :]
    assert last(target, "ENTRYPOINT")[0] == "tini"


@pytest.mark.parametrize("target", TARGETS)
def test_pip_installs_what_constraints_txt_says(target: str) -> None:
    installs = [(flags, words) for flags, words in runs(target) if words[:2] == ["pip", "install"]]
    pinned = {line.partition("==")[0].lower() for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    assert len(installs) >= 2
    for flags, words in installs:
        assert Path(words[words.index("-c") + 1]).name == "constraints.txt"
        assert "type=cache,target=/root/.cache/pip" in flags or "--no-cache-dir" in words
        valued = {words.index(option) + 1 for option in ("-c", "-r", "--index-url") if option in words}
        named = [word for n, word in enumerate(words[2:], 2) if n not in valued and not word.startswith("-")]
        for name in named:
            assert name.endswith(".whl") or "==" in name or name in pinned, f"{name} is pinned nowhere"
    assert ["pip", "check"] in [words for _, words in runs(target)]


def test_the_cpu_target_takes_torch_without_cuda_and_the_cuda_target_takes_pypis() -> None:
    first = next(words for _, words in runs("cpu") if words[:2] == ["pip", "install"])
    # Alone and without dependencies: that index has other packages too, at other versions than PyPI.
    assert first[-2:] == ["torch", "torchvision"] and "--no-deps" in first
    assert first[first.index("--index-url") + 1] == "https://download.pytorch.org/whl/cpu"
    assert not [words for _, words in runs("cuda") for word in words if "index-url" in word]
    assert pairs("cuda", "ENV")["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


@pytest.mark.parametrize("stage", STAGES)
def test_no_secret_is_built_in(stage: str) -> None:
    arguments = [name.partition("=")[0] for c in history(stage) if c.cmd == "ARG" for name in c.value]
    assert not [name for name in (*pairs(stage, "ENV"), *arguments) if SECRET.search(name.upper())]
    assert not [flags for flags, _ in runs(stage) if "type=secret" in flags]


@pytest.mark.parametrize("target", TARGETS)
def test_telemetry_is_off_and_what_is_downloaded_lands_in_the_volume(target: str) -> None:
    environment = pairs(target, "ENV")
    assert environment["DO_NOT_TRACK"] == environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    (volume,) = last(target, "VOLUME")
    assert environment["HF_HOME"].startswith(f"{volume}/")
    assert environment["THINKREWARD__STORAGE__CACHE_DIR"].startswith(f"{volume}/")


@pytest.mark.parametrize("target", TARGETS)
def test_it_is_a_worker_unless_told_otherwise_and_its_health_is_the_workers(target: str) -> None:
    from prefect.settings.models.worker import WorkerWebserverSettings

    command = list(last(target, "CMD"))
    assert refused(command) == ""
    assert command[command.index("--pool") + 1] == {"cpu": "cpu", "cuda": "gpu"}[target]
    port = WorkerWebserverSettings.model_fields["port"].default
    assert "--with-healthcheck" in command
    assert f"http://127.0.0.1:{port}/health" in last(target, "HEALTHCHECK")[-1]


def test_the_base_has_a_python_that_the_project_takes() -> None:
    release = re.match(r"python:(\d+)\.(\d+)", STAGES["base"].base)
    assert release
    assert f">={release[1]}.{release[2]}" == PROJECT["requires-python"]


def test_the_builds_context_holds_what_is_copied_and_nothing_else(tmp_path: Path) -> None:
    for decoy in (".env", "deployments/.env", "flows/.env.local", ".git/config", ".thinkreward/store/a", "id_rsa"):
        (tmp_path / decoy).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / decoy).touch()
    for source in copied():
        here = REPOSITORY / source
        assert here.exists(), f"{source} is not in the repository"
        name = f"{source}/a.py" if here.is_dir() else source
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    kept = {name for name in in_context(tmp_path) if (tmp_path / name).is_file()}
    assert kept == {f"{source}/a.py" if (REPOSITORY / source).is_dir() else source for source in copied()}


def in_context(root: Path) -> set[str]:
    """What an engine would be sent of a folder, by the rules of .dockerignore."""
    patterns = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in patterns if line and not line.startswith("#")]
    sent: set[str] = exclude_paths(str(root), rules)
    return {name for name in sent if name != ".dockerignore"}


def test_the_list_of_requirements_is_the_projects(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (line,) = [command.value[0] for command in STAGES["requirements"].commands if command.cmd == "RUN"]
    line = line.replace("python ", f"{sys.executable} ", 1)
    subprocess.run(["sh", "-euc", line], cwd=tmp_path, check=True)
    assert (tmp_path / "requirements.txt").read_text().splitlines() == PROJECT["dependencies"]


@pytest.mark.slow
def test_what_is_copied_is_enough_for_a_wheel_with_profiles_and_base_model(tmp_path: Path) -> None:
    sent = in_context(REPOSITORY)
    for *sources, to in (command.value for command in STAGES["wheel"].commands if command.cmd == "COPY"):
        for name in (name for name in sent if (REPOSITORY / name).is_file()):
            for source in (source for source in sources if name == source or name.startswith(f"{source}/")):
                there = tmp_path / to / name.removeprefix(source).strip("/") if name != source else tmp_path / to / name
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / name, there)
    (words,) = [words for _, words in runs("wheel") if words[:2] == ["pip", "wheel"]]
    words[words.index("--wheel-dir") + 1] = str(tmp_path / "wheels")
    subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {f"configs/{name}.yaml" for name in profiles()} <= inside
    assert {
        "flows/cli/main.py",
        "models/shapes/base/model.safetensors",
        "models/evaluation/report/report.html.j2",
        "models/evaluation/leaderboard/leaderboard.html.j2",
        "models/evaluation/leaderboard/leaderboard.js",
    } <= inside
    assert not [name for name in inside if name.startswith(("tests/", "deployments/"))]
