"""Conformal intervals on digital patients: coverage on new patients and with another scanner."""

from __future__ import annotations

import numpy as np

from synthct.data.phantom.patient import Protocol, make_patient
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.naive import TrainingImages, UnseenImages
from synthct.tasks.evaluation.uncertainty.coverage import split_coverage
from synthct.tasks.evaluation.uncertainty.histogram import ErrorCounts
from synthct.tasks.evaluation.uncertainty.likeness import (
    TrainingScans,
    feature_deviations,
    features,
)
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.pipeline.randomness import generator
from synthct.tasks.prediction.domain import Domain, fingerprint

REGION = "head-neck"
SEED = 20261123
TRAIN, CALIBRATION, TEST = 8, 24, 24
USUAL = {"mr_noise": 0.025, "mr_shading": 0.15}
SHIFTED = {"mr_noise": 0.12, "mr_shading": 0.5}
"""The other scanner has the noise of a weak field and the shading of a surface coil."""
SCALING = SourceScaling(kind="zscore_in_mask")
NOMINAL = (0.8, 0.9, 0.95)
SPACING_MM = (6.0, 6.0, 6.0)


def protocol(scanner):
    """Coarse and quick; the CBCT, which is not used here, is the coarsest."""
    return Protocol(
        voxels_mm={"ct": SPACING_MM, "mr": SPACING_MM, "cbct": (24.0, 24.0, 24.0)},
        anatomy_mm=4.0, deformation_mm=(3.5, 7.0), setup_shift_mm=3.0, setup_turn_deg=1.2,
        ct_noise_hu=12.0, views=4, scatter=0.09, photons_per_mm2=2e4, **scanner,
    )  # fmt: skip


def scans(number, scanner):
    """MR, mask and the true CT of patient ``number`` on the same day, without registration."""

    def random(*names):
        return generator(SEED, "conformal", str(number), *map(str, names))

    source = make_patient(REGION, protocol(scanner), random).sources["mr"]
    return source.scan.array, source.labels.array > 0, source.ct.array.astype(float)


def fitted():
    """The look-up from intensity to HU, fitted on the training patients, and their features."""
    lookup = BASELINES.build("lookup", {})
    sums, known, seen = [], [], []
    for number in range(TRAIN):
        mr, mask, ct = scans(number, USUAL)
        images = TrainingImages(mr, mask, SCALING, ct)
        sums.append(lookup.sums(images))
        known.append(features(images, SPACING_MM))
        seen.append(print_of(mr, mask))
    total = {key: sum(one[key] for one in sums) for key in sums[0]}
    return lookup, lookup.fit(total), known, Domain.of(seen)


def print_of(mr, mask):
    """What `synthct predict` compares with the release's ``domain.json``."""
    grid = Grid(mr.shape, SPACING_MM)
    body = Volume(mask.astype(np.uint8), grid, Modality.MASK)
    return fingerprint(Volume(mr, grid, Modality.MR), body, SCALING)


def measured(method, numbers, scanner):
    """Error counts and features of each patient under the method."""
    lookup, fit, known, domain = method
    counts, unlike, foreign = [], [], []
    for number in numbers:
        mr, mask, ct = scans(number, scanner)
        images = UnseenImages(mr, mask, SCALING, ct)
        found = lookup.predict(images, fit)[mask]
        counts.append(ErrorCounts.of(found - ct[mask], found))
        unlike.append(
            bool(
                feature_deviations(features(images, SPACING_MM), TrainingScans.of(known))["unlike"]
            )
        )
        foreign.append(bool(domain.unlike(print_of(mr, mask))))
    return counts, unlike, foreign


def table(calibration, groups):
    """Rows of coverage by nominal level, group and band."""
    rows = [
        "| scanner | nominal % | tissue | covered % | 95 % interval | contains nominal | ± HU |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, counts in groups.items():
        for nominal in NOMINAL:
            rng = np.random.default_rng(SEED)
            for where, found in split_coverage(calibration, counts, nominal, rng).items():
                if where == "all" or nominal == 0.9:
                    rows.append(row(name, where, found))
    return "\n".join(rows)


def row(name, where, found):
    """One line; a tissue that fewer than five patients have gets no interval."""
    ends, holds = f"none (patients: {found.n})", "–"
    if found.low is not None and found.high is not None:
        ends = f"{100 * found.low:.1f} to {100 * found.high:.1f}"
        holds = "yes" if found.holds else "**no**"
    width = "–" if found.half_width is None else f"{found.half_width:.0f}"
    return (
        f"| {name} | {100 * found.nominal:g} | {where} | {100 * found.value:.1f} | {ends} | "
        f"{holds} | {width} |"
    )


def measure():
    """The page's text."""
    method = fitted()
    calibration, *_ = measured(method, range(TRAIN, TRAIN + CALIBRATION), USUAL)
    new = range(TRAIN + CALIBRATION, TRAIN + CALIBRATION + TEST)
    same, *like = measured(method, new, USUAL)
    other, *unlike = measured(method, new, SHIFTED)
    return (
        f"An intensity look-up fitted on {TRAIN} digital {REGION} patients, {SPACING_MM[0]:g} mm; "
        f"half-widths from {CALIBRATION} others. Coverage is measured on {TEST} new patients, then "
        f"on the same {TEST} with the noise and shading of another scanner "
        f"({SHIFTED['mr_noise']} and {SHIFTED['mr_shading']} instead of {USUAL['mr_noise']} and "
        f"{USUAL['mr_shading']}). Bootstrap intervals over both sets of patients; n = {TEST}."
        "\n\n"
        f"{table(calibration, {'as calibrated': same, 'other': other})}\n\n"
        f"The check for unlike scans (`evaluate`, the report) warns of {sum(like[0])} of {TEST} "
        f"scans of the usual scanner and of {sum(unlike[0])} of {TEST} of the other. The check in "
        "`predict`, which compares with the ranges of the training scans only, warns of "
        f"{sum(like[1])} and {sum(unlike[1])}.\n"
    )
