"""Which models a challenger is held against, and their judgments of the held-out pairs under the challenger's protocol.

A model that has no such judgments is judged again, through the entry that `evaluate` reads and writes: with these
settings, on these pairs, by this kind of generator. Its weights come from the store, as the model's artifact or out of
the package that its registered version names. Where they are gone nothing can be compared, and the gate fails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from configs.schema import Settings
from models.errors import ArtifactCorrupt, ArtifactMissing, ArtifactUnknown, ConfigError
from models.evaluation.comparison import Evidence, compare, evidence
from models.evaluation.gate import Opponent
from models.evaluation.judged_rows import JudgedRow
from tasks.pipeline.pinning import MODEL_TAG
from tasks.stages.context import Context
from tasks.stages.evaluate import judged_rows
from tasks.store.artifact_types import ArtifactRef
from tasks.store.artifacts import Store
from tasks.tracking.registry import CHAMPION, REFERENCE, RegisteredVersion, get_alias, versions

PACKAGED_MODEL = "artifacts/model"  # where the package of a registered version has the model
GONE = (ArtifactMissing, ArtifactCorrupt)


@dataclass(frozen=True)
class Rival:
    """A model that the challenger is held against.

    `model` and `package` are digests; `package` and `version` are empty for one that was never registered, `model` for
    a version that was registered by other means.
    """

    name: str
    model: str
    package: str = ""
    version: str = ""
    champion: bool = False
    reference: bool = False

    @classmethod
    def of(cls, role: str, found: RegisteredVersion) -> "Rival":
        """The model of a registered version that has the role `champion` or `reference`."""
        model = found.tags.get(MODEL_TAG, "")
        roles = {"champion": role == CHAMPION, "reference": role == REFERENCE}
        return cls(f"the {role} (version {found.version})", model, found.digest, found.version, **roles)


@dataclass(frozen=True)
class Rivals:
    """The champion and the reference as they were when the challenger came; either may be lacking."""

    champion: Rival | None
    reference: Rival | None

    def against(self, challenger: str) -> list[Rival]:
        """Those that are other models than the challenger, each once."""
        champion, reference = self.champion, self.reference
        if champion and reference and _same(champion, reference):
            name = f"the champion and reference (version {champion.version})"
            champion, reference = replace(champion, name=name, reference=True), None
        return [one for one in (champion, reference) if one is not None and one.model != challenger]

    def note(self, challenger: str) -> str:
        """What the decision says where a comparison is left out because there is nothing to compare."""
        if self.champion is None:
            return "No champion came before this model." if self.reference is None else "There was no champion."
        if self.champion.model == challenger:
            return f"It is the model of {self.champion.name} itself."
        if self.reference is not None and self.reference.model == challenger:
            return f"It is the model of {self.reference.name} itself."
        return ""


def find_rivals(store: Store, settings: Settings) -> Rivals:
    """The champion, and the reference: what `promote.reference` names, else the alias, else the champion.

    Raises `ConfigError` for a reference that is named and not to be found, and `TrackingError`.
    """
    uri, name = settings.tracking.uri, settings.tracking.registered_model
    champion = get_alias(uri, name, CHAMPION)
    reference: Rival | None = None
    if settings.promote.reference:
        reference = named_reference(store, settings)
    elif found := get_alias(uri, name, REFERENCE) or champion:
        reference = Rival.of(REFERENCE, found)
    return Rivals(Rival.of(CHAMPION, champion) if champion else None, reference)


def named_reference(store: Store, settings: Settings) -> Rival:
    """What `promote.reference` names: a version, an alias, or a model by the first digits of its digest."""
    uri, name, wanted = settings.tracking.uri, settings.tracking.registered_model, settings.promote.reference
    registered = versions(uri, name)
    found = next((one for one in registered if one.version == wanted), None) or get_alias(uri, name, wanted)
    if found is None and len(wanted) >= 8:
        found = next((one for one in reversed(registered) if one.tags.get(MODEL_TAG, "").startswith(wanted)), None)
    if found is not None:
        return Rival.of(REFERENCE, found)
    try:
        ref = store.resolve(f"model/{wanted.removeprefix('model/')}")
    except ArtifactUnknown as error:
        raise ConfigError(
            f"promote.reference is {wanted!r}, which is no alias and no version of {name}, and no model: {error}. "
            "Give one of these, or leave it empty for the best so far"
        ) from error
    return Rival(f"the reference (model {ref.short})", ref.digest, reference=True)


def _same(one: Rival, other: Rival) -> bool:
    return one.version == other.version != "" or (one.model == other.model != "")


def opponents(context: Context, challenger: Evidence, rivals: Sequence[Rival]) -> list[Opponent]:
    """Each rival compared with the challenger on the same pairs, judged again if need be; or why that cannot be."""
    return [_opponent(context, challenger, rival) for rival in rivals]


def _opponent(context: Context, challenger: Evidence, rival: Rival) -> Opponent:
    rows = rows_of(context, rival) if rival.model else None
    comparison, problem = None, ""
    if rows is not None:
        comparison = compare(challenger, evidence(rows))
    elif rival.model:
        problem = (
            f"it has no judgments of these held-out pairs under this protocol, and its weights (model "
            f"{rival.model[:12]}) are gone from {context.settings.storage.root}. Bring them back with `thinkreward "
            "artifacts copy` from another store, or take its alias away in the registry, or name another model "
            "in promote.reference."
        )
    else:
        problem = (
            f"that version has no tag {MODEL_TAG}, so which model it is cannot be told. Set the tag to the model's "
            "digest, or point the alias at a version that `thinkreward promote` registered."
        )
    return Opponent(rival.name, comparison, rival.champion, rival.reference, problem)


def rows_of(context: Context, rival: Rival) -> list[JudgedRow] | None:
    """The rival's judgments of the held-out pairs, made now if there are none; None if its weights are gone."""
    try:
        return _judged(context, rival, _reference(context.store, rival))
    except GONE:
        if _whole(context.store, rival.model):
            raise  # something else is gone
    restored = restore(context, rival)
    return None if restored is None else _judged(context, rival, restored)


def _judged(context: Context, rival: Rival, ref: ArtifactRef) -> list[JudgedRow]:
    name = f"rival-{rival.model[:12]}"
    job = context.job.model_copy(update={"inputs": {**context.job.inputs, name: ref}})
    return judged_rows(replace(context, job=job), name)


def _reference(store: Store, rival: Rival) -> ArtifactRef:
    """The model's reference; of one that is gone, enough to find its judgments by."""
    try:
        return store.reference("model", rival.model)
    except GONE:
        return ArtifactRef(kind="model", digest=rival.model, size=0, n_files=1)


def _whole(store: Store, model: str) -> bool:
    try:
        store.verify(store.reference("model", model))
    except GONE:
        return False
    return True


def restore(context: Context, rival: Rival) -> ArtifactRef | None:
    """The model out of the registered version's package, published again; None if that is gone too."""
    if not rival.package:
        return None
    store = context.store
    try:
        folder = store.fetch(store.reference("registry-model", rival.package)) / PACKAGED_MODEL
    except GONE:
        return None
    if not folder.is_dir():
        return None
    ref = context.publish("model", folder)
    return ref if ref.digest == rival.model else None


def obtainable(store: Store, rival: Mapping[str, Any]) -> bool:
    """Whether the weights of a rival that could not be compared are there by now."""
    if rival["model"] and _whole(store, rival["model"]):
        return True
    try:
        store.verify(store.reference("registry-model", rival["package"]))
    except GONE:
        return False
    return True
