"""Deformation models by name; one file each, found when first asked for."""

from __future__ import annotations

from tasks.registration.torch_engine.contracts import Deformation
from tasks.registry import Registry

DEFORMATIONS: Registry[Deformation] = Registry(
    "deformation", group="synthct.deformations", package="tasks.deformations"
)
