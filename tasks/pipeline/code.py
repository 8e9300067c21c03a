"""Source files that a module can run: the code part of a stage's DVC deps and of a unit's key.

The third-party packages that those files import are found too; ``tasks/pipeline/packages.py``
lists those that compute, with their versions.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from synthct.data.errors import MachineError

PACKAGE = "synthct"
ROOMS = ("data", "tasks", "flows")
"""Folders of the checkout that ``src/synthct`` links to: ``data/volume.py`` is
``synthct.data.volume``."""

_IN_NO_KEY = frozenset({"synthct.data.environment"})
"""Settings of where things are stored and run, which never change a result."""

_PAGE_PARTS = {".j2", ".css", ".js"}
"""Package files that are code as well: pages are built from them."""

_STARTED_NS = time.time_ns()
"""About when this process began to import the package."""

_CLOCK_SKEW_NS = 5_000_000_000
"""Tolerated clock difference of a file server (`synthct doctor` reports a larger one)."""


def code_files(module: str, *, root: Path | None = None) -> list[Path]:
    """Files of this package that importing ``module`` can reach, sorted, relative to ``root``.

    Every ``import`` statement counts, including those inside functions. A plug-in package (its
    ``__init__`` builds a ``Registry``) counts as its ``__init__`` alone: the params, not the
    imports, decide which members run.
    """
    root = root or source_root()
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name in _IN_NO_KEY or _file_of(name, root) is None:
            continue
        seen.add(name)
        waiting.extend(_imports(name, root))
        if "." in name:
            waiting.append(name.rsplit(".", 1)[0])
    return sorted({file.relative_to(root) for name in seen if (file := _file_of(name, root))})


def stage_code(module: str, *, root: Path | None = None) -> list[Path]:
    """DVC dependencies of a stage: single files, and plug-in packages as whole folders.

    The params may name any member, so the imports of all members are included.
    """
    root = root or source_root()
    files: set[Path] = set()
    folders: set[Path] = set()
    waiting = [module]
    while waiting:
        found = set(code_files(waiting.pop(), root=root)) - files
        files |= found
        for file in found:
            if file.name == "__init__.py" and _builds_registry(root / file):
                folders.add(file.parent)
                waiting += [
                    _module_of(member.relative_to(root).as_posix())
                    for member in (root / file.parent).rglob("*.py")
                    if member.name != "__init__.py"
                ]
    files |= {
        part.relative_to(root)
        for file in files
        for part in (root / file).parent.iterdir()
        if part.suffix in _PAGE_PARTS
    }
    loose = {file for file in files if not any(file.is_relative_to(f) for f in folders)}
    return sorted(loose | folders)


def packages_imported(modules: Iterable[str]) -> frozenset[str]:
    """Top-level names of the third-party packages that a unit of these modules can import."""
    return _third_party(tuple(_code_of(tuple(sorted(set(modules)))).values()))


def stage_packages(module: str, *, root: Path | None = None) -> frozenset[str]:
    """The same for a stage, whichever of the installed plug-ins its params name."""
    root = root or source_root()
    files: list[Path] = []
    for path in stage_code(module, root=root):
        files += (root / path).rglob("*.py") if (root / path).is_dir() else [root / path]
    return _third_party(tuple(file for file in files if file.suffix == ".py"))


def _third_party(files: tuple[Path, ...]) -> frozenset[str]:
    named = {
        name.split(".")[0] for file in files for name in _imported(file, file.stat().st_mtime_ns)
    }
    return frozenset(named - {PACKAGE} - sys.stdlib_module_names)


def code_hash(modules: Iterable[str]) -> str:
    """SHA-256 over the files that the modules reach; a third-party plug-in counts as its file."""
    return _code_hash(tuple(sorted(set(modules))))


@functools.lru_cache(maxsize=256)
def _code_hash(modules: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(_code_of(modules).items()):
        digest.update(f"{name}\0".encode() + _as_first_read(file))
    return digest.hexdigest()


def require_code(modules: Iterable[str], wanted: str) -> None:
    """Require, before a unit runs, that this process runs the code in the unit's key.

    A worker may have been started from another checkout, or before somebody changed a file: its
    result would be stored under the key of other code.

    Raises
    ------
    MachineError
        ``other-code``; nothing was run.
    """
    needed = tuple(sorted(set(modules)))
    changed = _changed(needed)
    if changed or code_hash(needed) != wanted:
        raise MachineError(
            f"the worker runs other code than this run: {changed[0]} changed after it was loaded"
            if changed
            else "the worker runs other code than this run",
            rule="a result is stored under the hash of the code that computed it",
            where=str(source_root()),
            remedy="restart the workers from the commit that runs (`--cluster local` does it "
            "itself) and run the same command again: finished results are kept",
            code="other-code",
        )


def _code_of(modules: tuple[str, ...]) -> dict[str, Path]:
    """Files that the modules reach, by their name in the hash."""
    root = source_root()
    files: dict[str, Path] = {}
    for module in modules:
        if _file_of(module, root):
            files |= {str(file): root / file for file in code_files(module, root=root)}
        else:
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                raise ModuleNotFoundError(module)
            files[module] = Path(spec.origin)
    return files


_READ: dict[Path, bytes] = {}


def _as_first_read(file: Path) -> bytes:
    """The file as this process read it first, which is what it runs even if the file changes."""
    if file not in _READ:
        _READ[file] = file.read_bytes()
    return _READ[file]


@functools.lru_cache(maxsize=256)
def _changed(modules: tuple[str, ...]) -> tuple[str, ...]:
    """Files that were imported before they were first hashed, and have changed since.

    The status change time (ctime) counts: a copy that preserves mtime is new all the same.
    """
    return tuple(
        name
        for name, file in sorted(_code_of(modules).items())
        if _module_of(name) in sys.modules
        and file not in _READ
        and file.stat().st_ctime_ns > _STARTED_NS + _CLOCK_SKEW_NS
    )


def _module_of(name: str) -> str:
    """``tasks/a/__init__.py`` is ``synthct.tasks.a``; a plug-in from outside keeps its name."""
    if not name.endswith(".py"):
        return name
    return f"{PACKAGE}." + name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")


def source_root() -> Path:
    """The folder of :data:`ROOMS`: the checkout, or the package where it is installed."""
    return Path(__file__).resolve().parents[2]


def _file_of(module: str, root: Path) -> Path | None:
    package, *parts = module.split(".")
    if package != PACKAGE or not parts or parts[0] not in ROOMS:
        return None
    base = root.joinpath(*parts)
    if (base / "__init__.py").is_file():
        return base / "__init__.py"
    file = base.with_suffix(".py")
    return file if file.is_file() else None


def _imports(module: str, root: Path) -> list[str]:
    file = _file_of(module, root)
    assert file is not None
    return list(_imported(file, file.stat().st_mtime_ns))


@functools.lru_cache(maxsize=4096)
def _imported(file: Path, modified_ns: int) -> tuple[str, ...]:
    """Every dotted name that an import statement of the file may refer to."""
    found: list[str] = []
    for node in ast.walk(_parse(file, modified_ns)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(found)


@functools.lru_cache(maxsize=32)
def _parse(file: Path, _modified_ns: int) -> ast.Module:
    return ast.parse(file.read_text())


def _builds_registry(file: Path) -> bool:
    return _registry_in(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _registry_in(file: Path, modified_ns: int) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(called := node.func, ast.Name | ast.Subscript)
        and (called.id if isinstance(called, ast.Name) else getattr(called.value, "id", ""))
        == "Registry"
        for node in ast.walk(_parse(file, modified_ns))
    )
