"""``evaluate``: one synthetic CT against one reference, everything that applies."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

import synthct
from synthct.flows.cli.options import examples
from synthct.flows.exits import CLEAN

_SERIES = "Number, description or UID of the series, where a folder holds several."


class Missing(StrEnum):
    """Distance of a structure that the prediction lacks."""

    PENALISED = "penalised"
    AS_PUBLISHED = "as_published"


class Gamma(StrEnum):
    """Where gamma looks for the dose that agrees."""

    INTERPOLATED = "interpolated"
    DISCRETE = "discrete"


class Source(StrEnum):
    """What the prediction was made from."""

    MR = "mr"
    CBCT = "cbct"


@examples(
    "synthct evaluate --prediction sct.mha --reference ct.mha --mask body.mha",
    "synthct evaluate --prediction sct.mha --reference ct.mha --mask body.mha --source mr.mha",
    "synthct evaluate --prediction sct.mha --reference ct.mha --segmentations seg --json -",
    "synthct evaluate --prediction sct.mha --reference ct.mha --segmenter totalsegmentator",
    "synthct evaluate --prediction sct.mha --reference ct.mha --dose-prediction RD1.dcm "
    "--dose-reference RD2.dcm",
)
def evaluate(
    prediction: Annotated[Path, typer.Option(metavar="SCAN", help="Synthetic CT [HU].")],
    reference: Annotated[Path, typer.Option(metavar="SCAN", help="True CT [HU].")],
    mask: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Where to look (> 0); none: everywhere.")
    ] = None,
    segmentations: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Sides prediction, reference, perhaps source: folders of NAME.* masks, or label "
            "maps SIDE.* with labels.json.",
        ),
    ] = None,
    segmenter: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Without files: find the structures of both CTs by thresholds (coarse, by HU), "
            "totalsegmentator (yours, on PATH) or a folder of artefacts/evaluation/segmenters.",
        ),
    ] = "",
    missing: Annotated[
        Missing, typer.Option(help="HD95 of a lost structure: the image's diagonal, or dropped.")
    ] = Missing.PENALISED,
    source: Annotated[
        Path | None,
        typer.Option(metavar="SCAN", help="The MR or CBCT itself: does the sCT show its anatomy?"),
    ] = None,
    source_modality: Annotated[Source, typer.Option(help="What --source is.")] = Source.MR,
    prediction_series: Annotated[str, typer.Option(metavar="ID", help=_SERIES)] = "",
    reference_series: Annotated[str, typer.Option(metavar="ID", help=_SERIES)] = "",
    source_series: Annotated[str, typer.Option(metavar="ID", help=_SERIES)] = "",
    dose_prediction: Annotated[
        Path | None, typer.Option(metavar="FILE", help="RTDOSE or image [Gy] on the prediction.")
    ] = None,
    dose_reference: Annotated[
        Path | None, typer.Option(metavar="FILE", help="RTDOSE or image [Gy] on the reference.")
    ] = None,
    gamma: Annotated[
        Gamma, typer.Option(help="Read the evaluated dose between its voxels too, or at them only.")
    ] = Gamma.INTERPOLATED,
    target: Annotated[
        str, typer.Option(metavar="NAME", help="Structure of the reference, for conformity.")
    ] = "",
    prescription_gy: Annotated[float, typer.Option(min=0, help="Dose of --target.")] = 0.0,
    curves: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='JSON {"electron_density": [[HU, value], ...], "stopping_power": ...} of the '
            "clinic, for the dose surrogates.",
        ),
    ] = None,
    other_reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SCAN",
            help="The reference under another alignment, may repeat: how far the reference itself "
            "moves (floor) stands beside the MAE.",
        ),
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Write maps: error in HU, error of the water-equivalent path length by beam.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="cuda: similarity on a GPU; default: numpy.")
    ] = "",
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Published HU range of PSNR and MS-SSIM.")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the document; - prints it."),
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring other grids onto the reference's.")
    ] = False,
) -> int:
    """Score a synthetic CT against a CT: everything that applies to the files given.

    Always: MAE and ME (HU), PSNR (dB), MS-SSIM, SSIM 2023, HU bands, dose surrogates (path
    length, proton range, radiograph; no dose is calculated), and checks for scores that look
    better than the image is. With files: structures, agreement with the source, gamma and
    dose-volume figures. Numbers that cannot be trusted are named, never averaged over.
    """
    from rich.console import Console

    printed = json_file == Path("-")
    with Console(stderr=True).status("evaluate"):
        document = synthct.evaluate(
            prediction,
            reference,
            mask=mask,
            out=None if printed else json_file,
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
            device=device,
        )
    if printed:
        typer.echo(json.dumps(document, indent=2))
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
                table.add_row("  the reference moves by", _number(floor))
    if convention := document.get("dose", {}).get("gamma_convention"):
        told = f"gamma: {convention['normalisation']}, {convention['search']}, voxels above "
        table.caption = f"{told}{convention['cutoff_percent']:g} % of the reference's maximum"
    for name, value in _dose_rows(document.get("dose", {})):
        table.add_row(name, _number(value))
    console.print(table)
    checks = Table("check", "value", "limit", "", "what it looks at", title="checks")
    for found in document["checks"]:
        verdict = "[red]suspect[/red]" if found["suspect"] else "ok"
        unit = f" {found['unit']}" if found["unit"] else ""
        value = f"{_number(found['value'])}{unit}"
        checks.add_row(found["check"], value, f"{found['limit']:g}{unit}", verdict, found["told"])
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
