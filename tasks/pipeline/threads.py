"""Thread counts, set inside each unit because they change bytes (elastix and torch, measured)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from threadpoolctl import threadpool_limits


@contextlib.contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Limit torch, ITK and the BLAS libraries to ``count`` threads within the block.

    torch and ITK are set only if they are imported; a unit that imports them later calls
    :func:`apply_limits`. Importing them here would cost every stage seconds.
    """
    with threadpool_limits(limits=count):
        apply_limits(count)
        yield


def apply_limits(count: int) -> None:
    """Set the thread count of torch and ITK if this process has imported them."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)
    itk = sys.modules.get("SimpleITK")
    if itk is not None:
        itk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)
