"""Published sets in the store: imported once, taken up after an interruption, from a folder or from S3."""

import json
import time
from pathlib import Path

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.errors import DataChanged, DataError, MediaError
from models.pairs.media_files import MediaFiles
from models.sources import importing as rows
from models.sources import lookahead
from models.sources.imported import read_imported, read_invalid
from models.sources.lookahead import Lookahead
from models.sources.probing import ProbeRequest, ProbeResult, probe_all
from models.sources.rows import Medium, name_of
from tasks.data.importing import IMPORTING, Place, import_set
from tasks.pipeline.graph import STAGES
from tasks.pipeline.plan import stage_key
from tasks.store.artifacts import Store
from tasks.store.locations import fingerprint_of, local_folder
from tasks.store.objects.base import Source, hash_file
from tasks.store.objects.opening import open_objects
from tests.tasks.published_shapes import write_own


@pytest.fixture
def settings() -> Settings:
    return load_settings("shapes", ["prepare.decoding_processes=1"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    write_own(tmp_path / "own", 3, seed=5)
    return Place("own", str(tmp_path / "own"))


def store_at(folder: Path) -> Store:
    return Store(str(folder / "store"), cache_dir=folder / "cache")


def test_a_set_is_read_once(tmp_path: Path, settings: Settings, place: Place) -> None:
    store, told = store_at(tmp_path), list[int]()
    first = import_set(store, settings, place, told.append)
    assert told == [12]
    assert import_set(store, settings, place, told.append) == first
    assert told == [12]
    assert len(list(read_imported(store.fetch(first)))) == 12


def test_a_changed_file_is_another_import(tmp_path: Path, settings: Settings, place: Place) -> None:
    store = store_at(tmp_path)
    first = import_set(store, settings, place)
    listing = Path(place.path) / "pairs.jsonl"
    listing.write_text("\n".join(listing.read_text().splitlines()[:6]) + "\n")
    assert import_set(store, settings, place) != first


def test_an_interrupted_import_keeps_its_shards_and_ends_with_the_same_digest(
    tmp_path: Path, settings: Settings, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "SHARD_ROWS", 4)

    def stop(read: int) -> None:
        if read == 8:
            raise KeyboardInterrupt

    store = store_at(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        import_set(store, settings, place, stop)
    (key,) = (folder.name for folder in (tmp_path / "store" / "work" / IMPORTING).iterdir())
    kept = store.work(IMPORTING, key).names()
    assert {name.split("-")[1][:5] for name in kept} == {"00000", "00001"}
    assert import_set(store, settings, place) == import_set(store_at(tmp_path / "another"), settings, place)
    assert store.work(IMPORTING, key).names() == []


def hang_while_told(several: list[ProbeRequest]) -> list[ProbeResult | MediaError]:
    """As a decoder on a machine that is too busy, for as long as the set has a `busy.md`: the medium it names hangs."""
    named = several[0].root / "busy.md"
    if named.is_file() and named.read_text() in {name_of(seen.medium) for seen in several}:
        time.sleep(60)
    return probe_all(several)


def hang_alone(seen: ProbeRequest) -> ProbeResult:
    (said,) = hang_while_told([seen])
    if isinstance(said, MediaError):
        raise said
    return said


def test_a_timeout_is_not_kept_and_only_its_shard_is_read_again(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "SHARD_ROWS", 4)
    monkeypatch.setattr(lookahead, "probe_all", hang_while_told)
    monkeypatch.setattr(lookahead, "probe", hang_alone)
    settings = load_settings(
        "shapes", ["prepare.decoding_processes=1", "prepare.decoding_timeout_s=2", "prepare.max_bad_share=0.5"]
    )
    store, busy = store_at(tmp_path), Path(place.path) / "busy.md"
    late = json.loads((Path(place.path) / "pairs.jsonl").read_text().splitlines()[0])["candidates"][0]["media"]
    busy.write_text(late)
    first = store.fetch(import_set(store, settings, place))
    (invalid,) = read_invalid(first)
    assert (invalid.reason, invalid.uri) == ("media: takes too long", late)
    assert read_invalid(store.fetch(import_set(store, settings, place))) == [invalid]  # still busy

    busy.unlink()
    looked: list[str] = []

    seen = Lookahead._request

    def noting(media: Lookahead, medium: Medium) -> ProbeRequest:
        looked.append(name_of(medium))
        return seen(media, medium)

    monkeypatch.setattr(Lookahead, "_request", noting)
    again = import_set(store, settings, place)
    assert read_invalid(store.fetch(again)) == []
    assert late in looked and len(looked) < len(list(MediaFiles(store.fetch(again)))) / 2
    assert again == import_set(store_at(tmp_path / "another"), settings, place)  # as if it had never been busy
    assert import_set(store, settings, place) == again


def test_a_file_in_place_of_a_link_is_another_import(tmp_path: Path, settings: Settings, place: Place) -> None:
    root, allowed = Path(place.path), load_settings("shapes", ["prepare.max_bad_share=0.9"])
    row = json.loads((root / "pairs.jsonl").read_text().splitlines()[0])
    inside = root / row["candidates"][0]["media"]
    outside = tmp_path / inside.name
    inside.rename(outside)
    inside.symlink_to(outside)
    store = store_at(tmp_path)
    assert [one.reason for one in read_invalid(store.fetch(import_set(store, allowed, place)))] == [
        "media: lies outside the data folder"
    ]
    inside.unlink()
    outside.rename(inside)
    assert read_invalid(store.fetch(import_set(store, allowed, place))) == []


def test_a_link_that_leads_elsewhere_by_now_is_another_import(tmp_path: Path, place: Place) -> None:
    root = Path(place.path)
    (tmp_path / "outside").mkdir()
    (root / "inner").mkdir()
    (root / "more").symlink_to(tmp_path / "outside")
    before = fingerprint_of(place.path)
    (root / "more").unlink()
    (root / "more").symlink_to(root / "inner")
    assert fingerprint_of(place.path) != before


def test_what_was_missing_while_the_files_changed_is_no_verdict(
    tmp_path: Path, settings: Settings, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "SHARD_ROWS", 4)
    root = Path(place.path)
    last = root / json.loads((root / "pairs.jsonl").read_text().splitlines()[-1])["context"][0]
    away = tmp_path / "away"

    def unmount(read: int) -> None:
        if read == 4:
            last.rename(away)

    store = store_at(tmp_path)
    with pytest.raises(
        DataChanged, match=rf"changed while it was read \(.*{last.name}\): import it once it is at rest"
    ):
        import_set(store, settings, place, unmount)
    away.rename(last)
    assert read_invalid(store.fetch(import_set(store, settings, place))) == []


def test_an_import_that_was_allowed_more_is_refused_where_less_is(
    tmp_path: Path, settings: Settings, place: Place
) -> None:
    with (Path(place.path) / "pairs.jsonl").open("a") as listing:
        listing.write("".join(json.dumps({"id": f"x{number}"}) + "\n" for number in range(6)))
    store = store_at(tmp_path)
    import_set(store, load_settings("shapes", ["prepare.max_bad_share=0.5"]), place)
    with pytest.raises(DataError, match=r"6 of 18 rows .*max_bad_share 0.1"):
        import_set(store, settings, place)


def test_a_prefix_in_s3_gives_what_its_folder_gives(
    tmp_path: Path, settings: Settings, place: Place, bucket: str
) -> None:
    far = f"s3://{bucket}/data/own"
    objects = open_objects(far)
    for path in Path(place.path).rglob("*"):
        if path.is_file():
            name = path.relative_to(place.path).as_posix()
            objects.upload(Source(name, path, path.stat().st_size, hash_file(path)), name)
    near = settings.model_copy(
        update={"storage": settings.storage.model_copy(update={"cache_dir": str(tmp_path / "cache")})}
    )
    store = store_at(tmp_path)
    assert import_set(store, near, Place("own", far)) == import_set(store, near, place)
    before = fingerprint_of(far)
    objects.remove("pairs.jsonl")
    assert fingerprint_of(far) != before
    assert not (local_folder(far, tmp_path / "cache") / "pairs.jsonl").exists()


@pytest.mark.parametrize(
    ("where", "says"),
    [("nowhere", "nowhere is no folder"), ("hf://datasets/only-a-name", "names no data set of the hub")],
)
def test_a_place_that_is_none_is_named(settings: Settings, tmp_path: Path, where: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        import_set(store_at(tmp_path), settings, Place("own", where))


def test_a_changed_file_of_a_published_set_has_prepare_run_again(place: Place) -> None:
    sets = [f"prepare.sources=[{{reader: own, path: {place.path}}}]", "prepare.source=published"]
    settings = load_settings("shapes", [*sets, "distill.teacher=published"])
    before = stage_key(STAGES["prepare"], settings, {})
    listing = Path(place.path) / "pairs.jsonl"
    listing.write_text("\n".join(listing.read_text().splitlines()[:6]) + "\n")
    assert stage_key(STAGES["prepare"], settings, {}) != before
