"""Imports of a source file, cached by its content across processes.

Parsing every file that a stage can reach would take each command and each worker seconds; the cache
replaces it by a hash and a look-up. It is a file in the checkout's private folder and may be
deleted at any time: missing entries are parsed.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Scan:
    """One file's import statements.

    Parameters
    ----------
    imports
        Every dotted name that an import statement may refer to, including statements in functions.
    registry
        Whether the file builds a ``Registry``, and so is the ``__init__`` of a plug-in package.
    """

    imports: tuple[str, ...]
    registry: bool


class ImportScanCache:
    """Scans by the SHA-256 of the file's content, in a JSON file.

    Parameters
    ----------
    folder
        The checkout's private folder. If it is not writable, nothing is cached.
    """

    def __init__(self, folder: Path) -> None:
        # Another version of this module may find other imports in the same file.
        own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
        self._file = folder / f"imports-{own}.json"
        self._known: dict[str, Any] | None = None
        self._added = False

    def scan(self, content: bytes) -> Scan:
        """The scan of a file with this content."""
        if self._known is None:
            self._known = self._read()
        key = hashlib.sha256(content).hexdigest()
        if key not in self._known:
            found = scan_text(content)
            self._known[key] = [list(found.imports), found.registry]
            self._added = True
        imports, registry = self._known[key]
        return Scan(tuple(imports), bool(registry))

    def save(self) -> None:
        """Write the scans added since the last save; of two processes, the later one stays."""
        if not self._added:
            return
        self._added = False
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._file.parent, prefix=".imports.")
            with os.fdopen(handle, "w") as file:
                json.dump(self._known, file)
            os.replace(temporary, self._file)

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


@functools.cache
def import_scan_cache(root: Path) -> ImportScanCache:
    """The cache of a checkout."""
    return ImportScanCache(root / ".synthct")


def scan_text(content: bytes) -> Scan:
    """Parse a Python file."""
    found: list[str] = []
    registry = False
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call):
            registry = registry or _called(node.func) == "Registry"
    return Scan(tuple(dict.fromkeys(found)), registry)


def _called(function: ast.expr) -> str:
    """Name of a called function or of a generic class: ``Registry`` of ``Registry[T](...)``."""
    named = function.value if isinstance(function, ast.Subscript) else function
    return named.id if isinstance(named, ast.Name) else ""
