"""The whole recipe with its storage behind a proxy that spoils a share of the requests: are the digests the same?

    python -m tests.proofs.faulty_storage [--share 0.1] [--seed 0]

Runs the small recipe twice against SeaweedFS, first straight and then through the proxy of tests/tasks/fault_proxy.py,
which drops, delays and truncates, and answers 500 and 503. Prints each stage's digests and what the proxy did.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.graph import RECIPE
from tests.tasks import small_recipe as small
from tests.tasks.fault_proxy import FaultProxy
from tests.tasks.seaweed import FIRST_BUCKET, serving

STAGES = tuple(name for name in RECIPE if name != "promote")  # which registers an address, and so differs


def main() -> int:
    """Runs both and compares; exit status 1 if they differ."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--share", type=float, default=0.1)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="thinkreward-faults-") as folder, serving(Path(folder) / "s3") as server:
        straight = digests(Path(folder) / "straight", server.environment, "straight")
        with FaultProxy(to=server.url, share=given.share, seed=given.seed) as proxy:
            spoilt = digests(Path(folder) / "spoilt", {**server.environment, "AWS_ENDPOINT_URL": proxy.url}, "spoilt")
            counts = proxy.counts()
    same = {stage: straight[stage] == spoilt[stage] for stage in STAGES}
    for stage in STAGES:
        tell(f"{stage:<19} {'the same' if same[stage] else 'DIFFERENT'}  {straight[stage]}")
    tell(f"the proxy: {counts}")
    return not all(same.values())


def digests(folder: Path, environment: Mapping[str, str], bucket: str) -> dict[str, Any]:
    """Each stage's artifacts of a run in a store of its own."""
    folder.mkdir(parents=True)
    command = small.command("run", *STAGES, "--json", folder=folder, storage__root=f"s3://{FIRST_BUCKET}/{bucket}")
    done = subprocess.run(
        command, cwd=folder, env={**small.environment(folder), **environment}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"the run in {folder} ended with exit status {done.returncode}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return {stage["name"]: stage["artifacts"] for stage in said["stages"]}


def tell(text: str) -> None:
    """A line of the script's output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
