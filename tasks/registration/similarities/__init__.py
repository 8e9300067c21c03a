"""Similarities of two images by name; one file each, found when first asked for."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.registration.contracts import Similarity

SIMILARITIES: Registry[Similarity] = Registry(
    "similarity", group="synthct.similarities", package="synthct.tasks.registration.similarities"
)
