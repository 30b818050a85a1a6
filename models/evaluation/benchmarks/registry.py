"""The public benchmarks by name."""

from configs.explain import closest_word
from models.errors import ConfigError
from models.evaluation.benchmarks import (
    genai_bench_image,
    genai_bench_video,
    mj_bench_video,
    multimodal_reward_bench_2,
    sharegpt_video_held_out,
    videogen_reward_bench,
    vl_reward_bench,
)
from models.evaluation.benchmarks.benchmark import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    one.name: one
    for one in (
        vl_reward_bench.BENCHMARK,
        genai_bench_image.BENCHMARK,
        genai_bench_video.BENCHMARK,
        videogen_reward_bench.BENCHMARK,
        sharegpt_video_held_out.BENCHMARK,
        multimodal_reward_bench_2.BENCHMARK,
        mj_bench_video.BENCHMARK,
    )
}


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name. Raises `ConfigError` that says which one was meant, or which there are."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    guess = closest_word(name, list(BENCHMARKS))
    hint = f"did you mean {guess}? It" if guess else "it"
    raise ConfigError(f"benchmark {name!r} is unknown: {hint} is one of {', '.join(BENCHMARKS)}")
