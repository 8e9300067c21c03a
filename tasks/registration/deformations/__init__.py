"""Deformation models by name; one file each, found when first asked for."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.registration.contracts import Deformation

DEFORMATIONS: Registry[Deformation] = Registry(
    "deformation", group="synthct.deformations", package="synthct.tasks.registration.deformations"
)
