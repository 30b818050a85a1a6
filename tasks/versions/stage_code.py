"""Whether a stage's code changed without its version: the digest of the code it runs, next to a committed list.

    python -m tasks.versions.stage_code                    # what changed since tasks/stage_code.json was written
    python -m tasks.versions.stage_code --update           # take over what changed, where the version was raised
    python -m tasks.versions.stage_code --update --stage grpo --same-results "a faster loop"   # or where results stay
    equal

What the code of a stage is, and what of it does not count, `tasks/versions/code_closure.py` says. What else a stage's
result depends on is in its key.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.versions.code_closure import ROOT, Closure, sha256

COMMAND = "python -m tasks.versions.stage_code --update"
SHOWN = 5  # modules named in a message
LISTED = ROOT / "tasks" / "stage_code.json"


@dataclass(frozen=True)
class Code:
    """The code of one stage: digests by module of what it reaches, and the version that stands for it."""

    version: str
    modules: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Of all modules."""
        return sha256(json.dumps(sorted(self.modules.items())))


@dataclass(frozen=True)
class ChangedStage:
    """A stage whose code is not what is listed; `raised` tells if its version is not either."""

    stage: str
    raised: bool
    modules: list[str]

    def __str__(self) -> str:
        where = ", ".join(self.modules[:SHOWN]) or "its version alone"
        if more := len(self.modules[SHOWN:]):
            where += f" and {more} more"
        if self.raised:
            return f"{self.stage}: not listed with its version (changed: {where}). Run {COMMAND}"
        return (
            f"{self.stage}: its code changed ({where}), its version did not. If that changes its results, raise the "
            f"version and run {COMMAND}; if not, {COMMAND} --stage {self.stage} --same-results 'why they stay equal'"
        )


def entries() -> dict[str, tuple[str, str]]:
    """Version and function of all that is kept under a key, by name: the stages, and what is kept as they are."""
    from tasks.data import importing
    from tasks.judging import benchmarks
    from tasks.pipeline.graph import STAGES
    from tasks.stages import evaluate

    found = {name: (stage.version, stage.body) for name, stage in STAGES.items()}
    found[evaluate.JUDGING] = (evaluate.JUDGED.version, "tasks.stages.evaluate:judged_rows")
    found[evaluate.ORACLE] = (evaluate.ORACLE_JUDGED.version, "tasks.stages.evaluate:oracle_rows")
    found[benchmarks.BENCHMARKING] = (benchmarks.VERSION, "tasks.judging.benchmarks:judged")
    found[importing.IMPORTING] = (importing.VERSION, "tasks.data.importing:import_set")
    return found


def code_of(roots: Mapping[str, tuple[str, str]], root: Path = ROOT) -> dict[str, Code]:
    """The code of each, as it is now."""
    closure = Closure(root)
    return {name: Code(version, closure.of(entry)) for name, (version, entry) in roots.items()}


def changes(now: Mapping[str, Code], listed: Mapping[str, Any]) -> list[ChangedStage]:
    """What is not as listed."""
    found = []
    for name, code in now.items():
        known = listed.get(name, {"version": "", "modules": {}})
        if known["version"] == code.version and known["modules"] == dict(code.modules):
            continue
        both = known["modules"].keys() | code.modules.keys()
        modules = sorted(one for one in both if known["modules"].get(one) != code.modules.get(one))
        found.append(ChangedStage(name, known["version"] != code.version, modules))
    return found


def updated(
    now: Mapping[str, Code], listed: Mapping[str, Any], *, reason: str = "", only: str = ""
) -> tuple[dict[str, Any], list[ChangedStage]]:
    """The new list, and what stays as it was without a new version or a reason.

    A reason is kept beside the digest that it let pass, until the version is raised.
    """
    changed = {one.stage: one for one in changes(now, listed) if not only or one.stage == only}
    refused = [one for one in changed.values() if not one.raised and not reason]
    made: dict[str, Any] = {}
    for name, code in now.items():
        known = listed.get(name)
        if name not in changed or changed[name] in refused:
            made |= {name: known} if known else {}
            continue
        same = [] if changed[name].raised or known is None else list(known.get("same_results", []))
        if not changed[name].raised:
            same.append({"digest": code.digest[:12], "reason": reason})
        made[name] = {"version": code.version, "modules": dict(code.modules)} | ({"same_results": same} if same else {})
    return made, refused


def read_list(path: Path = LISTED) -> dict[str, Any]:
    """The committed list: version and digests by module, by stage; empty if there is none."""
    listed: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return listed


def main(arguments: list[str] | None = None) -> int:
    """The command line; exit status 1 where something is not as listed."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.versions.stage_code", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--update", action="store_true", help="write the list, where versions were raised")
    parser.add_argument("--same-results", default="", metavar="WHY", help="with --update: results stay as they were")
    parser.add_argument("--stage", default="", help="with --update: this stage alone")
    given = parser.parse_args(arguments)
    now, listed = code_of(entries()), read_list()
    left = changes(now, listed)
    if given.update:
        made, left = updated(now, listed, reason=given.same_results, only=given.stage)
        LISTED.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
    for one in left:
        sys.stdout.write(f"{one}\n")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
