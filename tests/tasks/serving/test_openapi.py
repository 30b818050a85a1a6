"""The service against its own OpenAPI document: schemathesis sends what it allows and what it does not."""

import subprocess
import sys
from pathlib import Path

from tests.tasks.serving.running import serving, settings

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_every_route_answers_as_its_document_says(tmp_path: Path) -> None:
    with serving(settings("evaluate.max_tokens=4")) as judge:
        command = [Path(sys.executable).with_name("schemathesis"), "run", f"{judge.url}/openapi.json"]
        command += ["--checks", CHECKS, "--max-examples", "20", "--seed", "1", "--phases", "coverage,fuzzing"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-6000:]
