"""Whose an image file is and what it shows, by its place among the others.

Files that are no DICOM say neither. People say it in the names: a folder for each patient, a
folder for each modality, one flat folder (``case001_ct`` beside ``case001_mr``), BIDS, nnU-Net.
The nearest name that is no word of the trade is taken for the patient's
(:mod:`synthct.tasks.intake.words`); where that could make one patient of two, nobody's name is
taken, and a person is asked.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from synthct.data.volume import Modality
from synthct.tasks.intake.words import SPLITS, Words, stem_of, words_of

BIDS, NNUNET, FLAT = "BIDS", "nnU-Net", "one flat folder (NAME_ct beside NAME_mr)"
BY_MODALITY, BY_PATIENT = "a folder for each modality", "a folder for each patient"

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_NNUNET_FOLDER = re.compile(r"(?i)images(tr|ts|val)")

TWO_PLACES = "the same name stands in different places: two patients may share it"
NO_PARTNER = "no two names go together: which CT belongs to which source is not known"
MIXED = "files named for a patient lie beside files named for no one"
NAMELESS = "neither the file nor a folder above it is named for a patient"


@dataclass(frozen=True)
class Named:
    """What the names say of one file.

    Parameters
    ----------
    whose
        The patient or case; empty where ``unclear`` says why it is not known.
    modality
        None where no name says it.
    day
        Day or session that the names tell.
    layout
        How the files are ordered, for the person at the terminal.
    within
        Names above the patient's: two patients of one name lie within different ones.
    level
        0: the file's own name says whose it is; n: the n-th folder above it.
    mask, derived
        A mask or label map; what a BIDS data set keeps below ``derivatives``.
    """

    whose: str
    modality: Modality | None
    day: str
    layout: str
    within: tuple[str, ...] = ()
    level: int = 0
    unclear: str = ""
    mask: bool = False
    derived: bool = False


def named_files(
    files: Mapping[Path, Path], channels: Mapping[Path, Mapping[str, str]]
) -> dict[Path, Named]:
    """What the names say of each file.

    Parameters
    ----------
    files
        Resolved file and the resolved folder of the source that it was found in.
    channels
        By the folder of an nnU-Net data set what its channels are.
    """
    names = {path: _parts(path, source, channels) for path, source in files.items()}
    depth = _common_depth(names, files)
    named = {path: _named(path, names[path], depth[files[path]]) for path in files}
    for judge in (_one_folder, _two_places, _partners):
        named = judge(named)
    return named


def _parts(path: Path, source: Path, channels: Mapping[Path, Mapping[str, str]]) -> list[Words]:
    """Words of the file's name, then of each folder up to the source and the one above it."""
    stem = words_of(stem_of(path.name))
    channel = _CHANNEL.fullmatch(stem_of(path.name))
    if channel and _NNUNET_FOLDER.fullmatch(path.parent.name):
        name = channels.get(path.parent.parent, {}).get(channel[2], "")
        stem = Words(channel[1], words_of(name).modality)
    below = len(path.parent.relative_to(source).parts)
    return [stem, *(words_of(folder.name) for folder in [*path.parents][: below + 2])]


def _common_depth(
    names: Mapping[Path, list[Words]], files: Mapping[Path, Path]
) -> dict[Path, set[str]]:
    """By source the names that all its files share though they lie apart: nobody's, then.

    ``P1/export1/ct``, ``P2/export1/ct``: ``export1`` is no patient, the folder above it is.
    """
    structural: dict[Path, set[str]] = defaultdict(set)
    for source in set(files.values()):
        own = [names[path] for path in files if files[path] == source]
        while True:
            nearest = [_nearest(parts, structural[source]) for parts in own]
            firsts = {parts[at].whose for parts, at in zip(own, nearest, strict=True) if at >= 0}
            above = {
                parts[further].whose
                for parts, at in zip(own, nearest, strict=True)
                if at >= 0 and (further := _nearest(parts[:-1], structural[source], at + 1)) >= 0
            }
            if len(firsts) != 1 or len(above) < 2:
                break
            structural[source] |= firsts
    return structural


