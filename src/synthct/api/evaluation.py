"""``synthct.evaluate``: score a synthetic CT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from synthct.api.arguments import PathLike, Scan, as_path, modality_of, scan_files
from synthct.data.volume import Modality


def evaluate(
    prediction: Scan,
    reference: Scan,
    *,
    mask: Scan | None = None,
    out: PathLike | None = None,
    profile: str | None = None,
    resample: bool = False,
    segmentations: PathLike | None = None,
    segmenter: str = "",
    missing: Literal["penalised", "as_published"] = "penalised",
    source: Scan | None = None,
    source_modality: Modality | str | None = None,
    prediction_series: str = "",
    reference_series: str = "",
    source_series: str = "",
    dose_prediction: Scan | None = None,
    dose_reference: Scan | None = None,
    gamma: Literal["interpolated", "discrete"] = "interpolated",
    target: str = "",
    prescription_gy: float = 0.0,
    curves: PathLike | Mapping[str, Any] | None = None,
    other_references: Sequence[Scan] = (),
    maps: PathLike | None = None,
    device: str = "",
) -> dict[str, Any]:
    """Score a synthetic CT against a CT: everything that applies to what is given.

    Always MAE and ME [HU], PSNR [dB], MS-SSIM, SSIM, errors by HU band, dose surrogates (no dose is
    calculated) and checks for scores that look better than the image is.

    Parameters
    ----------
    prediction, reference
        Synthetic and true CT [HU].
    mask
        Voxels > 0 count; none: all voxels.
    out
        JSON file for the document as well.
    profile
        Published range of HU of PSNR and MS-SSIM.
    resample
        Bring what lies on another grid onto the reference's; without it another grid raises,
        because resampling changes every score.
    segmentations
        Folder with the sides ``prediction``, ``reference`` and perhaps ``source``: a folder of
        masks each, or a label map each with ``labels.json``.
    segmenter
        Instead of it, what finds the structures on both CTs: ``thresholds``, ``totalsegmentator``,
        or the folder of a trained one.
    missing
        What the HD95 of a structure is that the prediction lacks.
    source, source_modality
        The MR or cone-beam CT that the prediction was made from; MR where nobody says it.
    prediction_series, reference_series, source_series
        Number, description or UID, where a folder or zip of DICOM holds several series.
    dose_prediction, dose_reference
        RTDOSE or image [Gy], planned on each CT.
    gamma
        Whether gamma reads the evaluated dose between its voxels too, or at them only.
    target, prescription_gy
        Structure of the reference and dose [Gy] of Paddick's conformity.
    curves
        ``{"electron_density": [[HU, value], ...], "stopping_power": ...}`` of the clinic, or a
        JSON file of it.
    other_references
        The reference under other alignments: how far it moves is the floor of every MAE.
    maps
        Folder for maps of the errors.
    device
        ``cuda``: similarity by torch on a GPU; empty: by numpy.

    Returns
    -------
    dict
        The document of ``docs/evaluation.schema.json``; volumes in memory go by the names of their
        arguments.

    Raises
    ------
    DataError
        An image is damaged, not in HU, or on another grid.
    UsageError
        Arguments that do not go together, or an unknown name.

    Examples
    --------
    >>> import synthct
    >>> ct = synthct.read("ct.nii.gz", "CT")
    >>> worse = ct.with_array(ct.array + 10)
    >>> document = synthct.evaluate(worse, ct)
    >>> round(document["scores"]["mae_hu"], 3), document["voxels"] == ct.array.size
    (10.0, True)
    """
    from synthct.tasks.evaluation.attachments import Attachments
    from synthct.tasks.evaluation.files import evaluate_files
    from synthct.tasks.evaluation.inputs import read_curves
    from synthct.tasks.evaluation.profiles import DEFAULT_PROFILE

    measured = None if source is None else modality_of(source, source_modality, "source")
    with scan_files() as files:
        extras = Attachments(
            segmentations=as_path(segmentations),
            segmenter=segmenter,
            source=files.perhaps(source, "source", Modality.MR, Modality.CBCT),
            source_modality=str(measured or Modality.MR).lower(),
            prediction_series=prediction_series,
            reference_series=reference_series,
            source_series=source_series,
            dose_prediction=files.perhaps(dose_prediction, "dose_prediction", Modality.DOSE),
            dose_reference=files.perhaps(dose_reference, "dose_reference", Modality.DOSE),
            gamma=gamma,
            target=target,
            prescription_gy=prescription_gy,
            curves=read_curves(curves if isinstance(curves, Mapping) else as_path(curves)),
            other_references=files.several(other_references, "other_reference", Modality.CT),
            maps=as_path(maps),
            device=device,
            policy=missing,
        )
        return evaluate_files(
            files.path(prediction, "prediction", Modality.CT),
            files.path(reference, "reference", Modality.CT),
            files.perhaps(mask, "mask", Modality.MASK),
            extras,
            profile or DEFAULT_PROFILE,
            as_path(out),
            resample=resample,
        )
