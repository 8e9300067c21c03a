"""``register``, ``regularizers``: a pair of scans, and the catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

import synthct
from synthct.data.errors import UsageError
from synthct.flows.cli.options import Json, examples
from synthct.flows.exits import CLEAN, FAILED


class Kind(StrEnum):
    """What a scan measures, where its file does not say it."""

    CT = "ct"
    MR = "mr"
    CBCT = "cbct"


SHARES = {"read": 0.05, "rigid": 0.2, "deformable": 0.6, "gate": 0.1, "write": 0.05}
"""Of the time of a registration: what the forecast begins with."""

_SERIES = "Number, description or UID of the series, where a folder holds several."
_SAYS_NOT = "What it measures, where the file (NIfTI, MHA, NRRD) does not say it."


@examples(
    "synthct register --fixed MR_FOLDER --moving CT_FOLDER --out moved",
    "synthct register --fixed mr.nii.gz --fixed-modality mr --moving CT --out moved",
    "synthct register --fixed CBCT --moving CT --method mind --out moved",
    "synthct register --fixed MR --moving CT --method impact --network features.pt --out moved",
    "synthct register --fixed MR --moving CT --initial couch.tfm --initial skin.tfm --out moved",
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
    fixed_series: Annotated[str, typer.Option(metavar="ID", help=_SERIES)] = "",
    moving_series: Annotated[str, typer.Option(metavar="ID", help=_SERIES)] = "",
    fixed_modality: Annotated[Kind | None, typer.Option(help=_SAYS_NOT)] = None,
    moving_modality: Annotated[Kind | None, typer.Option(help=_SAYS_NOT)] = None,
    initial: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Rigid ITK transform (fixed to moving points) to begin with. Repeatable: the "
            "most informative is taken.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Deformable step: elastix_mi (stock elastix), or the torch engine by the "
            "similarity mi, ncc, lncc, mind or impact.",
        ),
    ] = "elastix_mi",
    network: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TorchScript network of --method impact.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Parameter of the method, the value in YAML, e.g. "
            "'deformation={name: dense, smoothing_mm: 3}'. Repeatable.",
        ),
    ] = None,
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

    Writes moved.mha, displacement.mha (fixed to moving, mm, LPS), the ITK transform, quality.json
    with the figures and the verdict of the gate, and before_after.png. Exit code 1 when the gate
    says fail: what stands then is the best earlier step. Suspect: look at the picture.
    """
    from synthct.flows.run.forecast import step_bar

    with step_bar(SHARES) as tell:
        made = synthct.register(
            fixed,
            moving,
            out=out,
            fixed_mask=fixed_mask,
            moving_mask=moving_mask,
            fixed_modality=fixed_modality,
            moving_modality=moving_modality,
            fixed_series=fixed_series,
            moving_series=moving_series,
            initial=initial or (),
            method=method,
            method_options=_options(option or (), network),
            preset=preset,
            region=region,
            seed=seed,
            threads=threads,
            progress=tell,
        )
    quality = made.quality
    if as_json:
        typer.echo(json.dumps(quality, indent=2))
    else:
        reason = f" ({quality['reason']})" if quality["reason"] else ""
        typer.echo(f"{made.verdict}, {quality['step']} step{reason}: {out}")
    return FAILED if made.verdict == "fail" else CLEAN


@examples("synthct regularizers", "synthct regularizers cutout")
def regularizers(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One entry in full.")] = None,
    as_json: Json = False,
) -> int:
    """List the regularizers; one entry in full.

    `training.regularizers` in params.yaml names them.
    """
    from synthct.tasks.regularization import catalogue

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


def _options(given: Iterable[str], network: Path | None) -> dict[str, Any]:
    """``NAME=VALUE`` with a value in YAML, as the method's parameters."""
    import yaml

    from synthct.data.yaml_text import load_yaml

    options: dict[str, Any] = {}
    for entry in given:
        name, equals, text = entry.partition("=")
        try:
            options[name] = load_yaml(text)
        except yaml.YAMLError:
            equals = ""
        if not (name and equals):
            raise UsageError(
                "write NAME=VALUE, with the value in YAML",
                problem=f"{entry!r} is no parameter of a method",
                where="--option",
                remedy="for example factors=[4,2,1]",
                code="bad-option",
            )
    if network is not None:
        options["network"] = str(network)
    return options
