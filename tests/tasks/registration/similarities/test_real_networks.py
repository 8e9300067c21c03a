"""The two real feature networks, in both modes and with both reductions."""

import pytest
import torch

from synthct.tasks.registration.similarities import SIMILARITIES

SHAPE = (1, 1, 12, 24, 24)


@pytest.fixture(scope="module", params=["M730_1_Layers.pt", "R1D2_2D.pt"])
def network(request, shared_data):
    path = shared_data / "feature_nets" / request.param
    if not path.is_file():
        pytest.skip(f"the feature network is absent: {path}")
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "jacobian", "samples": 8},
        {"mode": "jacobian", "samples": 8, "channels": 4},
        {"channels": 4, "reduction": "pca"},
    ],
    ids=["jacobian", "jacobian-subset", "pca"],
)
def test_a_real_network_prefers_the_same_image_and_has_a_slope(network, options):
    rng = torch.Generator().manual_seed(0)
    rough = torch.randn(SHAPE, generator=rng)
    image = torch.nn.functional.avg_pool3d(rough, 3, 1, 1) * 3
    other = image.roll(4, dims=4)
    similarity = SIMILARITIES.build(
        "impact", {"network": str(network), "distance": "cosine", **options}
    )
    weight = torch.ones(SHAPE)

    def cost(moving):
        compared = similarity.compare(image, moving, (2.0, 2.0, 2.0), rng)
        looked_up = compared.moving.clone().requires_grad_()
        value = compared.cost(looked_up, weight)
        value.backward()
        return value.item(), looked_up.grad

    same, _ = cost(image)
    apart, slope = cost(other)
    assert same < 0.5 * apart
    assert torch.isfinite(slope).all()
    assert slope.abs().max() > 0
