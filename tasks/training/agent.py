"""torchrun as a program that ends with whoever started it, and its processes with it."""

import faulthandler
import os
import signal

from models.lifeline import die_with_starting_thread

# By default processes that are started again meet in the store of those before them (torch 2.14), read where these
# listened, and fail to connect until no restart is left.
STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def main() -> None:
    """Entry: arguments are those of torchrun. Standard input goes on to the processes, which leave when it closes."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    die_with_starting_thread()
    os.environ.update(STORE)
    from torch.distributed.run import main as torchrun

    torchrun()


if __name__ == "__main__":
    main()
