"""Linear elasticity: the body as a spring-like solid, stiff where it is bone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing
from synthct.tasks.fields.elasticity import Material, energy
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("linear_elasticity")
@dataclass(frozen=True)
class LinearElasticity(Regularizer):
    r"""Mean energy stored in a deformed elastic solid,

    .. math:: W = k \left(\mu \sum_{ij} \varepsilon_{ij}^2
              + \tfrac{\lambda}{2} (\mathrm{tr}\,\varepsilon)^2\right), \qquad
              \varepsilon = \tfrac12 (\nabla u + \nabla u^T),

    :math:`\lambda = E\nu / (1+\nu)(1-2\nu)`, :math:`\mu = E / 2(1+\nu)`, on cells of forward
    differences. *k* is ``tissue``: stiffness relative to ``young``, voxel by voxel (bone well
    above 1, lung below). Unit: that of ``young``. A pure shear :math:`\gamma` stores
    :math:`\mu\gamma^2/2`; a rotation by :math:`\theta` stores
    :math:`2(\mu+\lambda)(1-\cos\theta)^2`, so small turns are nearly free (halving the angle
    divides it by 16).

    For synthetic CT: bones keep their shape while soft tissue gives, which no smoothness knows.

    Acts at ``displacement``.

    Parameters
    ----------
    young
        Young's modulus E where ``tissue`` is 1.
    poisson
        Poisson's ratio; soft tissue lies between 0.4 and 0.5.

    References
    ----------
    Broit, Optimal registration of deformed images, PhD thesis, University of Pennsylvania
    (1981); Modersitzki, Numerical Methods for Image Registration, Oxford (2004).
    """  # noqa: D400

    young: float = 1.0
    poisson: float = 0.4

    def __post_init__(self) -> None:
        Material(self.young, self.poisson)

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm] with stiffness (B, 1, Z, Y, X) [1]; a scalar."""
        return energy(u, spacing_mm, Material(self.young, self.poisson), tissue).mean()
