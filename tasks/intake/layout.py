"""Patient and modality of an image file, from its name and its place among the other files.

Files other than DICOM have neither in their header, but their names do: a folder for each patient,
a folder for each modality, one flat folder (``case001_ct`` and ``case001_mr``), BIDS, nnU-Net. The
nearest name that is not a technical term is taken for the patient's
(:mod:`synthct.tasks.intake.words`). Where that could merge two patients into one, no name is taken,
and a manifest has to name the patient.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from synthct.data.volume import Modality
from synthct.tasks.intake.words import SPLITS, Words, stem_of, words_of

BIDS, NNUNET, FLAT = "BIDS", "nnU-Net", "one flat folder (NAME_ct and NAME_mr)"
BY_MODALITY, BY_PATIENT = "a folder for each modality", "a folder for each patient"

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_VISIT_OF = re.compile(r"(.*\d.*?)[\W_]+[a-zA-Z]{0,8}\d{1,2}")
_NNUNET_FOLDER = re.compile(r"(?i)images(tr|ts|val)")

TWO_PLACES = "the same name is used in different folders: two patients may share it"
NO_PARTNER = "no two names match: it is unknown which CT belongs to which source"
TWO_GROUPS = "folders or names without the name of a patient each have a CT and its source"
MIXED = "the folder has both files with and files without the name of a patient"
NAMELESS = "neither the file nor a folder above it has the name of a patient"


@dataclass(frozen=True)
class Named:
    """Patient, modality and layout of one file, from its names.

    Parameters
    ----------
    patient
        The patient or case; empty if unknown, with the reason in ``unclear``.
    modality
        None if no name contains it.
    day
        Day or session in the names.
    layout
        How the files are organised, for the user.
    within
        Names above the patient's, which differ between two patients of one name.
    level
        0: the patient is in the file's own name; n: in that of the n-th folder above it.
    unclear
        Why the patient is unknown.
    mask, derived
        Whether it is a mask or label map; whether it is below ``derivatives`` of a BIDS data set.
    group
        The words of all names inside the source that are neither modality nor day: the path
        pattern that a CT and its source have in common (``pre/ct``, ``pre/mr``).
    named_outside
        Whether the patient's name is that of the source's own folder or of the one above it.
    """

    patient: str
    modality: Modality | None
    day: str
    layout: str
    within: tuple[str, ...] = ()
    level: int = 0
    unclear: str = ""
    mask: bool = False
    derived: bool = False
    group: str = ""
    named_outside: bool = False


def named_files(
    files: Mapping[Path, Path], channels: Mapping[Path, Mapping[str, str]]
) -> dict[Path, Named]:
    """Patient, modality and layout of each file, from the names of all.

    Parameters
    ----------
    files
        Resolved file to the resolved folder of the source in which it was found.
    channels
        Folder of an nnU-Net data set to the names of its channels.
    """
    names = {path: _parts(path, source, channels) for path, source in files.items()}
    depth = _common_depth(names, files)
    mixed = _mixed_folders(names)
    named = {path: _named(path, names[path], depth[files[path]], mixed) for path in files}
    for correct in (_one_folder, _two_places, _partners, _two_groups):
        named = correct(named)
    return named


def perhaps_visits(named: Mapping[Path, Named]) -> list[list[Path]]:
    """A file of each of the patients who may be one: ``P1_1`` and ``P1_2`` may be two visits."""
    alike: dict[str, dict[str, Path]] = defaultdict(dict)
    for path, one in named.items():
        visit = _VISIT_OF.fullmatch(one.patient)
        if not (one.mask or one.derived):
            alike[(visit[1] if visit else one.patient).casefold()].setdefault(one.patient, path)
    return [list(paths.values()) for head, paths in alike.items() if head and len(paths) > 1]


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
    """By source, the nearest names that all its files share below different folders.

    ``P1/export1/ct``, ``P2/export1/ct``: ``export1`` is not a patient, the folder above it is.
    """
    structural: dict[Path, set[str]] = defaultdict(set)
    for source in set(files.values()):
        own = [names[path] for path in files if files[path] == source]
        while True:
            nearest = [_nearest(parts, structural[source]) for parts in own]
            firsts = {parts[at].patient for parts, at in zip(own, nearest, strict=True) if at >= 0}
            above = {
                names_above
                for parts, at in zip(own, nearest, strict=True)
                if at >= 0
                and (names_above := tuple(one.patient for one in parts[at + 1 : -1] if one.patient))
            }
            if len(firsts) != 1 or len(above) < 2:
                break
            structural[source] |= firsts
    return structural


def _mixed_folders(names: Mapping[Path, list[Words]]) -> set[Path]:
    """Folders named like a modality that hold another: ``T1`` with a CT is a time point."""
    return {
        folder
        for path, parts in names.items()
        for folder, words in zip(path.parents, parts[1:], strict=False)
        if words.modality is not None and words.modality is not _deciding(parts)[1]
    }


def _deciding(parts: Sequence[Words]) -> tuple[int, Modality | None]:
    """Level and modality of the nearest name with one; -1 for none."""
    inside = parts[:-1]
    by = next((at for at, one in enumerate(inside) if one.modality is not None), -1)
    return by, inside[by].modality if by >= 0 else None


def _nearest(parts: Sequence[Words], nobody: Iterable[str], start: int = 0) -> int:
    for level in range(start, len(parts)):
        if parts[level].patient and parts[level].patient not in nobody:
            return level
    return -1


def _named(path: Path, parts: list[Words], nobody: Iterable[str], mixed: set[Path]) -> Named:
    inside = parts[:-1]  # the folder above the source may name a patient, but is not a level
    level = _nearest(parts, nobody)
    patient = parts[level].patient if level >= 0 else ""
    within = tuple(
        one.patient for one in inside[level + 1 :] if one.patient not in ("", patient, *nobody)
    )
    folders = [folder.name.lower() for folder in [*path.parents][: len(inside) - 1]]
    within += tuple(name for name in folders if name in SPLITS)
    by, modality = _deciding(parts)
    shared = [
        folder.name.lower() if folder in mixed else one.rest
        for folder, one in zip((path, *path.parents), parts[:-2], strict=False)
    ]
    return Named(
        patient,
        modality,
        " ".join(one.day for one in reversed(inside) if one.day),
        _layout(path, parts, level, by),
        within,
        max(level, 0),
        "" if patient else NAMELESS,
        any(one.mask for one in inside[:-1]),
        parts[0].bids and "derivatives" in (folder.name for folder in path.parents),
        "/".join(filter(None, reversed(shared))),
        named_outside=level >= len(parts) - 2,
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
    """A plain ``ct.nii.gz`` shows that its folder is that of one patient."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in named:
        folders[path.parent].append(path)
    changed = dict(named)
    for members in folders.values():
        scans = [path for path in members if not named[path].mask]
        plain = [path for path in scans if named[path].level > 0]
        own = [path for path in scans if named[path].level == 0 and named[path].patient]
        names = {named[path].patient for path in own}
        if not plain or not own or _paired(named[path] for path in own):
            continue
        for path in [*own, *(plain if len(names) > 1 else [])]:
            like = named[plain[0]]
            changed[path] = (
                replace(named[path], patient="", unclear=MIXED)
                if len(names) > 1
                else replace(named[path], patient=like.patient, within=like.within,
                             level=like.level, layout=like.layout, unclear=like.unclear)
            )  # fmt: skip
    return changed


