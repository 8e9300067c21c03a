"""Score two files, as ``synthct evaluate`` does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.files import canonical_json, write_whole
from synthct.data.orientation import flipped, nearest_axes, turned
from synthct.data.readers import pick_series, read_scan
from synthct.data.volume import Modality, Volume
from synthct.tasks.evaluation.attachments import Attachments
from synthct.tasks.evaluation.checks import examine
from synthct.tasks.evaluation.consistency import SourceAnatomy
from synthct.tasks.evaluation.document import SCHEMA
from synthct.tasks.evaluation.dose.compare import Doses, compare_doses
from synthct.tasks.evaluation.dose.gamma import Convention
from synthct.tasks.evaluation.evidence import Evidence
from synthct.tasks.evaluation.floor import CHAIN, floor_of
from synthct.tasks.evaluation.inputs import Target, identity, require_hu
from synthct.tasks.evaluation.maps import write_maps
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import Mask, Measured, masked_pair
from synthct.tasks.evaluation.profiles import DEFAULT_PROFILE, profile_called
from synthct.tasks.evaluation.segmenter.ask import structures_of
from synthct.tasks.evaluation.structures.completeness import completeness
from synthct.tasks.evaluation.structures.files import has_side, read_side, unseen
from synthct.tasks.evaluation.structures.scores import (
    compare_structures,
    errors_within,
    volumes,
)

METRIC_NAMES = (
    "mae_hu", "me_hu", "psnr_db", "ms_ssim", "ssim_2023", "hu_bands", "dose_surrogates",
)  # fmt: skip

CHECK_NAMES = (
    "identity", "offset", "detail", "bone_range", "lost_structure", "copied", "mask_cover",
    "mask_air",
)  # fmt: skip


def evaluate_files(
    prediction: Path,
    reference: Path,
    mask: Path | None = None,
    extras: Attachments | None = None,
    profile: str = DEFAULT_PROFILE,
    json_file: Path | None = None,
    *,
    resample: bool = False,
    metrics: Sequence[str] = METRIC_NAMES,
    checks: Sequence[str] = CHECK_NAMES,
) -> dict[str, Any]:
    """Compare a synthetic CT with a reference CT inside a mask; returns the document.

    Parameters
    ----------
    prediction, reference
        CT scans [HU] of any readable format.
    mask
        Voxels > 0 are scored; None: all voxels.
    extras
        Optional inputs: structures, the source, doses.
    json_file
        File to write the document to atomically (``tasks/evaluation/document.py``).
    resample
        Resample files on other grids onto the reference's (linear, masks nearest). Without it
        another grid is an error, because resampling changes every score.

    Raises
    ------
    DataError
        A file lies on another grid, is not in HU, or a mask is empty.
    UsageError
        A name of a metric, check or profile is unknown.
    """
    chosen, given = profile_called(profile, where="profile"), extras or Attachments()
    truth = _upright(_read(reference, Modality.CT, given.reference_series))
    target = Target(truth.grid, resample)
    raw = _read(prediction, Modality.CT, given.prediction_series)
    sct = target.fits(raw, prediction)
    inside = target.body(mask)
    for path, volume in ((prediction, sct), (reference, truth)):
        require_hu(volume.array[inside], path, volume.array)
    spacing_mm = truth.grid.spacing_mm
    pair = masked_pair(truth.array, sct.array, inside, profile=chosen, spacing_mm=spacing_mm)
    measured = _merged(METRICS.build(m, _options(m, given), where="metrics")(pair) for m in metrics)
    findings = examine(Evidence(pair, truth.array.astype(np.float64)), checks)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "prediction": identity(prediction),
        "reference": identity(reference),
        "mask": identity(mask) if mask else None,
        "profile": chosen.as_json(),
        "grid": {"shape": list(truth.grid.shape), "spacing_mm": list(spacing_mm)},
        "resampled": target.moves(raw),
        "voxels": int(inside.sum()),
        "scores": dict(measured.values),
        "checks": [finding.as_json() for finding in findings],
        "warnings": [
            *measured.warnings,
            *_turned(truth),
            *target.cropped(raw, prediction, inside),
        ],
    }
    _add_floor(document, given, target, inside, truth)
    _add_anatomy(document, given, target, inside, truth, sct)
    _add_source(document, given, target, inside, sct)
    _add_dose(document, given, target, inside)
    if given.maps is not None:
        document["maps"] = write_maps(given.maps, truth, sct, inside, **(given.curves or {}))
    if json_file is not None:
        write_whole(json_file, canonical_json(document))
    return document


def _read(path: Path, modality: Modality, series: str = "") -> Volume:
    """The one volume of its modality in a folder; localizers and reports do not count."""
    return read_scan(path, modality, series=pick_series(path, series, [modality]))


def _upright(scan: Volume) -> Volume:
    """The same voxels with the axes nearest to (z, y, x) of the patient.

    Some metrics look along the axes of the array: beams come from the patient's sides, whatever the
    order in which a file stores the voxels.
    """
    order, signs = nearest_axes(scan.grid)
    array = np.ascontiguousarray(flipped(scan.array, order, signs))
    return Volume(array, turned(scan.grid, order, signs), scan.modality)


def _options(metric: str, given: Attachments) -> dict[str, Any]:
    if metric in ("ms_ssim", "ssim_2023"):
        return {"device": given.device}
    return dict(given.curves or {}) if metric == "dose_surrogates" else {}


def _add_floor(
    document: dict[str, Any], given: Attachments, target: Target, inside: Mask, truth: Volume
) -> None:
    """``floor``: difference of the reference between its alignments [HU]."""
    if not given.other_references:
        return
    images = {CHAIN: truth.array}
    for number, path in enumerate(given.other_references, 1):
        raw = _read(path, Modality.CT)
        document["warnings"] += target.cropped(raw, path, inside)
        other = target.fits(raw, path)
        require_hu(other.array[inside], path, other.array)
        images[str(number)] = other.array
    document["floor"] = {
        "references": [identity(path) for path in given.other_references],
        **floor_of(images, inside),
    }


def _add_anatomy(
    document: dict[str, Any],
    given: Attachments,
    target: Target,
    inside: Mask,
    truth: Volume,
    sct: Volume,
) -> None:
    """``structures``: overlap, surfaces, volumes, HU errors, completeness by class."""
    if given.segmentations is not None:
        known = read_side(given.segmentations, "reference", target, inside)
        document["warnings"] += unseen(known)
        found = read_side(given.segmentations, "prediction", target, inside)
    elif given.segmenter:
        known, found = (structures_of(ct, inside, given.segmenter) for ct in (truth, sct))
    else:
        return
    spacing_mm = target.grid.spacing_mm
    near = {"spacing_mm": spacing_mm, "tolerance_mm": given.tolerance_mm}
    scores = _merged(
        (
            compare_structures(known, found, policy=given.policy, **near),  # type: ignore[arg-type]
            volumes(known, found, spacing_mm=spacing_mm),
            errors_within(truth.array, sct.array, known),
            completeness(known, found, **near),  # type: ignore[arg-type]
        )
    )
    document["structures"] = {
        "found_by": Path(given.segmenter).name if given.segmenter else "files",
        "policy": given.policy,
        "tolerance_mm": given.tolerance_mm,
        "scores": dict(scores.values),
    }
    document["warnings"] += scores.warnings


def _add_source(
    document: dict[str, Any], given: Attachments, target: Target, inside: Mask, sct: Volume
) -> None:
    """``source``: agreement of the synthetic CT with its own source scan; needs no CT."""
    values: dict[str, float | None] = {}
    if given.source is not None:
        raw = _read(given.source, Modality(given.source_modality.upper()), given.source_series)
        document["warnings"] += target.cropped(raw, given.source, inside)
        scan = target.fits(raw, given.source)
        anatomy = SourceAnatomy(
            scan.array, inside, modality=given.source_modality, spacing_mm=target.grid.spacing_mm
        )
        values |= anatomy.compare(sct.array).values
    folder = given.segmentations
    if folder is not None and has_side(folder, "source"):
        own = read_side(folder, "source", target, inside)
        found = read_side(folder, "prediction", target, inside)
        overlap = compare_structures(
            own, found, spacing_mm=target.grid.spacing_mm, policy=given.policy,
            tolerance_mm=given.tolerance_mm,
        )  # fmt: skip
        values |= {f"source_{name}": value for name, value in overlap.values.items()}
    if values:
        document["source"] = {"scores": values}


def _add_dose(document: dict[str, Any], given: Attachments, target: Target, inside: Mask) -> None:
    """``dose``: gamma, dose-volume figures of the reference's structures, conformity."""
    if given.dose_prediction is None or given.dose_reference is None:
        return
    structures = None
    if given.segmentations is not None:
        structures = read_side(given.segmentations, "reference", target, inside)
    doses = Doses(
        given.dose_reference, given.dose_prediction, Convention(search=given.gamma),
        given.target, given.prescription_gy,
    )  # fmt: skip
    document["dose"], warnings = compare_doses(doses, target, inside, structures)
    document["warnings"] += warnings


def _turned(truth: Volume) -> list[str]:
    """A warning if the array's axes are not the patient's, which beam angles refer to."""
    off = np.abs(np.asarray(truth.grid.direction) - np.eye(3)).max()
    if off < 0.1:
        return []
    return [
        "dose_surrogates: the grid is rotated against the patient; beam angles refer to the grid"
    ]


def _merged(parts: Iterable[Measured]) -> Measured:
    values: dict[str, float | None] = {}
    warnings: list[str] = []
    for part in parts:
        values |= part.values
        warnings += part.warnings
    return Measured(values, tuple(warnings))
