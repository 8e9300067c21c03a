"""``synthct predict``: a clinic's scan in, a synthetic CT on the same grid out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.faults import DataFault, UsageFault
from data.files import content_hash
from data.readers import format_of, read_scan
from data.volume import Modality, Volume
from data.writers import suffix_of, write_image
from tasks.prediction.prepare import Prepared, on_grid, prepare
from tasks.prediction.release import CHECKSUMS, Release, open_release
from tasks.prediction.runtime import onnx_runners, provider_of
from tasks.prediction.series import check_same_place, reference_header, write_sct
from tasks.prediction.sliding import Prediction, Progress, predict

SOURCES = {"mr": Modality.MR, "cbct": Modality.CBCT}
"""What a model of each task was trained on."""


@dataclass(frozen=True)
class Outputs:
    """Where the result goes; checked before anything is computed."""

    out: Path
    uncertainty: Path | None = None
    dicom_reference: Path | None = None

    @property
    def is_series(self) -> bool:
        """A name without a suffix is the folder of a DICOM series."""
        return self.out.suffix == ""

    def check(self, *, untouched: Iterable[Path | None]) -> None:
        """Raise where the names cannot be written as asked, or are those of an input."""
        written = [path.resolve() for path in (self.out, self.uncertainty) if path is not None]
        named = written + [path.resolve() for path in untouched if path is not None]
        if any(named.count(path) > 1 for path in written):
            raise UsageFault(
                "inputs and outputs are different files",
                where=str(self.out),
                got="one name twice",
                remedy="name other outputs",
                code="output-is-input",
            )
        if not self.is_series:
            suffix_of(self.out)
        elif self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise UsageFault(
                "the folder of the new series does not exist yet or is empty",
                where=str(self.out),
                got="a folder with files",
                remedy="name a new folder, or a file ending in .mha or .nii.gz",
                code="out-not-empty",
            )
        if self.uncertainty is not None:
            suffix_of(self.uncertainty)
        if self.dicom_reference is not None and not self.is_series:
            raise UsageFault(
                "a DICOM reference goes with a DICOM series",
                where=str(self.out),
                got="an image file",
                remedy="name an output folder, or leave out --dicom-reference",
                code="reference-without-series",
            )


def predict_file(
    model: Path,
    input: Path,
    out: Path,
    *,
    mask: Path | None = None,
    dicom_reference: Path | None = None,
    uncertainty: Path | None = None,
    modality: Modality | None = None,
    tta: bool = True,
    overlap: float = 0.5,
    batch: int = 4,
    threads: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Predict one scan with a release folder; the output is there whole or not at all.

    Parameters
    ----------
    model
        Release folder (``export/mr`` or ``export/cbct``); every file of it is checked first.
    input
        Scan: DICOM folder or zip, NIfTI, MHA, NRRD.
    out
        ``.mha``, ``.nii.gz``, ``.nii`` or ``.nrrd`` on the scan's grid, or a folder (no suffix)
        for a DICOM series with the scan's geometry.
    mask
        Body mask image in the scan's frame; without it the body is outlined as in ingestion.
    dicom_reference
        DICOM whose Patient and Study Modules and frame of reference the new series takes over:
        by design nothing but this argument brings a patient's identity into the output.
    uncertainty
        Image file for the standard deviation over folds and flips [HU].
    modality
        What a file that does not say it holds; by default what the model was trained on.
    tta
        Also flip Y and X: three times the work.
    threads
        Threads of the networks; 0 is all cores. The thread count can change the last HU.

    Returns
    -------
    dict
        ``out task networks flips voxels_in_body notes not_for_clinical_use``; no patient data.
    """
    outputs = Outputs(out, uncertainty, dicom_reference)
    outputs.check(untouched=(input, mask, dicom_reference))
    provider_of(device)
    release = open_release(model)
    scan = _read(input, release, modality)
    if dicom_reference is not None:
        check_same_place(dicom_reference, input, scan.grid)
    given = None if mask is None else read_scan(mask, Modality.MASK)
    prepared = prepare(scan, given, release.model, release.description.ingestion)
    prediction = predict(
        onnx_runners(release.graphs(), threads=threads, device=device),
        prepared.source,
        prepared.mask,
        release.model,
        tta=tta,
        overlap=overlap,
        batch=batch,
        uncertainty=uncertainty is not None,
        progress=progress,
    )
    _write(outputs, prepared, prediction, release, _seed(input, model))
    return {
        "out": str(out),
        "task": release.description.task,
        "networks": len(release.description.members),
        "flips": 3 if tta else 1,
        "voxels_in_body": int(np.count_nonzero(prepared.body.array)),
        "notes": list(prepared.notes),
        "not_for_clinical_use": str(release.card.get("not_for_clinical_use", "")),
    }


def _read(path: Path, release: Release, modality: Modality | None) -> Volume:
    expected = SOURCES[release.description.task]
    if modality is None and format_of(path) != "dicom":
        modality = expected
    scan = read_scan(path, modality, require_finite=False)  # the guards look at NaN
    if scan.modality is not expected:
        hint = "; a cone-beam CT that does not say so: --modality CBCT"
        raise DataFault(
            f"a model of task {release.description.task!r} is given {expected} scans",
            where=str(path),
            got=str(scan.modality),
            remedy="give the matching release" + (hint if expected is Modality.CBCT else ""),
            code="wrong-modality",
        )
    return scan


def _write(
    outputs: Outputs, prepared: Prepared, prediction: Prediction, release: Release, seed: str
) -> None:
    """The uncertainty first: when the synthetic CT is there, everything is."""
    if outputs.uncertainty is not None and prediction.sd_hu is not None:
        spread = on_grid(prediction.sd_hu, prepared.mask, prepared.body, 0.0)
        write_image(outputs.uncertainty, prepared.body.with_array(spread, Modality.CT))
    outside = float(release.model.outside_hu)
    hu = np.rint(on_grid(prediction.hu, prepared.mask, prepared.body, outside)).astype(np.int16)
    volume = prepared.body.with_array(hu, Modality.CT)
    if not outputs.is_series:
        write_image(outputs.out, volume)
        return
    reference = outputs.dicom_reference
    write_sct(
        outputs.out,
        volume,
        derivation=_derivation(release),
        reference=None if reference is None else reference_header(reference),
        uid_seed=seed,
    )


def _derivation(release: Release) -> str:
    task, count = release.description.task, len(release.description.members)
    return (
        f"Synthetic CT from {SOURCES[task]} by synthct, mean of {count} networks, release "
        f"{_release_id(release.folder)}. Not for clinical use."
    )


def _release_id(folder: Path) -> str:
    return content_hash(folder / CHECKSUMS)[:16]


def _seed(scan: Path, model: Path) -> str:
    """UIDs derive from the scan's bytes and the release: new for each, the same when repeated."""
    parts = f"{content_hash(scan)}\0{content_hash(model / CHECKSUMS)}"
    return hashlib.sha256(parts.encode()).hexdigest()
