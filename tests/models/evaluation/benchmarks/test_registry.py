"""Benchmarks by name."""

import pytest

from models.errors import ConfigError
from models.evaluation.benchmarks.registry import BENCHMARKS, benchmark


def test_the_benchmarks_of_the_paper_and_two_beyond_it_are_there_under_their_names() -> None:
    assert list(BENCHMARKS) == [
        "vl_reward_bench",
        "genai_bench_image",
        "genai_bench_video",
        "videogen_reward_bench",
        "sharegpt_video",
        "multimodal_reward_bench_2",
        "mj_bench_video",
    ]
    assert all(benchmark(name).name == name for name in BENCHMARKS)


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_quoted_figures_are_percent_of_something_that_is_reported_and_say_where_they_stand(name: str) -> None:
    one = benchmark(name)
    assert one.quoted
    for row in one.quoted:
        assert row.source and set(row.figures) <= {"overall", "diff", "tau", *one.groups}
        assert all(1 < figure <= 100 for figure in row.figures.values())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("vl_rewardbench", "benchmark 'vl_rewardbench' is unknown: did you mean vl_reward_bench? It is one of vl_"),
        ("genai_bench_vidoe", "did you mean genai_bench_video? It is one of"),
        ("imagenet", "benchmark 'imagenet' is unknown: it is one of vl_reward_bench, genai_bench_image"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_all(name: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        benchmark(name)
    assert says in str(caught.value)
