"""Linear elasticity of a displacement: strain, strain energy and unbalanced forces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, Three, cells, checked, gradient


@dataclass(frozen=True)
class Material:
    r"""An isotropic linear-elastic solid, :math:`\mu = E / 2(1+\nu)`,
    :math:`\lambda = E \nu / (1+\nu)(1-2\nu)`.

    Parameters
    ----------
    young
        Young's modulus E, in any unit of stiffness, which is also the unit of the energy.
    poisson
        Poisson's ratio in (-1, 0.5); near 0.5 the solid is incompressible.
    """  # noqa: D205

    young: float
    poisson: float

    def __post_init__(self) -> None:
        if self.young <= 0:
            raise ValueError(f"young must be positive, got {self.young}")
        if not -1 < self.poisson < 0.5:
            raise ValueError(f"poisson must be between -1 and 0.5, got {self.poisson}")

    @property
    def shear(self) -> float:
        """Lamé's second parameter, mu."""
        return self.young / (2 * (1 + self.poisson))

    @property
    def dilation(self) -> float:
        """Lamé's first parameter, lambda."""
        return self.young * self.poisson / ((1 + self.poisson) * (1 - 2 * self.poisson))


@dataclass(frozen=True, eq=False)
class Strain:
    r"""Small strain :math:`\varepsilon = (\nabla u + \nabla u^T) / 2` on cells.

    ``stretch`` holds :math:`\varepsilon_{zz}, \varepsilon_{yy}, \varepsilon_{xx}`, ``shear``
    :math:`\varepsilon_{zy}, \varepsilon_{zx}, \varepsilon_{yx}`; each (B, Z-1, Y-1, X-1) [1].
    """

    stretch: Three
    shear: Three

    @property
    def trace(self) -> Tensor:
        """Change of volume to first order [1]."""
        return self.stretch[0] + self.stretch[1] + self.stretch[2]


def strain(u: Tensor, spacing_mm: Spacing) -> Strain:
    """Strain of a displacement (B, 3, Z, Y, X) [mm]."""
    along_z, along_y, along_x = gradient(u, spacing_mm)
    return Strain(
        stretch=(along_z[:, 0], along_y[:, 1], along_x[:, 2]),
        shear=(
            (along_y[:, 0] + along_z[:, 1]) / 2,
            (along_x[:, 0] + along_z[:, 2]) / 2,
            (along_x[:, 1] + along_y[:, 2]) / 2,
        ),
    )


def energy(u: Tensor, spacing_mm: Spacing, material: Material, stiffness: Tensor | None) -> Tensor:
    r""":math:`\mu \sum_{ij} \varepsilon_{ij}^2 + \tfrac{\lambda}{2} (\mathrm{tr}\,\varepsilon)^2`.

    On cells, (B, Z-1, Y-1, X-1), in the unit of ``material.young``. ``stiffness`` (B, 1, Z, Y, X)
    multiplies it at each voxel.
    """
    e = strain(u, spacing_mm)
    squares = sum(s**2 for s in e.stretch) + 2 * sum(s**2 for s in e.shear)
    stored = material.shear * squares + material.dilation / 2 * e.trace**2
    return stored if stiffness is None else stored * _on_cells(stiffness, u)


def unbalanced_force(
    u: Tensor, spacing_mm: Spacing, material: Material, stiffness: Tensor | None
) -> Tensor:
    r""":math:`\nabla\cdot\sigma`, where :math:`\sigma = 2\mu\varepsilon + \lambda\nabla\cdot u`.

    Zero where the body is in equilibrium without external forces. With backward differences of
    the stress on cells it is minus the derivative of the summed :func:`energy` with respect to u,
    at interior voxels: (B, 3, Z-2, Y-2, X-2) [unit of young / mm].
    """
    checked(u, 3)
    e = strain(u, spacing_mm)
    scale = torch.ones((), dtype=u.dtype, device=u.device)
    if stiffness is not None:
        scale = _on_cells(stiffness, u)
    pressure = material.dilation * e.trace
    zz, yy, xx = ((2 * material.shear * s + pressure) * scale for s in e.stretch)
    zy, zx, yx = (2 * material.shear * s * scale for s in e.shear)
    return torch.stack(
        [_outflow(row, spacing_mm) for row in ((zz, zy, zx), (zy, yy, yx), (zx, yx, xx))], dim=1
    )


def _outflow(row: Three, spacing_mm: Spacing) -> Tensor:
    """Divergence of one row of the stress by backward differences."""
    inner = slice(1, None)
    along_z, along_y, along_x = row
    z, y, x = spacing_mm
    return (
        torch.diff(along_z[..., inner, inner], dim=-3) / z
        + torch.diff(along_y[..., inner, :, inner], dim=-2) / y
        + torch.diff(along_x[..., inner, inner, :], dim=-1) / x
    )


def _on_cells(stiffness: Tensor, u: Tensor) -> Tensor:
    if stiffness.shape[1:] != (1, *u.shape[2:]) or stiffness.shape[0] not in (1, u.shape[0]):
        raise ValueError(
            f"stiffness must be (B, 1, Z, Y, X) on the grid of the displacement "
            f"{tuple(u.shape)}, got {tuple(stiffness.shape)}"
        )
    return cells(stiffness)[:, 0]
