"""A training on several processes, for tests: what each of them runs, and how it is started."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from models.pairs.dataset import PreferenceDataset
from models.verdict import rewards
from tests.models.training.test_precision import by_length, fine_tuned, optimised, verdicts

REPOSITORY = Path(__file__).resolve().parents[3]


def learn(what: str, data: Any, folder: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """Fine-tuning, or an optimisation; its facts."""
    return (fine_tuned if what == "sft" else optimised)(data, folder, **changes)


def learn_on_two(what: str, media: PreferenceDataset, folder: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """The same on two processes, which meet over gloo."""
    folder.mkdir()
    given = {"what": what, "media": str(media.directory), "changes": changes}
    (folder / "given.json").write_text(json.dumps(given))
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
            "-m", "tests.models.training.ranks", str(folder),
        ],
        capture_output=True, text=True, check=False, timeout=500, cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    facts: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    return facts


def main(folder: Path) -> None:
    """One process of two."""
    from accelerate import PartialState

    given = json.loads((folder / "given.json").read_text())
    media = PreferenceDataset(Path(given["media"]), max_pixels=147_456, max_frames=8)
    pairs = media.pairs("train")
    rewards.REWARDS["format"] = by_length
    facts = learn(given["what"], (media, pairs, verdicts(pairs)), folder, given["changes"])
    state = PartialState()
    if state.is_main_process:
        log = {"log": facts["log"], "processes": state.num_processes}
        (folder / "facts.json").write_text(json.dumps(log))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
