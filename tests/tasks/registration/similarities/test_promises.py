"""The contract of all similarities; a new one is tested as soon as it is registered."""

import pytest
import torch
from scipy.ndimage import gaussian_filter

from synthct.tasks.registration.similarities import SIMILARITIES

SPACING = (3.0, 2.0, 2.0)


class Neighbours(torch.nn.Module):
    """A network without weights: an image and its slopes, at any precision."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        slopes = [torch.roll(x, 1, dims=[axis]) - x for axis in (2, 3, 4)]
        return [x, torch.cat(slopes, dim=1)]


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "neighbours.pt"
    torch.jit.save(torch.jit.script(Neighbours()), str(path))
    return path


@pytest.fixture(params=SIMILARITIES.names())
def similarity(request, network):
    options = {"network": str(network)} if request.param == "impact" else {}
    return SIMILARITIES.build(request.param, options)


def texture(seed=0, shape=(8, 10, 12)):
    rng = torch.Generator().manual_seed(seed)
    smooth = gaussian_filter(torch.randn(shape, generator=rng, dtype=torch.float64).numpy(), 1.2)
    image = torch.from_numpy(smooth)[None, None]
    return (image - image.mean()) / image.std()


def compared(similarity, fixed, moving):
    return similarity.compare(fixed, moving, SPACING, torch.Generator().manual_seed(0))


def test_an_image_is_most_like_itself_and_less_so_the_further_it_slides(similarity):
    image = texture()
    comparison = compared(similarity, image, image)
    found = [
        comparison.cost(comparison.moving.roll(k, dims=4), torch.ones_like(image)).item()
        for k in (0, 1, 2)
    ]
    assert found == sorted(found)
    assert found[0] < found[1] - 1e-3


def test_the_gradient_is_the_derivative(similarity):
    comparison = compared(similarity, *(texture(seed, (4, 5, 4)) for seed in (0, 1)))
    moved = (0.05 + 0.9 * comparison.moving).requires_grad_()  # off corners of the gradient
    weight = torch.rand((1, 1, 4, 5, 4), generator=torch.Generator().manual_seed(2)).double()
    assert torch.autograd.gradcheck(lambda m: comparison.cost(m, weight), [moved], fast_mode=True)


def test_what_is_not_looked_at_does_not_count(similarity):
    comparison = compared(similarity, texture(0), texture(1))
    weight = torch.ones_like(texture())
    weight[..., 6:] = 0
    spoiled = comparison.moving.clone()
    spoiled[..., 6:] = 0.3
    expected = comparison.cost(comparison.moving, weight)
    torch.testing.assert_close(comparison.cost(spoiled, weight), expected)


def test_nothing_to_look_at_or_nothing_to_see_stays_finite(similarity):
    for moving, weight in [
        (texture(1), torch.zeros_like(texture())),
        (torch.ones_like(texture()), torch.ones_like(texture())),
    ]:
        comparison = compared(similarity, texture(), moving)
        assert torch.isfinite(comparison.cost(comparison.moving, weight))
