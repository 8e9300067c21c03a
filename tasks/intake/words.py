"""Parses names of files and folders for patient, modality and day.

``case001_T1w`` has MR and ``case001``; ``P1-CT_20200101`` has CT, a day and ``P1``; ``nifti`` has
none of these. A word that is not a technical term is taken for the name of a patient or case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from synthct.data.volume import Modality

MASK_WORDS = frozenset(
    {"mask", "masks", "seg", "segs", "segmentation", "segmentations", "label", "labels", "gtv",
     "ctv", "ptv", "roi", "body", "landmarks", "labelstr", "labelsts", "derivatives"}
)  # fmt: skip
_CT_WORDS = frozenset(["ct", "cts", "ctsim", "planningct", "pct", "planct", "rtct"])
_CBCT_WORDS = frozenset(["cbct", "cbcts", "conebeam"])
_MR_WORDS = frozenset(
    {"mr", "mrs", "mri", "mris", "mrt", "t1", "t2", "t1w", "t2w", "t2star", "pd", "pdw", "flair",
     "mprage"}
)  # fmt: skip

_FOLDERS = """nifti niftis nii niigz mha mhd nrrd zarr ome dicom dicoms dcm image images img imgs
scan scans data dataset raw anat input inputs output outputs export exports exported converted
resampled registered rigid reg original originals orig preprocessed processed source sources target
targets reference ref fixed moving files series volume volumes vol study studies patient patients
case cases subject subjects rawdata sourcedata dl download downloads tmp temp incoming pacs archive
upload"""
_PROTOCOL = """ax axi axial tra trans transverse sag sagittal cor coronal 2d 3d iso pre post
contrast gd gad ce native plan planning sim simulation diagnostic diag space tse fse haste cube
vista gre se ge flash spgr bravo vibe lava thrive tfe ffe bffe trufi dixon water inphase in phase
opp opposed fs fatsat stir tirm ir n4 bfc corrected norm normalised normalized hu aligned deformed
defaced recon ph mag magnitude standard kernel"""
_SPLITS = """train training test testing val validation imagestr imagests imagesval labelstr
labelsts labelsval"""
SPLITS = frozenset(_SPLITS.split())
"""Parts of a data set: no patients, but a name in two of them may be that of two patients."""

_SAYS_NOBODY = frozenset(f"{_FOLDERS} {_PROTOCOL} {_SPLITS}".split())

_SESSION = re.compile(r"(?:ses|session|visit|day|fx|fraction|timepoint)(\d*)")
_VISIT = re.compile(r"(?:v|vis|tp|fu|followup|bl|baseline|week|wk|month)\d*")
"""A visit only behind the number of a patient: ``brain_v01`` may be volunteer 1."""
_DAY = re.compile(
    r"(?<!\d)(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])"
    r"(?:(?:[01]\d|2[0-3])[0-5]\d[0-5]\d)?(?!\d)"
)
"""A day, with the time that dcm2niix appends to it."""
_GLUED = re.compile(r"(cbct|ct|mri|mr)(\d+)|([a-z]*\d+)(cbct|ct|mri|mr)")
_ENDINGS = re.compile(r"(?i)(\.nii\.gz|\.nii|\.mha|\.mhd|\.nrrd|\.nhdr|\.ome\.zarr|\.zarr)$")
_BIDS = re.compile(
    r"(?i)(sub-[a-z0-9]+)(?:_(ses-[a-z0-9]+))?(?:_[a-z]+-[a-z0-9]+)*(?:_([a-z0-9]+))?"
)


@dataclass(frozen=True)
class Words:
    """The content of one name of a file or folder.

    Parameters
    ----------
    patient
        The name without its technical terms: a patient or case; may be empty.
    modality
        CT, MR or CBCT; None for none, or several.
    day
        Day or session; empty for none.
    mask
        Whether it is the name of a mask or label map.
    bids
        Whether it is a BIDS name (``sub-01_ses-1_T1w``).
    rest
        All words that name neither a modality nor a day, in lower case.
    """

    patient: str = ""
    modality: Modality | None = None
    day: str = ""
    mask: bool = False
    bids: bool = False
    rest: str = ""


def readable(text: str) -> str:
    """A name whose bytes are not UTF-8, read in Windows code page 1252; others are unchanged."""
    data = text.encode(errors="surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def stem_of(name: str) -> str:
    """The name of an image file without its extension."""
    return _ENDINGS.sub("", name)


def words_of(name: str) -> Words:
    """Parse the name of a file (without extension) or folder.

    >>> words_of("case001_ct").patient, str(words_of("case001_ct").modality)
    ('case001', 'CT')
    >>> words_of("nifti").patient, words_of("sub-01_ses-2_T1w").patient
    ('', 'sub-01')
    """
    bids = _BIDS.fullmatch(name)
    if bids:
        suffix = _words(bids[3] or "")
        return Words(bids[1], suffix.modality, bids[2] or "", suffix.mask, bids=True)
    days = [found[0] for found in _DAY.finditer(name)]
    found = _words(_DAY.sub(" ", name))
    return replace(found, day=" ".join([*days, found.day]).strip())


def _words(name: str) -> Words:
    tokens = list(re.finditer(r"[^\W_]+", name))
    kinds: set[Modality] = set()
    rests: list[str] = []
    kept, end, day, mask = "", -1, "", False
    for number, token in enumerate(tokens):
        text, lowered = token[0], token[0].lower()
        follows = tokens[number + 1][0] if number + 1 < len(tokens) else ""
        before = tokens[number - 1][0].lower() if number else ""
        kind, rest = _kind(lowered)
        session = _SESSION.fullmatch(lowered)
        visit = _VISIT.fullmatch(lowered) and any(letter.isdigit() for letter in kept)
        if kind:
            kinds.add(kind)
            text = rest
        elif lowered in MASK_WORDS:
            mask, text = True, ""
        elif (session and (session[1] or follows.isdigit() or not follows)) or visit:
            day, text = lowered, ""
        elif _SESSION.fullmatch(before) and lowered.isdigit() and day == before:
            day, text = f"{day}{lowered}", ""
        elif lowered in _SAYS_NOBODY and not follows.isdigit():
            rests.append(lowered)
            text = ""  # but "case 001" and "AB 01" are names of cases
        if text:
            rests.append(text.lower())
            glue = name[end : token.start()] if end == _end_before(tokens, number) else "_"
            kept, end = f"{kept}{glue}{text}" if kept else text, token.end()
    kind = kinds.pop() if len(kinds) == 1 else None
    return Words(kept, kind, day, mask, rest=" ".join(rests))


def _end_before(tokens: list[re.Match[str]], number: int) -> int:
    return tokens[number - 1].end() if number else 0


def _kind(word: str) -> tuple[Modality | None, str]:
    """The modality in a word, and the number or name attached to it (``ct001``, ``p1ct``)."""
    glued = _GLUED.fullmatch(word)
    rest = (glued[2] or glued[3]) if glued else ""
    rest = "" if rest in _MR_WORDS else rest  # t1mr
    word = (glued[1] or glued[4]) if glued else word
    if word in _CBCT_WORDS:
        return Modality.CBCT, rest
    if word in _CT_WORDS:
        return Modality.CT, rest
    return (Modality.MR, rest) if word in _MR_WORDS else (None, "")
