"""The bodies of a rehearsal, each in a child process of its own, so that its peak memory is its own.

A job's `key` is the rehearsal's folder: `model/` is the random model and `data/` the made-up pairs.
"""

import resource
import sys
import time
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from configs.schema import Settings, Sft
from models.errors import ConfigError
from models.generation.protocol import SamplingParams
from models.pairs.dataset import PreferenceDataset
from models.pairs.preference import Task
from tasks.ops.base_shape import base_config
from tasks.ops.stage_memory import ALL, cold_start_tasks
from tasks.pipeline.child import Child, Done, Job
from tasks.pipeline.graph import find_base
from tasks.stages.generators import local_options
from tasks.stages.prepare import check_hub_id

STEPS = 2  # of training; the first warms up, the second is timed
LARGE = 100_000_000  # weights; a model above it is rehearsed on a CPU as a reduced copy


def build(job: Job, child: Child, scratch: Path) -> Done:
    """Write the random model and the made-up pairs; a sentence about them."""
    from models.backbone import resolve_device
    from models.rehearsal.architecture import fit_tokens, parameters, read_config, reduced, write_random_model
    from models.rehearsal.pairs import write_pairs
    from models.rehearsal.processor import processor_for
    from models.shapes.draw import SIZE

    settings, folder = job.settings, Path(job.key)
    m, base = settings.model, find_base(settings)
    config = read_config(_described(settings), m.base)
    processor, own = processor_for(base, m.base, m.revision, config)
    device = resolve_device(settings.runtime.device)
    full = parameters(config)
    smaller = device == "cpu" and full > LARGE
    if smaller:
        config = reduced(config, len(processor.tokenizer))
    write_random_model(
        fit_tokens(config, processor.tokenizer),
        processor,
        folder / "model",
        dtype=m.dtype,
        device=device,
        seed=settings.seed,
    )
    (folder / "data").mkdir()
    pixels = min(m.max_pixels, SIZE**2) if settings.prepare.source == "shapes" else m.max_pixels
    write_pairs(folder / "data", processor.tokenizer, max_pixels=pixels, frames=m.max_frames, stand_in=not own)
    return Done(
        outputs={},
        facts={
            "reduced": smaller,
            "own_processor": own,
            "architecture": config.model_type,
            "full_weights": full,
            "weights": parameters(config),
            "layers": config.text_config.num_hidden_layers,
            "hidden": config.text_config.hidden_size,
            "device": _device_name(device),
        },
    )


def _described(settings: Settings) -> dict[str, Any]:
    """The contents of the base's `config.json`."""
    name = settings.model.base
    if find_base(settings) is None:
        check_hub_id(name)
    found = base_config(settings)
    if found is None:
        raise ConfigError(
            f"model.base is {name}, whose config.json is not on this machine: a rehearsal downloads nothing; give a "
            "folder with config.json and the processor's files, or download the base once"
        )
    return found


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def cold_start(job: Job, child: Child, scratch: Path) -> Done:
    """Two steps of the cold start, on the longest prompts that it sees."""
    return _fine_tune(job, scratch, "cold_start", cold_start_tasks(job.settings), job.settings.distill.max_tokens)


def sampling_sft(job: Job, child: Child, scratch: Path) -> Done:
    """Two steps of the fine-tuning on what rejection sampling kept."""
    return _fine_tune(job, scratch, "rejection_sampling.sft", ALL, job.settings.rejection_sampling.max_tokens)


def _fine_tune(job: Job, scratch: Path, section: str, shown: Sequence[Task], tokens: int) -> Done:
    from models.rehearsal.pairs import longest, words
    from models.training.compute import Compute
    from models.training.hooks import Hooks
    from models.training.sft import train_sft

    sft: Sft = attrgetter(section)(job.settings)
    folder, media, clock = Path(job.key), _media(job), _Clock(job.settings)
    pairs = longest(media, shown, STEPS * sft.batch)
    text = words(_tokenizer(folder), tokens)
    result = train_sft(
        folder / "model",
        pairs,
        [text] * len(pairs),
        media,
        scratch / "out",
        sft=sft,
        section=section,
        compute=Compute.of(job.settings),
        scratch=scratch / "trainer",
        hooks=Hooks(on_progress=clock.tick),
    )
    return clock.done(result["log"], last=1)


