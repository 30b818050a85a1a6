"""What a challenger is held against, and that it is judged again rather than skipped: a real store, registry, judge."""

import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.errors import ArtifactMissing, ConfigError
from models.evaluation.comparison import evidence
from tasks.pipeline.child import Child, Job
from tasks.pipeline.pinning import MODEL_TAG
from tasks.pipeline.run import open_store
from tasks.stages.comparing import Rival, Rivals, find_rivals, obtainable, opponents, rows_of
from tasks.stages.context import Context
from tasks.stages.evaluate import JUDGING, judged_rows
from tasks.store.artifacts import ArtifactRef, Store
from tasks.tracking.registry import CHAMPION, DIGEST_TAG, REFERENCE, register, set_alias
from tests.tasks.small_recipe import REPOSITORY
from tests.tasks.stages.test_evaluate import judged_before, model, preferences

BASE = REPOSITORY / "models" / "shapes" / "base"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = (
        f"storage.root={tmp_path / 'store'}",
        f"storage.cache_dir={tmp_path / 'cache'}",
        f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}",
        "evaluate.max_tokens=8",
        "runtime.threads=1",
    )
    return load_settings("shapes", places)


def tiny(store: Store, folder: Path, mark: str) -> ArtifactRef:
    """The tiny base as a model of its own."""
    shutil.copytree(BASE, folder / mark)
    (folder / mark / "mark.txt").write_text(mark)
    return store.publish("model", folder / mark)


def packaged(store: Store, folder: Path, ref: ArtifactRef) -> ArtifactRef:
    """What the registry serves: the model inside a package."""
    shutil.copytree(store.fetch(ref), folder / "package" / "artifacts" / "model")
    return store.publish("registry-model", folder / "package")


def at_work(settings: Settings, folder: Path, inputs: dict[str, ArtifactRef], key: str = "1") -> Context:
    folder.mkdir()
    store = open_store(settings)
    job = Job(stage="promote", key=key * 64, body="", settings=settings, inputs=inputs)
    return Context(
        job=job, store=store, work=store.work("promote", key * 64), run=cast(Any, None), child=Child(), scratch=folder
    )


def registered(settings: Settings, model: str, alias: str = "", package: str = "") -> str:
    """A registered version of a model by digest, with an alias if need be; gives its number."""
    uri, name = settings.tracking.uri, settings.tracking.registered_model
    tags = {DIGEST_TAG: package or f"package of {model}", **({MODEL_TAG: model} if model else {})}
    made = register(uri, name, source_uri=f"file:///{package or model}", run_id="", tags=tags)
    if alias:
        set_alias(uri, name, alias, made.version)
    return made.version


def test_judgments_that_are_there_are_read_even_if_the_weights_are_gone(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    champion, data = model(store, tmp_path / "champion"), preferences(store, tmp_path / "a")
    before = at_work(settings, tmp_path / "before", {"grpo": champion, "preferences": data})
    judged_before(before, "grpo")
    rows = judged_rows(before, "grpo")
    store.drop("model", champion.digest)
    now = at_work(settings, tmp_path / "now", {"preferences": data}, key="2")
    assert rows_of(now, Rival("the champion", champion.digest)) == rows
    assert len(store.entries(JUDGING)) == 1


@pytest.mark.slow
def test_a_champion_without_judgments_of_these_pairs_is_judged_again_by_the_same_protocol(
    settings: Settings, tmp_path: Path
) -> None:
    store = open_store(settings)
    champion, data = tiny(store, tmp_path, "champion"), preferences(store, tmp_path / "a")
    # Judgments under another protocol are there, and are not taken.
    longer = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"max_tokens": 7})})
    other = at_work(longer, tmp_path / "other", {"grpo": champion, "preferences": data})
    judged_before(other, "grpo")
    judged_rows(other, "grpo")
    now = at_work(settings, tmp_path / "now", {"preferences": data}, key="2")
    rows = rows_of(now, Rival("the champion", champion.digest))
    assert rows is not None and len(rows) == 32
    assert len(store.entries(JUDGING)) == 2
    again = at_work(settings, tmp_path / "again", {"grpo": champion, "preferences": data}, key="3")
    assert judged_rows(again, "grpo") == rows, "evaluate takes the same entry"
    assert len(store.entries(JUDGING)) == 2


