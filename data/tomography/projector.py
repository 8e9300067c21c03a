r"""Joseph's method: line integrals through a volume and their exact transpose.

A ray is cut by the planes of voxels across its main direction; in each plane the volume is read by
bilinear interpolation, and the sum is multiplied by the ray's length between two planes:

.. math::
    (Ax)_r = \ell_r \sum_p \sum_j w_{rpj}\, x_j , \qquad
    (A^\top y)_j = \sum_r \sum_p \ell_r\, w_{rpj}\, y_r

Joseph, IEEE Trans. Med. Imaging 1 (1982) 192-196, doi:10.1109/TMI.1982.4307572. Outside the grid
the volume falls to zero within one voxel.

Two backends give the same numbers within float32 rounding: compiled loops (``kernels``), for
detectors whose rows run along the volume's z on a processor, and torch, for every other geometry,
for GPUs, for float64, and where numba is not installed.
"""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthct.data.tomography.cone_beam import ConeBeam
from synthct.data.tomography.views import TILT_TOLERANCE, Views, views_of
from synthct.data.volume import Grid

Backend = Literal["auto", "compiled", "torch"]


class Projector:
    """The linear map A from a volume (Z, Y, X) to its sinogram (views, V, U), and its transpose.

    Parameters
    ----------
    grid
        Of the volume; any direction.
    geometry
        A circular orbit or any views.
    backend
        ``compiled``, ``torch``, or ``auto``: compiled where it can be.

    Raises
    ------
    ValueError
        ``compiled`` is asked for where it cannot be.
    """

    def __init__(
        self, grid: Grid, geometry: ConeBeam | Views, *, backend: Backend = "auto"
    ) -> None:
        self.grid = grid
        self.views = geometry if isinstance(geometry, Views) else views_of(geometry)
        self.volume_shape, self.sinogram_shape = grid.shape, self.views.sinogram_shape
        obstacle = self._obstacle()
        if backend == "compiled" and obstacle:
            raise ValueError(f"the compiled projector cannot be used: {obstacle}")
        self.compiled = backend != "torch" and not obstacle

    def _obstacle(self) -> str:
        if importlib.util.find_spec("numba") is None:
            return "numba is not installed"
        along_v = self._vectors(self.views.along_v_mm)
        tilt = np.abs(along_v[:, 1:]).max(axis=1) / np.abs(along_v).max(axis=1)
        if (tilt > TILT_TOLERANCE).any():
            return "the detector's rows do not run along the volume's z axis"
        return ""

    # Positions in voxels of the volume padded by one voxel on each side.
    def _places(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.grid.index(points_mm) + 1

    def _vectors(self, vectors_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        zero = np.zeros(3)
        return self.grid.index(vectors_mm) - self.grid.index(zero)

    @cached_property
    def _rays(self) -> tuple[NDArray[np.float64], ...]:
        views = self.views
        return (
            self._places(views.source_mm),
            self._places(views.corner_mm),
            self._vectors(views.along_u_mm),
            self._vectors(views.along_v_mm),
        )

    def _directions(self, view: int) -> Tensor:
        """From the source to each pixel (V, U, 3) [voxels], float64."""
        source, corner, along_u, along_v = (torch.from_numpy(part[view]) for part in self._rays)
        rows, columns = self.views.detector_shape
        v, u = torch.arange(rows).double(), torch.arange(columns).double()
        return corner - source + v[:, None, None] * along_v + u[:, None] * along_u

    def lengths_mm(self, view: int) -> Tensor:
        """Length of each ray between two planes (V, U) [mm]."""
        directions = self._directions(view)
        spacing = torch.tensor(self.grid.spacing_mm).double()
        lengths: Tensor = (directions * spacing).norm(dim=-1) / self._main(directions).values
        return lengths

    def _main(self, directions: Tensor) -> Any:
        """Largest component [voxels] and its axis; the compiled loops never step along z."""
        size = directions.abs()
        if self._upright:
            size = size.clone()
            size[..., 0] = -1
        # ties go to x, as in the compiled loops
        return size.flip(-1).max(dim=-1)

    @cached_property
    def _upright(self) -> bool:
        along_v = self._vectors(self.views.along_v_mm)
        return bool((np.abs(along_v[:, 1:]) <= TILT_TOLERANCE * np.abs(along_v[:, :1])).all())

    def forward(self, volume: Tensor) -> Tensor:
        """Line integrals (views, V, U) of ``volume`` (Z, Y, X) [1/mm]; not differentiable."""
        if self._runs_compiled(volume):
            return self._forward_compiled(volume)
        padded = torch.nn.functional.pad(volume.detach(), (1, 1, 1, 1, 1, 1))[None, None]
        out = volume.new_empty(self.sinogram_shape)
        for view in range(len(out)):
            out[view] = 0
            for rays, places in self._samples(view):
                read = torch.nn.functional.grid_sample(
                    padded, places.to(volume), padding_mode="zeros", align_corners=True
                )
                out[view][rays.to(out.device)] = read[0, 0].sum(dim=(0, 2))
            out[view] *= self.lengths_mm(view).to(out)
        return out

    def transpose(self, sinogram: Tensor) -> Tensor:
        """The transpose of :meth:`forward`: (views, V, U) -> (Z, Y, X); not differentiable."""
        if self._runs_compiled(sinogram):
            return self._transpose_compiled(sinogram)
        shape = [1, 1, *(n + 2 for n in self.volume_shape)]
        total = sinogram.new_zeros(shape)
        for view, values in enumerate(sinogram.detach()):
            scaled = values * self.lengths_mm(view).to(values)
            for rays, places in self._samples(view):
                given = scaled[rays.to(values.device)][None, None, None, :, None]
                given = given.expand(1, 1, places.shape[1], -1, 1).contiguous()
                total += torch.ops.aten.grid_sampler_3d_backward(
                    given, total, places.to(values), 0, 0, True, [True, False]
                )[0]
        return total[0, 0, 1:-1, 1:-1, 1:-1].contiguous()

    def of_views(self, chosen: NDArray[Any]) -> Projector:
        """The projector of some of the views, in the order of ``chosen``."""
        backend: Backend = "auto" if self.compiled else "torch"
        return Projector(self.grid, self.views.chosen(chosen), backend=backend)

    def __call__(self, volume: Tensor) -> Tensor:
        """:meth:`forward`, differentiable any number of times."""
        return _Differentiable.apply(volume, self, False)  # type: ignore[no-any-return]

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """:meth:`transpose`, differentiable any number of times."""
        return _Differentiable.apply(sinogram, self, True)  # type: ignore[no-any-return]

    def _samples(self, view: int) -> list[tuple[Tensor, Tensor]]:
        """Rays of each main direction (V, U), and where they are read (1, planes, N, 1, 3)."""
        directions = self._directions(view)
        source = torch.from_numpy(self._rays[0][view])
        main = 2 - self._main(directions).indices
        found = []
        for axis in range(3):
            rays = main == axis
            if not rays.any():
                continue
            planes = torch.arange(1, self.volume_shape[axis] + 1).double()
            chosen = directions[rays]
            t = (planes[:, None] - source[axis]) / chosen[:, axis]
            points = source + t[..., None] * chosen
            points[(t <= 0) | (t >= 1)] = -2.0  # behind the source or the detector
            size = torch.tensor(self.volume_shape).double() + 1
            places = (points / size * 2 - 1).flip(-1)  # grid_sample wants x, y, z
            found.append((rays, places[None, :, :, None]))
        return found

    def _runs_compiled(self, values: Tensor) -> bool:
        return self.compiled and values.device.type == "cpu" and values.dtype == torch.float32

    def _scaled(self) -> Tensor:
        return torch.stack([self.lengths_mm(n) for n in range(self.sinogram_shape[0])]).float()

    def _forward_compiled(self, volume: Tensor) -> Tensor:
        from synthct.data.tomography import kernels

        padded = torch.nn.functional.pad(volume.detach(), (1, 1, 1, 1, 1, 1))
        turned = padded.permute(1, 2, 0).contiguous().numpy()
        views, rows, columns = self.sinogram_shape
        out = np.empty((views, columns, rows), np.float32)
        share_out(views, lambda first, last: kernels.project(first, last, out, turned, *self._rays))
        return torch.from_numpy(out).permute(0, 2, 1) * self._scaled()

    def _transpose_compiled(self, sinogram: Tensor) -> Tensor:
        from synthct.data.tomography import kernels

        turned = (sinogram.detach() * self._scaled()).permute(0, 2, 1).contiguous().numpy()
        nz, ny, nx = (n + 2 for n in self.volume_shape)
        out = np.zeros((ny, nx, nz), np.float32)
        for through_x, planes in ((True, nx), (False, ny)):
            share_out(
                planes,
                lambda first, last, through_x=through_x: kernels.transpose(
                    first, last, through_x, out, turned, *self._rays
                ),
            )
        return torch.from_numpy(out).permute(2, 0, 1)[1:-1, 1:-1, 1:-1].contiguous()


def share_out(count: int, work: Any) -> None:
    """Call ``work(first, last)`` for parts of 0..count, on as many threads as torch uses."""
    threads = min(torch.get_num_threads(), count)
    if threads == 1:
        work(0, count)
        return
    ends = np.linspace(0, count, 4 * threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, ends[:-1], ends[1:]))


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, projector: Projector, back: bool) -> Tensor:
        ctx.projector, ctx.back = projector, back
        return projector.transpose(values) if back else projector.forward(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        back = not ctx.back
        return _Differentiable.apply(gradients[0], ctx.projector, back), None, None
