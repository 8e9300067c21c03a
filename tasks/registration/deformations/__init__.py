"""Registry of deformation models; one module each, imported on first use."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.registration.contracts import Deformation

DEFORMATIONS: Registry[Deformation] = Registry(
    "deformation", group="synthct.deformations", package="synthct.tasks.registration.deformations"
)
