"""Whether the tests notice that the code they are for has changed: mutation testing of the modules that decide.

mutmut makes one small change at a time (another operator, number, name or string, a call without an argument) and runs
the quick tests of the module that reach the function. A mutant is killed when a test fails or runs out of time; one
that survives is a behaviour that no test holds. Functions alone are mutated, so the copy that this works on has its
properties, context managers and caches written as functions that are wrapped afterwards, without the caches::

    pip install -c constraints.txt -e '.[dev,mutants]'
    python -m tests.proofs.mutants [--module gate] [--show] [--sample 100 --seed 0]
"""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("configs", "flows", "models", "tasks")
WRAPPERS = ("property", "cached_property", "contextmanager")
CACHES = ("lru_cache", "cache")
FAILED = (1, 3)  # mutmut's codes: a test failed
TIME_LIMIT = "--timeout=30"  # seconds a test: one that waits for ever fails, long before mutmut would end it
KILLED = (*FAILED, 24, -24, 36, 152, 255)  # or time ran out


@dataclass(frozen=True)
class Subject:
    """A module whose mutants are tested, and words in the names of those of its tests that are too slow for this."""

    source: str
    slow: str = ""

    @property
    def tests(self) -> list[str]:
        """The files of tests that mirror the module: `tests/.../test_<module>.py`, and those with more after it.

        Raises `SystemExit` if there are none.
        """
        source = Path(self.source)
        found = sorted(str(path) for path in Path("tests", source.parent).glob(f"test_{source.stem}*.py"))
        if not found:
            raise SystemExit(f"no tests of {source}: tests/{source.parent}/test_{source.stem}.py is missing")
        return found


SUBJECTS = {
    "grammar": Subject("models/verdict/grammar.py"),
    "instructions": Subject("models/verdict/instructions.py"),
    "quoting": Subject("models/verdict/quoting.py"),
    "rendering": Subject("models/verdict/rendering.py", "reads_back_as_itself"),
    "parsing": Subject("models/verdict/parsing.py", "never_raises or grows_with_the_length"),
    "lenient": Subject("models/verdict/lenient.py", "linear or any_text or all_that_the_grammar"),
    "selection": Subject("models/training/selection.py"),
    "rewards": Subject("models/verdict/rewards.py"),
    "scores": Subject("models/evaluation/scores.py", "about_as_often"),
    "statistics": Subject("models/evaluation/statistics.py", "holds_the_truth or one_distribution"),
    "gate": Subject("models/evaluation/gate.py"),
    "comparison": Subject("models/evaluation/comparison.py"),
    "curriculum": Subject("models/training/curriculum.py"),
    "leases": Subject("tasks/store/leases.py", "several_processes"),
    "once": Subject("tasks/pipeline/once.py"),
}


def main() -> None:
    """Print a line a module: mutants, killed, survived; with `--show` each survivor's change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module", action="append", choices=SUBJECTS, help="may be repeated; all if not given")
    parser.add_argument("--show", action="store_true", help="print what each survivor changes")
    parser.add_argument("--sample", type=int, help="test so many mutants a module, drawn at random, where it has more")
    parser.add_argument("--seed", type=int, default=0, help="of that draw")
    given = parser.parse_args()
    sys.stdout.write(f"{'module':28} {'mutants':>8} {'tested':>8} {'killed':>8} {'in time':>8} {'share':>7}\n")
    for name in given.module or SUBJECTS:
        with tempfile.TemporaryDirectory(prefix="thinkreward-mutants-") as folder:
            _run(SUBJECTS[name], Path(folder), given)


def _run(subject: Subject, folder: Path, given: argparse.Namespace) -> None:
    _copy(subject, folder)
    chosen: list[str] = []
    if given.sample:
        _mutmut(folder, "run", "--max-children", "1", "none", check=False)  # makes all, and finds none of this name
        every = sorted(_codes(subject, folder))
        chosen = random.Random(given.seed).sample(every, min(given.sample, len(every)))
    _mutmut(folder, "run", "--max-children", "1", *chosen)
    codes = _codes(subject, folder)
    tested = chosen or list(codes)
    survivors = [name for name in tested if codes[name] not in KILLED]
    killed = len(tested) - len(survivors)
    failed = sum(codes[name] in FAILED for name in tested)
    counts = f"{len(codes):8} {len(tested):8} {killed:8} {failed:8} {killed / len(tested):7.1%}"
    sys.stdout.write(f"{subject.source:28} {counts}\n")
    for name in survivors if given.show else ():
        sys.stdout.write(textwrap.indent(_mutmut(folder, "show", name), "    ") + "\n")
    sys.stdout.flush()


def _copy(subject: Subject, folder: Path) -> None:
    """The tree, with mutmut's settings, and the module written so that all its functions can be mutated."""
    unwanted = shutil.ignore_patterns("__pycache__", ".*")
    for name in (*PACKAGES, "tests"):
        shutil.copytree(name, folder / name, ignore=unwanted)
    shutil.copy("pyproject.toml", folder)
    source = folder / subject.source
    source.write_text(unwrapped(source.read_text(encoding="utf-8")), encoding="utf-8")
    quick = ["-k", f"not ({subject.slow})"] if subject.slow else []
    settings = {
        "source_paths": [f"{name}/" for name in PACKAGES],
        "only_mutate": [subject.source],
        "pytest_add_cli_args_test_selection": subject.tests,
        "pytest_add_cli_args": ["-m", "not slow", TIME_LIMIT, *quick],
        "use_git_change_detection": ["false"],
        "timeout_multiplier": ["15"],  # times what the tests take: a loop without end costs so much
    }
    lines = [f"{key}=\n{textwrap.indent(chr(10).join(values), '    ')}" for key, values in settings.items()]
    (folder / "setup.cfg").write_text("[mutmut]\n" + "\n".join(lines) + "\n", encoding="utf-8")


def unwrapped(source: str) -> str:
    """Source with `@property` and the like applied after the function, and without caches: mutmut skips the decorated.

    >>> print(unwrapped("class A:\\n    @property\\n    def b(self):\\n        return 1"))
    class A:
        def b(self):
            return 1
        b = property(b)
    """
    lines = source.split("\n")
    for node in sorted(_functions(source), key=lambda node: -node.lineno):
        if len(node.decorator_list) != 1:
            continue
        decorator = node.decorator_list[0]
        name = decorator.id if isinstance(decorator, ast.Name) else ""
        if name in WRAPPERS and node.end_lineno is not None:
            lines.insert(node.end_lineno, f"{' ' * node.col_offset}{node.name} = {name}({node.name})")
        if name in (*WRAPPERS, *CACHES):
            del lines[decorator.lineno - 1]
    return "\n".join(lines)


def _functions(source: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]


def _codes(subject: Subject, folder: Path) -> dict[str, int | None]:
    """mutmut's code by mutant; None where it was not tested."""
    told = json.loads((folder / "mutants" / f"{subject.source}.meta").read_text(encoding="utf-8"))
    return dict(told["exit_code_by_key"])


def _mutmut(folder: Path, *arguments: str, check: bool = True) -> str:
    """What mutmut writes. Its tests see the copy alone."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "THINKREWARD__RUNTIME__THREADS": "1"}
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise SystemExit(f"mutmut {arguments[0]} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
