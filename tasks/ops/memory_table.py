"""The table of docs/training.md, "Memory": each real profile's memory by precision and strategy. Prints it when run."""

import sys

from configs.load import load_settings
from tasks.ops.base_shape import base_shape
from tasks.ops.estimate import strategies
from tasks.ops.fitting import GIB, with_value
from tasks.ops.stage_memory import parts

PROFILES = ("qwen2_5_vl_7b", "qwen3_vl_8b", "qwen3_5_9b")
PRECISIONS = ("bfloat16", "float32")
HEADING = ("profile", "computes in", "strategy", "states", "cold-start", "sampling", "sampling-sft", "grpo", "judging")


def memory_table() -> str:
    """GiB on one GPU at the longest prompts, as Markdown; `states` are weights, gradients, optimizer and reference."""
    rows = [HEADING, ("---",) * len(HEADING)]
    for profile in PROFILES:
        for dtype in PRECISIONS:
            settings = with_value(load_settings(profile), "model.dtype", dtype)
            shape = base_shape(settings)
            assert shape is not None
            for name, changed, shards in strategies(settings):
                found = parts(changed, shape, device="cuda", shards=shards)
                states = next(one for one in found if one.name == "sampling-sft").memory.certain
                needed = (f"{one.memory.total / GIB:.0f}" for one in found)
                rows.append((f"`{profile}`", dtype, name, f"{states / GIB:.0f}", *needed))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(memory_table())
