import pytest
import torch

from synthct.tasks.regularization import REGULARIZERS

SPACING = (3.0, 1.0, 0.5)
MATRIX = torch.tensor([[1.1, 0.05, 0.0], [0.1, 0.9, -0.1], [0.05, 0.0, 1.2]], dtype=torch.float64)
NAMES = ["inverse_consistency", "gradient_inverse_consistency"]


def pair(name, u, v):
    return REGULARIZERS.build(name, {}).displacement(u, SPACING, inverse=v).item()


@pytest.mark.parametrize("name", NAMES)
def test_an_affine_map_and_its_inverse_agree(name, affine):
    u, v = affine(MATRIX), affine(torch.linalg.inv(MATRIX))
    assert pair(name, u, v) == pytest.approx(0, abs=1e-20)
    assert pair(name, v, u) == pytest.approx(0, abs=1e-20)


def test_a_forgotten_way_back_counts_its_length(affine):
    u = affine(torch.eye(3), shift=(0.5, -0.5, 0.25))
    assert pair("inverse_consistency", u, 0 * u) == pytest.approx(0.5**2 + 0.5**2 + 0.25**2)


def test_a_drift_is_free_in_the_gradient(affine):
    u = affine(torch.eye(3), shift=(0.5, -0.5, 0.25))
    assert pair("gradient_inverse_consistency", u, 0 * u) == 0


def test_a_forgotten_stretch_counts_its_frobenius_norm(affine):
    u = affine(MATRIX)
    expected = (MATRIX - torch.eye(3)).square().sum().item()
    assert pair("gradient_inverse_consistency", u, 0 * u) == pytest.approx(expected)


def test_the_way_back_is_read_where_the_point_arrived(field):
    """u carries a point 1 mm along y; v there, one voxel on, leads back from there only."""
    u = field(lambda z, y, x: [0 * x, 0 * x + 1.0, 0 * x])
    v = field(lambda z, y, x: [0 * x, torch.where(y >= 1, -1.0, 50.0), 0 * x])
    assert pair("inverse_consistency", u, v) == 0


@pytest.mark.parametrize("name", NAMES)
def test_points_that_leave_the_grid_do_not_count(name, affine):
    u = affine(torch.eye(3), shift=(1e4, 0.0, 0.0))
    assert pair(name, u, 0 * u) == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_way_back_is_an_error_not_a_zero(name, affine):
    with pytest.raises(ValueError, match="needs the inverse displacement"):
        pair(name, affine(MATRIX), None)


@pytest.mark.parametrize("name", NAMES)
def test_two_grids_are_refused(name, affine):
    with pytest.raises(ValueError, match="share a grid"):
        pair(name, affine(MATRIX), affine(MATRIX, (3, 3, 3)))


def test_the_gradient_form_regularises_without_naming_a_smoothness():
    """The paper's claim: fewer folds and less noise from inverse consistency alone."""
    spacing = (2.0, 1.0, 1.0)
    rng = torch.Generator().manual_seed(0)
    scale = 0.3 * torch.tensor(spacing, dtype=torch.float64).view(1, 3, 1, 1, 1)
    noisy = [
        scale * torch.randn((1, 3, 6, 7, 7), generator=rng, dtype=torch.float64) for _ in range(2)
    ]
    member = REGULARIZERS.build("gradient_inverse_consistency", {})
    u, v = (n.clone().requires_grad_() for n in noisy)
    search = torch.optim.Adam([u, v], lr=0.03)
    for _ in range(120):
        search.zero_grad()
        loss = member.displacement(u, spacing, inverse=v)
        loss = loss + member.displacement(v, spacing, inverse=u)
        loss = loss + 1.5 * ((u - noisy[0]).square() + (v - noisy[1]).square()).mean()
        loss.backward()
        search.step()
    folds = REGULARIZERS.build("folding", {}).fraction
    assert folds(u, spacing) < 0.5 * folds(noisy[0], spacing)
    assert u.square().mean() < 0.8 * noisy[0].square().mean()
