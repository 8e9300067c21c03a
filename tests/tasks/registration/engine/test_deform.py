from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from synthct.data.errors import DataError, UsageError
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.fields.jacobian import deformation_quality
from synthct.tasks.registration.engine.deform import Pair, deform
from synthct.tasks.registration.engine.settings import Penalty, Settings
from synthct.tasks.registration.similarities.mind import Mind
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import seams_of

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


@pytest.mark.parametrize("deformation", ["bspline", "dense", "velocity"])
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


@pytest.mark.parametrize("start", ["none", "convex"])
def test_the_same_pair_gives_the_same_bytes(start):
    pair, _ = textured()
    settings = replace(QUICK, similarity="mi", iterations=(5, 5), start=start)
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


@pytest.mark.parametrize("deformation", ["affine", "rigid"])
def test_a_motion_of_the_whole_is_found(deformation):
    pair, _ = textured()
    shifted = np.roll(pair.moving.array, (1, -2), axis=(0, 1))  # by (3, -4, 0) mm
    moved = replace(pair, fixed=pair.moving.with_array(shifted))
    settings = replace(QUICK, similarity="ncc", deformation=deformation, penalties=())
    found = deform(moved, settings).displacement.vectors
    middle = found[:, 7, 10, 12]
    np.testing.assert_allclose(middle, (-3, 4, 0), atol=0.4)


def test_motion_beyond_the_reach_of_a_gradient_is_found_by_the_discrete_start():
    """The texture repeats within the shift: descent alone ends in the nearest wrong place."""
    rng = np.random.default_rng(0)
    shape = (20, 24, 24)
    moving = gaussian_filter(rng.normal(size=shape), 0.9).astype(np.float32)
    fixed = np.roll(moving, (4, -4, 4), axis=(0, 1, 2))
    grid = Grid(shape, (2.0, 2.0, 2.0))
    pair = Pair(
        Volume(fixed, grid, Modality.MR), Volume(moving, grid, Modality.CT),
        np.ones(shape), np.ones(shape),
    )  # fmt: skip
    truth = np.array([-8.0, 8.0, -8.0])[:, None, None, None] * np.ones((3, *shape))
    inner = (slice(None), slice(6, -6), slice(6, -6), slice(6, -6))
    left = {}
    for start in ("none", "convex"):
        settings = replace(QUICK, factors=(1.0,), iterations=(20,), similarity="ncc", start=start)
        found = deform(pair, settings).displacement.vectors
        left[start] = error_mm_in(found, truth, inner)
    assert left["convex"] < 1.0 < left["none"]


@pytest.mark.parametrize(
    ("name", "weight"), [("inverse_consistency", 0.02), ("gradient_inverse_consistency", 1.0)]
)
def test_the_way_back_is_searched_with_the_way_there(name, weight):
    """Two registrations that know of each other disagree less than two that do not."""
    pair, u = textured()
    settings = replace(QUICK, similarity="ncc", penalty_stride=1)
    tied = replace(settings, penalties=(Penalty("bending", 1.0), Penalty(name, weight)))
    there = deform(pair, tied).displacement.vectors
    assert error_mm(there, u) < 0.4 * error_mm(0 * u, u)
    swapped = replace(
        pair, fixed=pair.moving.with_array(pair.moving.array, Modality.MR), moving=pair.fixed
    )
    free = [deform(p, settings).displacement.vectors for p in (pair, swapped)]
    both = [deform(p, tied).displacement.vectors for p in (pair, swapped)]
    assert _there_and_back(*both) < _there_and_back(*free)


def _there_and_back(there, back):
    u, v = (torch.from_numpy(np.array(field))[None].double() for field in (there, back))
    return REGULARIZERS.build("inverse_consistency", {}).displacement(u, SPACING, None, v).item()


def test_too_little_time_ends_early():
    pair, _ = textured()
    settings = replace(QUICK, similarity="ncc")
    assert sum(map(len, deform(pair, replace(settings, max_seconds=1e-9)).courses)) == 0


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


def test_unfit_scans_are_reported_by_their_fault():
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
        with pytest.raises(DataError) as caught:
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
        ({"penalties": (Penalty("norm_loss", 1.0),)}, "does not act on a displacement"),
        ({"start": "concave"}, "start is one of"),
        ({"max_memory_gb": 0.0}, "max_memory_gb positive"),
    ],
)
def test_impossible_settings_are_reported_before_any_work(changes, rule):
    with pytest.raises(UsageError, match=rule):
        deform(textured()[0], replace(QUICK, **changes))


def test_looking_at_masked_voxels_alone_changes_nothing_but_the_time(monkeypatch):
    pair, _ = textured()
    mask = np.zeros(SHAPE)
    mask[2:-2, 3:-3, 4:-4] = 1
    pair = replace(pair, fixed_mask=mask)
    settings = Settings(similarity="mind", factors=(2.0, 1.0), iterations=(5, 5))
    some = deform(pair, settings).displacement.vectors
    monkeypatch.setattr(Mind, "one_by_one", False)
    every = deform(pair, settings).displacement.vectors
    np.testing.assert_allclose(some, every, atol=2e-3)  # [mm]


def test_oversampled_features_find_a_known_displacement():
    pair, u = textured()
    found = deform(
        pair, Settings(similarity="mind", factors=(2.0,), iterations=(60,), oversampling=2)
    )
    assert error_mm(found.displacement.vectors, u) < 0.7 * np.linalg.norm(u, axis=0).mean()
