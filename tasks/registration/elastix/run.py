"""Run of stock elastix on one pair: silent, seeded, without files in the working directory."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from synthct.data.errors import DataError
from synthct.data.temporary import temporary_folder
from synthct.data.volume import Grid
from synthct.tasks.registration.elastix.parameter_maps import ParameterMap, bspline_map, rigid_map
from synthct.tasks.registration.job import Images
from synthct.tasks.registration.preset import BSplineStep, RigidStep

Found = Mapping[str, Sequence[str]]
"""elastix's transform parameter map."""


EXTENT_SHARE = 0.8
"""Maximum sample region as a share of the smallest extent (elastix raises at 1) [1]."""

FARTHEST_MM = 500.0
"""Control point displacement above which the registration has diverged [mm]."""


_OUTSIDE = "Too many samples map outside moving image buffer"
"""elastix error message for samples outside the moving mask or the moving scan."""


class StepFailed(DataError):
    """elastix failed on this pair; an earlier step may still be valid."""


def run_rigid(
    images: Images, step: RigidStep, *, centre_mm: Sequence[float], seed: int, threads: int
) -> sitk.Euler3DTransform:
    """The rigid transform from fixed to moving points."""
    found = _execute(images, rigid_map(step, centre_mm=centre_mm, seed=seed), threads)
    transform = sitk.Euler3DTransform()
    transform.SetComputeZYX(found["ComputeZYX"][0] == "true")
    transform.SetCenter(_numbers(found["CenterOfRotationPoint"]))
    transform.SetParameters(_numbers(found["TransformParameters"]))
    return transform


def run_bspline(
    images: Images,
    step: BSplineStep,
    *,
    sample_region_mm: float,
    stiff: sitk.Image | None,
    seed: int,
    threads: int,
) -> sitk.BSplineTransform:
    """The B-spline transform from fixed points to points of the (rigidly placed) moving image.

    elastix aborts where most samples map outside the moving mask, as for a lung that fills its
    mask exactly; the step is then repeated without the moving mask.

    ``stiff`` holds rigidity coefficients (0 soft, 1 bone) in the moving frame.
    """
    with temporary_folder("elastix") as folder:
        path = None
        if stiff is not None:
            path = folder / "stiff.mha"
            sitk.WriteImage(stiff, str(path))
        settings = bspline_map(step, sample_region_mm=sample_region_mm, stiff=path, seed=seed)
        try:
            found = _execute(images, settings, threads)
        except StepFailed as error:
            if _OUTSIDE not in error.problem:
                raise
            found = _execute(images, settings, threads, moving_mask=False)
    parameters = _numbers(found["TransformParameters"])
    if np.abs(parameters).max() > FARTHEST_MM:
        raise StepFailed(
            f"a control point moved by {np.abs(parameters).max():.3g} mm",
            rule=f"control points move by at most {FARTHEST_MM:g} mm",
            remedy="raise the bending weight, or check that the images have texture",
            code="elastix-diverged",
        )
    transform = sitk.BSplineTransform(3, 3)
    keys = ("GridSize", "GridOrigin", "GridSpacing", "GridDirection")
    transform.SetFixedParameters([number for key in keys for number in _numbers(found[key])])
    transform.SetParameters(parameters)
    return transform


def sample_region_mm(step: BSplineStep, grid: Grid) -> float:
    """The sample region of the preset, limited to 0.8 of the smallest extent [mm]."""
    return min(step.sample_region_mm, EXTENT_SHARE * min(grid.extent_mm))


def _execute(
    images: Images, parameters: ParameterMap, threads: int, *, moving_mask: bool = True
) -> Found:
    with temporary_folder("elastix") as folder:
        engine = sitk.ElastixImageFilter()
        engine.SetOutputDirectory(str(folder))
        engine.LogToConsoleOff()
        engine.LogToFileOn()
        engine.SetLogFileName("elastix.log")
        engine.SetNumberOfThreads(threads)
        engine.SetFixedImage(images.fixed)
        engine.SetMovingImage(images.moving)
        engine.SetFixedMask(images.fixed_mask)
        if moving_mask:
            engine.SetMovingMask(images.moving_mask)
        engine.SetParameterMap(parameters)
        try:
            with _silent_stdout():
                engine.Execute()
        except RuntimeError as error:
            raise StepFailed(
                "elastix failed: "
                + (_last_words(folder / "elastix.log") or "an error without a message"),
                remedy="check that both scans show the same part of the patient",
                code="elastix-failed",
            ) from error
        return {
            name: tuple(values) for name, values in engine.GetTransformParameterMap()[0].items()
        }


@contextlib.contextmanager
def _silent_stdout() -> Iterator[None]:
    """Redirect file descriptor 1 to the null device: the wheel always prints a line to it."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _last_words(log: Path) -> str:
    """Last error description in the elastix log."""
    if not log.is_file():
        return ""
    lines = log.read_text(errors="replace").splitlines()
    errors = [line.removeprefix("Description: ") for line in lines if line.startswith("Descri")]
    return errors[-1].removeprefix("ITK ERROR: ") if errors else ""


def _numbers(values: Sequence[str]) -> list[float]:
    numbers = [float(value) for value in values]
    if not np.isfinite(numbers).all():
        raise StepFailed(
            "elastix returned transform parameters that are NaN or infinite",
            remedy="check the scans for empty or constant regions",
            code="elastix-diverged",
        )
    return numbers
