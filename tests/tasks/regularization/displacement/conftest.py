import pytest
import torch

from synthct.tasks.regularization import REGULARIZERS

SPACING = (3.0, 1.0, 0.5)


def places(shape, spacing):
    """Points (3, Z, Y, X) [mm] of a grid that starts at zero."""
    axes = [torch.arange(n, dtype=torch.float64) * h for n, h in zip(shape, spacing, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


@pytest.fixture
def spacing():
    return SPACING


@pytest.fixture
def field():
    """Sample a displacement: a function of the points z, y, x [mm] that gives three components."""

    def sample(function, shape=(4, 5, 6), spacing=SPACING):
        z, y, x = places(shape, spacing)
        components = [torch.as_tensor(c, dtype=torch.float64) for c in function(z, y, x)]
        return torch.stack([c.expand(shape) for c in components])[None].clone()

    return sample


@pytest.fixture
def affine():
    """u(x) = (matrix - I) x + shift on an anisotropic grid."""

    def sample(matrix, shape=(4, 5, 6), spacing=SPACING, shift=(0.0, 0.0, 0.0)):
        change = torch.as_tensor(matrix, dtype=torch.float64) - torch.eye(3, dtype=torch.float64)
        u = torch.einsum("ij,jzyx->izyx", change, places(shape, spacing))
        return (u + torch.tensor(shift, dtype=torch.float64).view(3, 1, 1, 1))[None]

    return sample


@pytest.fixture
def rotation():
    """A turn by ``angle`` in the plane of two axes."""

    def make(angle, plane=(1, 2)):
        matrix = torch.eye(3, dtype=torch.float64)
        cosine, sine = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
        a, b = plane
        matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = cosine, -sine, sine, cosine
        return matrix

    return make


@pytest.fixture
def value():
    """Value of a regularizer by name."""

    def evaluate(name, u, spacing=SPACING, tissue=None, **options):
        return REGULARIZERS.build(name, options).displacement(u, spacing, tissue).item()

    return evaluate


@pytest.fixture
def denoise():
    """Minimise mean |v - u|^2 / 2 + weight * penalty(v) by L-BFGS."""

    def solve(name, u, weight, spacing=SPACING, tissue=None, steps=150, **options):
        member = REGULARIZERS.build(name, options)
        v = u.clone().requires_grad_()
        search = torch.optim.LBFGS([v], max_iter=steps, line_search_fn="strong_wolfe")

        def cost():
            search.zero_grad()
            data = 1.5 * (v - u).square().mean()
            total = u[:, 0].numel() * (data + weight * member.displacement(v, spacing, tissue))
            total.backward()
            return total

        search.step(cost)
        return v.detach()

    return solve
