"""Workspaces: one folder per preset, with its own params, DAG, lock and outputs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthct.data.errors import UsageError, nearest
from synthct.data.files import write_whole
from synthct.data.yaml_text import read_yaml, yaml_of

if TYPE_CHECKING:
    from synthct.tasks.chain.params import Params

PRESETS = Path("presets")
WORKSPACES = Path("workspaces")

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class Opened:
    """A workspace that is ready to run, and notes for the user."""

    workspace: Path
    notes: tuple[str, ...] = ()


def preset_names(root: Path) -> list[str]:
    """Names of all presets."""
    return sorted(path.stem for path in (root / PRESETS).glob("*.yaml"))


def open_workspace(root: Path, preset: str | None, *, file: Path | None = None) -> Opened:
    """The workspace of a preset, created on first use; None is the demo in the root.

    ``file`` is a preset elsewhere than ``presets/NAME.yaml``.
    A preset overrides defaults of the params. Once the workspace is created, its own
    ``workspaces/NAME/params.yaml`` is used; that file is never overwritten.

    Raises
    ------
    UsageError
        ``unknown-preset``, or the preset has invalid params.
    """
    if preset is None:
        return Opened(Path())
    if not _NAME.fullmatch(preset):
        raise unknown_preset(root, preset)
    workspace = WORKSPACES / preset
    params_file = root / workspace / "params.yaml"
    source = file or root / PRESETS / f"{preset}.yaml"
    shown = source.name if file else f"{PRESETS / preset}.yaml"
    if not params_file.exists():
        if not source.is_file():
            raise unknown_preset(root, preset)
        write_whole(params_file, _resolved(source, shown))
        return Opened(workspace, (f"created {workspace} from {shown}",))
    return Opened(workspace, tuple(_differences(root, preset, params_file, source, shown)))


def params_of(root: Path, preset: str | None) -> Params:
    """The params of a workspace, or of the preset that it would be created from.

    Raises
    ------
    UsageError
        ``unknown-preset``, or the params are invalid.
    """
    from synthct.tasks.chain.params import load_params

    if preset is None:
        return load_params(root / "params.yaml")
    places = (root / WORKSPACES / preset / "params.yaml", root / PRESETS / f"{preset}.yaml")
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise unknown_preset(root, preset)
    return load_params(file)


def _resolved(source: Path, shown: str) -> str:
    from synthct.tasks.chain.params import parse_params, resolved

    params = parse_params(source.read_text(), where=shown)
    head = (
        f"# Created from {shown}; this file now determines what runs in this "
        "workspace.\n# Edit it freely: it is never overwritten.\n"
    )
    return head + resolved(params)


def unknown_preset(root: Path, preset: str) -> UsageError:
    """The error for a name that no preset has."""
    known = preset_names(root)
    near = nearest(preset, known)
    return UsageError(
        f"there is no preset {preset!r}",
        where=f"{PRESETS}/",
        remedy=(f"did you mean {near!r}? " if near else "")
        + f"presets: {', '.join(known) or 'none'}",
        code="unknown-preset",
    )


_SHORT = 80
"""Length up to which two different values are shown in one line."""


def _differences(root: Path, preset: str, params_file: Path, source: Path, shown: str) -> list[str]:
    """A note if the preset now gives other params than the workspace has."""
    if not source.is_file():
        return [f"{shown} no longer exists; {params_file.relative_to(root)} is used"]
    here = _flat(read_yaml(params_file))
    there = _flat(yaml_of(_resolved(source, shown), where=shown))
    keys = sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))
    if not keys:
        return []
    apart = ", ".join(_apart(key, here.get(key), there.get(key)) for key in keys[:3])
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    name = params_file.relative_to(root)
    return [
        f"{name} differs from {shown}: {apart}{more}; the workspace's file is used "
        f"(remove {name} to use {shown}; results are kept)"
    ]


def _apart(key: str, here: Any, there: Any) -> str:
    """The key, with both values if they fit into a line (a study's arms do not)."""
    values = f"{here!r}, preset {there!r}"
    return f"{key} ({values})" if len(values) <= _SHORT else key


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return found
