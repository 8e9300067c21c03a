"""Similarities of two images by name; one file each, found when first asked for."""

from __future__ import annotations

from tasks.registration.torch_engine.contracts import Similarity
from tasks.registry import Registry

SIMILARITIES: Registry[Similarity] = Registry(
    "similarity", group="synthct.similarities", package="tasks.similarities"
)
