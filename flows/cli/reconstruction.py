"""``reconstruct``: a cone-beam CT from its projections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import synthct
from synthct.flows.cli.options import DryRun, Json, examples, print_forecast, print_json
from synthct.flows.exits import CLEAN
from synthct.tasks.pipeline.artefacts import RECONSTRUCTED

if TYPE_CHECKING:
    from synthct.tasks.reconstruction.job import Reconstruction
    from synthct.tasks.reconstruction.solve import Iteration


@examples(
    "synthct reconstruct projections.mha --geometry geometry.xml --out cbct --method fdk",
    "synthct reconstruct counts.mha --geometry geometry.xml --open-beam 40000 --out cbct",
    "synthct reconstruct projections.mha --geometry geometry.xml --out cbct \\",
    "    --prior guided_total_variation --weight 0.05 --iterations 60",
)
def reconstruct(
    projections: Annotated[
        Path,
        typer.Argument(
            metavar="PROJECTIONS", help="Image stack (.mha, .nrrd, .nii): u, v and view."
        ),
    ],
    geometry: Annotated[
        Path, typer.Option(metavar="XML", help="RTK's file of the circular geometry.")
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for cbct.nii.gz, history.csv and report.html."),
    ],
    method: Annotated[
        str,
        typer.Option(metavar="NAME", help="fdk, sart, cgls, fista, primal_dual, admm or spiral."),
    ] = "fista",
    prior: Annotated[
        str,
        typer.Option(metavar="NAME", help='Regularizer that acts at "image"; "" for no prior.'),
    ] = "image_total_variation",
    weight: Annotated[
        float, typer.Option(min=0.0, help="Strength of the prior [mm for total variation].")
    ] = 0.005,
    iterations: Annotated[int, typer.Option(min=1, help="Largest number of iterations.")] = 40,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0, help="Stop when an iteration changes the image by less (RMS) [HU]; 0: never."
        ),
    ] = 0.5,
    open_beam: Annotated[
        float | None,
        typer.Option(
            metavar="QUANTA",
            help="Counts of the open beam, if the projections are counts; without it they "
            "are line integrals.",
        ),
    ] = None,
    view_step: Annotated[
        int, typer.Option(metavar="N", min=1, help="Use every N-th view only.")
    ] = 1,
    spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option(metavar="Z Y X", help="Voxel size [mm]; by default that of the detector."),
    ] = None,
    shape: Annotated[
        tuple[int, int, int] | None,
        typer.Option(metavar="Z Y X", help="Voxels; by default the field of view."),
    ] = None,
    window: Annotated[
        float,
        typer.Option(min=0.05, help="Cut-off of FDK's Hann window, a fraction of Nyquist."),
    ] = 1.0,
    water: Annotated[
        float,
        typer.Option("--water-per-mm", metavar="MU", help="Attenuation that becomes 0 HU [1/mm]."),
    ] = 0.02,
    model_error: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="With counts: standard deviation of line integrals from causes other than "
            "photon noise; 0: each ray is weighted by its photon counts alone.",
        ),
    ] = 0.05,
    flicking: Annotated[
        bool,
        typer.Option(
            "--flicking",
            help="Denoise the projections of a full circle first, by a network trained on their "
            "conjugate rays.",
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Reconstruct a cone-beam CT from its projections, with an image prior.

    fdk is analytic and fast. The iterative methods minimise the difference to the measured
    projections plus the prior times its weight: they need fewer views and fewer photons. They
    start from the result of fdk, can be interrupted and continued by the same command, and stop
    when the image no longer changes. The values are HU if --water-per-mm is right for the beam. Not
    for clinical use.
    """
    from rich.progress import Progress

    if dry_run:
        from synthct.flows.run.single import of_reconstruct
        from synthct.tasks.reconstruction.job import Settings

        settings = Settings(
            method, None, prior, None, weight, iterations, tolerance, window, water, model_error,
            flicking,
        )  # fmt: skip
        told = of_reconstruct(
            projections, geometry, settings, open_beam=open_beam, view_step=view_step,
            spacing_mm=spacing, shape=shape,
        )  # fmt: skip
        return print_forecast(told, as_json=as_json)
    with Progress(transient=True, disable=as_json) as bars:
        bar = bars.add_task("reconstruct", total=iterations)

        def show(row: Iteration, left_s: float) -> None:
            change = f"iteration {row.number}, change {row.change_hu:.2f} HU, {left_s:.0f} s left"
            bars.update(bar, completed=row.number, description=change)

        made = synthct.reconstruct(
            projections, geometry, out=out, method=method, prior=prior, weight=weight,
            iterations=iterations, tolerance_hu=tolerance, open_beam=open_beam, view_step=view_step,
            spacing_mm=spacing, shape=shape, window=window, water_per_mm=water,
            model_error=model_error, flicking=flicking, progress=show,
        )  # fmt: skip
    _print(made, out, as_json=as_json)
    return CLEAN


def _print(made: Reconstruction, out: Path, *, as_json: bool) -> None:
    solution = made.solution
    residual = sum(made.residual) / len(made.residual)
    found = {
        "out": str(out),
        "iterations": len(solution.history) - 1 if solution else 0,
        "converged": bool(solution and solution.converged),
        "residual": residual,
    }
    if as_json:
        print_json(found)
        return
    if solution is not None:
        end = "the image no longer changed" if solution.converged else "the largest number"
        typer.echo(f"{found['iterations']} iterations ({end})")
    typer.echo(f"residual {residual:.4f} (RMS of line integrals)")
    typer.echo(f"image: {out / RECONSTRUCTED}\nreport: {out / 'report.html'}")
