"""Threads change bytes (elastix and torch, measured), so their number is set inside the unit."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from threadpoolctl import threadpool_limits


@contextlib.contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Hold torch, ITK and the BLAS libraries to ``count`` threads for the block.

    torch and ITK are set only if already loaded or loaded later by the unit itself through
    :func:`apply_limits`; importing them here would cost every stage seconds.
    """
    with threadpool_limits(limits=count):
        apply_limits(count)
        yield


def apply_limits(count: int) -> None:
    """Set the thread count of the libraries that are loaded in this process."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)
    itk = sys.modules.get("SimpleITK")
    if itk is not None:
        itk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)
