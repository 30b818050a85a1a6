"""The code that a registered model brings along, so that it loads where Thinkreward is not installed.

Our packages have plain names, `models` among them, and so may a consumer's. So what the judge needs travels as one
package of another name, made from its content: it neither hides a consumer's `models` nor is hidden by it, and two
versions with different code can be loaded in one process.
"""

import ast
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "models"
_IMPORTED = re.compile(rf"^(\s*(?:from|import) ){PACKAGE}(?=[.\s])", re.MULTILINE)


def bundle_code(entry: Path, folder: Path) -> tuple[Path, Path]:
    """Write `entry` and what it imports of `models` into `folder`; gives the new entry file and the package.

    The package's name ends in the first digits of the sha256 of its files, so equal code has an equal name.
    """
    sources = {name: (ROOT / name).read_text(encoding="utf-8") for name in sorted(needed(entry))}
    digest = hashlib.sha256()
    for name, source in sources.items():
        digest.update(f"{name}\n{source}\n".encode())
    package = f"thinkreward_judge_{digest.hexdigest()[:12]}"
    for name, source in sources.items():
        target = folder / package / Path(name).relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(with_imports_of(source, package), encoding="utf-8")
    for inner in [folder / package, *(path for path in (folder / package).rglob("*") if path.is_dir())]:
        (inner / "__init__.py").touch()

    made = folder / entry.name
    made.write_text(with_imports_of(entry.read_text(encoding="utf-8"), package), encoding="utf-8")
    return made, folder / package


def with_imports_of(source: str, package: str) -> str:
    """A module's source with its imports from `models` as imports from `package`.

    >>> with_imports_of("from models.judging.judge import Judge", "other")
    'from other.judging.judge import Judge'
    """
    return _IMPORTED.sub(rf"\g<1>{package}", source)


def needed(entry: Path) -> set[str]:
    """The files of `models` that a file imports, directly or through others, relative to the repository."""
    found: set[str] = set()
    todo = [entry]
    while todo:
        for name in _imports(todo.pop()):
            path = f"{name.replace('.', '/')}.py"
            if path not in found and (ROOT / path).is_file():
                found.add(path)
                todo.append(ROOT / path)
    return found


def _imports(path: Path) -> Iterable[str]:
    """The modules of `models` that one file names, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
