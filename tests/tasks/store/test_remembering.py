"""What was found out about files holds while they are as they were, and is found out again afterwards."""

import time
from pathlib import Path

import pytest

from tasks.store import remembering
from tasks.store.remembering import remembered


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed a moment ago has settled."""
    monkeypatch.setattr(remembering, "UNCHANGED_S", 0.02)


def test_a_change_of_either_file_is_noticed_and_a_new_one_in_a_folder(tmp_path: Path) -> None:
    file, folder, kept = tmp_path / "file", tmp_path / "folder", tmp_path / "cache" / "kept.json"
    file.write_text("1")
    folder.mkdir()
    answers = iter(range(10))

    def ask() -> int:
        time.sleep(0.05)
        return int(remembered((file, folder), kept, lambda: next(answers)))

    assert [ask(), ask()] == [0, 0]
    file.write_text("2")
    assert [ask(), ask()] == [1, 1]
    (folder / "new").touch()
    assert [ask(), ask()] == [2, 2]


def test_what_fails_is_tried_again(tmp_path: Path) -> None:
    file, kept = tmp_path / "file", tmp_path / "kept.json"
    file.touch()
    time.sleep(0.05)
    with pytest.raises(ZeroDivisionError):
        remembered((file,), kept, lambda: 1 / 0)
    assert remembered((file,), kept, lambda: "well") == "well"


def test_where_nothing_can_be_kept_it_is_found_out_each_time(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    time.sleep(0.05)
    answers = iter(range(10))
    assert [remembered((file,), file / "kept.json", lambda: next(answers)) for _ in range(2)] == [0, 1]
