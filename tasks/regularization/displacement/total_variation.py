"""Total variation: the displacement may jump where organs slide, and is constant elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, gradient
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("total_variation")
@dataclass(frozen=True)
class TotalVariation(Regularizer):
    r"""Mean gradient norm, :math:`\sum_i \sqrt{|\nabla u_i|^2 + \varepsilon^2} - \varepsilon`.

    The gradient is taken by forward differences at each voxel. A jump has the same cost as a
    gradual increase to the same height, so that jumps are preserved. With ``coupled`` one root is
    taken over all components, :math:`\sqrt{\sum_i |\nabla u_i|^2 + \varepsilon^2} - \varepsilon`:
    the value is invariant to rotations of the components, and they jump together. Unit: mm/mm.
    ``tissue`` is not used.

    For synthetic CT: lungs and bowel slide along the wall; smooth penalties blur that motion.

    Acts at ``displacement``.

    Parameters
    ----------
    epsilon
        Rounding of the corner at zero gradient [mm/mm]. Larger values are easier to optimise.
    coupled
        One norm over the three components instead of one for each.

    References
    ----------
    Rudin, Osher & Fatemi, Nonlinear total variation based noise removal algorithms, Physica D 60
    (1992) 259-268, doi:10.1016/0167-2789(92)90242-F; for displacements Vishnevskiy, Gass, Szekely,
    Tanner & Goksel, IEEE Trans. Med. Imaging 36 (2017) 385-395, doi:10.1109/TMI.2016.2610583.
    """

    epsilon: float = 0.01
    coupled: bool = False

    def __post_init__(self) -> None:
        if self.epsilon <= 0:
            raise ValueError(f"epsilon must be positive [mm/mm], got {self.epsilon}")

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [1]."""
        along_z, along_y, along_x = gradient(u, spacing_mm)
        squared = along_z**2 + along_y**2 + along_x**2
        if self.coupled:
            squared = squared.sum(dim=1, keepdim=True)
        return rounded_root(squared, self.epsilon).sum(dim=1).mean()


def rounded_root(squared: Tensor, epsilon: float) -> Tensor:
    r""":math:`\sqrt{s + \varepsilon^2} - \varepsilon`, without cancellation for small s."""
    return squared / (torch.sqrt(squared + epsilon**2) + epsilon)
