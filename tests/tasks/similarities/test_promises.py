"""What every similarity owes; a new one is under contract once registered."""

import pytest
import torch
from scipy.ndimage import gaussian_filter

from tasks.similarities import SIMILARITIES

SPACING = (3.0, 2.0, 2.0)


@pytest.fixture(params=SIMILARITIES.names())
def similarity(request):
    return SIMILARITIES.build(request.param, {})


def texture(seed=0, shape=(8, 10, 12)):
    rng = torch.Generator().manual_seed(seed)
    smooth = gaussian_filter(torch.randn(shape, generator=rng, dtype=torch.float64).numpy(), 1.2)
    image = torch.from_numpy(smooth)[None, None]
    return (image - image.mean()) / image.std()


def cost(similarity, fixed, moved, weight=None):
    a, b = (similarity.features(image, SPACING) for image in (fixed, moved))
    weight = torch.ones_like(fixed) if weight is None else weight
    return similarity.cost(a, b, weight, SPACING)


def test_an_image_is_most_like_itself_and_less_so_the_further_it_slides(similarity):
    image = texture()
    found = [cost(similarity, image, image.roll(k, dims=4)).item() for k in (0, 1, 2)]
    assert found == sorted(found)
    assert found[0] < found[1] - 1e-3


def test_the_gradient_is_the_derivative(similarity):
    fixed, moved = (similarity.features(texture(seed, (4, 5, 4)), SPACING) for seed in (0, 1))
    moved = (0.05 + 0.9 * moved).requires_grad_()  # off the corners where a gradient jumps
    weight = torch.rand((1, 1, 4, 5, 4), generator=torch.Generator().manual_seed(2)).double()
    assert torch.autograd.gradcheck(
        lambda m: similarity.cost(fixed, m, weight, SPACING), [moved], fast_mode=True
    )


def test_what_is_not_looked_at_does_not_count(similarity):
    fixed, moved = (similarity.features(texture(seed), SPACING) for seed in (0, 1))
    weight = torch.ones_like(texture())
    weight[..., 6:] = 0
    spoiled = moved.clone()
    spoiled[..., 6:] = 0.3
    expected = similarity.cost(fixed, moved, weight, SPACING)
    torch.testing.assert_close(similarity.cost(fixed, spoiled, weight, SPACING), expected)


def test_nothing_to_look_at_or_nothing_to_see_stays_finite(similarity):
    for moved, weight in [
        (texture(1), torch.zeros_like(texture())),
        (torch.ones_like(texture()), torch.ones_like(texture())),
    ]:
        assert torch.isfinite(cost(similarity, texture(), moved, weight))
