"""A stack's folder: ports that stay, credentials for one user's eyes, and lines that a shell takes as they are."""

import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tasks.stack import state
from tasks.stack.state import GRPC_ABOVE, Record, Running, StackError, StackFolder, assign_ports, exported, shell_lines
from tests.tasks.seaweed import free_ports

ALL_PORTS = {name: 20_000 + at for at, name in enumerate(state.PORTS)}


@contextmanager
def listening(port: int) -> Iterator[None]:
    """Another program's server on a port."""
    with closing(socket.create_server(("127.0.0.1", port))):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> StackFolder:
    made = StackFolder.at(tmp_path / "stack")
    made.make()
    return made


@pytest.fixture
def familiar(monkeypatch: pytest.MonkeyPatch) -> int:
    """The familiar port of S3, moved to where nothing of this machine's listens."""
    (port,) = free_ports(1)
    monkeypatch.setitem(state.PORTS, "s3", port)
    return port


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_familiar_port_is_taken_where_it_is_free(familiar: int) -> None:
    assert assign_ports({}, ["s3"]) == {"s3": familiar}


@pytest.mark.parametrize("above", [0, GRPC_ABOVE])
def test_a_port_is_passed_over_if_it_or_its_grpc_port_is_taken(familiar: int, above: int) -> None:
    with listening(familiar + above):
        chosen = assign_ports({}, ["s3"])["s3"]
    assert familiar < chosen < familiar + state.NEARBY


def test_a_kept_port_stays_though_the_familiar_one_is_free(familiar: int) -> None:
    (kept,) = free_ports(1)
    assert assign_ports({"s3": kept}, ["s3"]) == {"s3": kept}


def test_a_kept_port_that_another_program_took_moves(familiar: int) -> None:
    (kept,) = free_ports(1)
    with listening(kept):
        assert assign_ports({"s3": kept}, ["s3"]) == {"s3": familiar}


def test_the_port_of_what_runs_is_not_looked_at() -> None:
    (kept,) = free_ports(1)
    with listening(kept):
        assert assign_ports({"s3": kept}, []) == {"s3": kept}


def test_two_services_never_get_one_port(familiar: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(state.PORTS, "mlflow", familiar)
    monkeypatch.setitem(state.PORTS, "prefect", familiar + GRPC_ABOVE)
    ports = assign_ports({}, ["s3", "mlflow", "prefect"])
    assert len({ports["s3"], ports["s3"] + GRPC_ABOVE, ports["mlflow"], ports["prefect"]}) == 4


def test_no_free_port_is_an_error_with_the_range(familiar: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "NEARBY", 1)
    with listening(familiar), pytest.raises(StackError, match=f"no free port for s3 from {familiar}"):
        assign_ports({}, ["s3"])


def test_credentials_are_random_kept_and_readable_by_one_user(folder: StackFolder, tmp_path: Path) -> None:
    other = StackFolder.at(tmp_path / "other")
    other.make()
    first = folder.credentials()
    assert folder.credentials() == first
    assert {*first}.isdisjoint(other.credentials())
    assert len(first.secret_key) >= 40
    assert mode(folder.path / "s3.json") == 0o600
    assert mode(folder.path) == 0o700


def test_the_env_file_is_for_one_user_and_stack_json_has_no_secret(folder: StackFolder) -> None:
    folder.keep(Record(ports=ALL_PORTS, services={"s3": Running(pid=1, started=2.0)}))
    folder.write_env(exported(folder, ALL_PORTS))
    assert mode(folder.path / "env") == 0o600
    assert folder.credentials().secret_key in (folder.path / "env").read_text()
    written = (folder.path / "stack.json").read_text()
    assert not any(part in written for part in folder.credentials())


def test_a_shell_reads_every_value_as_it_is() -> None:
    values = {"PLAIN": "http://127.0.0.1:4200/api", "ODD": "a b'c\"d$HOME `id` \\ \n#e", "EMPTY": ""}
    script = shell_lines(values) + 'printf "%s\\0" "$PLAIN" "$ODD" "$EMPTY"'
    said = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.split("\0")[:-1] == list(values.values())


def test_what_would_lead_past_the_stack_is_unset_where_it_is_set() -> None:
    lines = shell_lines({"AWS_ACCESS_KEY_ID": "x"}, {"AWS_SESSION_TOKEN": "t", "HOME": "/root"})
    assert lines == "unset AWS_SESSION_TOKEN\nexport AWS_ACCESS_KEY_ID=x\n"


def test_every_address_is_of_this_machine_and_every_path_absolute(folder: StackFolder) -> None:
    shown = exported(folder, ALL_PORTS)
    assert all(
        value.startswith("http://127.0.0.1:") for value in shown.values() if "://" in value and "s3:" not in value
    )
    assert Path(shown["THINKREWARD__STORAGE__CACHE_DIR"]).is_absolute()
    assert shown["MLFLOW_TRACKING_URI"] == shown["THINKREWARD__TRACKING__URI"]


def test_what_was_recorded_is_read_again_and_damage_is_an_error(folder: StackFolder) -> None:
    record = Record(ports=ALL_PORTS, services={"mlflow": Running(pid=77, started=1.5)})
    folder.keep(record)
    assert folder.record() == record
    (folder.path / "stack.json").write_text('{"ports": ')
    with pytest.raises(StackError, match=r"stack\.json cannot be read"):
        folder.record()


def test_one_command_at_a_time_works_on_a_stack(folder: StackFolder) -> None:
    with folder.locked(), pytest.raises(StackError, match="another `stack` command"), folder.locked():
        pass
    with folder.locked():
        pass  # it was given back


def test_wiping_removes_what_a_stack_keeps_and_nothing_else(folder: StackFolder) -> None:
    folder.keep(Record())
    folder.credentials()
    (folder.path / "s3" / "volume.dat").write_text("x")
    (folder.path / "thesis.txt").write_text("x")
    folder.wipe()
    assert [path.name for path in folder.path.iterdir()] == ["thesis.txt"]
    (folder.path / "thesis.txt").unlink()
    folder.wipe()
    assert not folder.path.exists()
