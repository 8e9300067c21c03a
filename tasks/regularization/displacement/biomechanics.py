"""Biomechanics-informed prior: strain energy or unbalanced forces of an elastic solid."""

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
    linear-elastic solid; ``equilibrium`` is the squared residual of its equilibrium equation,

    .. math:: |\nabla \cdot \sigma|^2, \qquad
              \sigma = 2\mu\varepsilon + \lambda\,\mathrm{tr}\,\varepsilon\,I
              \qquad [E^2/\mathrm{mm}^2],

    zero where the displacement is that of an elastic solid whose boundary is displaced.
    ``tissue`` (B, 1, Z, Y, X) multiplies the stiffness of each voxel. The default ``poisson`` is
    nearly incompressible: the bulk modulus is 50 times the shear modulus (5 times at 0.4). The
    implementation follows the formula, not the published code, which permutes the components and
    weights shear by a quarter.

    For synthetic CT: muscle, heart and organs keep their volume between two scans.

    Acts at ``displacement``.

    Parameters
    ----------
    form
        ``strain_energy`` or ``equilibrium``.
    poisson
        Poisson's ratio: 0.49 is nearly incompressible, 0.4 the cardiac prior of the paper.
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
