import pytest
import torch

from synthct.tasks.registration.engine.pyramid import carried, coarsened, levels, refined

SHAPE, SPACING = (17, 40, 48), (3.0, 1.0, 1.0)


def positions(level):
    axes = [
        offset + step * torch.arange(n, dtype=torch.float64)
        for n, step, offset in zip(level.shape, level.spacing_mm, level.offset_mm, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def test_thin_pixels_catch_up_with_thick_slices_first():
    coarse, middle, fine = levels(SHAPE, SPACING, [4, 2, 1])
    assert coarse.spacing_mm == (3.0, 4.0, 4.0)
    assert coarse.shape == (17, 10, 12)
    assert coarse.offset_mm == (0.0, 1.5, 1.5)
    assert middle.spacing_mm == (3.0, 2.0, 2.0)
    assert (fine.shape, fine.spacing_mm, fine.offset_mm) == (SHAPE, SPACING, (0.0, 0.0, 0.0))


def test_no_axis_gets_too_short():
    (level,) = levels((17, 40, 48), (1.0, 1.0, 1.0), [16])
    assert level.shape == (8, 8, 8)


def test_a_ramp_keeps_its_place():
    for level in levels(SHAPE, SPACING, [4, 3, 2, 1]):
        (fine,) = levels(SHAPE, SPACING, [1])
        torch.testing.assert_close(coarsened(positions(fine), level), positions(level))


def test_an_affine_displacement_is_carried_exactly_between_levels():
    coarse, fine = levels(SHAPE, SPACING, [4, 1])
    found = carried(positions(coarse), coarse, fine)
    inner = (slice(None), slice(None), slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(found[inner], positions(fine)[inner])


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_constant_displacement_is_carried_to_the_border(factor):
    coarse, fine = levels(SHAPE, SPACING, [factor, 1])
    found = carried(torch.full((1, 3, *coarse.shape), 2.5), coarse, fine)
    torch.testing.assert_close(found, torch.full((1, 3, *SHAPE), 2.5))


@pytest.mark.parametrize("shape", [(40, 41, 43), (24, 60, 37), (129, 33, 47)])
@pytest.mark.parametrize("spacing", [(2.5, 1.4, 1.4), (1.0, 1.0, 1.0), (3.0, 0.7, 1.1)])
@pytest.mark.parametrize("factor", [1.0, 2.0, 3.0, 4.0, 5.0])
def test_features_of_finer_voxels_lie_where_the_level_says(shape, spacing, factor):
    level = levels(shape, spacing, [factor])[0]
    fine = refined(level, spacing, 2)
    axes = [torch.arange(n) * h for n, h in zip(shape, spacing, strict=True)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    found = coarsened(coarsened(places, fine), level)
    assert found.shape[2:] == level.shape
    for axis in range(3):
        told = level.offset_mm[axis] + level.spacing_mm[axis] * torch.arange(level.shape[axis])
        seen = found[0, axis].movedim(axis, 0).flatten(1)[:, 0]
        torch.testing.assert_close(seen, told, rtol=0, atol=1e-3)


def test_a_level_of_even_blocks_is_cut_in_two():
    level = levels((64, 64, 64), (1.0, 1.0, 1.0), [4.0])[0]
    fine = refined(level, (1.0, 1.0, 1.0), 2)
    assert (fine.shape, fine.spacing_mm, fine.offset_mm) == ((32,) * 3, (2.0,) * 3, (0.5,) * 3)
