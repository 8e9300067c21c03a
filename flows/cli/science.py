"""``register``: align two scans; ``regularizers``: list the regularizers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

import synthct
from synthct.data.errors import UsageError
from synthct.flows.cli.options import (
    DryRun,
    Json,
    Overwrite,
    Series,
    examples,
    print_forecast,
    print_json,
    refuse_existing,
)
from synthct.flows.cli.plain_math import plain_text
from synthct.flows.exits import CLEAN, FAILED


class Kind(StrEnum):
    """Modality of a scan, where its file does not state it."""

    CT = "ct"
    MR = "mr"
    CBCT = "cbct"


OUTSIDE_TRAINING = {"displacement", "image"}
"""Regularizers that act only there are penalties of a registration."""

SHARES = {"read": 0.05, "rigid": 0.2, "deformable": 0.6, "gate": 0.1, "write": 0.05}
"""Share of each step in the time of a registration, for the estimate of the time left."""

_MODALITY = "Modality, required for files that do not state it (NIfTI, MHA, NRRD)."
_BODY = "Body mask (voxels > 0); by default the body is segmented by a threshold."


@examples(
    "synthct register --fixed MR_FOLDER --moving CT_FOLDER --out moved",
    "synthct register --fixed mr.nii.gz --fixed-modality mr --moving CT --out moved",
    "synthct register --fixed CBCT --moving CT --method mind --out moved",
    "synthct register --fixed MR --moving CT --method impact --network features.pt --out moved",
    "synthct register --fixed MR --moving CT --initial couch.tfm --initial skin.tfm --out moved",
)
def register(
    fixed: Annotated[
        Path, typer.Option(metavar="SCAN", help="MR or CBCT; the result is on its grid.")
    ],
    moving: Annotated[
        Path, typer.Option(metavar="SCAN", help="CT that is moved onto the fixed scan.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.")],
    fixed_mask: Annotated[Path | None, typer.Option(metavar="IMAGE", help=_BODY)] = None,
    moving_mask: Annotated[Path | None, typer.Option(metavar="IMAGE", help=_BODY)] = None,
    fixed_series: Series = "",
    moving_series: Series = "",
    fixed_modality: Annotated[Kind | None, typer.Option(help=_MODALITY)] = None,
    moving_modality: Annotated[Kind | None, typer.Option(help=_MODALITY)] = None,
    initial: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Rigid ITK transform (fixed to moving points) to start from. May be given "
            "several times: the one with the highest mutual information is used.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Deformable registration: elastix_mi (elastix, mutual information), or the torch "
            "implementation with the similarity mi, ncc, lncc, mind, mind_fine or impact.",
        ),
    ] = "elastix_mi",
    network: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TorchScript network of --method impact.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Parameter of the method with its value in YAML, e.g. "
            "'deformation={name: dense, smoothing_mm: 3}'. May be given several times.",
        ),
    ] = None,
    settings: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Registration settings by name (default: those for the modality and region).",
        ),
    ] = None,
    region: Annotated[
        str,
        typer.Option(metavar="REGION", help="Body region: head-neck, thorax, abdomen or other."),
    ] = "other",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random sampling.")] = 0,
    threads: Annotated[
        int,
        typer.Option(min=1, help="Threads; the result is reproducible for a given number."),
    ] = 1,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Register a CT to an MR or CBCT, rigidly, then deformably.

    Writes the moved CT (moved.mha), the displacement field (displacement.mha: fixed to moving
    points, mm, LPS), the ITK transform, quality.json and before_after.png. The quality gate grades
    the result: pass, suspect (inspect before_after.png) or fail (exit code 1; the best earlier
    step is written instead).
    """
    from synthct.flows.run.forecast import step_bar

    refuse_existing(out, overwrite=overwrite)
    if dry_run:
        from synthct.flows.run.single import of_register

        told = of_register(fixed, moving, method, {"fixed": fixed_series, "moving": moving_series})
        return print_forecast(told, as_json=as_json)
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
            preset=settings,
            region=region,
            seed=seed,
            threads=threads,
            progress=tell,
        )
    quality = made.quality
    if as_json:
        print_json(quality)
    else:
        reason = f" ({quality['reason']})" if quality["reason"] else ""
        typer.echo(f"{made.verdict}, {quality['step']} step{reason}: {out}")
        for note in quality.get("notes", ()):
            typer.echo(f"note: {note}", err=True)
    return FAILED if made.verdict == "fail" else CLEAN


@examples("synthct regularizers", "synthct regularizers cutout")
def regularizers(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show this regularizer in full.")
    ] = None,
    as_json: Json = False,
) -> int:
    """List the regularizers for training, or describe one in full.

    Regularizers are chosen in `training.regularizers` of params.yaml.
    """
    from synthct.tasks.regularization import catalogue

    entries = catalogue(name)
    if as_json:
        print_json(entries)
    elif name is not None:
        _show_regularizer(entries[0])
    else:
        _show_catalogue(entries)
    return CLEAN


def _show_catalogue(entries: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1))
    table.add_column("name", no_wrap=True, overflow="fold")
    table.add_column("advice")
    table.add_column("acts at")
    table.add_column("what it does")
    for entry in entries:
        row = (
            entry["name"], entry["advice"]["verdict"], ", ".join(entry["seams"]),
            plain_text(entry["summary"]),
        )  # fmt: skip
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
    typer.echo("parameters, formula and source of one: synthct regularizers NAME")


def _show_regularizer(entry: dict[str, Any]) -> None:
    options = "".join(f", {p['name']}: {json.dumps(p['default'])}" for p in entry["parameters"])
    typer.echo(f"{entry['name']}  (acts at: {', '.join(entry['seams'])})")
    typer.echo(f"{entry['advice']['verdict']}: {entry['advice']['why']}\n")
    typer.echo(plain_text(entry["doc"]))
    if set(entry["seams"]) == {"image"}:
        call = f"synthct reconstruct --prior {entry['name']} --weight WEIGHT"
        typer.echo(f"\nIn a reconstruction: {call}")
        return
    line = f"[{{name: {entry['name']}, weight: WEIGHT{options}}}]"
    if set(entry["seams"]) <= OUTSIDE_TRAINING:
        place = f"registration: {{method: mind, method_options: {{penalties: {line}}}}}"
        source = "docs/how-to/register.md"
    else:
        place, source = f"training: {{regularizers: {line}}}", "presets/study.yaml"
    typer.echo(f"\nIn params.yaml: {place}")
    typer.echo(f"WEIGHT has no default; for examples see {source}")
    if entry["incompatible"]:
        typer.echo(f"Not together with: {', '.join(entry['incompatible'])}")


def _options(given: Iterable[str], network: Path | None) -> dict[str, Any]:
    """Parameters of a method from ``NAME=VALUE`` entries with values in YAML."""
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
                f"{entry!r} is not a parameter of a method",
                rule="write NAME=VALUE, with the value in YAML",
                where="--option",
                remedy="for example factors=[4,2,1]",
                code="bad-option",
            )
    if network is not None:
        options["network"] = str(network)
    return options
