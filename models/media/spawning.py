"""New processes of the program's interpreter that do not import the program's main module.

`multiprocessing` imports it in every process that it spawns, so that functions of the main module can be sent there. A
plain script that loads a judge would run from its first line once more in each decoding process, loading the judge in
each. What the processes here are sent is found in modules of ours alone.
"""

import multiprocessing.spawn
from multiprocessing import popen_spawn_posix
from multiprocessing.context import SpawnContext, SpawnProcess
from types import FunctionType, SimpleNamespace
from typing import Any

MAIN = ("init_main_from_name", "init_main_from_path")


def _preparation(name: str) -> dict[str, Any]:
    """What a new process receives from this one (search path, working directory, …), but for its main module."""
    data = multiprocessing.spawn.get_preparation_data(name)
    return {key: value for key, value in data.items() if key not in MAIN}


_SPAWN = SimpleNamespace(**{**vars(multiprocessing.spawn), "get_preparation_data": _preparation})


class _Popen(popen_spawn_posix.Popen):
    """The standard library's, whose launching asks `_preparation`: it has no parameter for it (3.11 to 3.14)."""

    _launch = FunctionType(
        popen_spawn_posix.Popen._launch.__code__,  # type: ignore[attr-defined]  # noqa: SLF001
        {**vars(popen_spawn_posix), "spawn": _SPAWN},
        "_launch",
    )


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802
        return _Popen(process_obj)


class SpawnWithoutMain(SpawnContext):
    """A context for `multiprocessing` and pebble whose processes do not import the main module."""

    Process = _Process
