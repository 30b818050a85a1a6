"""The public module: what it names is there, and the docs use nothing else."""

import re
from pathlib import Path

import pytest

import thinkreward

REPOSITORY = Path(__file__).resolve().parents[1]


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    assert sorted(thinkreward.__all__) == thinkreward.__all__
    for name in thinkreward.__all__:
        assert getattr(thinkreward, name).__doc__, name


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))])
def test_pages_import_the_public_module_alone(page: str) -> None:
    code = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / page).read_text(), re.MULTILINE | re.DOTALL)
    imported = {name for block in code for name in re.findall(r"^(?:from|import) (\w+)", block, re.MULTILINE)}
    assert not imported & {"flows", "tasks", "models", "configs"}
