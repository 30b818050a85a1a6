"""What a process that a Prefect worker started does first: end with its worker, and find its secrets.

A worker that was killed cannot end its flow runs any more. So they end by themselves; Prefect then hears no heartbeat,
marks the run as crashed, and what starts it again resumes from the store.
"""

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from prefect.blocks.system import Secret

FLOW_RUN = "PREFECT__FLOW_RUN_ID"  # set by workers for the processes that they start
# What the environment lacks is taken from these Prefect Secret blocks, if they are there.
BLOCKS = {
    "OPENAI_API_KEY": "openai-api-key",
    "AWS_ACCESS_KEY_ID": "aws-access-key-id",
    "AWS_SECRET_ACCESS_KEY": "aws-secret-access-key",
}
POLL_S = 2.0
LEAVE_S = 25.0  # for the stage's process group to end and its lease to be given back

_begun = threading.Lock()


def init_worker_process() -> None:
    """Once, in processes that a worker started."""
    if FLOW_RUN in os.environ and _begun.acquire(blocking=False):
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True, name="worker-watch").start()
        _take_secrets()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_S)
    # What a cancellation does too: the stage ends its child, and gives its lease back.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LEAVE_S)
    os._exit(143)


def _take_secrets() -> None:
    """Into the environment, where every client looks for them and from where no log or result takes them."""
    from prefect.blocks.system import Secret

    for variable, block in BLOCKS.items():
        if not os.environ.get(variable):
            try:
                os.environ[variable] = str(cast("Secret[str]", Secret.load(block)).get())
            except ValueError:
                continue  # no such block: a run that needs it says so itself
