"""``synthct.predict``: a synthetic CT of one scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from synthct.api.arguments import PathLike, Scan, as_path, modality_of, scan_files
from synthct.data.errors import UsageError
from synthct.data.volume import Modality, Volume


@dataclass(frozen=True, eq=False)
class Interval:
    """Ends of the conformal interval, and where not to trust it, on the grid of the scan.

    Parameters
    ----------
    low, high
        [HU]; outside the body both are the value outside.
    untrusted
        Mask (1: not to be trusted); None where it was written as a DICOM segmentation.
    """

    low: Volume
    high: Volume
    untrusted: Volume | None


@dataclass(frozen=True, eq=False)
class Prediction:
    """A synthetic CT with its report.

    Parameters
    ----------
    report
        ``out source release networks flips voxels_in_body voxels_not_predicted notes
        unlike_training calibration harmonised structures not_for_clinical_use``: plain JSON, no
        patient data. With an interval also ``interval``: nominal coverage, calibration patients,
        half-widths.
    """

    report: Mapping[str, Any]
    _sct: Volume | Path
    _uncertainty: Volume | Path | None
    _interval: Interval | Path | None = None

    @property
    def sct(self) -> Volume:
        """The synthetic CT [HU] on the grid of the scan; read from ``out`` if that was given."""
        return _volume(self._sct)

    @property
    def uncertainty(self) -> Volume | None:
        """Standard deviation over folds and mirrorings [HU], if it was requested."""
        return None if self._uncertainty is None else _volume(self._uncertainty)

    @property
    def interval(self) -> Interval | None:
        """Conformal interval of every voxel, if it was requested."""
        return (
            _read_interval(self._interval) if isinstance(self._interval, Path) else self._interval
        )


def predict(
    model: PathLike,
    scan: Scan,
    *,
    out: PathLike | None = None,
    mask: Scan | None = None,
    dicom_reference: PathLike | None = None,
    structures: PathLike | None = None,
    uncertainty: bool | PathLike = False,
    write_body: PathLike | None = None,
    interval: bool | PathLike = False,
    modality: Modality | str | None = None,
    tta: bool = True,
    overlap: float = 0.5,
    batch: int | None = None,
    threads: int = 0,
    device: str = "cpu",
    max_ram_gb: float | None = None,
    int8: bool = False,
    student: bool = False,
    surest: int | None = None,
    harmonise: str | None = None,
    harmonise_picture: PathLike | None = None,
    form: Literal["", "fast", "small"] = "",
    public_key: PathLike | None = None,
    series: str = "",
    progress: Callable[[int, int], None] | None = None,
    step: Callable[[str], None] | None = None,
) -> Prediction:
    """Compute the synthetic CT of one MR or cone-beam CT. Not for clinical use.

    Parameters
    ----------
    model
        Release folder; all its files are verified first.
    scan
        MR or cone-beam CT. A scan that fails the quality checks of ingestion is refused.
    out
        ``.mha``, ``.nii.gz``, ``.nii`` or ``.nrrd``, or a folder (no suffix) for a DICOM series;
        written completely or not at all. Without it the result stays in memory.
    mask
        Body mask (> 0) in the scan's frame; by default the body is segmented.
    dicom_reference
        DICOM whose patient, study and frame of reference the new series gets, with its RTSTRUCT;
        without it the output contains no patient data.
    structures
        RTSTRUCT to carry over to the new series.
    uncertainty
        True: also compute the standard deviation [HU] in memory; a path: write it to that file.
    write_body
        Image file for the body mask on the grid of the scan: the ``mask`` of ``evaluate``.
    interval
        True: also compute the release's conformal interval in memory; a path: write ``low``,
        ``high`` and ``untrusted`` into that new folder, in the format of ``out``.
    modality
        Modality of a file that does not state it; default: that of the model.
    tta
        Test-time augmentation: average over the mirrorings used in training.
    overlap
        Overlap of neighbouring windows, as a fraction.
    batch
        Windows per batch; None: what the memory allows, at most 8.
    threads
        Windows that are computed in parallel; 0: one per core.
    device
        ``cpu``, or ``cuda``, which requires onnxruntime-gpu.
    max_ram_gb
        Memory limit of the process [GB]; None: the machine's free memory.
    int8, student, surest
        Use the 8-bit networks; the network distilled from the ensemble; only the K networks whose
        predictions vary least over mirrorings. The model card states the loss of accuracy.
    harmonise
        Harmoniser (``quantile``, ``partial`` or ``monge``) that maps the scan of another scanner to
        the intensities of the training scans; the report says what was moved.
    harmonise_picture
        SVG file: histograms before and after, and the curve.
    form
        ``fast`` or ``small``: use the release's form with the least arithmetic or the smallest
        files. The model card states its cost.
    public_key
        Ed25519 public key (PEM) with which the release must be signed.
    series
        Number, description or UID, if a DICOM folder or zip holds several series.
    progress, step
        Called with the windows done and their total; called with each step's name as it starts.

    Returns
    -------
    Prediction
        The synthetic CT, optionally its standard deviation, and the report.

    Raises
    ------
    DataError
        The scan is damaged, of another modality, or unfit.
    UsageError
        The release or the names of the outputs are wrong.
    MachineError
        Memory or disk do not suffice.

    Examples
    --------
    >>> import synthct
    >>> made = synthct.predict("release", "mr.nii.gz")
    >>> made.sct.array.dtype, made.sct.unit, made.report["networks"]
    (dtype('int16'), 'HU', 2)

    From memory to a file:

    >>> mr = synthct.read("mr.nii.gz", "MR")
    >>> synthct.predict("release", mr, out="sct.nii.gz", tta=False).report["out"]
    'sct.nii.gz'
    """
    from synthct.tasks.prediction.options import PredictOptions
    from synthct.tasks.prediction.predict import predict_file

    _require_out(
        out, dicom_reference, structures, {"uncertainty": uncertainty, "interval": interval}
    )
    with scan_files() as files:
        target = files.folder() / "sct.nii" if out is None else as_path(out)
        spread = None if isinstance(uncertainty, bool) else as_path(uncertainty)
        if uncertainty is True:
            spread = files.folder() / "uncertainty.nii"
        ends = None if isinstance(interval, bool) else as_path(interval)
        if interval is True:
            ends = files.folder() / "interval"
        report = predict_file(
            as_path(model),
            files.path(scan, "scan"),
            target,
            mask=files.perhaps(mask, "mask", Modality.MASK),
            dicom_reference=as_path(dicom_reference),
            structures=as_path(structures),
            uncertainty=spread,
            body=as_path(write_body),
            harmonise_picture=as_path(harmonise_picture),
            interval=ends,
            modality=modality_of(scan, modality, "scan"),
            options=PredictOptions(
                tta=tta,
                overlap=overlap,
                batch=batch,
                threads=threads,
                device=device,
                max_ram_gb=max_ram_gb,
                int8=int8,
                student=student,
                surest=surest,
                harmonise=harmonise,
                form=form,
            ),
            public_key=as_path(public_key),
            series=series,
            progress=progress,
            step=step or (lambda name: None),
        )
        # Read results in the temporary folder before it is removed.
        sct = _volume(target) if out is None else target
        sd = _volume(spread) if spread is not None and uncertainty is True else spread
        both = _read_interval(ends) if ends is not None and interval is True else ends
    return Prediction({**report, "out": None if out is None else str(target)}, sct, sd, both)


def _volume(kept: Volume | Path) -> Volume:
    if isinstance(kept, Volume):
        return kept
    from synthct.data.readers import read_scan

    return read_scan(kept, Modality.CT)


def _read_interval(folder: Path) -> Interval:
    """The folder's three results, in whichever format they are."""
    from synthct.data.readers import read_scan

    found = {path.name.split(".")[0]: path for path in folder.iterdir()}
    low, high = (read_scan(found[name], Modality.CT) for name in ("low", "high"))
    mask = found["untrusted"]
    segmentation = mask.suffix == ".dcm"
    return Interval(low, high, None if segmentation else read_scan(mask, Modality.MASK))


def _require_out(
    out: PathLike | None,
    dicom_reference: PathLike | None,
    structures: PathLike | None,
    further: Mapping[str, bool | PathLike],
) -> None:
    if out is None and (dicom_reference is not None or structures is not None):
        raise UsageError(
            "no folder for the series was given",
            rule="a DICOM reference or structures require a DICOM series as output",
            where="out",
            remedy="give a folder as `out`, or omit `dicom_reference` and `structures`",
            code="reference-without-series",
        )
    for name, asked in further.items():
        if out is not None and asked is True:
            raise UsageError(
                f"no name for the {name} was given",
                rule="with `out`, every result is written to a file",
                where=name,
                remedy=f"give {name}=PATH, or omit `out`",
                code=f"{name}-without-name",
            )
