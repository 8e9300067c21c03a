"""``predict``: apply a release folder to a scan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import synthct
from synthct.flows.cli.options import (
    Device,
    DryRun,
    Json,
    Model,
    Overwrite,
    PublicKey,
    Series,
    Source,
    examples,
    print_forecast,
    print_json,
    refuse_existing,
)
from synthct.flows.exits import CLEAN

if TYPE_CHECKING:
    from rich.progress import Progress


@examples(
    "synthct predict --model data/artefacts/export/mr --input MR --out sct.mha",
    "synthct predict --model RELEASE --input CBCT --out sct --dicom-reference CBCT",
    "synthct predict --model RELEASE --input mr.nii.gz --out sct.nii.gz --uncertainty sd.nii.gz",
    "synthct predict --model RELEASE --input mr.nii.gz --out sct.nii.gz --write-body body.nii.gz",
    "synthct predict --model RELEASE --input MR --out sct.mha --interval interval",
    "synthct predict --model RELEASE --input MR --out sct.mha --harmonise quantile --fast",
)
def predict(
    model: Model,
    input: Annotated[Path, typer.Option(metavar="SCAN", help="MR or CBCT scan.")],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Output: an .mha, .nii.gz or .nrrd file, or a folder (no suffix) for a DICOM "
            "series.",
        ),
    ],
    mask: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="Body mask (> 0); by default the body is segmented."),
    ] = None,
    dicom_reference: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="DICOM series whose patient, study and frame of reference the new series gets; an "
            "RTSTRUCT in it is carried over.",
        ),
    ] = None,
    structures: Annotated[
        Path | None,
        typer.Option(metavar="RTSTRUCT", help="Structure set to carry over to the new series."),
    ] = None,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write the standard deviation over the ensemble's predictions [HU].",
        ),
    ] = None,
    write_body: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write the body mask, on the grid of the scan: the --mask of `evaluate`.",
        ),
    ] = None,
    interval: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write the low and high end of the release's conformal interval [HU] and "
            "the mask of untrusted voxels into this new folder, in the format of --out.",
        ),
    ] = None,
    modality: Annotated[
        Source | None,
        typer.Option(help="Modality of a file that does not state it (default: the model's)."),
    ] = None,
    tta: Annotated[
        bool,
        typer.Option(
            help="Test-time augmentation: average over the mirrorings used in training (slower)."
        ),
    ] = True,
    overlap: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Overlap of neighbouring windows, a fraction.")
    ] = 0.5,
    max_ram: Annotated[
        float | None,
        typer.Option(metavar="GB", min=0.1, help="Memory limit (default: all free memory)."),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, help="Windows computed in parallel; 0: one per core.")
    ] = 0,
    device: Annotated[
        Device, typer.Option(help="Processor; cuda requires the package onnxruntime-gpu.")
    ] = Device.CPU,
    int8: Annotated[
        bool, typer.Option("--int8", help="Use the release's 8-bit networks, if it has them.")
    ] = False,
    student: Annotated[
        bool,
        typer.Option(
            "--student", help="Use the network distilled from the ensemble, if there is one."
        ),
    ] = False,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Use the release's smaller form with the least arithmetic."),
    ] = False,
    small: Annotated[
        bool,
        typer.Option("--small", help="Use the release's smaller form with the smallest files."),
    ] = False,
    surest: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=1,
            help="Use only the K networks whose predictions vary least over mirrorings of this "
            "scan.",
        ),
    ] = None,
    harmonise: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Map the intensities of another scanner's scan to those of the training scans: "
            "quantile, partial or monge.",
        ),
    ] = None,
    harmonise_picture: Annotated[
        Path | None,
        typer.Option(metavar="SVG", help="Also write a picture of what --harmonise changed."),
    ] = None,
    public_key: PublicKey = None,
    series: Series = "",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Compute the synthetic CT of one scan.

    The result is in HU, on the grid of the scan. All files of the release are verified first. A
    scan that fails the quality checks of ingestion is refused; one that differs from the training
    scans is reported. Without --dicom-reference the output contains no patient data. Not for
    clinical use.
    """
    _require_one_form(fast=fast, small=small)
    written = (out, uncertainty, interval, write_body, harmonise_picture)
    # A folder that holds files is refused with or without --overwrite: it may be another's.
    files = (path for path in written if path is not None and not path.is_dir())
    refuse_existing(*files, overwrite=overwrite)
    if dry_run:
        from synthct.flows.run.single import of_predict

        told = of_predict(
            model, input, series=series, overlap=overlap, tta=tta, threads=threads,
            device=device.value,
        )  # fmt: skip
        return print_forecast(told, as_json=as_json)
    with _bars() as bars:
        bar = bars.add_task("check the release", total=None)
        made = synthct.predict(
            model,
            input,
            out=out,
            mask=mask,
            dicom_reference=dicom_reference,
            structures=structures,
            uncertainty=uncertainty or False,
            write_body=write_body,
            interval=interval or False,
            modality=modality,
            tta=tta,
            overlap=overlap,
            threads=threads,
            device=device.value,
            max_ram_gb=max_ram,
            int8=int8,
            student=student,
            surest=surest,
            harmonise=harmonise,
            harmonise_picture=harmonise_picture,
            form="fast" if fast else "small" if small else "",
            public_key=public_key,
            series=series,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
            step=lambda name: bars.update(bar, description=name),
        )
        bars.update(bar, description="done")
    _print_report(made.report, out, as_json=as_json)
    return CLEAN


def _require_one_form(*, fast: bool, small: bool) -> None:
    if fast and small:
        from synthct.data.errors import UsageError

        raise UsageError(
            "--fast and --small are given together",
            rule="each chooses the networks",
            remedy="give one of them",
            code="form-and-other",
        )


def _bars() -> Progress:
    """Progress on standard error: step, bar, windows, elapsed and remaining time."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _print_report(document: Mapping[str, Any], out: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    networks, flips = document["networks"], document["flips"]
    made_by = "one network" if networks == 1 else f"the mean of {networks} networks"
    mirrored = f", each over {flips} mirrorings" if flips > 1 else ""
    contours = f", {document['structures']} structure sets" if document["structures"] else ""
    typer.echo(f"{out}: synthetic CT [HU] by {made_by}{mirrored}{contours}")
    if said := document.get("interval"):
        typer.echo(
            f"{100 * said['nominal']:g} % interval, calibrated on {said['patients']} patients; "
            f"{100 * said['untrusted_share']:.1f} % of the body is not to be trusted"
        )
    for note in document["notes"]:
        typer.echo(f"note: {note}", err=True)
    if document["not_for_clinical_use"]:
        typer.echo(document["not_for_clinical_use"], err=True)
