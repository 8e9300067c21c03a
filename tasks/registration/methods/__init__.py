"""Ways to register by name; one file each, found when first asked for.

A method's module is imported to read its name and parameters: engines are imported when it runs.
"""

from __future__ import annotations

from typing import Any, Protocol

import SimpleITK as sitk

from synthct.data.registry import Registry
from synthct.tasks.registration.job import Job


class Method(Protocol):
    """The deformable step; a frozen dataclass whose fields are its parameters."""

    def deformable(self, job: Job, rigid: sitk.Transform) -> sitk.CompositeTransform:
        """From fixed to moving points, through the ``rigid`` step: x -> rigid(x + u(x)).

        Raises :class:`~synthct.data.errors.DataError` when this pair defeats it.
        """
        ...

    def plugins(self) -> tuple[str, ...]:
        """Dotted modules of the plug-ins that its parameters name: part of a unit's key."""
        ...

    def facts(self) -> dict[str, Any]:
        """Its parameters as plain JSON, files by their content: part of every result."""
        ...


METHODS: Registry[Method] = Registry(
    "registration method",
    group="synthct.registration_methods",
    package="synthct.tasks.registration.methods",
)
