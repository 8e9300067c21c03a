"""What happens when elastix fails on a pair."""

import numpy as np
import pytest

from synthct.tasks.registration.elastix import run as elastix
from synthct.tasks.registration.elastix.run import StepFailed, run_bspline

FOUND = {
    "TransformParameters": ["0.0"] * (3 * 4**3),
    "GridSize": ["4", "4", "4"],
    "GridOrigin": ["0", "0", "0"],
    "GridSpacing": ["30", "30", "30"],
    "GridDirection": [str(value) for value in np.eye(3).ravel()],
}


def attempts(monkeypatch, said):
    """Let the first run end with these words; whether each run had the moving mask."""
    masked = []

    def execute(images, parameters, threads, *, moving_mask=True):
        masked.append(moving_mask)
        if len(masked) == 1:
            raise StepFailed(f"elastix failed: {said}")
        return FOUND

    monkeypatch.setattr(elastix, "_execute", execute)
    return masked


def spline(quick):
    return run_bspline(None, quick.bspline, sample_region_mm=0.0, stiff=None, seed=1, threads=1)


def test_samples_that_leave_a_tight_mask_cost_the_deformable_step(quick, monkeypatch):
    masked = attempts(monkeypatch, "Too many samples map outside moving image buffer: 901 / 4096")
    assert spline(quick).GetTransformDomainMeshSize() == (1, 1, 1)
    assert masked == [True, False]


def test_any_other_failure_is_tried_again(quick, monkeypatch):
    masked = attempts(monkeypatch, "Region ImageRegion lies outside")
    with pytest.raises(StepFailed, match="ImageRegion"):
        spline(quick)
    assert masked == [True]
