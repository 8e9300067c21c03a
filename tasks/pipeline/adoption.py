"""Finished units taken from an output: after a clone and ``dvc pull`` the result cache is empty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from synthct.data.files import content_hash
from synthct.data.store.result_cache import ResultCache
from synthct.data.store.unit_files import array_damage, is_key
from synthct.tasks.pipeline.artefacts import UNIT_KEYS
from synthct.tasks.pipeline.events import emit


def adopt(units: ResultCache, out: Path, stage: str) -> int:
    """Publish the units of the stage's present output to the result cache; return how many.

    After adding a patient to a pulled data set, only that patient must be computed. A unit whose
    content does not have its recorded hash is skipped, and so is one with damaged voxels. Entries
    that are not a unit name and a key are reported and ignored: the output may come from somebody
    else.
    """
    adopted = 0
    for name, key, content in _recorded(out, stage):
        folder = out / name
        if not folder.is_dir() or units.has(key) or content_hash(folder) != content:
            continue
        if damaged := array_damage(folder):
            emit("note", stage=stage, text=f"{name}: not reused, {damaged} is damaged")
            continue
        units.publish(key, folder)
        adopted += 1
    return adopted


def _recorded(out: Path, stage: str) -> list[tuple[str, str, str]]:
    """(unit, key, content hash) of the valid entries of ``units.json``."""
    try:
        recorded: Any = json.loads((out / UNIT_KEYS).read_text())
        entries = [(name, each["key"], each["content"]) for name, each in recorded.items()]
    except FileNotFoundError:
        return []
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        emit(
            "note", stage=stage, text=f"{out / UNIT_KEYS} is not valid: no result is reused from it"
        )
        return []
    good = [each for each in entries if is_key(each[1]) and _is_name(each[0])]
    if len(good) < len(entries):
        text = f"{out / UNIT_KEYS}: {len(entries) - len(good)} entries are invalid"
        emit("note", stage=stage, text=text)
    return good


def _is_name(name: str) -> bool:
    return name not in {"", ".", ".."} and "/" not in name and "\0" not in name
