import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.regularization import REGULARIZERS

MIRROR = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
FLAT = torch.diag(torch.tensor([0.0, 1.0, 1.0]))


def test_a_mirror_counts_its_determinant(value, affine):
    assert value("folding", affine(MIRROR)) == pytest.approx(1.0)
    assert value("folding", affine(2 * MIRROR)) == pytest.approx(8.0)


def test_what_does_not_fold_is_free(value, affine, rotation):
    assert value("folding", affine(0.1 * torch.eye(3))) == 0
    assert value("folding", affine(rotation(3.0))) == 0


def test_the_margin_pushes_flat_cells_open(value, affine):
    assert value("folding", affine(FLAT)) == 0
    assert value("folding", affine(FLAT), margin=0.25) == pytest.approx(0.25)


def test_a_flattened_cell_counts_as_folded(affine):
    folding = REGULARIZERS.build("folding", {})
    for matrix, share in [(MIRROR, 1.0), (FLAT, 1.0), (0.1 * torch.eye(3), 0.0)]:
        assert folding.fraction(affine(matrix), (3.0, 1.0, 0.5)) == share


def test_the_share_of_folds_is_counted_cell_by_cell(field):
    u = field(lambda z, y, x: [0 * x, 0 * x, -2.0 * (x - 1).clamp(min=0)], (3, 3, 6))
    folding = REGULARIZERS.build("folding", {})
    assert folding.fraction(u, (3.0, 1.0, 0.5)) == pytest.approx(3 / 5)


def descend(name, u, steps=300):
    member = REGULARIZERS.build(name, {})
    v = u.clone().requires_grad_()
    search = torch.optim.Adam([v], lr=0.05)
    for _ in range(steps):
        search.zero_grad()
        member.displacement(v, (3.0, 1.0, 0.5)).backward()
        search.step()
    return v.detach()


def test_folds_are_undone_where_the_floored_logarithm_is_stuck(affine):
    """The paper's claim: local orientation is restored."""
    rng = torch.Generator().manual_seed(0)
    u = 0.8 * torch.randn((1, 3, 4, 5, 6), generator=rng, dtype=torch.float64)
    share = lambda v: REGULARIZERS.build("folding", {}).fraction(v, (3.0, 1.0, 0.5))  # noqa: E731
    assert share(u) > 0.3
    assert share(descend("folding", u)) < 0.02
    folded = affine(-torch.eye(3))
    assert torch.equal(descend("log_jacobian", folded, steps=5), folded)


@pytest.mark.parametrize("margin", [-0.1, 1.0])
def test_a_margin_that_punishes_rest_is_refused(value, affine, margin):
    with pytest.raises(UsageError, match="margin must be in"):
        value("folding", affine(torch.eye(3)), margin=margin)
