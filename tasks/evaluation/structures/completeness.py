"""Completeness of anatomy by structure class, which voxel-wise scores do not measure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import numpy as np

from synthct.tasks.evaluation.pair import Mask, Measured
from synthct.tasks.evaluation.structures.overlap import surface_dice, surface_distances_mm

StructureClass = Literal["large organ", "small organ", "tubular", "bone"]

CLASSES: tuple[StructureClass, ...] = ("large organ", "small organ", "tubular", "bone")

LARGE_ML = 100.0
"""Organs of at least this volume in the reference are large [ml]."""

_TUBULAR = (
    "aorta", "arter", "vein", "vena", "vessel", "portal", "carotid", "trunk", "subclavian",
    "trachea", "bronch", "airway", "esophag", "oesophag", "colon", "bowel", "duodenum",
    "intestine", "ureter", "urethra", "cord", "canal", "nerve", "chiasm",
)  # fmt: skip
_BONE = (
    "bone", "vertebra", "rib", "sternum", "skull", "mandible", "maxilla", "femur", "hip",
    "humerus", "scapula", "clavicul", "clavicle", "sacrum", "pelvis", "tooth", "teeth", "tibia",
    "fibula", "radius", "ulna", "patella", "spine",
)  # fmt: skip


def class_of(name: str, reference_ml: float) -> StructureClass:
    """Class from the words of the name (TotalSegmentator's and TG-263's), else from the volume.

    A part of the name that starts with a known word decides: ``rib_left_4`` is bone, and so would
    ``kidney_rib`` be. ``costal`` cartilage and ``fem_head`` are not recognised.
    """
    words = re.split(r"[^a-z]+", name.lower())
    if any(word.startswith(_BONE) for word in words):
        return "bone"
    if any(word.startswith(_TUBULAR) for word in words):
        return "tubular"
    return "large organ" if reference_ml >= LARGE_ML else "small organ"


Triple = tuple[float, float, float]


def centreline_dice(reference: Mask, prediction: Mask) -> float:
    r"""clDice: harmonic mean of the share of each skeleton inside the other structure.

    :math:`2 P S/(P + S)` with :math:`P = |S_p \cap V_g|/|S_p|`, :math:`S = |S_g \cap V_p|/|S_g|`
    (:math:`S` skeletons, :math:`V` volumes). 0 when either is empty.

    References
    ----------
    Shit et al., CVPR (2021) 16560-16569.
    """
    from skimage.morphology import skeletonize

    if not reference.any() or not prediction.any():
        return 0.0
    known, found = (
        skeletonize(_padded(mask))[1:-1, 1:-1, 1:-1] for mask in (reference, prediction)
    )
    precision = _share(found, prediction, reference)
    sensitivity = _share(known, reference, prediction)
    total = precision + sensitivity
    return 2 * precision * sensitivity / total if total else 0.0


def completeness(
    reference: Mapping[str, Mask],
    prediction: Mapping[str, Mask],
    *,
    spacing_mm: Triple,
    tolerance_mm: float = 2.0,
) -> Measured:
    """``completeness_CLASS`` (mean over its structures) and ``completeness`` (mean over classes).

    Structures absent from the reference are ignored; one that the prediction lacks counts as 0.
    """
    found: dict[str, list[float]] = {}
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    lost: list[str] = []
    for name, truth in reference.items():
        if not truth.any():
            continue
        kind = class_of(name, int(truth.sum()) * voxel_ml)
        seen = prediction.get(name)
        if seen is None or not seen.any():
            lost.append(f"completeness: {name} ({kind}) is missing")
            found.setdefault(kind, []).append(0.0)
        elif kind == "tubular":
            found.setdefault(kind, []).append(centreline_dice(truth, seen))
        else:
            distances = surface_distances_mm(truth, seen, spacing_mm)
            found.setdefault(kind, []).append(surface_dice(distances, tolerance_mm))
    means = {kind: float(np.mean(found[kind])) for kind in CLASSES if kind in found}
    values: dict[str, float | None] = {
        f"completeness_{kind.replace(' ', '_')}": value for kind, value in means.items()
    }
    if means:
        values["completeness"] = float(np.mean(list(means.values())))
    return Measured(values, tuple(lost))


def _share(skeleton: Mask, own: Mask, other: Mask) -> float:
    """Share of the skeleton (or of the structure, if its skeleton is empty) inside ``other``."""
    line = skeleton if skeleton.any() else own
    return int(np.count_nonzero(line & other)) / int(np.count_nonzero(line))


def _padded(mask: Mask) -> Mask:
    """The mask with a border of one empty voxel, without which thinning fails at the edges."""
    return np.pad(np.asarray(mask, bool), 1)
