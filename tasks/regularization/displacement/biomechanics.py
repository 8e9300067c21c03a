"""Biomechanics-informed prior: what tissue could do, and which forces it would take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing
from synthct.tasks.fields.elasticity import Material, energy, unbalanced_force
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("biomechanics")
@dataclass(frozen=True)
class Biomechanics(Regularizer):
    r"""Strain energy of a nearly incompressible solid, or the forces that keep it deformed.

    ``strain_energy`` is the paper's prior, :math:`\tfrac12 \varepsilon^T C \varepsilon =
    \mu \sum_{ij} \varepsilon_{ij}^2 + \tfrac{\lambda}{2} (\mathrm{tr}\,\varepsilon)^2` [E]
    with :math:`\varepsilon = \tfrac12(\nabla u + \nabla u^T)` and *C* that of an isotropic
    linear-elastic solid; ``equilibrium`` is the squared residual of its equation of rest,

    .. math:: |\nabla \cdot \sigma|^2, \qquad
              \sigma = 2\mu\varepsilon + \lambda\,\mathrm{tr}\,\varepsilon\,I
              \qquad [E^2/\mathrm{mm}^2],

    zero wherever the motion of a boundary spreads through the body as an elastic solid would
    spread it. ``tissue`` (B, 1, Z, Y, X) multiplies the stiffness voxel by voxel. The default
    ``poisson`` is the nearly incompressible one: the modulus against a change of volume is 50
    times that against shear (5 times at 0.4). The formula is followed, not the published code,
    which scrambles the components and counts shear at a quarter.

    For synthetic CT: muscle, heart and organs keep their volume between the two scans.

    Acts at ``displacement``.

    Parameters
    ----------
    form
        ``strain_energy`` or ``equilibrium``.
    poisson
        Poisson's ratio: 0.49 nearly incompressible, 0.4 the paper's cardiac prior.
    young
        Young's modulus E where ``tissue`` is 1.

    References
    ----------
    Zhang, You, Ahn, Zhuang, Staib & Duncan, Learning correspondences of cardiac motion from
    images using biomechanics-informed modeling, STACOM 2022, arXiv:2209.00726.
    """

    form: Literal["strain_energy", "equilibrium"] = "strain_energy"
    poisson: float = 0.49
    young: float = 1.0

    def __post_init__(self) -> None:
        if self.form not in ("strain_energy", "equilibrium"):
            raise ValueError(f"form must be strain_energy or equilibrium, got {self.form!r}")
        Material(self.young, self.poisson)

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm] with stiffness (B, 1, Z, Y, X) [1]; a scalar."""
        material = Material(self.young, self.poisson)
        if self.form == "strain_energy":
            return energy(u, spacing_mm, material, tissue).mean()
        force = unbalanced_force(u, spacing_mm, material, tissue)
        return force.square().sum(dim=1).mean()
