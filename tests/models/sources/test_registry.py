"""Readers by name."""

from pathlib import Path
from typing import get_args

import pytest

from configs.sections.data import Reader
from models.errors import DataError
from models.sources.registry import READERS


def test_the_readers_are_those_that_the_settings_know() -> None:
    assert sorted(READERS) == sorted(get_args(Reader))


@pytest.mark.parametrize("name", list(READERS))
def test_a_reader_stands_in_the_module_of_its_name_and_tells_an_empty_folder_what_it_expects(
    name: str, tmp_path: Path
) -> None:
    assert READERS[name].__module__ == f"models.sources.{name}"
    with pytest.raises(DataError, match="expected "):
        list(READERS[name](tmp_path))
