"""CT numbers and MR properties at 1.5 T of each tissue, with their sources."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tissue:
    """One tissue of the digital patients.

    Parameters
    ----------
    name, structure
        Its own name, and the group that evaluation scores (bone, lung, air, fat, organ, ...).
    hu
        Mean CT number at 120 kVp [HU]: ICRP 110 / ICRU 46 compositions and the usual clinical
        ranges (Schneider, Pedroni & Lomax, Phys Med Biol 41 (1996) 111-124).
    t1_ms, t2_ms
        Relaxation times at 1.5 T [ms]. Stanisz et al., Magn Reson Med 54 (2005) 507-512: blood,
        white and grey matter, cord, cartilage. De Bazelaire et al., Radiology 230 (2004) 652-659:
        liver, spleen, kidney, pancreas, muscle, marrow, fat. Bojorquez et al., Magn Reson Imaging
        35 (2017) 69-80: the rest. Cortical bone and teeth: Du & Bydder, NMR Biomed 26 (2013)
        489-506 (T2 below 1 ms, so they stay dark).
    t2_star_ms
        Decay in a gradient echo at 1.5 T [ms]; lung: Hatabu et al., Magn Reson Med 42 (1999)
        586-590; marrow: trabecular susceptibility; elsewhere about .7 T2.
    pd
        Proton density relative to water.
    texture
        Standard deviation of T1 and PD inside the tissue (a fraction).
    texture_hu
        Standard deviation of the CT number inside the tissue [HU].
    """

    name: str
    structure: str
    hu: float
    t1_ms: float
    t2_ms: float
    t2_star_ms: float
    pd: float
    texture: float
    texture_hu: float


_ROWS: tuple[tuple[str, str, float, float, float, float, float, float, float], ...] = (
    # name, structure, HU, T1, T2, T2*, PD, texture, texture HU
    ("outside_air", "outside", -1000, 1000, 1.0, 1.0, 0.0, 0.0, 0),
    ("gas", "air", -995, 1000, 1.0, 1.0, 0.0, 0.0, 2),
    ("airway", "air", -995, 1000, 1.0, 1.0, 0.0, 0.0, 2),
    ("lung", "lung", -790, 1171, 40, 1.8, 0.22, 0.12, 45),
    ("skin", "skin", 45, 500, 30, 20, 0.70, 0.05, 12),
    ("fat", "fat", -102, 343, 58, 40, 0.90, 0.07, 11),
    ("visceral_fat", "fat", -98, 343, 58, 40, 0.88, 0.08, 13),
    ("muscle", "muscle", 55, 856, 35, 25, 0.78, 0.07, 9),
    ("blood", "vessel", 44, 1441, 290, 150, 0.90, 0.02, 4),
    ("heart_muscle", "organ", 50, 1030, 48, 32, 0.80, 0.05, 7),
    ("liver", "organ", 60, 586, 46, 27, 0.80, 0.06, 8),
    ("spleen", "organ", 52, 1057, 79, 50, 0.84, 0.05, 7),
    ("kidney_cortex", "organ", 36, 966, 87, 60, 0.84, 0.05, 7),
    ("kidney_medulla", "organ", 30, 1412, 85, 60, 0.90, 0.05, 6),
    ("pancreas", "organ", 38, 584, 46, 30, 0.80, 0.10, 14),
    ("bowel_wall", "bowel", 40, 900, 50, 30, 0.78, 0.06, 8),
    ("bowel_content", "bowel", 18, 1300, 120, 60, 0.85, 0.15, 18),
    ("gland", "organ", 25, 700, 60, 40, 0.82, 0.10, 15),
    ("thyroid", "organ", 105, 800, 65, 45, 0.82, 0.05, 10),
    ("grey_matter", "brain", 39, 1124, 95, 70, 0.83, 0.03, 3),
    ("white_matter", "brain", 29, 884, 72, 60, 0.71, 0.03, 3),
    ("csf", "fluid", 8, 4200, 1800, 600, 1.00, 0.01, 2),
    ("water", "fluid", 6, 3800, 1300, 400, 1.00, 0.01, 2),
    ("lens", "organ", 85, 1000, 40, 30, 0.70, 0.02, 4),
    ("cord", "brain", 36, 745, 74, 55, 0.74, 0.03, 3),
    ("cartilage", "cartilage", 110, 1024, 30, 20, 0.70, 0.05, 15),
    ("disc", "cartilage", 85, 1050, 80, 45, 0.78, 0.06, 12),
    ("marrow", "bone", 190, 549, 49, 14, 0.62, 0.09, 55),
    ("diploe", "bone", 520, 500, 45, 10, 0.45, 0.09, 90),
    ("cortical_bone", "bone", 1150, 250, 0.6, 0.5, 0.15, 0.05, 110),
    ("petrous_bone", "bone", 1450, 250, 0.6, 0.5, 0.12, 0.05, 120),
    ("dentine", "tooth", 1650, 250, 0.3, 0.3, 0.12, 0.03, 80),
    ("enamel", "tooth", 2500, 250, 0.2, 0.2, 0.08, 0.03, 80),
    ("metal", "metal", 8000, 1000, 0.1, 0.1, 0.0, 0.0, 0),
)

TISSUES: tuple[Tissue, ...] = tuple(Tissue(*row) for row in _ROWS)
"""Label value = index; 0 is the air around the patient."""

LABEL: dict[str, int] = {tissue.name: number for number, tissue in enumerate(TISSUES)}
"""Label value by tissue name."""

UNVARIED = frozenset({"outside_air", "gas", "airway", "metal"})
"""Tissues that are the same in every patient."""

SPREAD = 0.1
"""Patients differ by up to this fraction in HU, T1, T2 and PD of each tissue."""


@dataclass(frozen=True, eq=False)
class TissueValues:
    """The table of one patient: one float32 entry per label."""

    hu: NDArray[np.float32]
    t1_ms: NDArray[np.float32]
    t2_ms: NDArray[np.float32]
    t2_star_ms: NDArray[np.float32]
    pd: NDArray[np.float32]
    texture: NDArray[np.float32]
    texture_hu: NDArray[np.float32]


def draw_values(rng: np.random.Generator) -> TissueValues:
    """The table for one patient: each HU, T1, T2 (with T2*) and PD up to 10 % off the mean."""
    columns = {
        field.name: np.array([getattr(tissue, field.name) for tissue in TISSUES], np.float32)
        for field in fields(TissueValues)
    }
    own = {
        name: rng.uniform(1 - SPREAD, 1 + SPREAD, len(TISSUES)).astype(np.float32)
        for name in ("hu", "t1_ms", "t2_ms", "pd")
    }
    own["t2_star_ms"] = own["t2_ms"]
    for name in own:
        own[name][[LABEL[tissue] for tissue in UNVARIED]] = 1
    lung = LABEL["lung"]
    # A lung's CT number and proton density both follow how much tissue there is beside the air.
    own["hu"][lung] = ((1000 + columns["hu"][lung]) * own["pd"][lung] - 1000) / columns["hu"][lung]
    return TissueValues(**{name: value * own.get(name, 1) for name, value in columns.items()})


def label_table() -> dict[str, dict[str, str]]:
    """``labels.json``: label value -> name and structure."""
    return {
        str(number): {"name": tissue.name, "structure": tissue.structure}
        for number, tissue in enumerate(TISSUES)
        if number > 0
    }
