"""The ``registration`` section of ``params.yaml``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveFloat, field_validator

from synthct.data.errors import did_you_mean
from synthct.data.section import REGIONS, Section
from synthct.tasks.registration.gate.params import GateParams
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.presets import PRESETS, preset_called, usual_preset

PLACES = tuple(f"{source}_{region}" for source in ("mr", "cbct") for region in REGIONS)
"""Keys of ``methods`` and ``presets``."""


class RegistrationParams(Section):
    """How each CT is moved onto its MR or cone-beam CT, and when the result is accepted."""

    method: str = "elastix_mi"
    """Method of the deformable step: stock elastix (``elastix_mi``) or the PyTorch engine with the
    similarity ``mi``, ``ncc``, ``lncc``, ``mind``, ``mind_fine`` or ``impact``."""
    method_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the method by name; ``impact`` needs a TorchScript file, ``network``."""
    methods: dict[str, str] = Field(default_factory=dict)
    """Exceptions: source and region (``mr_head-neck``) to another method, with its defaults."""
    variant: Literal["published", "demo"] = "published"
    """Parameters published for SynthRAD2025, or others tuned on small digital patients."""
    presets: dict[str, str] = Field(default_factory=dict)
    """Exceptions: source and region (``mr_head-neck``) to the name of a preset."""
    grid_spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (3.0, 1.0, 1.0)
    """Voxel size (z, y, x) of the working grid, which training and scores use [mm]."""
    as_delivered: bool = False
    """The pairs are delivered aligned: measure them, and move nothing. The gate judges the
    alignment as it is; a pose more than ``gate.still_mm`` away that fits better makes the pair
    suspect. For collections that were registered before they were published."""
    margin_mm: float = Field(15.0, ge=0)
    """Margin around the body when the working grid is cropped [mm]."""
    gate: GateParams = GateParams()
    """When a result is suspect, and when it has failed."""

    @field_validator("method")
    @classmethod
    def _registered(cls, method: str) -> str:
        if method not in METHODS.names():
            hint = did_you_mean(method, METHODS.names())
            raise ValueError(f"no registration method is called {method!r}; {hint}")
        return method

    @field_validator("methods", "presets")
    @classmethod
    def _places_exist(cls, named: dict[str, str]) -> dict[str, str]:
        for place in named:
            if place not in PLACES:
                hint = did_you_mean(place, PLACES)
                raise ValueError(f"{place!r} is not a source and region ({hint})")
        return named

    @field_validator("methods")
    @classmethod
    def _all_registered(cls, methods: dict[str, str]) -> dict[str, str]:
        return {place: cls._registered(method) for place, method in methods.items()}

    @field_validator("presets")
    @classmethod
    def _known(cls, presets: dict[str, str]) -> dict[str, str]:
        for name in presets.values():
            if name not in PRESETS:
                hint = did_you_mean(name, PRESETS)
                raise ValueError(f"no registration preset is called {name!r}; {hint}")
        return presets

    def method_of(self, source: str, region: str) -> tuple[str, dict[str, Any]]:
        """Name and options of the method for a source and region."""
        named = self.methods.get(f"{source}_{region}", self.method)
        return named, dict(self.method_options) if named == self.method else {}

    def preset_name(self, source: str, region: str) -> str:
        """Name of the preset for a source and region."""
        usual = usual_preset(source, region, demo=self.variant == "demo")
        return preset_called(self.presets.get(f"{source}_{region}", usual)).name
