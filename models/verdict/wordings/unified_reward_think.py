"""The released UnifiedReward-Think checkpoints' own prompts, read from a clone of their repository.

The texts are upstream's (https://github.com/CodeGoat24/UnifiedReward) and are not copied here: no licence file was
found among that repository's files, its `setup.py` says Apache but is another project's template, and only the model
cards say MIT (https://huggingface.co/CodeGoat24/UnifiedReward-Think-qwen-7b). Clone it and set UNIFIED_REWARD_DIR to
the folder: a task's prompt is then taken word for word from upstream's script for it, which is parsed and never run.

Two releases differ in their prompts. `qwen25` is UnifiedReward-Think-7b and -qwen-7b, which answer in a line a
dimension; `qwen3vl` is UnifiedReward-Think-qwen3vl-2b to -32b and qwen35, which answer in three-line blocks and
are told by that. Tried at commits dae5c72, 3c16510 and ed52f98 (folder `UnifiedReward-Think-qwen3vl-inference`) and at
ff6f520 of 2026-06-18 (`UnifiedReward-Think-qwen3-inference`). They all show the images first, a video
as such or as its frames, and the text after them. For direct answers upstream has prompts in its qwen25 benchmark
scripts, for all tasks but video_understanding.
"""

import ast
import hashlib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from models.errors import ConfigError
from models.pairs.preference import PreferencePair, Task
from models.verdict.grammar import Mode

Release = Literal["qwen25", "qwen3vl"]

REPOSITORY = "https://github.com/CodeGoat24/UnifiedReward"
DIRECTORY = "UNIFIED_REWARD_DIR"

# File names of upstream's scripts. Their folders were renamed more than once, so a script is looked for in all of the
# clone, and what it is for is told by its content.
SCRIPTS: dict[tuple[Release, Mode], dict[Task, str]] = {
    **{(release, "think"): {task: f"*infer_cot_{task}.py" for task in Task} for release in ("qwen25", "qwen3vl")},
    ("qwen25", "direct"): {
        Task.IMAGE_GENERATION: "test_qwen25_answer_genAI_bench_image.py",
        Task.IMAGE_UNDERSTANDING: "test_qwen25_answer_vl_rewardbench.py",
        Task.VIDEO_GENERATION: "test_qwen25_answer_genAI_bench_video.py",
    },
}
_IN_BLOCKS = re.compile(r"^\s*(?:Image|Video|Answer) 1 \(", re.MULTILINE)  # a candidate on a line of its own
_OTHER_MODEL = b"llava"  # upstream's first checkpoint, whose prompts are others

# What upstream's scripts call the parts of a pair.
_CAPTIONED = frozenset({"prompt"})
_ANSWERED = frozenset({"Query", "R1", "R2"})


@dataclass(frozen=True)
class Template:
    """A prompt with holes: literal texts and the names of holes in turn, a literal first and last."""

    literals: tuple[str, ...]
    holes: tuple[str, ...]

    @property
    def in_blocks(self) -> bool:
        """Whether it asks for a block of three lines a dimension, as the later checkpoints were taught."""
        return any(_IN_BLOCKS.search(literal) for literal in self.literals)

    def filled(self, values: dict[str, str]) -> str:
        """The prompt with each hole's value in it."""
        texts = [self.literals[0]]
        for hole, literal in zip(self.holes, self.literals[1:], strict=True):
            texts += [values[hole], literal]
        return "".join(texts)


def text(pair: PreferencePair, mode: Mode, release: Release) -> str:
    """What a released checkpoint is asked about this pair. Raises `ConfigError` like `template`."""
    first, second = (candidate.text or "" for candidate in pair.candidates)
    return template(pair.task, mode, release).filled(
        {"prompt": pair.prompt, "Query": pair.prompt, "R1": first, "R2": second}
    )


def template(task: Task, mode: Mode, release: Release) -> Template:
    """A task's prompt, from the clone that UNIFIED_REWARD_DIR names.

    Raises `ConfigError` without the clone, for a script it does not hold or that holds no such prompt, and for a task
    and mode that upstream has no prompt for.
    """
    name = SCRIPTS.get((release, mode), {}).get(task)
    if name is None:
        raise ConfigError(f"upstream publishes no {mode} prompt for {task} and {release}: use wording thinkreward")
    root = os.environ.get(DIRECTORY, "").strip()
    if not root:
        raise ConfigError(
            f"the released checkpoints' prompts are read from upstream's own files: clone {REPOSITORY} and set "
            f"{DIRECTORY} to the folder, or use wording thinkreward"
        )
    return _find(Path(root), name, mode, release, _CAPTIONED if task.judges_media else _ANSWERED)


@lru_cache
def _find(root: Path, name: str, mode: Mode, release: Release, holes: frozenset[str]) -> Template:
    """The one prompt of this release among the scripts of this name, wherever in the clone they lie."""
    scripts = sorted(path for path in root.rglob(name) if _OTHER_MODEL not in path.read_bytes().lower())
    if not scripts:
        raise ConfigError(f"{root} holds no script {name}: {DIRECTORY} must be a clone of {REPOSITORY}")
    found = {
        prompt
        for script in scripts
        for prompt in _prompts(script, holes)
        if mode == "direct" or prompt.in_blocks == (release == "qwen3vl")
    }
    return _only(found, f"{root} with its {len(scripts)} scripts {name}", holes)


def digest(release: Release) -> str:
    """sha256 over all of a release's prompts, which tells results under another version of them apart.

    Raises `ConfigError` like `template`.
    """
    told = hashlib.sha256()
    for (of, mode), scripts in sorted(SCRIPTS.items()):
        for task in sorted(scripts) if of == release else ():
            found = template(task, mode, release)
            told.update(repr((mode, task.value, found.literals, found.holes)).encode())
    return told.hexdigest()


def read_template(script: Path, holes: frozenset[str]) -> Template:
    """The one f-string of a script whose holes are these variables. Nothing of the script is run.

    Raises `ConfigError` for a file that is missing or no Python, or that has none or several different ones.
    """
    return _only(_prompts(script, holes), str(script), holes)


def _prompts(script: Path, holes: frozenset[str]) -> set[Template]:
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{script} cannot be read ({error}): {DIRECTORY} must be a clone of {REPOSITORY}") from error
    return {_template(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) and _holes(node) == holes}


def _only(found: set[Template], where: str, holes: frozenset[str]) -> Template:
    if len(found) != 1:
        raise ConfigError(
            f"{where} holds {len(found)} prompts with {', '.join(sorted(holes))}, expected 1: its layout is another "
            f"than at the commits this reads; check out an earlier one of {REPOSITORY}"
        )
    return found.pop()


def _holes(node: ast.JoinedStr) -> set[str]:
    return {ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue)}


def _template(node: ast.JoinedStr) -> Template:
    literals, holes = [""], []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            holes.append(ast.unparse(part.value))
            literals.append("")
        elif isinstance(part, ast.Constant):
            literals[-1] += str(part.value)
    return Template(tuple(literals), tuple(holes))
