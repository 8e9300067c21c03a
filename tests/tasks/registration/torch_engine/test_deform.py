from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from data.faults import DataFault, UsageFault
from data.volume import Grid, Modality, Volume
from tasks.registration.jacobian import deformation_quality
from tasks.registration.torch_engine.deform import Pair, deform
from tasks.registration.torch_engine.settings import Penalty, Settings
from tasks.regularizers import REGULARIZERS
from tasks.training.step import seams_of

SHAPE, SPACING = (14, 20, 24), (3.0, 2.0, 2.0)
PENALTIES = [
    name
    for name, cls in REGULARIZERS.items()
    if "displacement" in seams_of(cls) and not getattr(cls, "needs_inverse", False)
]
QUICK = Settings(factors=(2.0, 1.0), iterations=(30, 25))


def textured(contrast=lambda values: values, direction=None):
    """A pair whose fixed image is the moving one, displaced by ``u`` and seen otherwise."""
    rng = np.random.default_rng(3)
    moving = gaussian_filter(rng.normal(size=SHAPE), 1.5)
    moving /= moving.std()
    u = np.stack([gaussian_filter(rng.normal(size=SHAPE), 5) for _ in range(3)])
    u *= 3.0 / np.linalg.norm(u, axis=0).mean()
    index = np.indices(SHAPE) + u / np.array(SPACING)[:, None, None, None]
    fixed = contrast(map_coordinates(moving, index, order=3, mode="nearest"))
    grid = Grid(SHAPE, SPACING, **({} if direction is None else {"direction": direction}))
    everywhere = np.ones(SHAPE)
    return Pair(
        Volume(fixed.astype(np.float32), grid, Modality.MR),
        Volume(moving.astype(np.float32), grid, Modality.CT),
        everywhere,
        everywhere,
    ), u  # fmt: skip


def error_mm(found, truth):
    inner = (slice(2, -2), slice(3, -3), slice(3, -3))
    return np.linalg.norm(found - truth, axis=0)[inner].mean()


@pytest.mark.parametrize("deformation", ["bspline", "dense"])
@pytest.mark.parametrize(
    ("similarity", "contrast", "left"),
    [
        ("ncc", lambda v: 3 * v + 1, 0.3),
        ("lncc", lambda v: 5 - v, 0.3),
        ("mi", lambda v: np.abs(v - 0.3), 0.2),
        ("mind", lambda v: np.abs(v - 0.3), 0.5),
    ],
)
def test_a_known_displacement_is_found(similarity, contrast, left, deformation):
    pair, u = textured(contrast)
    settings = replace(QUICK, similarity=similarity, deformation=deformation)
    found = deform(pair, settings).displacement
    assert error_mm(found.vectors, u) < left * error_mm(0 * u, u)
    assert deformation_quality(found, np.ones(SHAPE)).folding_percent == 0


def test_the_same_pair_gives_the_same_bytes():
    pair, _ = textured()
    settings = replace(QUICK, similarity="mi", iterations=(5, 5))
    first, second = (deform(pair, settings).displacement.vectors for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_the_objective_falls_at_every_level():
    pair, _ = textured()
    courses = deform(pair, replace(QUICK, similarity="ncc")).courses
    assert [len(course) for course in courses] == [30, 25]
    assert all(course[-1] < 0.7 * course[0] for course in courses)


def test_on_a_turned_grid_the_vectors_are_the_patients():
    """Axis y runs backwards and the array's z is the patient's x."""
    direction = ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0))
    settings = replace(QUICK, similarity="ncc", iterations=(10, 10))
    plain = deform(textured()[0], settings).displacement.vectors
    turned = deform(textured(direction=direction)[0], settings).displacement.vectors
    np.testing.assert_array_equal(turned, np.stack([plain[2], -plain[1], plain[0]]))


@pytest.mark.parametrize("name", PENALTIES)
def test_every_displacement_penalty_works_in_the_engine_and_lowers_itself(name):
    pair, _ = textured()
    value = []
    for weight in (0.0, 3.0):
        options = {"margin": 0.9} if name == "folding" else {}
        settings = replace(
            QUICK,
            similarity="ncc",
            deformation="dense",
            factors=(2.0,),
            iterations=(8,),
            penalties=(Penalty(name, weight, options),),
        )
        found = deform(pair, settings).displacement.vectors
        assert np.isfinite(found).all()
        value.append(_value(name, options, found))
    assert value[1] < value[0]


def _value(name, options, vectors):
    field = torch.from_numpy(np.array(vectors))[None].double()
    return REGULARIZERS.build(name, options).displacement(field, SPACING).item()


def test_stiff_voxels_keep_their_shape():
    pair, _ = textured()
    stiffness = np.ones(SHAPE)
    stiffness[:, :, 12:] = 300.0
    settings = replace(
        QUICK, similarity="ncc", penalties=(Penalty("linear_elasticity", 0.3),),
        deformation_options={"grid_mm": 6.0},
    )  # fmt: skip
    found = deform(replace(pair, stiffness=stiffness), settings).displacement.vectors
    rough = np.abs(np.diff(found, axis=3)).mean(axis=(0, 1, 2))
    assert rough[15:].mean() < 0.5 * rough[:8].mean()


def test_only_what_the_mask_marks_is_aligned():
    pair, u = textured()
    spoiled = pair.fixed.array.copy()
    spoiled[:, :, 14:] = np.random.default_rng(0).normal(size=(14, 20, 10))
    mask = np.ones(SHAPE)
    mask[:, :, 14:] = 0
    half = replace(pair, fixed=pair.fixed.with_array(spoiled), fixed_mask=mask)
    found = deform(half, replace(QUICK, similarity="ncc")).displacement.vectors
    inner = (slice(None), slice(2, -2), slice(3, -3), slice(3, 12))
    assert error_mm_in(found, u, inner) < 0.4 * error_mm_in(0 * u, u, inner)


def error_mm_in(found, truth, where):
    return np.linalg.norm((found - truth)[where], axis=0).mean()


def test_unfit_scans_are_told_by_their_fault():
    pair, _ = textured()
    hole = np.array(pair.fixed.array)
    hole[3, 3, 3] = np.nan
    flat = pair.moving.with_array(np.zeros(SHAPE, np.float32))
    small = Volume(np.ones((3, 20, 24), np.float32), Grid((3, 20, 24), SPACING), Modality.CT)
    for code, changes in {
        "not-finite": {"fixed": pair.fixed.with_array(hole)},
        "constant-image": {"moving": flat},
        "mask-empty": {"moving_mask": np.zeros(SHAPE)},
        "grids-differ": {"moving": small},
        "extent-too-small": {"fixed": small, "moving": small},
    }.items():
        with pytest.raises(DataFault) as caught:
            replace(pair, **changes)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"factors": ()}, "factors holds"),
        ({"iterations": (3,)}, "iterations holds"),
        ({"step_mm": 0.0}, "step_mm is positive"),
        ({"similarity": "minds"}, "did you mean 'mind'"),
        ({"deformation": "spline"}, "did you mean 'bspline'"),
        ({"penalties": (Penalty("norm_loss", 1.0),)}, "acts on a displacement"),
        ({"penalties": (Penalty("inverse_consistency", 1.0),)}, "compares two displacements"),
    ],
)
def test_impossible_settings_are_told_before_any_work(changes, rule):
    with pytest.raises(UsageFault, match=rule):
        deform(textured()[0], replace(QUICK, **changes))
