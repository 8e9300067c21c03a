from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from synthct.data.errors import UsageError
from synthct.tasks.models.contracts import Batch
from synthct.tasks.regularization.inputs.random_pose import RandomPose, _places, _sampled

LENGTH = 48
SPACING_MM = (3.0, 1.0, 2.0)


@pytest.fixture
def disk():
    """A disk of 12 mm in a plane whose voxels are twice as long along x, of slope-like HU."""
    y, x = np.meshgrid(
        np.arange(LENGTH) - LENGTH / 2 + 0.5,
        2 * (np.arange(LENGTH) - LENGTH / 2 + 0.5),
        indexing="ij",
    )
    inside = torch.from_numpy((np.hypot(y, x) < 12).astype(np.float64))
    source = inside.expand(4, 3, LENGTH, LENGTH).clone()
    return Batch(
        source=source,
        target=source[:, :1] * 0.5,
        mask=torch.ones_like(source[:, :1]),
        spacing_mm=SPACING_MM,
        regions=("other",) * 4,
        cases=("a",) * 4,
        starts=((0, 0, 0),) * 4,
    )


def changed(problem, batch, number=0, weight=1.0, **options):
    small = problem("random_pose", weight=weight, **options)
    return small.composition.perturb(small.step(0, batch, seed=number)).batch


def test_source_and_ct_are_moved_apart(problem, disk):
    """Every channel and the target show the same anatomy before, so also after."""
    after = changed(problem, disk)
    assert not torch.allclose(after.source, disk.source)
    for channel in range(3):
        torch.testing.assert_close(after.source[:, channel : channel + 1] * 0.5, after.target)


def test_a_known_map_agrees_with_scipy_in_millimetres(disk):
    turn = math.radians(20)
    matrix = 1.1 * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    rng = np.random.default_rng(0)
    image = rng.normal(size=(LENGTH, LENGTH))
    places = _places(torch.from_numpy(matrix)[None], disk.source.shape[-2:], SPACING_MM[-2:])
    ours = _sampled(torch.from_numpy(image)[None, None], places, "zeros")[0, 0].numpy()
    to_voxels = np.diag([1 / 1.0, 1 / 2.0]) @ matrix @ np.diag([1.0, 2.0])
    middle = np.full(2, (LENGTH - 1) / 2)
    theirs = affine_transform(image, to_voxels, middle - to_voxels @ middle, order=1)
    centre = (slice(14, 34),) * 2
    np.testing.assert_allclose(ours[centre], theirs[centre], atol=1e-9)


def test_areas_change_beyond_the_scale_or_not_at_all(problem, disk):
    before = disk.source[0, 0].sum().item()
    ratios = []
    for number in range(25):
        after = changed(problem, disk, number, turn_deg=90.0, scale=1.25, stretch=1.0)
        ratios += (after.source[:, 0].sum(dim=(1, 2)) / before).tolist()
    assert min(ratios) > 1.25**-2 * 0.95
    assert max(ratios) < 1.25**2 * 1.05
    assert max(ratios) > 1.3
    assert min(ratios) < 0.75


def test_a_turn_is_as_large_as_allowed_and_the_stretch_adds_none():
    maps = RandomPose(turn_deg=10.0, scale=1.0, stretch=1.3)._maps(
        400, torch.Generator().manual_seed(0)
    )
    left, size, right = torch.linalg.svd(maps)
    turned = left @ right
    angles = torch.atan2(turned[:, 1, 0], turned[:, 0, 0]).rad2deg()
    assert angles.abs().max() <= 10 + 1e-6
    assert angles.abs().max() > 9.5
    ratio = size[:, 0] / size[:, 1]
    assert 1.25 < ratio.max() <= 1.3 + 1e-6
    torch.testing.assert_close(size.prod(dim=1), torch.ones_like(ratio))


def test_what_lay_outside_the_patch_or_the_body_is_learned(problem, disk):
    """The target is 1 in the body and absurd outside: no absurd value may be learned from."""
    body = disk.source[:, :1]
    marked = replace(disk, target=torch.where(body > 0, 1.0, -1e6), mask=body.clone())
    for number in range(10):
        after = changed(problem, marked, number, turn_deg=45.0)
        learned = after.target[after.mask > 0]
        assert learned.numel() > 0
        torch.testing.assert_close(learned, torch.ones_like(learned), atol=0.2, rtol=0)
    everywhere = changed(problem, disk, turn_deg=0.0, scale=2.0, stretch=1.0, number=3)
    assert (everywhere.mask == 0).any()


def test_all_slices_of_a_volume_are_turned_equally(problem, disk):
    volume = replace(
        disk,
        source=disk.source[:, :1, None].expand(-1, -1, 5, -1, -1).clone(),
        target=disk.target[:, :, None].expand(-1, -1, 5, -1, -1).clone(),
        mask=disk.mask[:, :, None].expand(-1, -1, 5, -1, -1).clone(),
    )
    after, plane = changed(problem, volume), changed(problem, disk)
    for slice_number in range(5):
        torch.testing.assert_close(after.source[:, :, slice_number], plane.source[:, :1])


def test_the_strength_is_the_probability_of_a_change(problem, disk):
    count = 0
    for number in range(100):
        after = changed(problem, disk, number, weight=0.25)
        count += int((disk.source != after.source).flatten(1).any(dim=1).sum())
    assert count / 400 == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("options", [{"scale": 0.5}, {"stretch": 0.9}, {"turn_deg": 200.0}])
def test_impossible_poses_are_refused(problem, options):
    with pytest.raises(UsageError, match="must"):
        problem("random_pose", **options)


@pytest.mark.claim
def test_a_bone_of_another_direction_is_missed(problem):
    """The purpose: a filter that learned bars along one axis finds them along others too."""

    def bars(angle, count, rng):
        axis = torch.arange(24, dtype=torch.float64) - 11.5
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        shift = 6 * torch.rand((count, 1, 1), generator=rng, dtype=torch.float64) - 3
        across = math.cos(angle) * y - math.sin(angle) * x
        bar = ((across - shift).abs() < 2).double()
        noise = 0.3 * torch.randn((count, 24, 24), generator=rng, dtype=torch.float64)
        return (bar + noise)[:, None], bar[:, None]

    def error(weight):
        rng = torch.Generator().manual_seed(1)
        small = problem("random_pose", weight=weight, turn_deg=90.0, scale=1.0, stretch=1.0)
        torch.manual_seed(0)
        model = torch.nn.Conv2d(1, 1, 9, padding=4).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for number in range(150):
            source, target = bars(0.0, 8, rng)
            batch = Batch(
                source, target, torch.ones_like(target), (1.0, 1.0, 1.0),
                ("other",) * 8, ("a",) * 8, ((0, 0, 0),) * 8,
            )  # fmt: skip
            seen = small.composition.perturb(small.step(number, batch, seed=number)).batch
            optimizer.zero_grad()
            (((model(seen.source) - seen.target) ** 2) * seen.mask).mean().backward()
            optimizer.step()
        source, target = bars(math.pi / 2, 32, rng)
        with torch.no_grad():
            return ((model(source) - target) ** 2)[..., 5:-5, 5:-5].mean().item()

    assert error(1.0) < 0.7 * error(0.0)
