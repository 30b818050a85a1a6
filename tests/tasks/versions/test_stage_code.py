"""A stage's code and its version: what counts as a change, and what the committed list lets pass."""

from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigError
from tasks.versions.code_closure import Closure
from tasks.versions.stage_code import Code, changes, code_of, entries, read_list, updated

BODY = '''"""The body."""
from models.helper import Judge, scale
from models import other

LIMIT = 3


def body(job: object) -> int:
    """Compute."""
    return scale(LIMIT) + other.plus(1) + Judge().judge()


def unused() -> int:
    return 7
'''
HELPER = '''"""Help."""
import logging

from models.deep import deepest as deep

FACTOR = 2


def scale(value: int) -> int:
    if value < 0:
        raise ValueError(f"{value} is negative")
    logging.getLogger().info("scaled")
    return deep(value) * FACTOR


def unrelated() -> int:
    return 5


class Judge:
    """Judges."""

    def judge(self) -> int:
        from models import late

        return late.add(1)
'''
OTHER = """def plus(value: int) -> int:
    return value


def minus(value: int) -> int:
    return -value
"""
ENTRY = "tasks.body:body"


def write(root: Path, **changed: str) -> None:
    """A small house: `models/helper.py` and its like, with some files replaced."""
    files = {
        "tasks/body.py": BODY,
        "models/helper.py": HELPER,
        "models/deep.py": "def deepest(value: int) -> int:\n    return value + 1\n",
        "models/other.py": OTHER,
        "models/late.py": "def add(value: int) -> int:\n    return value\n",
    }
    for name, source in {**files, **{f"{k.replace('__', '/')}.py": v for k, v in changed.items()}}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(source)


def moved(tmp_path: Path, **changed: str) -> list[str]:
    """The modules whose digest a change moves."""
    write(tmp_path)
    before = Closure(tmp_path).of(ENTRY)
    write(tmp_path, **changed)
    after = Closure(tmp_path).of(ENTRY)
    return sorted(one for one in before.keys() | after.keys() if before.get(one) != after.get(one))


def test_every_stage_of_ours_has_the_code_that_its_version_stands_for() -> None:
    found = changes(code_of(entries()), read_list())
    assert not found, "\n".join(map(str, found))


def test_what_the_body_reaches_is_found_through_imports_classes_and_functions(tmp_path: Path) -> None:
    write(tmp_path)
    assert set(Closure(tmp_path).of(ENTRY)) == {
        "tasks.body", "models.helper", "models.deep", "models.other", "models.late",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "module"),
    [
        ("tasks__body", "LIMIT = 3", "LIMIT = 4", "tasks.body"),
        ("models__helper", "FACTOR = 2", "FACTOR = 3", "models.helper"),
        ("models__helper", "deep(value) *", "deep(value) +", "models.helper"),
        ("models__helper", "late.add(1)", "late.add(2)", "models.helper"),
        ("models__deep", "value + 1", "value + 2", "models.deep"),
        ("models__late", "return value", "return -value", "models.late"),
        ("models__other", "    return value\n", "    return value + 1\n", "models.other"),
    ],
)
def test_a_change_that_may_alter_results_is_seen_where_it_is(
    tmp_path: Path, name: str, old: str, new: str, module: str
) -> None:
    write(tmp_path)
    source = (tmp_path / f"{name.replace('__', '/')}.py").read_text()
    assert old in source
    assert moved(tmp_path, **{name: source.replace(old, new, 1)}) == [module]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tasks__body", '    """Compute."""\n', "    # why\n"),
        ("tasks__body", "return 7", "return 8"),
        ("tasks__body", "(job: object)", "(job: int)"),
        ("models__helper", "is negative", "lies below 0, the least there is"),
        ("models__helper", '"scaled"', '"scaled it"'),
        ("models__helper", "return 5", "return 6"),
        ("models__helper", "deep(value) * FACTOR", "(deep(value)\n        * FACTOR)"),
        ("models__other", "return -value", "return +value"),
    ],
)
def test_words_formatting_and_other_functions_do_not_count(tmp_path: Path, name: str, old: str, new: str) -> None:
    write(tmp_path)
    source = (tmp_path / f"{name.replace('__', '/')}.py").read_text()
    assert old in source
    assert moved(tmp_path, **{name: source.replace(old, new, 1)}) == []


def test_a_body_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ConfigError, match=r"no tasks\.body:nobody"):
        Closure(tmp_path).of("tasks.body:nobody")


def listed(version: str = "1", digest: str = "a") -> dict[str, Any]:
    return {"grpo": {"version": version, "modules": {"models.grpo": digest}}}


def now(version: str = "1", digest: str = "b") -> dict[str, Code]:
    return {"grpo": Code(version, {"models.grpo": digest})}


def test_changed_code_under_an_old_version_names_the_stage_the_file_and_both_ways_out() -> None:
    (found,) = changes(now(), listed())
    said = str(found)
    assert said.startswith("grpo: its code changed (models.grpo)")
    assert "raise the version" in said and "--same-results" in said


def test_an_update_takes_what_has_a_new_version_and_refuses_what_has_not() -> None:
    assert updated(now("2"), listed())[0] == listed("2", "b")
    made, refused = updated(now(), listed())
    assert made == listed() and [one.stage for one in refused] == ["grpo"]


def test_a_reason_lets_pass_is_kept_and_goes_with_the_next_version() -> None:
    made, refused = updated(now(), listed(), reason="a faster loop")
    assert refused == [] and changes(now(), made) == []
    assert [one["reason"] for one in made["grpo"]["same_results"]] == ["a faster loop"]
    again, _ = updated(now(digest="c"), made, reason="a renamed variable")
    assert [one["reason"] for one in again["grpo"]["same_results"]] == ["a faster loop", "a renamed variable"]
    assert "same_results" not in updated(now("2", "d"), again)[0]["grpo"]


def test_a_new_version_is_to_be_listed_too() -> None:
    (found,) = changes(now("2", "a"), listed())
    assert found.raised and "not listed with its version" in str(found)
