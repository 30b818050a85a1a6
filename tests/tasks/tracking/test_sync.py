"""The spool of what waits: what a kill leaves of it."""

from pathlib import Path

from tasks.tracking.sync import Spool


def test_a_spool_cut_off_by_a_kill_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    Spool(path).add({"do": "text", "with": {"path": "a", "text": "b"}})
    with path.open("a") as file:
        file.write('{"do": "text", "wi')
    again = Spool(path)
    again.add({"do": "finish", "with": {}})
    assert [record["do"] for record in Spool(path).waiting()] == ["text", "finish"]
