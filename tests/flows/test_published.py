"""The whole recipe on published sets: our schema with MP4 and JPEG files, and reasoning that came with its pairs."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tasks import small_recipe as small
from tests.tasks.published_shapes import write_own, write_reasoned

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A profile's settings for two published sets."""
    data = tmp_path_factory.mktemp("data")
    write_own(data / "own", 40, seed=3)
    write_reasoned(data / "reasoned", 140, seed=4)
    return {
        "prepare__source": "published",
        "prepare__sources": [
            {"reader": "own", "path": str(data / "own")},
            {"reader": "conversations", "path": str(data / "reasoned")},
        ],
        "prepare__held_out_share": 0.15,
        "distill__teacher": "published",
        "distill__other_pairs": 0,
    }


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("published")
    return folder, small.run_json("run", folder=folder, **settings)


def test_the_seven_stages_run_on_jpeg_and_mp4(recipe: tuple[Path, dict[str, Any]]) -> None:
    _, said = recipe
    assert list(small.states(said).values()) == ["computed"] * 7
    assert said["accuracy"]["cold-start"]["valid_rate"] > said["accuracy"]["base"]["valid_rate"]


def test_a_second_run_finds_everything(recipe: tuple[Path, dict[str, Any]], settings: dict[str, Any]) -> None:
    folder, _ = recipe
    assert set(small.states(small.run_json("run", folder=folder, **settings)).values()) == {"cached"}


def test_the_order_of_sources_and_rows_changes_nothing(
    recipe: tuple[Path, dict[str, Any]], settings: dict[str, Any]
) -> None:
    folder, first = recipe
    for source in settings["prepare__sources"]:
        for listing in Path(source["path"]).glob("pairs.jsonl"):
            lines = listing.read_text().splitlines()
            listing.write_text("\n".join(reversed(lines)) + "\n")
        for listing in Path(source["path"]).glob("data.json"):
            listing.write_text(json.dumps(json.loads(listing.read_text())[::-1]))
    turned = {**settings, "prepare__sources": settings["prepare__sources"][::-1]}
    again = small.run_json("prepare", folder=folder, **turned)
    assert small.states(again) == {"prepare": "computed"}
    assert again["stages"][0]["artifacts"] == first["stages"][0]["artifacts"]