def _nearest(parts: Sequence[Words], nobody: Iterable[str], start: int = 0) -> int:
    for level in range(start, len(parts)):
        if parts[level].whose and parts[level].whose not in nobody:
            return level
    return -1


def _named(path: Path, parts: list[Words], nobody: Iterable[str]) -> Named:
    inside = parts[:-1]  # the folder above the source may name a patient, but orders nothing
    level = _nearest(parts, nobody)
    whose = parts[level].whose if level >= 0 else ""
    within = tuple(
        one.whose for one in inside[level + 1 :] if one.whose not in ("", whose, *nobody)
    )
    folders = [folder.name.lower() for folder in [*path.parents][: len(inside) - 1]]
    within += tuple(name for name in folders if name in SPLITS)
    by = next((at for at, one in enumerate(inside) if one.modality is not None), -1)
    return Named(
        whose,
        inside[by].modality if by >= 0 else None,
        " ".join(one.day for one in reversed(inside) if one.day),
        _layout(path, parts, level, by),
        within,
        max(level, 0),
        "" if whose else NAMELESS,
        any(one.mask for one in inside[:-1]),
        parts[0].bids and "derivatives" in (folder.name for folder in path.parents),
    )


def _layout(path: Path, parts: list[Words], level: int, by: int) -> str:
    if parts[0].bids:
        return BIDS
    if _NNUNET_FOLDER.fullmatch(path.parent.name) and _CHANNEL.fullmatch(stem_of(path.name)):
        return NNUNET
    if level == 0:
        return BY_MODALITY if by > 0 or (by == 0 and parts[1].modality) else FLAT
    return BY_PATIENT


def _one_folder(named: dict[Path, Named]) -> dict[Path, Named]:
    """A plain ``ct.nii.gz`` makes its folder one patient's: what lies beside it is of the same."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in named:
        folders[path.parent].append(path)
    changed = dict(named)
    for members in folders.values():
        scans = [path for path in members if not named[path].mask]
        plain = [path for path in scans if named[path].level > 0]
        own = [path for path in scans if named[path].level == 0 and named[path].whose]
        names = {named[path].whose for path in own}
        if not plain or not own or _paired(named[path] for path in own):
            continue
        for path in [*own, *(plain if len(names) > 1 else [])]:
            like = named[plain[0]]
            changed[path] = (
                replace(named[path], whose="", unclear=MIXED)
                if len(names) > 1
                else replace(named[path], whose=like.whose, within=like.within, level=like.level,
                             layout=like.layout, unclear=like.unclear)
            )  # fmt: skip
    return changed


def _two_places(named: dict[Path, Named]) -> dict[Path, Named]:
    places: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for one in named.values():
        if not (one.derived or one.unclear or one.mask):
            places[one.whose.casefold()].add(one.within)
    return {
        path: replace(one, whose="", unclear=TWO_PLACES)
        if not one.unclear and len(places[one.whose.casefold()]) > 1
        else one
        for path, one in named.items()
    }


def _partners(named: dict[Path, Named]) -> dict[Path, Named]:
    """Where CTs and sources lie side by side and no name pairs up, the names are no patients'."""
    beside: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for path, one in named.items():
        if one.modality is not None and not (one.mask or one.derived or one.unclear):
            beside[one.within].append(path)
    changed = dict(named)
    for members in beside.values():
        kinds = {named[path].modality for path in members}
        if Modality.CT not in kinds or len(kinds) == 1:
            continue
        if not _paired(named[path] for path in members):
            for path in members:
                changed[path] = replace(named[path], whose="", unclear=NO_PARTNER)
    return changed


def _paired(named: Iterable[Named]) -> bool:
    """Whether one name has a CT and a source."""
    kinds: dict[str, set[Modality | None]] = defaultdict(set)
    for one in named:
        kinds[one.whose].add(one.modality)
    return any(Modality.CT in found and found & SOURCES for found in kinds.values())


SOURCES: frozenset[Modality | None] = frozenset({Modality.MR, Modality.CBCT})
"""What a synthetic CT is made from."""
