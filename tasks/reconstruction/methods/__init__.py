"""Algorithms of reconstruction by name."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.reconstruction.base import Method

RECONSTRUCTION_METHODS: Registry[Method] = Registry(
    "reconstruction method", group="synthct.reconstruction_methods", package=__name__
)