@pytest.mark.slow
def test_weights_that_only_the_registered_package_has_are_taken_from_it(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    champion, data = tiny(store, tmp_path, "champion"), preferences(store, tmp_path / "a")
    package = packaged(store, tmp_path, champion)
    store.drop("model", champion.digest)
    rival = Rival("the champion", champion.digest, package.digest, "1", champion=True)
    assert obtainable(store, vars(rival))
    rows = rows_of(at_work(settings, tmp_path / "now", {"preferences": data}), rival)
    assert rows is not None and len(rows) == 32
    assert store.reference("model", champion.digest).digest == champion.digest


def test_weights_that_are_gone_fail_the_gate_with_the_cure(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    data, challenger = preferences(store, tmp_path / "a"), model(store, tmp_path / "challenger")
    now = at_work(settings, tmp_path / "now", {"model": challenger, "preferences": data})
    judged_before(now, "model")
    rival = Rival("the champion (version 3)", "c" * 64, "d" * 64, "3", champion=True)
    (found,) = opponents(now, evidence(judged_rows(now, "model")), [rival])
    assert found.comparison is None
    assert f"its weights (model {'c' * 12}) are gone from {settings.storage.root}" in found.problem
    assert "thinkreward artifacts copy" in found.problem and "promote.reference" in found.problem
    assert not obtainable(store, vars(rival))


def test_a_version_that_names_no_model_fails_the_gate_with_the_cure(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    data, challenger = preferences(store, tmp_path / "a"), model(store, tmp_path / "challenger")
    now = at_work(settings, tmp_path / "now", {"model": challenger, "preferences": data})
    judged_before(now, "model")
    (found,) = opponents(now, evidence(judged_rows(now, "model")), [Rival("the champion (version 3)", "", "", "3")])
    assert found.comparison is None and f"no tag {MODEL_TAG}" in found.problem


def test_pairs_that_are_gone_are_no_missing_weights(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    data, champion = preferences(store, tmp_path / "a"), model(store, tmp_path / "champion")
    now = at_work(settings, tmp_path / "now", {"preferences": data})
    store.drop("preferences", data.digest)
    with pytest.raises(ArtifactMissing, match="preferences"):
        rows_of(now, Rival("the champion", champion.digest))


def rival(digest: str, version: str, **roles: bool) -> Rival:
    return Rival(f"version {version}", digest, "", version, **roles)


def test_a_champion_that_is_the_reference_is_one_opponent_with_both_margins() -> None:
    champion, reference = rival("c", "2", champion=True), rival("c", "2", reference=True)
    (one,) = Rivals(champion, reference).against("x")
    assert one.champion and one.reference and one.name == "the champion and reference (version 2)"


def test_the_challengers_own_model_is_no_opponent_and_the_note_says_so() -> None:
    champion, reference = rival("c", "2", champion=True), rival("r", "1", reference=True)
    rivals = Rivals(champion, reference)
    assert rivals.against("c") == [reference] and rivals.note("c") == "It is the model of version 2 itself."
    assert rivals.against("r") == [champion] and rivals.note("r") == "It is the model of version 1 itself."
    assert rivals.against("x") == [champion, reference] and rivals.note("x") == ""
    assert Rivals(None, None).note("x") == "No champion came before this model."


def test_two_versions_that_name_no_model_are_not_taken_for_the_same() -> None:
    champion, reference = rival("", "2", champion=True), rival("", "1", reference=True)
    assert Rivals(champion, reference).against("x") == [champion, reference]


def test_without_a_reference_the_champion_stands_in_its_place(settings: Settings) -> None:
    store = open_store(settings)
    assert find_rivals(store, settings) == Rivals(None, None)
    registered(settings, "c" * 64, CHAMPION)
    found = find_rivals(store, settings)
    assert found.champion is not None and found.reference is not None
    assert found.champion.model == found.reference.model == "c" * 64
    registered(settings, "r" * 64, REFERENCE)
    assert cast(Rival, find_rivals(store, settings).reference).model == "r" * 64


def with_reference(settings: Settings, name: str) -> Settings:
    return settings.model_copy(update={"promote": settings.promote.model_copy(update={"reference": name})})


def test_a_reference_can_be_named_by_version_alias_and_digest(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    registered(settings, "c" * 64, CHAMPION)
    digest, own = "ab" * 32, model(store, tmp_path / "own").digest
    version = registered(settings, digest, "pinned")
    for name, meant in (
        (version, digest),
        ("pinned", digest),
        (digest, digest),
        (digest[:12], digest),
        (own[:12], own),
    ):
        found = cast(Rival, find_rivals(store, with_reference(settings, name)).reference)
        assert found.model == meant and found.reference and not found.champion


def test_a_reference_that_is_not_to_be_found_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"promote\.reference is 'bset', which is no alias and no version"):
        find_rivals(open_store(settings), with_reference(settings, "bset"))
