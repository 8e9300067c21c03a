"""``synthct predict``: a synthetic CT on the grid of a scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.errors import DataError
from synthct.data.readers import (
    ScanFacts,
    describe,
    format_of,
    pick_series,
    read_scan,
    read_scan_and_facts,
)
from synthct.data.volume import Modality, Volume
from synthct.tasks.models.calibration import Calibration, calibrate
from synthct.tasks.models.sliding import Progress, flips_of
from synthct.tasks.prediction.domain import fingerprint, warning_of
from synthct.tasks.prediction.given_mask import require_mask
from synthct.tasks.prediction.harmonised import harmonisation_of, harmonising, write_picture
from synthct.tasks.prediction.memory import held, require_room
from synthct.tasks.prediction.networks import run_networks
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.outputs import Outputs, write_results
from synthct.tasks.prediction.pool import check_pool
from synthct.tasks.prediction.prepare import Prepared, prepare
from synthct.tasks.prediction.reference import Reference, check_same_place, read_reference
from synthct.tasks.prediction.release import Release, open_release
from synthct.tasks.prediction.runtime import onnx_runners, provider_of
from synthct.tasks.prediction.signing import check_signature
from synthct.tasks.prediction.statements import (
    SOURCES,
    caution,
    derivation,
    interval_notes,
    release_id,
    uid_seed,
)
from synthct.tasks.prediction.structures import Carried, carried, require_structures


def predict_file(
    model: Path,
    input: Path,
    out: Path,
    *,
    mask: Path | None = None,
    dicom_reference: Path | None = None,
    structures: Path | None = None,
    uncertainty: Path | None = None,
    body: Path | None = None,
    harmonise_picture: Path | None = None,
    interval: Path | None = None,
    modality: Modality | None = None,
    options: PredictOptions | None = None,
    public_key: Path | None = None,
    series: str = "",
    progress: Progress | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Predict one scan with a release folder; the output is written completely or not at all.

    Parameters
    ----------
    model
        Release folder (``export/mr`` or ``export/cbct``); all its files are verified first.
    input
        Scan: DICOM folder or zip, NIfTI, MHA, NRRD.
    out
        ``.mha``, ``.nii.gz``, ``.nii`` or ``.nrrd`` on the scan's grid, or a folder (no suffix)
        for a DICOM series with the scan's geometry.
    mask
        Body mask image in the scan's frame; by default the body is segmented as in ingestion.
    dicom_reference
        DICOM whose Patient and Study Modules and frame of reference are copied to the new series.
        Only this argument brings a patient's identity into the output. An RTSTRUCT in the same
        folder is carried over with its contours.
    structures
        RTSTRUCT to carry over (file, folder or zip), drawn in the reference's frame.
    uncertainty
        Image file for the standard deviation over folds and flips [HU].
    body
        Image file for the body mask on the grid of the scan: the ``mask`` of ``evaluate``.
    harmonise_picture
        SVG for histograms before and after the harmonisation, and its curve.
    interval
        New folder for the low and high end of the release's conformal interval [HU] and the mask of
        untrusted voxels, in the format of ``out``.
    modality
        Modality of a file that does not state it; by default that of the model.
    public_key
        Ed25519 public key (PEM) with which the release must be signed.
    series
        Number, description or UID of the series, if a DICOM input holds several that fit.
    step
        Called with the name of each step as it starts.

    Returns
    -------
    dict
        ``out source release networks flips voxels_in_body voxels_not_predicted notes
        unlike_training calibration harmonised interval structures not_for_clinical_use``; no
        patient data. ``interval`` is present if it was requested.
    """
    options = options or PredictOptions()
    outputs = Outputs(
        out,
        uncertainty,
        dicom_reference,
        structures,
        interval=interval,
        body=body,
        harmonised=harmonise_picture,
    )
    outputs.check(inputs=(input, mask, dicom_reference, structures))
    provider_of(options.device)
    step("check the release")
    if public_key is not None:
        check_signature(model, public_key)
    release = harmonising(open_release(model), options.harmonise)
    outputs.check_picture(release.model)
    if interval is not None:
        release.require_intervals()
    members = 1 if options.student else len(release.description.members)
    if options.surest is not None:
        check_pool(members, release.model, keep=options.surest, tta=options.tta)
    step("read the scan")
    series = pick_series(input, series, [modality or SOURCES[release.description.source]])
    facts = describe(input, series=series)
    graphs = release.graphs_bytes(int8=options.int8, student=options.student, form=options.form)
    cap = require_room(
        facts.grid,
        release.model,
        options.max_ram_gb,
        graphs,
        interval=interval is not None,
        pool=0 if options.surest is None else members,
    )
    with held(options.max_ram_gb):
        return _predict(
            release, input, series, facts, cap, mask, modality, outputs, options, progress, step
        )


