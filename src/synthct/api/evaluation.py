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
    r"""Score a synthetic CT against a reference CT.

    Always computed: MAE and ME [HU], PSNR [dB], MS-SSIM, SSIM, errors by HU range, dose surrogates
    (no dose is calculated) and checks that detect misleading scores.

    :math:`\mathrm{MAE} = \frac{1}{|M|} \sum_{i \in M} |p_i - r_i|` and
    :math:`\mathrm{ME} = \frac{1}{|M|} \sum_{i \in M} (p_i - r_i)`
    with prediction p, reference r and the voxels M of the mask.

    Parameters
    ----------
    prediction, reference
        Synthetic and reference CT [HU].
    mask
        Scored voxels (> 0); None: all voxels.
    out
        File to which the document is also written as JSON.
    profile
        Name of a published HU range for PSNR and MS-SSIM.
    resample
        Resample images on other grids to the reference's; by default they raise, because
        resampling changes every score.
    segmentations
        Folder with ``prediction``, ``reference`` and optionally ``source``: for each a folder of
        masks, or a label map and ``labels.json``.
    segmenter
        Instead of ``segmentations``, the method that segments both CTs: ``thresholds``,
        ``totalsegmentator``, or the folder of a trained segmenter.
    missing
        HD95 of a structure that the prediction lacks: the image diagonal (``penalised``), or
        excluded from the mean (``as_published``).
    source, source_modality
        The MR or cone-beam CT that the prediction was made from; default modality MR.
    prediction_series, reference_series, source_series
        Number, description or UID, if a DICOM folder or zip holds several series.
    dose_prediction, dose_reference
        RTDOSE or image [Gy], calculated on each CT.
    gamma
        Whether the gamma index searches the interpolated dose, or voxel centres only.
    target, prescription_gy
        Structure of the reference and prescribed dose [Gy] for Paddick's conformity index.
    curves
        The clinic's calibration ``{"electron_density": [[HU, value], ...], "stopping_power":
        ...}``, or a JSON file of it.
    other_references
        The reference CT under other registrations; their MAE to the reference is the floor that
        registration errors set for every MAE.
    maps
        Folder for error maps.
    device
        ``cuda``: compute image similarity with torch on a GPU; empty: with numpy.

    Returns
    -------
    dict
        The document of ``docs/evaluation.schema.json``; volumes in memory are named after their
        arguments.

    Raises
    ------
    DataError
        An image is damaged, not in HU, or on another grid.
    UsageError
        Arguments that exclude each other, or an unknown name.

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
