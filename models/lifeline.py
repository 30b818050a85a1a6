"""A child process that ends with its parent, also when that is killed: it holds one end of a pipe of the parent's."""

import contextlib
import ctypes
import os
import signal
import threading

PR_SET_PDEATHSIG = 1  # prctl(2)


def leave_with_parent() -> None:
    """End this process when the parent's end of our standard input closes; to all others that input is empty."""
    watched = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(watched, 4096):
                pass
        os._exit(143)

    threading.Thread(target=wait, daemon=True, name="lifeline").start()


def die_with_starting_thread() -> None:
    """Have the kernel kill this process when the thread that started it ends, as when its whole process is killed.

    So ends also one that runs no Python any more: stopped, or stuck in a library that never gives the interpreter back.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
