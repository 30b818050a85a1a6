"""A workbench over a store with a little of everything, for each file of tests."""

from collections.abc import Iterator

import pytest

from configs.schema import Settings
from tests.tasks.workbench.bench import fill, settings_below, workbench


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("bench")
    made = settings_below(folder)
    fill(made, folder)
    return made


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    with workbench(settings) as address:
        yield address
