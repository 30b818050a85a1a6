"""A further node of torchrun: `python -m tasks.training.node`.

Where a scheduler starts a program on each machine (srun, a Kubernetes JobSet), the first runs the stage and all others
this. It waits for trainings of the stage in the cache folder, which all nodes share, takes part in one after the other,
and ends once there has been none for `--idle-s`, or with its scheduler.
"""

import argparse
import logging
import subprocess
import time
from pathlib import Path

from models.training.worker.plan import PLAN
from tasks.pipeline.engines import torchrun_command
from tasks.training.start import TRAINING

logger = logging.getLogger(__name__)
POLL_S = 1.0


def main() -> int:
    """Entry."""
    logging.basicConfig(level=logging.INFO)
    parser = argparse.ArgumentParser(prog="python -m tasks.training.node", description=__doc__)
    parser.add_argument("--cache-dir", type=Path, required=True, help="storage.cache_dir of the stage")
    parser.add_argument("--rendezvous", required=True, help="runtime.distributed.rendezvous of the stage")
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--idle-s", type=float, default=float("inf"), help="seconds without a training to end after")
    given = parser.parse_args()
    return take_part_in_all(
        given.cache_dir,
        idle_s=given.idle_s,
        nodes=given.nodes,
        processes=given.processes,
        rendezvous=given.rendezvous,
        restarts=given.restarts,
    )


def take_part_in_all(cache_dir: Path, *, idle_s: float, **place: int | str) -> int:
    """Join each training that appears below the cache folder, and return 0 after `idle_s` seconds without one."""
    joined: set[Path] = set()
    last = time.monotonic()
    while time.monotonic() - last < idle_s:
        new = next((one.parent for one in (cache_dir / TRAINING).glob(f"*/{PLAN}") if one.parent not in joined), None)
        if new is None:
            time.sleep(POLL_S)
            continue
        joined.add(new)
        logger.info("taking part in %s", new.name)
        # Its processes live as long as this end of their standard input is open.
        with subprocess.Popen(torchrun_command(new, **place), stdin=subprocess.PIPE) as agent:  # type: ignore[arg-type]
            code = agent.wait()
        logger.info("%s has ended here with exit status %d", new.name, code)
        last = time.monotonic()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
