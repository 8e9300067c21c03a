"""The ``reconstruction`` section of ``params.yaml``."""

from __future__ import annotations

from typing import Any

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from synthct.data.section import Section


class ReconstructionParams(Section):
    """Reconstruction of cone-beam CTs from their projections, in place of the delivered ones."""

    method: str = "fista"
    """``fdk`` or a reconstruction method."""
    method_options: dict[str, Any] = Field(default_factory=dict)
    """Its parameters."""
    prior: str = "image_total_variation"
    """Regularizer that acts at ``image``; empty: none."""
    prior_options: dict[str, Any] = Field(default_factory=dict)
    """Its parameters."""
    weight: NonNegativeFloat = 0.005
    """Strength of the prior; that of total variation is in mm."""
    iterations: PositiveInt = 40
    """Largest number of iterations."""
    tolerance_hu: NonNegativeFloat = 0.5
    """Stop when an iteration changes the image by less (root mean square)."""
    window: PositiveFloat = 1.0
    """Cut-off of FDK's Hann window, as a fraction of the detector's Nyquist frequency."""
    model_error: NonNegativeFloat = 0.05
    """Standard deviation of line integrals from causes other than photon noise."""
    flicking: bool = False
    """Denoise line integrals first, by a network trained on their conjugate rays."""
    view_step: PositiveInt = 1
    """Use every N-th view only."""
