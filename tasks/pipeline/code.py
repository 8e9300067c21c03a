"""Which source files a module runs: the code part of a stage's DVC deps and of a unit's key.

The third-party packages that those files import are listed too; ``tasks/pipeline/packages.py``
says which of them compute, and in which version.
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
"""Declares where things lie and run, which never changes a result."""

_PAGE_PARTS = {".j2", ".css", ".js"}
"""Package files that are code as well: pages are built from them."""

_BORN_NS = time.time_ns()
"""About when this process began to load our rooms."""

_CLOCKS_NS = 5_000_000_000
"""How far the clock of a file server may be off (`synthct doctor` calls more a fault)."""


def code_files(module: str, *, root: Path | None = None) -> list[Path]:
    """Files of our rooms that importing ``module`` can reach, sorted, relative to ``root``.

    Every ``import`` statement counts, lazy ones inside functions too. A plug-in package (its
    ``__init__`` builds a ``Registry``) counts as its ``__init__`` alone: which members run is
    said by the params, not by the imports.
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
    """What DVC must watch for a stage: files one by one, plug-in packages as whole folders.

    Any member may be named by the params, so what the members import is watched too.
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
        beside.relative_to(root)
        for file in files
        for beside in (root / file).parent.iterdir()
        if beside.suffix in _PAGE_PARTS
    }
    loose = {file for file in files if not any(file.is_relative_to(f) for f in folders)}
    return sorted(loose | folders)


def packages_imported(modules: Iterable[str]) -> frozenset[str]:
    """Top-level names of the foreign packages that a unit of these modules can import."""
    return _foreign(tuple(_code_of(tuple(sorted(set(modules)))).values()))


def stage_packages(module: str, *, root: Path | None = None) -> frozenset[str]:
    """The same for a stage, whichever of the known plug-ins its params name."""
    root = root or source_root()
    files: list[Path] = []
    for path in stage_code(module, root=root):
        files += (root / path).rglob("*.py") if (root / path).is_dir() else [root / path]
    return _foreign(tuple(file for file in files if file.suffix == ".py"))


def _foreign(files: tuple[Path, ...]) -> frozenset[str]:
    named = {
        name.split(".")[0] for file in files for name in _imported(file, file.stat().st_mtime_ns)
    }
    return frozenset(named - {PACKAGE} - sys.stdlib_module_names)


def code_hash(modules: Iterable[str]) -> str:
    """SHA-256 over the files that the modules reach; strangers' plug-ins count as their file."""
    return _code_hash(tuple(sorted(set(modules))))


@functools.lru_cache(maxsize=256)
def _code_hash(modules: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(_code_of(modules).items()):
        digest.update(f"{name}\0".encode() + _as_first_read(file))
    return digest.hexdigest()


def require_code(modules: Iterable[str], wanted: str) -> None:
    """Before a unit runs: this process has the code that the unit's key stands for.

    A worker may have been started from another checkout, or before somebody changed a file: its
    result would be kept under the key of code that never made it.

    Raises
    ------
    MachineError
        ``other-code``; nothing was run.
    """
    needed = tuple(sorted(set(modules)))
    changed = _changed(needed)
    if changed or code_hash(needed) != wanted:
        raise MachineError(
            "a result is kept under the hash of the code that made it",
            problem=f"the worker runs other code than this run: {changed[0]} changed after it "
            "was loaded"
            if changed
            else "the worker runs other code than this run",
            where=str(source_root()),
            remedy="start the workers anew from the commit that runs (`--cluster local` does it "
            "by itself) and run the same command again: finished units are kept",
            code="other-code",
        )


def _code_of(modules: tuple[str, ...]) -> dict[str, Path]:
    """Files that the modules reach, by the name under which they enter the hash."""
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
    """What this process saw first, which is what it runs, whatever lies there by now."""
    if file not in _READ:
        _READ[file] = file.read_bytes()
    return _READ[file]


@functools.lru_cache(maxsize=256)
def _changed(modules: tuple[str, ...]) -> tuple[str, ...]:
    """Files that were loaded before anybody read them for a hash, and are others by now.

    The time of the status counts: a copy that keeps its times is new all the same.
    """
    return tuple(
        name
        for name, file in sorted(_code_of(modules).items())
        if _module_of(name) in sys.modules
        and file not in _READ
        and file.stat().st_ctime_ns > _BORN_NS + _CLOCKS_NS
    )


def _module_of(name: str) -> str:
    """``tasks/a/__init__.py`` is ``synthct.tasks.a``; a plug-in from outside keeps its name."""
    if not name.endswith(".py"):
        return name
    return f"{PACKAGE}." + name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")


def source_root() -> Path:
    """The folder that holds our rooms: the checkout, or the package where it is installed."""
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
    """Every dotted name that an import statement of the file may mean."""
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
