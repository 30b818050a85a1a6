"""Does a registered model load where nothing but its own requirements is installed, and does MLflow serve it alike?

    python -m tests.proofs.registry_consumer [--model DIR]

Packages a model (default: the tiny base), registers it as champion in a SQLite registry, makes a virtual environment
with the requirements that the model lists and nothing else, and there

- loads `models:/thinkreward@champion` in a folder with packages of the consumer's own called `models` and `tasks`, and
  judges the payloads below;
- starts `mlflow models serve` and sends it the same payloads, files as base64: a server looks up no path.

Prints each payload's answer from both. Exit status 1 if they differ, or if the consumer's packages were not its own.
Takes as long as installing torch does.
"""

import argparse
import base64
import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path
from typing import Any

from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from tasks.tracking.registry import DIGEST_TAG, register, save_registry_model, set_alias
from tests.tasks.seaweed import free_ports
from tests.tasks.small_recipe import REPOSITORY

BASE = REPOSITORY / "models" / "shapes" / "base"
SERVING_S = 600.0  # to start a server on a machine with other work
CONSUMER = """
import json, sys
import models, tasks
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
judge = mlflow.pyfunc.load_model("models:/thinkreward@champion")
answers = judge.predict(json.load(open(sys.argv[2])), params={"mode": "direct", "both_orders": True})
assert models.MINE and tasks.MINE, "the consumer's packages are hidden"
print("ANSWERS " + answers.to_json(orient="records"))
"""


def main() -> int:
    """Prints the answers; the exit status says whether both ways give the same."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", type=Path, default=BASE)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="thinkreward-consumer-") as aside:
        folder = Path(aside)
        uri, packaged = register_model(given.model, folder)
        started = time.monotonic()
        programs = make_environment(folder / "venv", packaged / "requirements.txt")
        listed = " ".join((packaged / "requirements.txt").read_text().split())
        tell(f"environment of {listed} in {time.monotonic() - started:.0f} s")
        rows = payloads(folder)
        loaded = load_and_predict(programs, folder, uri, rows)
        served = serve_and_predict(programs, folder, uri, [without_path(row) for row in rows])
    for row, one, other in zip(rows, loaded, served, strict=True):
        kind = type(row.get("media") or row["candidate_1"]).__name__
        tell(f"{row['task']:<22} {kind:<5} {one['text']!r:<28} {'same' if one == other else f'served: {other}'}")
    return int(loaded != served)


def register_model(model: Path, folder: Path) -> tuple[str, Path]:
    """The registry's address, and the folder of the packaged champion."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    packaged = save_registry_model(model, folder / "packaged", config={"max_tokens": 24})
    made = register(uri, "thinkreward", source_uri=packaged.as_uri(), run_id="", tags={DIGEST_TAG: "0" * 64})
    set_alias(uri, "thinkreward", "champion", made.version)
    return uri, packaged


def make_environment(folder: Path, requirements: Path) -> Path:
    """A virtual environment with these requirements; gives the folder of its programs.

    What the requirements require is taken at the releases that were tested: pip would search long for others that fit.
    """
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    tested = REPOSITORY / "constraints.txt"
    subprocess.run([programs / "pip", "install", "-q", "-r", requirements, "-c", tested], check=True)
    listed = subprocess.run([programs / "pip", "list"], check=True, capture_output=True, text=True).stdout
    if "thinkreward" in listed:
        raise RuntimeError("the environment holds Thinkreward, which the requirements must not ask for")
    return programs


def payloads(folder: Path) -> list[dict[str, Any]]:
    """One row a task, the media as a path, base64 text, a data URL, and a list of frames."""
    made = {task: make_pair(task, 0, seed=1, held_out=True) for task in Task}
    rows = []
    for task, one in made.items():
        data = [one.blobs[medium.uri] for medium in one.pair.media()]
        row: dict[str, Any] = {"task": str(task), "prompt": one.pair.prompt}
        if task.judges_media:
            path = folder / f"{task}{Path(one.pair.media()[0].uri).suffix}"
            path.write_bytes(data[0])
            row |= {"candidate_1": str(path), "candidate_2": base64.b64encode(data[1]).decode()}
        else:
            row |= {f"candidate_{at}": candidate.text for at, candidate in enumerate(one.pair.candidates, 1)}
            row["media"] = f"data:application/octet-stream;base64,{base64.b64encode(data[0]).decode()}"
        rows.append(row)
    still = made[Task.IMAGE_GENERATION]
    frames = [base64.b64encode(still.blobs[medium.uri]).decode() for medium in still.pair.media()]
    return [*rows, {**rows[list(Task).index(Task.VIDEO_UNDERSTANDING)], "media": frames}]


def without_path(row: dict[str, Any]) -> dict[str, Any]:
    """The row with the bytes of its first candidate's file in place of the file's path."""
    path = Path(row["candidate_1"])
    is_file = path.suffix and path.is_file()
    return {**row, "candidate_1": base64.b64encode(path.read_bytes()).decode()} if is_file else row


def load_and_predict(programs: Path, folder: Path, uri: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers of `mlflow.pyfunc.load_model`, in a folder whose packages are called like ours."""
    home = folder / "consumer"
    for package in ("models", "tasks"):
        (home / package).mkdir(parents=True)
        (home / package / "__init__.py").write_text("MINE = True\n")
    (home / "rows.json").write_text(json.dumps(rows))
    done = subprocess.run(
        [programs / "python", "-c", CONSUMER, uri, "rows.json"], cwd=home, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS ")]
    found: list[dict[str, Any]] = json.loads(line.removeprefix("ANSWERS "))
    return found


def serve_and_predict(programs: Path, folder: Path, uri: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers of `mlflow models serve` on a free port of 127.0.0.1."""
    (port,) = free_ports(1)
    serving = ["models", "serve", "-m", "models:/thinkreward@champion", "--env-manager", "local"]
    command = [programs / "mlflow", *serving, "--host", "127.0.0.1", "--port", str(port)]
    environment = {"MLFLOW_TRACKING_URI": uri, "PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder)}
    with (folder / "serve.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder / "consumer", env=environment, stdout=log, stderr=log)
    try:
        body = json.dumps({"dataframe_records": rows, "params": {"mode": "direct", "both_orders": True}}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        deadline = time.monotonic() + SERVING_S
        while True:
            try:
                with urllib.request.urlopen(request, timeout=SERVING_S) as answer:
                    predictions: list[dict[str, Any]] = json.load(answer)["predictions"]
                    return predictions
            except urllib.error.HTTPError as error:
                raise RuntimeError(error.read().decode()) from error
            except OSError as error:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise RuntimeError((folder / "serve.log").read_text()[-3000:]) from error
                time.sleep(1)
    finally:
        server.terminate()
        server.wait(30)


def tell(line: str) -> None:
    """A line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
