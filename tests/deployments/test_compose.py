"""deployments/compose.yaml against the compose specification and our own rules; no container engine runs here."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployments.commands import WEED, refused
from tests.deployments.storage import READY, serving

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = REPOSITORY / "deployments" / "compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?:(:[?-])([^}]*))?\})")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH|ACCESS_KEY|API_KEY|CREDENTIAL")
OWN_ENTRYPOINT = {"storage": "weed"}  # its arguments alone are the command


def scalars(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of the file with its path."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from scalars(value, f"{where}/{key}")
    else:
        yield where, node


def filled_in(text: str, **given: str) -> str:
    """The text as compose would put it: variables given, else their defaults; `$$` is a dollar."""

    def value(match: re.Match[str]) -> str:
        name, how, default = match.groups()
        return "$" if name is None else given.get(name, default if how == ":-" else f"<{name}>")

    return VARIABLE.sub(value, text)


def required() -> dict[str, str]:
    """The variables without which nothing starts, with what is said of them."""
    found = (VARIABLE.findall(value) for _, value in scalars(COMPOSE) if isinstance(value, str))
    return {name: message for matches in found for name, how, message in matches if how == ":?"}


def test_it_follows_the_compose_specification() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_an_image_with_a_tag_that_stays(name: str) -> None:
    image = filled_in(SERVICES[name]["image"])
    assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", image), f"{image} has no version"
    if image.startswith("thinkreward"):
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        assert image.partition(":")[2].startswith(f"{project['version']}-")


@pytest.mark.parametrize("name", [name for name in SERVICES if "ports" in SERVICES[name]])
def test_a_port_is_published_on_this_host_alone(name: str) -> None:
    for port in SERVICES[name]["ports"]:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", filled_in(port)), port
    assert "network_mode" not in SERVICES[name]


def test_no_service_shares_the_hosts_network_or_rights() -> None:
    for name, service in SERVICES.items():
        assert service.get("network_mode") in (None, "service:storage"), name
        assert not service.keys() & {"privileged", "pid", "ipc", "cap_add", "devices"}, name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_no_secret_is_written_into_it() -> None:
    seen = 0
    for where, value in scalars(COMPOSE):
        if SECRET.search(where.rsplit("/", 1)[-1]):
            seen += 1
            assert value is None or re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{where} is {value!r}"
        # And none in an address.
        assert not re.search(r"://[^/\s:]+:[^/\s]+@", str(value)), where
    assert seen > 10


def test_the_storage_is_asked_for_its_health_where_it_answers() -> None:
    assert SERVICES["storage"]["healthcheck"]["test"][-1] == f"http://127.0.0.1:8333{READY}"


def test_the_storages_identities_hold_what_env_gives_and_reach_one_bucket_each() -> None:
    given = {name: f"<{name}>" for name in required()}
    identities = json.loads(filled_in(COMPOSE["configs"]["identities"]["content"], **given))["identities"]
    for identity, prefix in zip(identities, ("STORE", "MLFLOW"), strict=True):
        (key,) = identity["credentials"]
        assert key == {"accessKey": f"<{prefix}_ACCESS_KEY>", "secretKey": f"<{prefix}_SECRET_KEY>"}
        assert {action.partition(":")[2] for action in identity["actions"]} == {identity["name"]}
        assert f"for bucket in {' '.join(i['name'] for i in identities)};" in SERVICES["buckets"]["command"][0]


def test_what_env_must_hold_is_told_at_the_top_and_where_it_is_missing() -> None:
    told = set(re.findall(r"\b[A-Z][A-Z_]+\b", FILE.read_text().partition("\nname:")[0]))
    assert set(required()) <= told
    assert all(required().values())


@pytest.mark.parametrize("name", [name for name in SERVICES if "depends_on" in SERVICES[name]])
def test_a_service_waits_for_what_exists_and_can_become_so(name: str) -> None:
    for other, how in SERVICES[name]["depends_on"].items():
        waited = SERVICES[other]
        assert "profiles" not in waited, f"{other} may not be there"
        if how["condition"] == "service_healthy":
            assert waited["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
            assert waited["restart"] == "unless-stopped"
        else:
            assert how["condition"] == "service_completed_successfully"
            assert waited["restart"] == "no", f"{other} would run again and again"


@pytest.mark.parametrize(("section", "key"), [("volumes", "volumes"), ("networks", "networks"), ("configs", "configs")])
def test_what_services_use_is_declared_and_the_reverse(section: str, key: str) -> None:
    used = set()
    for service in SERVICES.values():
        for item in service.get(key, []):
            used.add(item["source"] if isinstance(item, dict) else item.partition(":")[0])
    assert used | {"default"} == set(COMPOSE[section]) | {"default"}


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in ("postgres", "buckets")])
def test_a_service_runs_a_command_that_exists(name: str) -> None:
    argv = [filled_in(argument) for argument in SERVICES[name]["command"]]
    argv = [OWN_ENTRYPOINT[name], *argv] if name in OWN_ENTRYPOINT else argv
    assert refused(argv) == ""


def test_the_set_up_and_workers_of_both_pools_are_there() -> None:
    commands = {name: service.get("command") or [] for name, service in SERVICES.items()}
    assert commands["setup"][:3] == ["thinkreward", "stack", "setup"]
    assert commands["prefect"][:3] == ["prefect", "server", "start"]
    assert "--artifacts-destination=s3://mlflow/artifacts" in commands["mlflow"]
    pools = {name: command[command.index("--pool") + 1] for name, command in commands.items() if "--pool" in command}
    assert pools == {"worker-cpu": "cpu", "worker-gpu": "gpu", "worker-gpu-on-cpu": "gpu"}
    assert set(SERVICES["setup"]["depends_on"]) == {"prefect", "mlflow", "buckets"}
    for name in pools:
        assert set(SERVICES[name]["depends_on"]) == {"setup", "prefect", "mlflow", "storage"}


def test_gpus_are_reserved_for_the_worker_that_is_asked_for_by_profile() -> None:
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia" and device["capabilities"] == ["gpu"]
    assert SERVICES["worker-gpu"]["image"].endswith("-cuda")
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"worker-gpu": ["gpu"], "worker-gpu-on-cpu": ["no-gpu"]}


@pytest.mark.parametrize("name", ["setup", "worker-cpu", "worker-gpu", "worker-gpu-on-cpu"])
def test_a_process_that_runs_flows_is_told_all_addresses(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert {
        "PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "THINKREWARD_PROFILE", "THINKREWARD__STORAGE__ROOT",
        "THINKREWARD__TRACKING__URI", "OPENAI_API_KEY",
    } <= environment.keys()  # fmt: skip
    addresses = re.findall(r"http://([\w-]+):(\d+)", " ".join(map(str, environment.values())))
    assert {service for service, _ in addresses} == {"prefect", "storage", "mlflow"}
    for service, port in addresses:
        assert service in SERVICES and f":{port}" in SERVICES[service]["ports"][0]


def test_flows_cannot_reach_the_databases() -> None:
    assert COMPOSE["networks"]["databases"] == {"internal": True}
    inside = {name for name, service in SERVICES.items() if "databases" in service.get("networks", [])}
    assert inside == {"postgres", "prefect", "mlflow"}
    assert SERVICES["postgres"]["networks"] == ["databases"]
    assert "ports" not in SERVICES["postgres"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_time_to_end_and_logs_that_do_not_grow(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] in ("unless-stopped", "no")
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    if service["restart"] == "unless-stopped":
        number, unit = re.fullmatch(r"(\d+)(m|s)", service["stop_grace_period"]).groups()  # type: ignore[union-attr]
        assert int(number) * {"m": 60, "s": 1}[unit] >= (120 if name.startswith("worker") else 60)


@pytest.mark.slow
def test_each_key_opens_its_own_bucket_and_none_opens_the_other(tmp_path: Path) -> None:
    import boto3
    from botocore.exceptions import ClientError

    given = {name: name.lower().replace("_", "-") for name in required()}
    identities = filled_in(COMPOSE["configs"]["identities"]["content"], **given)
    with serving(tmp_path, SERVICES["storage"]["command"], identities) as (url, master):
        script = filled_in(SERVICES["buckets"]["command"][0]).replace(":9333", f":{master}")
        for _ in range(2):  # compose starts it whenever the stack comes up
            path = {**os.environ, "PATH": f"{WEED.parent}:{os.environ['PATH']}"}
            make_buckets = [*SERVICES["buckets"]["entrypoint"], script]
            done = subprocess.run(make_buckets, env=path, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr
        clients = {
            bucket: boto3.client(
                "s3", endpoint_url=url, region_name="us-east-1",
                aws_access_key_id=given[f"{prefix}_ACCESS_KEY"], aws_secret_access_key=given[f"{prefix}_SECRET_KEY"],
            )
            for bucket, prefix in (("thinkreward", "STORE"), ("mlflow", "MLFLOW"))
        }  # fmt: skip
        for own, other in (("thinkreward", "mlflow"), ("mlflow", "thinkreward")):
            client = clients[own]
            client.put_object(Bucket=own, Key="a/b", Body=b"x")
            assert client.get_object(Bucket=own, Key="a/b")["Body"].read() == b"x"
            assert client.list_objects_v2(Bucket=own)["KeyCount"] == 1
            for operation, arguments in (
                ("put_object", {"Bucket": other, "Key": "c", "Body": b"x"}),
                ("get_object", {"Bucket": other, "Key": "a/b"}),
                ("list_objects_v2", {"Bucket": other}),
                ("create_bucket", {"Bucket": "another"}),
                ("delete_bucket", {"Bucket": own}),
            ):
                with pytest.raises(ClientError, match="AccessDenied"):
                    getattr(client, operation)(**arguments)
            client.delete_object(Bucket=own, Key="a/b")
