"""The trainer as a program: `python -m models.training.worker FOLDER`, one process of a training or its only one.

The folder holds the plan; what is made, and what happens, is reported there (`events.py`). It reaches no store, no
tracking server and no teacher. An engine starts it (`runtime.distributed`) and says by RANK and WORLD_SIZE who it is.
"""

import faulthandler
import logging
import os
import signal
import sys
from pathlib import Path

from models.lifeline import die_with_starting_thread, leave_with_parent
from models.training.worker.process import take_part


def main() -> int:
    """Entry of each process that torchrun starts."""
    logging.basicConfig(level=logging.INFO)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # asked for when a stage has stalled
    leave_with_parent()  # torchrun hands its standard input to its ranks
    die_with_starting_thread()
    return 0 if take_part(Path(sys.argv[1]), int(os.environ.get("RANK", "0"))) is None else 1


if __name__ == "__main__":
    sys.exit(main())