def _two_places(named: dict[Path, Named]) -> dict[Path, Named]:
    places: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for one in named.values():
        if not (one.derived or one.unclear or one.mask):
            places[one.patient.casefold()].add(one.within)
    return {
        path: replace(one, patient="", unclear=TWO_PLACES)
        if not one.unclear and len(places[one.patient.casefold()]) > 1
        else one
        for path, one in named.items()
    }


def _partners(named: dict[Path, Named]) -> dict[Path, Named]:
    """Where CTs and sources are in the same folders and no names match, these are not patients."""
    together: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for path, one in named.items():
        if one.modality is not None and not (one.mask or one.derived or one.unclear):
            together[one.within].append(path)
    changed = dict(named)
    for members in together.values():
        kinds = {named[path].modality for path in members}
        if Modality.CT not in kinds or len(kinds) == 1:
            continue
        if not _paired(named[path] for path in members):
            for path in members:
                changed[path] = replace(named[path], patient="", unclear=NO_PARTNER)
    return changed


def _two_groups(named: dict[Path, Named]) -> dict[Path, Named]:
    """Pairs in ``GE`` and ``SE`` or ``pre`` and ``post`` may be of two patients.

    A name inside the source that distinguishes it from other patients is believed; a name of
    the source's own folder, or the only one, is not.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    for path, one in named.items():
        if one.modality is not None and one.patient and not (one.mask or one.derived):
            groups[one.patient].append(path)
    changed = dict(named)
    for members in groups.values():
        if len(groups) > 1 and not any(named[path].named_outside for path in members):
            continue
        kinds: dict[tuple[str, str], set[Modality | None]] = defaultdict(set)
        for path in members:
            kinds[named[path].day, named[path].group].add(named[path].modality)
        paired = Counter(day for (day, _), found in kinds.items() if _is_pair(found))
        for path in members:
            if paired[named[path].day] > 1:
                changed[path] = replace(named[path], patient="", unclear=TWO_GROUPS)
    return changed


def _is_pair(found: set[Modality | None]) -> bool:
    return Modality.CT in found and bool(found & SOURCES)


def _paired(named: Iterable[Named]) -> bool:
    """Whether one name has a CT and a source."""
    kinds: dict[str, set[Modality | None]] = defaultdict(set)
    for one in named:
        kinds[one.patient].add(one.modality)
    return any(_is_pair(found) for found in kinds.values())


SOURCES: frozenset[Modality | None] = frozenset({Modality.MR, Modality.CBCT})
"""Modalities from which a synthetic CT is made."""
