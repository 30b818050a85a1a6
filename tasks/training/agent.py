"""torchrun as a program that ends with whoever started it, and its processes with it."""

import faulthandler
import signal

from models.lifeline import die_with_starting_thread


def main() -> None:
    """Entry: arguments are those of torchrun. Standard input goes on to the processes, which leave when it closes."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    die_with_starting_thread()
    from torch.distributed.run import main as torchrun

    torchrun()


if __name__ == "__main__":
    main()
