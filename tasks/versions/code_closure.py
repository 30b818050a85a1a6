"""The code that a function reaches by name, and digests of it that change when its meaning may have changed.

Reached are functions, classes and constants of ours: in the function's own module and, through imports, in others. A
change of another function of the same file does not count. Neither do comments, docstrings, annotations of arguments,
formatting, and the words of errors and log lines, nor modules that cannot change a result (`LEFT_OUT`).
Not reached is what only a string names, and a method of an object whose class is named nowhere on the way.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from models.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
OURS = ("models", "tasks", "configs", "flows")

# Modules, or packages, whose code may change while all results stay as they are.
LEFT_OUT: dict[str, str] = {
    "configs": "settings enter keys by their values, so that a new field changes the key by itself",
    "tasks.pipeline.graph": "sections, inputs and versions enter keys themselves",
    "models.errors": "what is raised is no result",
    "models.evaluation.leaderboard": "how a report looks: a stage does not compute again for a colour",
    "models.evaluation.report": "how a report looks: a stage does not compute again for a colour",
    "models.lifeline": "when a process ends, not what it computes",
    "models.media.decoding": "in which process a medium is decoded; which codec does it is in models.media.frames",
    "models.training.worker.events": "how a training's processes report",
    "tasks.pipeline.engines": "which program starts a training's processes",
    "tasks.store.artifact_types": "bytes are stored as they are",
    "tasks.store.artifacts": "bytes are stored as they are",
    "tasks.store.index": "bytes are stored as they are",
    "tasks.store.integrity": "bytes are stored as they are",
    "tasks.pipeline.child": "how a stage's process reports",
    "tasks.pipeline.launch": "how a stage's process is started and followed",
    "tasks.store.leases": "who computes, not what",
    "tasks.store.local_cache": "bytes are verified by their sha256",
    "tasks.store.objects.base": "bytes are stored as they are",
    "tasks.store.objects.opening": "bytes are stored as they are",
    "tasks.store.objects.probe": "whether a storage can be written",
    "tasks.store.objects.local": "bytes are stored as they are",
    "tasks.store.objects.s3": "bytes are stored as they are",
    "tasks.pipeline.once": "who computes, not what",
    "tasks.pipeline.pinning": "which artifact a name means; its digest is among the inputs",
    "tasks.pipeline.plan": "keys and reuse",
    "tasks.pipeline.run": "who computes, and where",
    "tasks.tracking.runs": "figures on their way to MLflow",
    "tasks.tracking.client": "figures on their way to MLflow",
    "tasks.tracking.operations": "figures on their way to MLflow",
    "tasks.tracking.tracked_run": "figures on their way to MLflow",
    "tasks.tracking.values": "figures on their way to MLflow",
    "tasks.tracking.address": "figures on their way to MLflow",
    "tasks.store.work": "bytes are stored as they are",
}
# Modules whose code does not count either, but what it reaches does.
PASSED: dict[str, str] = {
    "tasks.stages.context": "where a stage's inputs, outputs and figures go; the data set comes from it",
    "tasks.training.start": "in which processes a training runs; what it learns is in models.training",
}
LOG_METHODS = {"log", "debug", "info", "warning", "error", "exception"}  # methods whose words are for people


class Module:
    """One source file: its top-level definitions, and what its imports mean."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.tree = ast.parse(source)

    @cached_property
    def defined(self) -> dict[str, list[ast.stmt]]:
        """The statements that give each top-level name its meaning, in `if` and `try` too."""
        found: dict[str, list[ast.stmt]] = {}
        for node in _statements(self.tree.body):
            for name in _names_given(node):
                found.setdefault(name, []).append(node)
        return found

    def imported(self, within: Iterable[ast.AST]) -> dict[str, tuple[str, str]]:
        """What imports among these nodes call by which name: (module, name there), the name empty for a module."""
        found: dict[str, tuple[str, str]] = {}
        for node in within:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
                for alias in node.names:
                    found[alias.asname or alias.name] = (node.module, alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] in OURS:
                        found[alias.asname or alias.name] = (alias.name, "")
        return found

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """The imports of the whole module."""
        return self.imported(_statements(self.tree.body))


