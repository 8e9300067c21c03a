"""The ``registration`` section of ``params.yaml``."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import Field, PositiveFloat, field_validator

from synthct.data.section import Section
from synthct.tasks.registration.gate.gate import GateParams
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.presets import PRESETS, preset_called, usual_preset


class RegistrationParams(Section):
    """How each CT is moved onto its MR or CBCT, and when to believe it."""

    method: str = "elastix_mi"
    """Deformable step, after the rigid one: stock elastix (``elastix_mi``) or the torch engine
    with the similarity ``mi``, ``ncc``, ``lncc``, ``mind`` or ``impact``."""
    method_options: dict[str, Any] = Field(default_factory=dict)
    """Its parameters, by name; a TorchScript file ``network`` for ``impact``."""
    methods: dict[str, str] = Field(default_factory=dict)
    """Exceptions: ``TASK_REGION`` (``mr_head-neck``) to another method, with its own defaults."""
    variant: Literal["published", "demo"] = "published"
    """SynthRAD2025's presets, or others tuned for the tiny volumes of the digital patients."""
    presets: dict[str, str] = Field(default_factory=dict)
    """Exceptions: ``TASK_REGION`` (``mr_head-neck``) to a preset's name."""
    grid_spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (3.0, 1.0, 1.0)
    """Voxel size (z, y, x) of the working grid, on which training and scores run [mm]."""
    margin_mm: float = Field(15.0, ge=0)
    """Kept around the body when the working grid is cropped [mm]."""
    gate: GateParams = GateParams()
    """When a result is suspect or has failed."""

    @field_validator("method")
    @classmethod
    def _registered(cls, method: str) -> str:
        if method not in METHODS.names():
            near = difflib.get_close_matches(method, METHODS.names(), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(METHODS.names())}"
            raise ValueError(f"no registration method is called {method!r}; {hint}")
        return method

    @field_validator("methods")
    @classmethod
    def _all_registered(cls, methods: dict[str, str]) -> dict[str, str]:
        return {place: cls._registered(method) for place, method in methods.items()}

    @field_validator("presets")
    @classmethod
    def _known(cls, presets: dict[str, str]) -> dict[str, str]:
        for name in presets.values():
            if name not in PRESETS:
                raise ValueError(f"no registration preset is called {name!r}")
        return presets

    def method_of(self, source: str, region: str) -> tuple[str, dict[str, Any]]:
        """Name and options of the method of a case."""
        named = self.methods.get(f"{source}_{region}", self.method)
        return named, dict(self.method_options) if named == self.method else {}

    def preset_name(self, source: str, region: str) -> str:
        """The preset of a case."""
        usual = usual_preset(source, region, demo=self.variant == "demo")
        return preset_called(self.presets.get(f"{source}_{region}", usual)).name
