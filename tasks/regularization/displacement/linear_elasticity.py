"""Linear elasticity: the body as an elastic solid, stiffer in bone."""

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
    r"""Mean strain energy of an elastic solid,

    .. math:: W = k \left(\mu \sum_{ij} \varepsilon_{ij}^2
              + \tfrac{\lambda}{2} (\mathrm{tr}\,\varepsilon)^2\right), \qquad
              \varepsilon = \tfrac12 (\nabla u + \nabla u^T),

    :math:`\lambda = E\nu / (1+\nu)(1-2\nu)`, :math:`\mu = E / 2(1+\nu)`, on cells of forward
    differences. *k* is ``tissue``: stiffness of each voxel relative to ``young`` (bone well above
    1, lung below). Unit: that of ``young``. The energy of a pure shear :math:`\gamma` is
    :math:`\mu\gamma^2/2`; that of a rotation by :math:`\theta` is
    :math:`2(\mu+\lambda)(1-\cos\theta)^2`, so that small rotations have little cost (half the
    angle, 1/16 of the energy).

    For synthetic CT: bones keep their shape while soft tissue deforms, which smoothness penalties
    do not distinguish.

    Acts at ``displacement``.

    Parameters
    ----------
    young
        Young's modulus E where ``tissue`` is 1.
    poisson
        Poisson's ratio; between 0.4 and 0.5 for soft tissue.

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
