"""``explain``: the source voxels and the training patients behind one HU."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from synthct.flows.cli.options import (
    Json,
    Overwrite,
    Preset,
    examples,
    print_json,
    refuse_existing,
)
from synthct.flows.exits import CLEAN

SHOWN = 5
"""Training cases that are printed; the files have all."""


@examples(
    "synthct explain HN-01_mr --at 12,40,33 --out why",
    "synthct explain P-5a508e3e_mr --preset sts51 --at 30,60,80 --out why --json",
)
def explain(
    case: Annotated[str, typer.Argument(metavar="CASE", help="A case that a trained fold tests.")],
    at: Annotated[
        str, typer.Option(metavar="Z,Y,X", help="Voxel of the case's working grid, in the body.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the picture and the JSON.")],
    steps: Annotated[
        int,
        typer.Option(
            "--path-steps",
            metavar="N",
            min=1,
            help="Steps of the path along which gradients are averaged.",
        ),
    ] = 30,
    preset: Preset = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> int:
    """Explain one voxel of an unseen case.

    Shows which source voxels its HU depends on (integrated gradients along the important direction)
    and which training patients it comes from (representers of the last layer). The shares of the
    voxels add up to the HU minus that of an empty scan, those of the patients to the HU of the last
    layer fitted anew to the training CTs.
    """
    from synthct.data.layout import Layout
    from synthct.flows.workspace.presets import open_workspace
    from synthct.flows.workspace.project import find_root
    from synthct.tasks.explanation.explain import explain_case

    place = _place(at)
    refuse_existing(out, overwrite=overwrite)
    root = find_root()
    layout = Layout(open_workspace(root, preset).workspace)
    registration, training = (root / layout.artefact(s) for s in ("registration", "training"))
    document = explain_case(registration, training, case, place, out, steps=steps)
    if as_json:
        print_json(document)
        return CLEAN
    shares = document["patients"]["shares_hu"]
    typer.echo(
        f"{document['hu']:.0f} HU; half of the source's contribution lies within "
        f"{document['source']['half_of_it_within_mm']:g} mm in the plane"
    )
    for name in list(shares)[:SHOWN]:
        typer.echo(f"{shares[name]:+8.1f} HU from {name}")
    typer.echo(f"{out}: explanation.png, explanation.json")
    return CLEAN


def _place(text: str) -> tuple[int, int, int]:
    from synthct.data.errors import UsageError

    numbers = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", text)
    if numbers is None:
        raise UsageError(
            f"{text!r} is not a voxel",
            rule="--at takes z, y and x as whole numbers, for example 12,40,33",
            where="--at",
            remedy="count from 0 on the working grid (registration/CASE/source.zarr)",
            code="voxel-unreadable",
        )
    z, y, x = (int(number) for number in numbers.groups())
    return z, y, x