@dataclass
class Closure:
    """Everything that a function reaches by name in the source files below `root`."""

    root: Path = ROOT
    _modules: dict[str, Module | None] = field(default_factory=dict)

    def of(self, entry: str) -> dict[str, str]:
        """Digests by module of what `module:name` reaches. Raises `ConfigError` for an entry that is not there."""
        reached: dict[str, dict[str, list[ast.stmt]]] = {}
        module, _, name = entry.partition(":")
        todo = [(module, name)]
        while todo:
            where, what = todo.pop()
            found = self._find(where, what)
            if found is None:
                continue
            home, names = found
            for one in names:
                if one in reached.setdefault(home.name, {}):
                    continue
                reached[home.name][one] = home.defined[one]
                for statement in home.defined[one]:
                    todo += self._reached_by(home, statement)
        if name not in reached.get(module, {}):
            raise ConfigError(f"there is no {entry} below {self.root}: correct the stage's body")
        return {
            where: sha256("\n".join(f"{one} {_plain(s)}" for one in sorted(names) for s in names[one]))
            for where, names in sorted(reached.items())
            if where not in PASSED
        }

    def _module(self, name: str) -> Module | None:
        if name not in self._modules:
            path = self.root / f"{name.replace('.', '/')}.py"
            self._modules[name] = Module(name, path.read_text(encoding="utf-8")) if path.is_file() else None
        return self._modules[name]

    def _find(self, where: str, what: str) -> tuple[Module, list[str]] | None:
        """The module that defines a name, and the names to follow: all of them where a module itself is meant."""
        if left_out(where) or (what and left_out(f"{where}.{what}")):
            return None
        if what and (inner := self._module(f"{where}.{what}")) is not None:
            return inner, list(inner.defined)  # `from package import module`
        home = self._module(where)
        if home is None:
            return None
        if not what:
            return home, list(home.defined)
        if what in home.defined:
            return home, [what]
        if what in home.imports:  # imported there, and from there again
            return self._find(*home.imports[what])
        return None

    def _reached_by(self, home: Module, statement: ast.stmt) -> Iterator[tuple[str, str]]:
        imports = {**home.imports, **home.imported(ast.walk(statement))}
        modules = {name: found for name in imports if (found := self._as_module(*imports[name]))}
        followed: set[ast.AST] = set()  # names of modules of which one member is meant
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute):
                dotted = _dotted(node)
                for name in (name for name in modules if dotted.startswith(f"{name}.")):
                    followed.add(_root(node))
                    yield modules[name], dotted.removeprefix(f"{name}.").split(".")[0]
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node not in followed:
                if node.id in imports:
                    yield imports[node.id]
                elif node.id in home.defined:
                    yield home.name, node.id

    def _as_module(self, where: str, what: str) -> str:
        """The module that an import means, or nothing if it means something in one."""
        if not what:
            return where
        return f"{where}.{what}" if self._module(f"{where}.{what}") is not None else ""


def left_out(module: str) -> bool:
    """Whether a module, or one of its packages, is in `LEFT_OUT`."""
    parts = module.split(".")
    return any(".".join(parts[:count]) in LEFT_OUT for count in range(1, len(parts) + 1))


def sha256(text: str) -> str:
    """The first 16 digits: enough to see a change."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those inside `if`, `try` and `with` included."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.With):
            for inner in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, inner, []))
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)
        else:
            yield node


def _names_given(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name))


def _root(node: ast.Attribute) -> ast.AST:
    return _root(node.value) if isinstance(node.value, ast.Attribute) else node.value


def _dotted(node: ast.Attribute) -> str:
    """`a.b.c` of an attribute of a name; empty for one of anything else."""
    parts: list[str] = []
    current: ast.expr = node
    while isinstance(current, ast.Attribute):
        parts.append(current.attr)
        current = current.value
    return ".".join([current.id, *reversed(parts)]) if isinstance(current, ast.Name) else ""


def _plain(node: ast.AST, *, words: bool = True) -> str:
    """A syntax tree as text, equal for equal meaning and for all versions of Python; strings go where not `words`."""
    if isinstance(node, ast.Raise):
        words = False
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOG_METHODS:
        words = False
    if isinstance(node, ast.JoinedStr) and not words:
        return "''"
    if isinstance(node, ast.Constant):
        return repr(node.value) if words or not isinstance(node.value, str) else "''"
    parts = []
    for name, value in ast.iter_fields(node):
        if name in ("ctx", "type_comment", "kind", "returns") or (name == "annotation" and isinstance(node, ast.arg)):
            continue
        if name == "body" and isinstance(value, list):
            value = _without_docstring(value)
        many = value if isinstance(value, list) else [value]
        if shown := [
            _plain(one, words=words) if isinstance(one, ast.AST) else repr(one) for one in many if one is not None
        ]:
            parts.append(f"{name}={','.join(shown)}")
    return f"{type(node).__name__}({' '.join(parts)})"


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    def is_text(node: ast.stmt) -> bool:
        return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)

    return [node for node in body if not is_text(node)]
