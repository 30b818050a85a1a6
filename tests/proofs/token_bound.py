"""What `runtime.micro_tokens` does to memory and speed: fine-tuning on image and video prompts, in paired runs.

    python -m tests.proofs.token_bound

Each run is a process of its own. It trains twice: once for its time, and once with the bytes of all tensors counted,
which is slow. Three of four pairs show images, one shows videos of 4 frames, all enlarged to 252 x 252.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from PIL import Image

from configs.schema import Model, Runtime, Sft
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from models.verdict.grammar import answer_text

BASE = Path(__file__).resolve().parents[2] / "models" / "shapes" / "base"
SIDE = 252
BATCH = 16
# Name, micro_batch, micro_tokens
RUNS = (("16 at once", 16, 0), ("2 at once", 2, 0), ("4096 tokens", 16, 4096), ("2048 tokens", 16, 2048))
ROUNDS = 3
RATIOS = ("peak_mib", "seconds")


class Enlarged(PreferenceDataset):
    """The shapes' media at the size of photographs."""

    def frames(self, uri: str) -> list[Image.Image]:
        """All frames, enlarged."""
        return [frame.resize((SIDE, SIDE)) for frame in super().frames(uri)]


def taking_photographs(folder: Path) -> Path:
    """A copy of the embedded base whose processor leaves them as large as they are."""
    shutil.copytree(BASE, folder)
    file = folder / "processor_config.json"
    config = json.loads(file.read_text())
    config["image_processor"]["size"]["longest_edge"] = SIDE**2
    file.write_text(json.dumps(config))
    return folder


def child(micro_batch: int, micro_tokens: int, folder: Path) -> None:
    """One run; prints its figures as JSON."""
    from models.training.compute import Compute
    from models.training.hooks import Hooks
    from models.training.sft import train_sft
    from tests.models.training.peak import Peak

    tasks = [Task.IMAGE_GENERATION, Task.IMAGE_UNDERSTANDING, Task.IMAGE_GENERATION, Task.VIDEO_GENERATION]
    made = [make_pair(tasks[at % 4], at + at // 4, seed=0, held_out=False) for at in range(2 * BATCH)]
    pairs = [one.pair for one in made]
    (folder / "data").mkdir(parents=True)
    blobs = {uri: blob for one in made for uri, blob in one.blobs.items()}
    write_dataset(folder / "data", {"train": pairs}, blobs)
    times: list[float] = []
    losses: list[float] = []
    hooks = Hooks(
        on_metrics=lambda step, values: losses.extend([values["loss"]] if "loss" in values else []),
        on_progress=lambda done, total: times.append(time.perf_counter()),
    )
    sft = Sft(
        epochs=2, learning_rate=1e-4, schedule="constant", warmup=0.0, batch=BATCH, micro_batch=micro_batch,
        checkpoint_every=99,
    )  # fmt: skip
    compute = Compute(0, Model(), Runtime(device="cpu", micro_tokens=micro_tokens or None))
    base = taking_photographs(folder / "base")
    media = Enlarged(folder / "data", max_pixels=147_456, max_frames=8)
    answers = [answer_text(pair.task, pair.preferred) for pair in pairs]

    def tuned(name: str, hooks: Hooks) -> None:
        out, how = folder / name, {"sft": sft, "section": "cold_start", "compute": compute}
        train_sft(base, pairs, answers, media, out, **how, scratch=out / "trainer", hooks=hooks)

    tuned("timed", hooks)
    with Peak() as peak:
        tuned("counted", Hooks())
    spent = (times[-1] - times[0]) / (len(times) - 1)
    sys.stdout.write("\n" + json.dumps({"peak_mib": peak.bytes / 2**20, "seconds": spent, "loss": losses[0]}) + "\n")


def main() -> None:
    """The runs in turn with each's figures, and the medians of their ratios to the first run of the same round."""
    say = sys.stdout.write
    found: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in RUNS}
    say("| run | peak of tensors, MiB | seconds a step | loss of the first step |\n|---|---|---|---|\n")
    for _ in range(ROUNDS):
        for name, micro_batch, micro_tokens in RUNS:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-m", __spec__.name, str(micro_batch), str(micro_tokens), folder]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            f = json.loads(done.stdout.strip().splitlines()[-1])
            found[name].append(f)
            say(f"| {name} | {f['peak_mib']:.0f} | {f['seconds']:.2f} | {f['loss']:.6f} |\n")
            sys.stdout.flush()
    say(f"\n| run, median of {ROUNDS} | peak memory | time |\n|---|---|---|\n")
    first = next(iter(found.values()))
    for name, runs in found.items():
        memory, spent = (
            median(one[what] / other[what] for one, other in zip(runs, first, strict=True)) for what in RATIOS
        )
        say(f"| {name} | x {memory:.2f} | x {spent:.2f} |\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
