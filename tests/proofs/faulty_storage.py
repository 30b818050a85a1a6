"""The whole recipe on a local stack whose S3 spoils a share of the requests: are the digests the same?

    python -m tests.proofs.faulty_storage [--share 0.1] [--seed 0]

Runs the small recipe twice on a stack, into two stores, first straight and then through the proxy of
tests/tasks/fault_proxy.py, which drops, delays and truncates, and answers 500 and 503. Prints each stage's digests and
what the proxy did.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tasks.pipeline.graph import RECIPE
from tasks.stack.state import BUCKET
from tests.proofs.local_stack import LocalStack
from tests.tasks.fault_proxy import FaultProxy


def main() -> int:
    """Runs both and compares; exit status 1 if they differ."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--share", type=float, default=0.1)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="thinkreward-faults-") as folder, LocalStack(Path(folder)) as stack:
        straight = digests(stack, "straight", stack.environment["AWS_ENDPOINT_URL"])
        with FaultProxy(stack.environment["AWS_ENDPOINT_URL"], share=given.share, seed=given.seed) as proxy:
            spoilt = digests(stack, "spoilt", proxy.url)
            counts = proxy.counts()
    same = {stage: straight[stage] == spoilt[stage] for stage in straight}
    for stage, artifacts in straight.items():
        tell(f"{stage:<19} {'the same' if same[stage] else 'DIFFERENT'}  {artifacts}")
    tell(f"the proxy: {counts}")
    return not all(same.values())


def digests(stack: LocalStack, root: str, endpoint: str) -> dict[str, Any]:
    """Each stage's artifacts of a run into a store of its own.

    Of `evaluate` its figures, since the report tells seconds too; `promote`, which registers an address, is left out.
    """
    places = {"THINKREWARD__STORAGE__ROOT": f"s3://{BUCKET}/{root}", "AWS_ENDPOINT_URL": endpoint}
    cache = str(stack.state.path.parent / f"cache-{root}")
    environment = {**stack.environment, **places, "THINKREWARD__STORAGE__CACHE_DIR": cache}
    done = stack.command("thinkreward", "run", "--json", environment=environment, timeout_s=3600)
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert [stage["name"] for stage in said["stages"]] == list(RECIPE)
    made = {stage["name"]: stage["artifacts"] for stage in said["stages"] if stage["name"] != "promote"}
    return {**made, "evaluate": said["accuracy"]}


def tell(text: str) -> None:
    """A line of the script's output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
