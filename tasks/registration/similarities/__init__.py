"""Registry of image similarities; one module each, imported on first use."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.registration.contracts import Similarity

SIMILARITIES: Registry[Similarity] = Registry(
    "similarity", group="synthct.similarities", package="synthct.tasks.registration.similarities"
)
