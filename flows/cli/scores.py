"""``evaluate``: score one synthetic CT against one reference CT."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

import synthct
from synthct.flows.cli.options import (
    Device,
    Json,
    Overwrite,
    Series,
    Source,
    examples,
    print_json,
    refuse_existing,
)
from synthct.flows.exits import CLEAN


class Missing(StrEnum):
    """Hausdorff distance of a structure that is missing in the prediction."""

    PENALISED = "penalised"
    AS_PUBLISHED = "as_published"


class Gamma(StrEnum):
    """Search of the gamma index: between the voxels too, or at voxel centres only."""

    INTERPOLATED = "interpolated"
    DISCRETE = "discrete"


@examples(
    "synthct evaluate --prediction sct.mha --reference ct.mha --mask body.mha",
    "synthct evaluate --prediction sct.mha --reference ct.mha --mask body.mha --source mr.mha",
    "synthct evaluate --prediction sct.mha --reference ct.mha --segmentations seg --json",
    "synthct evaluate --prediction sct.mha --reference ct.mha --segmenter totalsegmentator",
    "synthct evaluate --prediction sct.mha --reference ct.mha --dose-prediction RD1.dcm "
    "--dose-reference RD2.dcm",
)
def evaluate(
    prediction: Annotated[Path, typer.Option(metavar="SCAN", help="Synthetic CT [HU].")],
    reference: Annotated[Path, typer.Option(metavar="SCAN", help="Reference CT [HU].")],
    mask: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="Voxels to score (> 0), e.g. the body; default: all."),
    ] = None,
    segmentations: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Structures of both CTs: DIR has folders `prediction`, `reference` and optionally "
            "`source` with a mask NAME.* per structure, or a label map per CT and labels.json.",
        ),
    ] = None,
    segmenter: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Instead of --segmentations, segment both CTs by `thresholds` (coarse, by HU), "
            "`totalsegmentator` (must be on PATH) or the folder of a trained segmenter.",
        ),
    ] = "",
    missing: Annotated[
        Missing,
        typer.Option(
            help="HD95 of a structure missing in the prediction: the image diagonal "
            "(`penalised`), or left out of the mean (`as_published`)."
        ),
    ] = Missing.PENALISED,
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="SCAN",
            help="The MR or CBCT that the prediction was made from, to check that both show the "
            "same anatomy.",
        ),
    ] = None,
    source_modality: Annotated[Source, typer.Option(help="Modality of --source.")] = Source.MR,
    prediction_series: Series = "",
    reference_series: Series = "",
    source_series: Series = "",
    dose_prediction: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Dose calculated on the prediction: RTDOSE or image [Gy]."
        ),
    ] = None,
    dose_reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Dose calculated on the reference: RTDOSE or image [Gy]."
        ),
    ] = None,
    gamma: Annotated[
        Gamma,
        typer.Option(help="Gamma search in the interpolated dose, or at voxel centres only."),
    ] = Gamma.INTERPOLATED,
    target: Annotated[
        str,
        typer.Option(metavar="NAME", help="Target structure, for Paddick's conformity index."),
    ] = "",
    prescription_gy: Annotated[
        float, typer.Option(min=0, help="Prescribed dose of --target [Gy].")
    ] = 0.0,
    curves: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The clinic's calibration for the dose surrogates, as JSON: "
            '{"electron_density": [[HU, value], ...], "stopping_power": ...}.',
        ),
    ] = None,
    other_reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SCAN",
            help="The reference CT under another registration; may be given several times. Their "
            "MAE to the reference is the floor that registration errors set for every MAE.",
        ),
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Write error maps: HU error, and error of the water-equivalent path length of "
            "each beam.",
        ),
    ] = None,
    device: Annotated[
        Device, typer.Option(help="Processor of the image similarity; cuda requires torch.")
    ] = Device.CPU,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Published HU range of PSNR and MS-SSIM, by name."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write all scores to FILE as JSON.")
    ] = None,
    resample: Annotated[
        bool,
        typer.Option(
            "--resample",
            help="Resample images on other grids to the reference's; by default they are an error, "
            "because resampling changes every score.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> int:
    """Score a synthetic CT against a reference CT.

    Always computed: MAE and ME (HU), PSNR (dB), MS-SSIM, SSIM, errors by HU range, dose surrogates
    (water-equivalent path length, proton range, radiograph; no dose is calculated), and checks
    that detect misleading scores. With the corresponding files also: Dice and HD95 of structures,
    agreement with the source scan, gamma pass rates and dose-volume parameters.
    """
    from rich.console import Console

    refuse_existing(out, maps, overwrite=overwrite)
    with Console(stderr=True).status("evaluate"):
        document = synthct.evaluate(
            prediction,
            reference,
            mask=mask,
            out=out,
            profile=profile,
            resample=resample,
            segmentations=segmentations,
            segmenter=segmenter,
            missing=missing.value,
            source=source,
            source_modality=source_modality,
            prediction_series=prediction_series,
            reference_series=reference_series,
            source_series=source_series,
            dose_prediction=dose_prediction,
            dose_reference=dose_reference,
            gamma=gamma.value,
            target=target,
            prescription_gy=prescription_gy,
            curves=curves,
            other_references=other_reference or (),
            maps=maps,
            device="" if device is Device.CPU else device.value,
        )
    if as_json:
        print_json(document)
    else:
        _show(document)
    return CLEAN


def _show(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console, profile = Console(), document["profile"]
    table = Table(title=f"{document['voxels']} voxels, profile {profile['name']}")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for part in (document, *(document.get(name, {}) for name in ("structures", "source"))):
        for name, value in part.get("scores", {}).items():
            table.add_row(name, _number(value))
            if name == "mae_hu" and "floor" in document:
                floor = document["floor"]["floor_mae_hu"]
                table.add_row("  floor by registration", _number(floor))
    if convention := document.get("dose", {}).get("gamma_convention"):
        table.caption = (
            f"gamma: {convention['normalisation']}, {convention['search']}, voxels above "
            f"{convention['cutoff_percent']:g} % of the reference's maximum"
        )
    for name, value in _dose_rows(document.get("dose", {})):
        table.add_row(name, _number(value))
    console.print(table)
    checks = Table("check", "value", "limit", "", "what it detects", title="checks")
    for found in document["checks"]:
        verdict = "[red]suspect[/red]" if found["suspect"] else "ok"
        unit = f" {found['unit']}" if found["unit"] else ""
        value = f"{_number(found['value'])}{unit}"
        checks.add_row(
            found["check"], value, f"{found['limit']:g}{unit}", verdict, found["message"]
        )
    console.print(checks)
    for warning in document["warnings"]:
        typer.echo(f"warning: {warning}", err=True)


def _dose_rows(dose: dict[str, Any]) -> list[tuple[str, float | None]]:
    rows = [
        (f"gamma {name}, passing %", v) for name, v in dose.get("gamma_pass_percent", {}).items()
    ]
    for side, structures in dose.get("dvh", {}).items():
        for structure, figures in structures.items():
            rows += [(f"{name} of {structure}, {side}", value) for name, value in figures.items()]
    rows += [(f"conformity, {side}", value) for side, value in dose.get("conformity", {}).items()]
    return rows


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
