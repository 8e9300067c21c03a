"""Registry of registration methods; one module each, imported on first use.

A method's module is imported to read its name and parameters; engines are imported when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from synthct.data.registry import Registry

if TYPE_CHECKING:
    import SimpleITK as sitk

    from synthct.tasks.registration.job import Job


class Method(Protocol):
    """The deformable step; a frozen dataclass whose fields are its parameters."""

    def deformable(self, job: Job, rigid: sitk.Transform) -> sitk.CompositeTransform:
        """Transform from fixed to moving points including the ``rigid`` step: x -> rigid(x + u(x)).

        Raises :class:`~synthct.data.errors.DataError` if it fails on this pair.
        """
        ...

    def plugins(self) -> tuple[str, ...]:
        """Modules of the plug-ins named by its parameters: part of a unit's key."""
        ...

    def facts(self) -> dict[str, Any]:
        """Its parameters as plain JSON, files identified by content: part of every result."""
        ...


METHODS: Registry[Method] = Registry(
    "registration method",
    group="synthct.registration_methods",
    package="synthct.tasks.registration.methods",
)
