"""The bucket policy of docs/deployment.md: the store works with it, and with none of its actions missing."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from models.errors import StoreError
from tasks.store.objects.base import Source
from tasks.store.objects.s3 import PART_BYTES, S3Objects
from tests.deployments.storage import serving

REPOSITORY = Path(__file__).resolve().parents[2]
TOLD = (REPOSITORY / "docs" / "deployment.md").read_text()
(POLICY,) = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", TOLD, re.DOTALL))
ACTIONS = [action for statement in POLICY["Statement"] for action in statement["Action"]]
ADMIN = {"aws_access_key_id": "admin-key", "aws_secret_access_key": "admin-secret", "region_name": "us-east-1"}
IDENTITIES = {
    "identities": [
        {
            "name": "admin",
            "credentials": [{"accessKey": "admin-key", "secretKey": "admin-secret"}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
}


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What an administrator's client is made with; the bucket is there."""
    command = yaml.safe_load((REPOSITORY / "deployments" / "compose.yaml").read_text())["services"]["storage"][
        "command"
    ]
    folder = tmp_path_factory.mktemp("storage")
    with serving(folder, [*command, "-s3.iam.readOnly=false"], json.dumps(IDENTITIES)) as (url, _):
        made_with = {"endpoint_url": url, **ADMIN}
        boto3.client("s3", **made_with).create_bucket(Bucket="thinkreward")
        yield made_with


def become_user_of(policy: dict[str, Any], name: str, admin: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a new user's key in the environment, who has this policy and no other right."""
    iam = boto3.client("iam", **admin)
    iam.create_user(UserName=name)
    arn = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(policy))["Policy"]["Arn"]
    iam.attach_user_policy(UserName=name, PolicyArn=arn)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    for variable in [variable for variable in os.environ if variable.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_ENDPOINT_URL", admin["endpoint_url"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])


def all_that_a_store_does(root: str, admin: dict[str, Any], folder: Path) -> None:
    """Each operation of the storage once. Raises `StoreError` for the first that is forbidden."""
    store = S3Objects(root)
    assert not store.exists("nothing")
    assert store.create("lease", b"1") and not store.create("lease", b"2")
    store.write("lease", b"3")
    large = folder / "large"
    large.write_bytes(os.urandom(3 * PART_BYTES + 1))
    sha256 = hashlib.sha256(large.read_bytes()).hexdigest()
    store.upload(Source("large", large, large.stat().st_size, sha256), "tree/large")
    assert store.sha256("tree/large") == store.download("tree/large", folder / "again") == sha256
    assert [found.path for found in store.walk("tree")] == ["tree/large"]
    assert store.folders("") == ["tree"]
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    boto3.client("s3", **admin).create_multipart_upload(Bucket=bucket, Key=f"{prefix}/tree/half")
    for upload in store.unfinished():
        store.give_up(upload)
    assert not store.unfinished()
    store.remove_tree("tree")
    store.remove("lease")
    assert not store.walk("")


@pytest.mark.slow
@pytest.mark.long
def test_the_policy_is_enough_for_a_store_and_opens_nothing_else(
    admin: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    boto3.client("s3", **admin).create_bucket(Bucket="other")
    become_user_of(POLICY, "worker", admin, monkeypatch)
    all_that_a_store_does("s3://thinkreward/whole", admin, tmp_path)
    other = S3Objects("s3://other")
    for forbidden in (lambda: other.write("a", b"1"), lambda: other.read("a"), lambda: other.walk("")):
        with pytest.raises(StoreError, match="may not"):
            forbidden()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "missing",
    [
        pytest.param(action, marks=pytest.mark.xfail(reason="SeaweedFS asks no right of who gives an upload up"))
        if action == "s3:AbortMultipartUpload"
        else action
        for action in ACTIONS
    ],
)
def test_each_of_its_actions_is_needed(
    missing: str, admin: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    less = json.loads(json.dumps(POLICY))
    for statement in less["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action != missing]
    name = missing.partition(":")[2]
    become_user_of(less, f"without-{name}", admin, monkeypatch)
    with pytest.raises(StoreError, match="may not"):
        all_that_a_store_does(f"s3://thinkreward/without-{name}", admin, tmp_path)