def grpo(job: Job, child: Child, scratch: Path) -> Done:
    """Two generations and the steps on each."""
    from models.rehearsal.pairs import longest
    from models.training.compute import Compute
    from models.training.grpo import train_grpo
    from models.training.hooks import Hooks

    media, clock, updates = _media(job), _Clock(job.settings), job.settings.grpo.generation_steps
    prompts = STEPS * updates * job.settings.grpo.prompts_per_step
    pairs = longest(media, ALL, -(-prompts // 2))  # each is shown in both orders
    result = train_grpo(
        Path(job.key) / "model",
        pairs,
        pairs[:1],
        media,
        grpo=job.settings.grpo,
        compute=Compute.of(job.settings),
        scratch=scratch / "trainer",
        hooks=Hooks(on_progress=clock.tick),
    )
    return clock.done(result["log"], last=updates * job.settings.grpo.generation_passes)


def sampling(job: Job, child: Child, scratch: Path) -> Done:
    """One batch of rejection sampling."""
    sampled = job.settings.rejection_sampling
    return _judge(
        job,
        SamplingParams(
            n=sampled.samples,
            temperature=sampled.temperature,
            max_tokens=sampled.max_tokens,
            seed=job.settings.seed,
        ),
    )


def judging(job: Job, child: Child, scratch: Path) -> Done:
    """One batch of judging with reasoning."""
    return _judge(job, SamplingParams(max_tokens=job.settings.evaluate.max_tokens))


def _judge(job: Job, params: SamplingParams) -> Done:
    from models.generation.open import open_generator
    from models.judging.judge import Judge
    from models.rehearsal.pairs import longest

    settings, media, clock = job.settings, _media(job), _Clock(job.settings)
    batch = settings.runtime.generation_batch
    pairs = longest(media, ALL, max(1, batch // params.n))
    judge = Judge(open_generator(Path(job.key) / "model", local_options(settings)), media.frames)
    clock.tick()
    judge.judge(pairs, "think", params)
    clock.tick()
    sequences = len(pairs) * params.n
    return clock.done([{"num_tokens": 0.0}, {"num_tokens": float(sequences * params.max_tokens)}], last=1)


def _media(job: Job) -> PreferenceDataset:
    m = job.settings.model
    return PreferenceDataset(Path(job.key) / "data", max_pixels=m.max_pixels, max_frames=m.max_frames)


def _tokenizer(folder: Path) -> Any:
    from models.backbone import load_processor

    return load_processor(folder / "model").tokenizer


class _Clock:
    """When each step ended, after all that the device was given is done."""

    def __init__(self, settings: Settings) -> None:
        import torch

        from models.backbone import resolve_device

        self.cuda = torch.cuda if resolve_device(settings.runtime.device) == "cuda" else None
        self.ended: list[float] = []

    def tick(self, done: int = 0, total: int = 0) -> None:
        """A step has ended, or begins where there is but one."""
        if self.cuda is not None:
            self.cuda.synchronize()
        self.ended.append(time.perf_counter())

    def done(self, log: Sequence[dict[str, float]], last: int) -> Done:
        """The figures of the `last` steps; `num_tokens` in the log counts from the start."""
        seconds = (self.ended[-1] - self.ended[-1 - last]) / last
        counts = [row["num_tokens"] for row in log if "num_tokens" in row]
        tokens = (counts[-1] - counts[-1 - last]) / last
        return Done(
            outputs={},
            facts={
                "seconds_per_step": seconds,
                "tokens_per_second": tokens / seconds,
                "peak_memory_gib": self._peak_bytes() / 2**30,
            },
        )

    def _peak_bytes(self) -> int:
        if self.cuda is not None:
            return int(self.cuda.max_memory_allocated())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB on Linux: getrusage(2)
