"""``register``, ``evaluate``, ``regularizers``: single files and the catalogue."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import Json, examples
from flows.exits import CLEAN, FAILED

if TYPE_CHECKING:
    from data.volume import Modality


class Kind(StrEnum):
    """What a scan measures, where its file does not say it."""

    CT = "ct"
    MR = "mr"
    CBCT = "cbct"


_SAYS_NOT = "What it measures, where the file (NIfTI, MHA, NRRD) does not say it."


@examples(
    "synthct register --fixed MR_FOLDER --moving CT_FOLDER --out moved",
    "synthct register --fixed mr.nii.gz --fixed-modality mr --moving CT --out moved",
)
def register(
    fixed: Annotated[Path, typer.Option(metavar="SCAN", help="MR or CBCT: the grid stays.")],
    moving: Annotated[Path, typer.Option(metavar="SCAN", help="CT: it is moved.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.")],
    fixed_mask: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Body (> 0); found where not given.")
    ] = None,
    moving_mask: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Body (> 0); found where not given.")
    ] = None,
    fixed_modality: Annotated[Kind | None, typer.Option(help=_SAYS_NOT)] = None,
    moving_modality: Annotated[Kind | None, typer.Option(help=_SAYS_NOT)] = None,
    method: Annotated[str, typer.Option(metavar="NAME", help="How.")] = "elastix_mi",
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Default: the published one for modality and region."),
    ] = None,
    region: Annotated[
        str, typer.Option(metavar="REGION", help="head-neck, thorax, abdomen or other.")
    ] = "other",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random samples.")] = 0,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads; with the seed they fix every byte.")
    ] = 1,
    as_json: Json = False,
) -> int:
    """Move a CT onto an MR or CBCT.

    Exit code 1 when the quality gate says that it failed. Writes moved.mha,
    displacement.mha (fixed to moving, mm, LPS), the ITK transform, and quality.json with the
    figures and the verdict of the gate.
    """
    from rich.console import Console

    from tasks.registration.pair import register_files

    with Console(stderr=True).status("read") as status:
        quality = register_files(
            fixed,
            moving,
            fixed_mask=fixed_mask,
            moving_mask=moving_mask,
            fixed_modality=_modality(fixed_modality),
            moving_modality=_modality(moving_modality),
            method=method,
            preset=preset,
            region=region,
            out=out,
            seed=seed,
            threads=threads,
            progress=lambda step: status.update(step),
        )
    if as_json:
        typer.echo(json.dumps(quality, indent=2))
    else:
        reason = f" ({quality['reason']})" if quality.get("reason") else ""
        typer.echo(f"{quality.get('verdict', 'done')}{reason}: {out}")
    return FAILED if quality.get("verdict") == "fail" else CLEAN


@examples(
    "synthct evaluate --prediction sct.mha --reference ct.mha --mask body.mha",
    "synthct evaluate --prediction sct.mha --reference ct.mha --json -",
)
def evaluate(
    prediction: Annotated[Path, typer.Option(metavar="SCAN", help="Synthetic CT [HU].")],
    reference: Annotated[Path, typer.Option(metavar="SCAN", help="True CT [HU].")],
    mask: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Where to look (> 0); none: everywhere.")
    ] = None,
    segmentations: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With prediction/NAME.* and reference/NAME.* masks."),
    ] = None,
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
    """Score a synthetic CT against a CT.

    MAE and ME (HU), PSNR (dB), MS-SSIM, HU bands, and overlap of structures where masks are given.
    """
    from rich.console import Console

    from tasks.evaluation.files import evaluate_files
    from tasks.evaluation.profiles import DEFAULT_PROFILE

    printed = json_file == Path("-")
    with Console(stderr=True).status("evaluate"):
        document = evaluate_files(
            prediction,
            reference,
            mask,
            segmentations,
            profile or DEFAULT_PROFILE,
            None if printed else json_file,
            resample=resample,
        )
    if printed:
        typer.echo(json.dumps(document, indent=2))
    else:
        _show_scores(document)
    return CLEAN


def _show_scores(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    profile = document["profile"]
    table = Table(title=f"{document['voxels']} voxels, profile {profile['name']}")
    table.add_column("metric")
    table.add_column("value", justify="right")
    structures = document.get("structures", {}).get("scores", {})
    for name, value in {**document["scores"], **structures}.items():
        table.add_row(name, "none" if value is None else f"{value:.4g}")
    Console().print(table)
    for warning in document["warnings"]:
        typer.echo(f"warning: {warning}", err=True)


@examples("synthct regularizers", "synthct regularizers cutout")
def regularizers(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One entry in full.")] = None,
    as_json: Json = False,
) -> int:
    """List the regularizers; one entry in full.

    `training.regularizers` in params.yaml names them.
    """
    from tasks.regularizers import catalogue

    entries = catalogue(name)
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
    elif name is not None:
        _show_regularizer(entries[0])
    else:
        _show_catalogue(entries)
    return CLEAN


_FORMULA = re.compile(r"[:,]?\s*:math:`[^`]*`")
"""Formulas are for the documentation's pages; one line of a terminal does without."""


def _show_catalogue(entries: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "acts at", "parameters", "what it does")
    for entry in entries:
        parameters = ", ".join(f"{p['name']}={p['default']}" for p in entry["parameters"])
        summary = _FORMULA.sub("", entry["summary"])
        row = entry["name"], ", ".join(entry["seams"]), parameters, summary
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _show_regularizer(entry: dict[str, Any]) -> None:
    options = "".join(f", {p['name']}: {p['default']}" for p in entry["parameters"])
    typer.echo(f"{entry['name']}  (acts at: {', '.join(entry['seams'])})\n")
    typer.echo(entry["doc"])
    typer.echo(f"\nIn params.yaml: regularizers: [{{name: {entry['name']}, weight: 1.0{options}}}]")
    if entry["incompatible"]:
        typer.echo(f"Not together with: {', '.join(entry['incompatible'])}")


def _modality(kind: Kind | None) -> Modality | None:
    from data.volume import Modality

    return Modality(kind.value.upper()) if kind else None