def _predict(
    release: Release,
    input: Path,
    series: str,
    facts: ScanFacts,
    cap: int,
    mask: Path | None,
    modality: Modality | None,
    outputs: Outputs,
    options: PredictOptions,
    progress: Progress | None,
    step: Callable[[str], None],
) -> dict[str, Any]:
    outputs.check_room(facts.grid)
    reference, structures = _beside(outputs, input, series, facts)
    step("find the body")
    prepared = _prepared(input, series, mask, release, modality)
    moved = harmonisation_of(prepared, release.model)
    step("run the networks")
    runners = onnx_runners(
        release.graphs(int8=options.int8, student=options.student, form=options.form),
        threads=options.threads,
        device=options.device,
    )
    prediction = run_networks(
        runners,
        prepared,
        release.model,
        options,
        cap,
        uncertainty=outputs.needs_spread,
        progress=progress,
    )
    networks = len(runners) if options.surest is None else options.surest
    unlike = _unlike(prepared, release)
    step("write the result")
    if outputs.harmonised is not None and moved is not None:
        write_picture(outputs.harmonised, moved)
    intervals = release.require_intervals() if outputs.interval is not None else None
    said = write_results(
        outputs,
        prepared,
        prediction,
        intervals=intervals,
        range_hu=(release.model.target_scaling.low_hu, release.model.target_scaling.high_hu),
        outside_hu=release.model.outside_hu,
        derivation=derivation(release, networks),
        caution=caution(release),
        reference=reference,
        structures=structures,
        uid_seed=uid_seed(input, series, mask, release.folder, options),
    )
    calibration = _calibration(prepared, release)
    warned = [warning_of(unlike, release.domain.cases)] if unlike and release.domain else []
    return {
        "out": str(outputs.out),
        "source": release.description.source,
        "release": release_id(release.folder),
        "networks": networks,
        "flips": len(flips_of(release.model, tta=options.tta)),
        "voxels_in_body": int(np.count_nonzero(prepared.body.array)),
        "voxels_not_predicted": prepared.unreached,
        "notes": [
            *release.demonstration,
            *prepared.notes,
            *([calibration.sentence] if calibration and _calibrates(release) else []),
            *([moved.sentence] if moved else []),
            *filter(None, (one.note for one in structures)),
            *warned,
            *interval_notes(intervals, unlike, options),
        ],
        "unlike_training": unlike,
        "calibration": calibration.as_json() if calibration else None,
        "harmonised": moved.as_json() if moved else None,
        **({} if said is None else {"interval": said}),
        "structures": len(structures),
        "not_for_clinical_use": str(release.card.get("not_for_clinical_use", "")),
    }


def _beside(
    outputs: Outputs, input: Path, series: str, scan: ScanFacts
) -> tuple[Reference | None, list[Carried]]:
    """The DICOM reference and the structure sets to carry over."""
    if outputs.dicom_reference is None:
        return None, []
    own = outputs.dicom_reference.resolve() == input.resolve()
    reference = read_reference(outputs.dicom_reference, series if own else "")
    check_same_place(reference, outputs.dicom_reference, scan)
    if outputs.structures is not None:
        return reference, require_structures(outputs.structures, reference)
    return reference, carried(reference.sets, reference)


def _prepared(
    path: Path, series: str, mask: Path | None, release: Release, modality: Modality | None
) -> Prepared:
    """Read and prepare the scan; a separate function, so that the original is freed."""
    scan, said = _read(path, series, release, modality)
    given = None if mask is None else read_scan(mask, Modality.MASK)
    if mask is not None and given is not None:
        try:
            require_mask(given, scan.grid)
        except DataError as error:
            raise error.at(str(mask)) from None
    try:
        prepared = prepare(scan, given, release.model, release.description.ingestion)
    except DataError as error:
        blames_mask = mask is not None and error.code.startswith("mask")
        raise error.at(str(mask if blames_mask else path)) from None
    return replace(prepared, notes=(*said, *prepared.notes))


def _calibrates(release: Release) -> bool:
    return release.model.source_scaling.kind == "two_point"


def _calibration(prepared: Prepared, release: Release) -> Calibration | None:
    """Values of air and soft tissue in a cone-beam CT; None for MR, and if they are not found."""
    if release.description.source != "cbct":
        return None
    try:
        return calibrate(prepared.source.array, prepared.mask.array)
    except DataError:
        if _calibrates(release):
            raise
        return None  # the networks do not need it


def _unlike(prepared: Prepared, release: Release) -> dict[str, dict[str, float]]:
    if release.domain is None:
        return {}
    seen = fingerprint(
        prepared.source, prepared.mask, release.model.source_scaling, release.domain.reference
    )
    return release.domain.unlike(seen, cut=prepared.cut)


def _read(
    path: Path, series: str, release: Release, modality: Modality | None
) -> tuple[Volume, list[str]]:
    """The scan, and notes on what its reader repaired or left out."""
    expected = SOURCES[release.description.source]
    if modality is None and format_of(path) != "dicom":
        modality = expected
    # The guards check for NaN.
    scan, facts = read_scan_and_facts(path, modality, series=series, require_finite=False)
    if scan.modality is not expected:
        hint = "; a cone-beam CT that does not say so: --modality CBCT"
        raise DataError(
            f"the scan is {scan.modality}, the model predicts from {expected}",
            where=str(path),
            remedy="give the matching release" + (hint if expected is Modality.CBCT else ""),
            code="wrong-modality",
        )
    return scan, [remark.sentence for remark in facts.remarks]
