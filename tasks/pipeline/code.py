"""Source files that a module can run: the code part of a stage's DVC deps and of a unit's key.

The third-party packages that those files import are found too; ``tasks/pipeline/packages.py``
lists those that compute, with their versions.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from synthct.data.errors import MachineError
from synthct.tasks.pipeline.import_scan import Scan, import_scan_cache

PACKAGE = "synthct"
PACKAGE_FOLDERS = ("data", "tasks", "flows")
"""Folders of the checkout that ``src/synthct`` links to: ``data/volume.py`` is
``synthct.data.volume``."""

_IN_NO_KEY = frozenset({"synthct.data.environment"})
"""Settings of where things are stored and run, which never change a result."""

_PAGE_PARTS = {".j2", ".css", ".js"}
"""Package files that are code as well: pages are built from them."""

_STARTED_NS = time.time_ns()
"""Approximate time at which this process began to import the package [ns]."""

_CLOCK_SKEW_NS = 5_000_000_000
"""Tolerated clock difference of a file server (`synthct doctor` reports a larger one)."""


class CodeGraph:
    """The import graph of a checkout's files, each as it was when first read.

    Parameters
    ----------
    root
        The folder of :data:`PACKAGE_FOLDERS`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._places: dict[str, Path | None] = {}
        self._scans: dict[Path, Scan] = {}
        self._stages: dict[str, tuple[frozenset[Path], frozenset[Path]]] = {}

    def files(self, module: str) -> list[Path]:
        """Files of this package that importing ``module`` can reach, sorted, relative to the root.

        Every ``import`` statement counts, including those inside functions. A plug-in package (its
        ``__init__`` builds a ``Registry``) counts as its ``__init__`` alone: the params, not the
        imports, decide which members run.
        """
        return sorted(file.relative_to(self.root) for file in self._reached([module], set()))

    def stage(self, module: str) -> list[Path]:
        """DVC dependencies of a stage: single files, and plug-in packages as whole folders.

        The params may name any member, so the imports of all members are included.
        """
        files, folders = self._stage(module)
        parts = {
            part
            for folder in {file.parent for file in files}
            for part in folder.iterdir()
            if part.suffix in _PAGE_PARTS
        }
        loose = {file for file in files | parts if folders.isdisjoint(file.parents)}
        return sorted(path.relative_to(self.root) for path in loose | folders)

    def stage_packages(self, module: str) -> frozenset[str]:
        """Third-party packages that a stage can import, whichever plug-ins its params name."""
        files, folders = self._stage(module)
        return self.third_party(files.union(*(folder.rglob("*.py") for folder in folders)))

    def third_party(self, files: Iterable[Path]) -> frozenset[str]:
        """Top-level names that the files import and that are neither ours nor Python's own."""
        named = {name.split(".")[0] for file in files for name in self._scan(file).imports}
        import_scan_cache(self.root).save()
        return frozenset(named - {PACKAGE} - sys.stdlib_module_names)

    def _stage(self, module: str) -> tuple[frozenset[Path], frozenset[Path]]:
        """All files that a stage can reach, and the folders of plug-in packages among them."""
        if module not in self._stages:
            self._stages[module] = self._walk_stage(module)
        return self._stages[module]

    def _walk_stage(self, module: str) -> tuple[frozenset[Path], frozenset[Path]]:
        folders: set[Path] = set()
        seen: set[str] = set()
        files: set[Path] = set()
        waiting = [module]
        while waiting:
            found = self._reached(waiting, seen)
            files |= found
            plugins = {file.parent for file in found if self._is_registry(file)}
            folders |= plugins
            waiting = [
                _module_of(member.relative_to(self.root).as_posix())
                for folder in plugins
                for member in folder.rglob("*.py")
                if member.name != "__init__.py"
            ]
        return frozenset(files), frozenset(folders)

    def _reached(self, modules: Iterable[str], seen: set[str]) -> set[Path]:
        """Files that the modules reach, except through names already ``seen``, which grows."""
        files: set[Path] = set()
        waiting = list(modules)
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in _IN_NO_KEY or (file := self._place(name)) is None:
                continue
            files.add(file)
            waiting.extend(self._scan(file).imports)
            if "." in name:
                waiting.append(name.rsplit(".", 1)[0])
        import_scan_cache(self.root).save()
        return files

    def _place(self, module: str) -> Path | None:
        if module not in self._places:
            self._places[module] = _file_of(module, self.root)
        return self._places[module]

    def _scan(self, file: Path) -> Scan:
        if file not in self._scans:
            self._scans[file] = import_scan_cache(self.root).scan(file.read_bytes())
        return self._scans[file]

    def _is_registry(self, file: Path) -> bool:
        return file.name == "__init__.py" and self._scan(file).registry


def code_files(module: str, *, root: Path | None = None) -> list[Path]:
    """:meth:`CodeGraph.files` of this checkout or of another one."""
    return CodeGraph(root or source_root()).files(module)


def packages_imported(modules: Iterable[str]) -> frozenset[str]:
    """Top-level names of the third-party packages that a unit of these modules can import."""
    graph = CodeGraph(source_root())
    return graph.third_party(_code_of(tuple(sorted(set(modules))), graph).values())


def code_hash(modules: Iterable[str]) -> str:
    """SHA-256 over the files that the modules reach; a third-party plug-in counts as its file."""
    return _code_hash(tuple(sorted(set(modules))))


@functools.lru_cache(maxsize=256)
def _code_hash(modules: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(_code_of(modules, CodeGraph(source_root())).items()):
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


def _code_of(modules: tuple[str, ...], graph: CodeGraph) -> dict[str, Path]:
    """Files that the modules reach, by their name in the hash."""
    files: dict[str, Path] = {}
    for module in modules:
        if _file_of(module, graph.root):
            files |= {str(file): graph.root / file for file in graph.files(module)}
        else:
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                raise ModuleNotFoundError(module)
            files[module] = Path(spec.origin)
    return files


_READ: dict[Path, bytes] = {}


def _as_first_read(file: Path) -> bytes:
    """The file as first read by this process, whose code it runs even if the file changes."""
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
        for name, file in sorted(_code_of(modules, CodeGraph(source_root())).items())
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
    """The folder of :data:`PACKAGE_FOLDERS`: the checkout, or the package where it is installed."""
    return Path(__file__).resolve().parents[2]


def _file_of(module: str, root: Path) -> Path | None:
    package, *parts = module.split(".")
    if package != PACKAGE or not parts or parts[0] not in PACKAGE_FOLDERS:
        return None
    base = root.joinpath(*parts)
    for file in (base / "__init__.py", base.with_suffix(".py")):
        if file.is_file():
            return file
    return None
