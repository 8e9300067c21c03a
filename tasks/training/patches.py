"""Random patches around voxels of the body, drawn for every step from (seed, step)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from synthct.data.errors import DataError, mask_empty
from synthct.tasks.models.contracts import Batch
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.models.normalise import scale_target
from synthct.tasks.pipeline.randomness import generator
from synthct.tasks.training.cases import Case
from synthct.tasks.training.chunks import ChunkCache
from synthct.tasks.training.response import RandomResponse

T = TypeVar("T")

AXES = {"y": -2, "x": -1}


@dataclass(frozen=True)
class PatchShape:
    """Size of the part of a scan that is read for one sample.

    Parameters
    ----------
    size
        (Y, X) for 2.5-D, (Z, Y, X) for 3-D [voxels].
    slices
        Number of neighbouring slices that are input channels; 1 for 3-D.
    """

    size: tuple[int, ...]
    slices: int

    @property
    def flat(self) -> bool:
        """Whether slices are channels."""
        return len(self.size) == 2

    @property
    def box(self) -> tuple[int, int, int]:
        """Voxels read (Z, Y, X), context slices included."""
        z, y, x = (self.slices, *self.size) if self.flat else self.size
        return z, y, x

    def sample(
        self, source: NDArray[Any], target: NDArray[Any], mask: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Network input, and target and mask of its middle slice, with a channel axis."""
        if not self.flat:
            return source[None], target[None], mask[None]
        middle = slice(self.slices // 2, self.slices // 2 + 1)
        return source, target[middle], mask[middle]


@dataclass(frozen=True, eq=False)
class PatchSampler:
    """Batches of patches; batch *k* is a function of (seed, k) alone, so a resume needs no state.

    A sample is a case (by its weight), a voxel of its body (uniform) as the centre of the patch,
    moved inwards where the patch would leave the scan, and flips.

    Parameters
    ----------
    cases
        Training cases with the same voxel size.
    cache
        Cache through which voxels are read.
    shape
        Size of a sample.
    scaling
        Scaling of the target to network units.
    size
        Samples in a batch.
    seed, stream
        Seed, and name of the random stream.
    flips
        Array axes flipped with probability 1/2: ``y``, ``x``.
    weights
        Relative frequency of a case; 1 for others.
    response
        Changes the source of each patch; None: as it is.

    Raises
    ------
    DataError
        ``spacing-differs`` or ``mask-empty``.
    """

    cases: Sequence[Case]
    cache: ChunkCache
    shape: PatchShape
    scaling: TargetScaling
    size: int
    seed: int
    stream: str
    flips: Sequence[str] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    response: RandomResponse | None = None

    def __post_init__(self) -> None:
        spacings = {case.spacing_mm for case in self.cases}
        if len(spacings) > 1:
            raise DataError(
                "the training cases have voxels of different sizes: "
                f"{', '.join(map(str, sorted(spacings)))} mm (z, y, x)",
                rule="all training cases have one voxel size",
                remedy="register all cases with the same grid_spacing_mm",
                code="spacing-differs",
            )
        for case in self.cases:
            if not case.body.any():
                raise mask_empty("the body mask", "a training case", where=case.name)

    def batch(self, number: int) -> Batch:
        """Batch ``number`` on the CPU."""
        rng = generator(self.seed, self.stream, str(number))
        drawn = [self._sample(rng) for _ in range(self.size)]
        sources, targets, masks = (
            torch.from_numpy(np.stack(parts))
            for parts in zip(*(arrays for _, _, arrays in drawn), strict=True)
        )
        return Batch(
            source=sources,
            target=targets,
            mask=masks,
            spacing_mm=self.cases[0].spacing_mm,
            regions=tuple(case.region for case, _, _ in drawn),
            cases=tuple(case.name for case, _, _ in drawn),
            starts=tuple(start for _, start, _ in drawn),
        )

    def _sample(
        self, rng: np.random.Generator
    ) -> tuple[Case, tuple[int, int, int], tuple[NDArray[np.float32], ...]]:
        case = self._case(rng)
        start = self._start(case, self._middle(case, rng))
        source, ct, mask = case.read(self.cache, start, self.shape.box)
        if self.response is not None:
            source = self.response(source, rng)
        parts = (source, scale_target(ct, self.scaling), mask.astype(np.float32))
        axes = tuple(AXES[name] for name in self.flips if rng.random() < 0.5)
        turned = tuple(np.flip(part, axes) for part in self.shape.sample(*parts))
        return case, start, turned

    def _case(self, rng: np.random.Generator) -> Case:
        weights = [self.weights.get(case.name, 1.0) for case in self.cases]
        if len(set(weights)) == 1:
            return self.cases[int(rng.integers(len(self.cases)))]
        return self.cases[int(rng.choice(len(self.cases), p=np.divide(weights, sum(weights))))]

    def _middle(self, case: Case, rng: np.random.Generator) -> tuple[int, int, int]:
        """A voxel of the body, each with the same probability."""
        rows = np.cumsum(case.body.ravel())
        drawn = int(rng.integers(rows[-1]))
        row = int(np.searchsorted(rows, drawn, side="right"))
        z, y = divmod(row, case.body.shape[1])
        within = drawn - (int(rows[row - 1]) if row else 0)
        line = self.cache.read(
            f"{case.name}/mask", case.arrays["mask"], (z, y, 0), (z + 1, y + 1, case.shape[2])
        )
        return z, y, int(np.flatnonzero(line[0, 0])[within])

    def _start(self, case: Case, middle: tuple[int, int, int]) -> tuple[int, int, int]:
        """First voxel of the box around ``middle``, inside the scan along cropped axes."""
        box, first = self.shape.box, []
        for axis, (at, size, length) in enumerate(zip(middle, box, case.shape, strict=True)):
            if axis == 0 and self.shape.flat:
                first.append(at - size // 2)
            elif size >= length:
                first.append(-((size - length) // 2))
            else:
                first.append(min(max(at - size // 2, 0), length - size))
        return first[0], first[1], first[2]


def ahead(make: Callable[[int], T], numbers: range, depth: int = 2) -> Iterator[T]:
    """``make(n)`` for each number in order, computed on a thread up to ``depth`` in advance."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="patches") as pool:
        waiting: list[Future[T]] = []
        try:
            for number in numbers:
                waiting.append(pool.submit(make, number))
                if len(waiting) > depth:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
