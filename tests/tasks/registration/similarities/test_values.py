import math

import numpy as np
import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.registration.contracts import voxels
from synthct.tasks.registration.similarities import SIMILARITIES
from synthct.tasks.registration.similarities.mind import PAIRS

SPACING = (3.0, 2.0, 2.0)


def noise(shape=(6, 7, 8), seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn((1, 1, *shape), generator=rng, dtype=torch.float64)


def cost(name, fixed, moved, **options):
    similarity = SIMILARITIES.build(name, options)
    a, b = (similarity.features(image, SPACING) for image in (fixed, moved))
    return similarity.cost(a, b, torch.ones_like(fixed), SPACING).item()


def test_ncc_is_one_minus_numpys_correlation():
    a, b = noise(), noise(seed=1) + noise()
    expected = 1 - np.corrcoef(a.flatten(), b.flatten())[0, 1]
    assert cost("ncc", a, b) == pytest.approx(expected)
    assert cost("ncc", a, 3 * a - 7) == pytest.approx(0, abs=1e-12)
    assert cost("ncc", a, -a) == pytest.approx(2)


def test_lncc_is_blind_to_sign_and_to_slow_shading():
    a = noise()
    assert cost("lncc", a, -2 * a, noise=1e-9) == pytest.approx(0, abs=1e-6)
    shading = 1e3 * torch.linspace(0, 1e-3, 8, dtype=torch.float64)
    assert cost("lncc", a, a + shading, window_mm=4.0) < 0.1
    assert cost("lncc", a, noise(seed=1)) > 0.7


def test_lncc_by_hand_in_a_window_that_holds_the_image():
    """Three voxels along x in a window of three: at the middle one it is their correlation."""
    a = torch.tensor([1.0, 2.0, 4.0]).double().view(1, 1, 1, 1, 3)
    b = torch.tensor([1.0, 3.0, 2.0]).double().view(1, 1, 1, 1, 3)
    similarity = SIMILARITIES.build("lncc", {"window_mm": 4.0, "noise": 1e-12})
    correlation = np.corrcoef(a.flatten(), b.flatten())[0, 1] ** 2
    pairs = [np.corrcoef(a.flatten()[s], b.flatten()[s])[0, 1] ** 2 for s in ([0, 1], [1, 2])]
    expected = 1 - (pairs[0] + correlation + pairs[1]) / 3
    found = similarity.cost(a, b, torch.ones_like(a), SPACING).item()
    assert found == pytest.approx(expected, abs=1e-6)


def test_mi_of_two_equal_halves_is_one_bit():
    a = torch.zeros((1, 1, 4, 4, 4), dtype=torch.float64)
    a[..., :2] = 1.0
    assert cost("mi", a, a) == pytest.approx(-math.log(2))
    assert cost("mi", a, 5 - 3 * a) == pytest.approx(-math.log(2))
    independent = a.transpose(3, 4)
    assert cost("mi", a, independent) == pytest.approx(0, abs=1e-12)


def test_mi_of_the_masked_voxels_alone_is_that_of_all_with_no_weight_elsewhere():
    a, b = noise((6, 7, 8)), noise((6, 7, 8)).flip(2)
    rng = torch.Generator().manual_seed(0)
    comparison = SIMILARITIES.build("mi", {"bins": 16}).compare(a, b, SPACING, rng)
    weight = (torch.arange(a.numel()).view_as(a) % 3 == 0).double()
    places = torch.nonzero(weight.flatten())[:, 0]
    some = comparison.cost_of(places)(voxels(comparison.moving, places), voxels(weight, places))
    assert some.item() == pytest.approx(comparison.cost(comparison.moving, weight).item())
    assert some.item() < -0.05


def test_mi_looks_at_a_lattice_when_there_are_too_many_voxels():
    a = noise((20, 20, 20))
    assert cost("mi", a, a, samples=2000) == pytest.approx(cost("mi", a, a), rel=0.1)


def test_mind_has_the_twelve_pairs_that_are_not_opposite():
    assert len(PAIRS) == 12
    assert all(a != tuple(-k for k in b) for a, b in PAIRS)


def test_mind_agrees_with_its_formula_at_one_voxel():
    image = noise((9, 9, 9))
    found = SIMILARITIES.build("mind", {"radius": 1, "dilation": 2}).features(image, SPACING)
    voxels, at = image[0, 0].numpy(), np.array([4, 4, 4])
    box = [np.array(k) - 1 for k in np.ndindex(3, 3, 3)]
    seen = lambda k, n: voxels[tuple(at + k + 2 * np.array(n))]  # noqa: E731
    squares = [[(seen(k, a) - seen(k, b)) ** 2 for k in box] for a, b in PAIRS]
    distance = np.mean(squares, axis=1)
    excess = distance - distance.min()
    np.testing.assert_allclose(found[0, :, 4, 4, 4], np.exp(-excess / excess.mean()), rtol=1e-9)


def test_mind_does_not_see_contrast():
    image = noise()
    assert cost("mind", image, 100 - 7 * image) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lncc", {"window_mm": 0.0}),
        ("lncc", {"noise": 0.0}),
        ("mi", {"bins": 5}),
        ("mi", {"samples": 0}),
        ("mind", {"radius": -1}),
        ("mind", {"dilation": 0}),
    ],
)
def test_impossible_options_are_refused(name, options):
    with pytest.raises(UsageError, match="must be"):
        SIMILARITIES.build(name, options)
