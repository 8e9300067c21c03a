"""Random response of the MR scanner: another contrast curve and another shading in every sample."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synthct.tasks.models.contracts import Batch
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step, per_sample


@REGULARIZERS.register("contrast_response")
@dataclass(frozen=True)
class ContrastResponse(Regularizer):
    r"""The source is mapped by a random increasing curve and a random smooth gain.

    .. math:: \tilde x = b(r)\,\left(l + (h - l)\, g\!\left(\frac{x - l}{h - l}\right)\right),
              \qquad g(u) = u^{\gamma}, \quad \ln\gamma \sim U(-\ln c, \ln c)

    with the smallest and largest values *l*, *h* of the sample, and the gain over its plane

    .. math:: \ln b(r) = a \cos(\omega\, d \cdot r + \varphi), \qquad a \sim U(0, \ln s)

    with a random direction *d* and phase :math:`\varphi` and a wavelength :math:`2\pi/\omega` of
    one to three times ``field_mm``: the coil's sensitivity. The gain acts on :math:`x - l`, so
    that air stays air. All slices of a sample have the same curve and gain. Repetition and echo
    time change the order of contrasts little and their spacing much, which :math:`\gamma` stands
    for; an increasing curve keeps the order. The target is not changed. An adaptation: the papers
    draw a gamma curve of intensities in [0, 1], or a full generative contrast, for segmentation.

    For synthetic CT: scans of other scanners, coils and sequences get the same HU.

    Acts at ``perturb``; the strength is the probability that a sample is changed, in [0, 1].

    Parameters
    ----------
    contrast
        *c*, largest exponent; at least 1. 1: the curve stays straight.
    shading
        *s*, largest ratio of the gain to 1; at least 1. 1: no shading.
    field_mm
        Shortest wavelength of the gain [mm].

    References
    ----------
    Isensee et al., nnU-Net, Nature Methods 18 (2021) 203-211, doi:10.1038/s41592-020-01008-z
    (gamma); Billot et al., SynthSeg, Medical Image Analysis 86 (2023) 102789,
    doi:10.1016/j.media.2023.102789 (bias field and contrast).
    """

    contrast: float = 1.5
    shading: float = 1.3
    field_mm: float = 200.0

    def __post_init__(self) -> None:
        if self.contrast < 1 or self.shading < 1:
            raise ValueError(
                f"contrast and shading must be at least 1, got {self.contrast} and {self.shading}"
            )
        if self.field_mm <= 0:
            raise ValueError(f"field_mm must be positive [mm], got {self.field_mm}")

    def perturb(self, step: Step) -> Batch:
        """Change ``batch.source`` (B, C, [Z,] Y, X)."""
        source, rng = step.batch.source, step.rng
        count = source.shape[0]
        chosen = torch.rand(count, generator=rng) < step.strength
        gamma = torch.exp((2 * torch.rand(count, generator=rng) - 1) * math.log(self.contrast))
        gain = self._gain(source, step.batch.spacing_mm, rng)
        low, high = (
            per_sample(extreme, source)
            for extreme in (source.flatten(1).amin(1), source.flatten(1).amax(1))
        )
        span = (high - low).clamp(min=1e-6)
        curved = ((source - low) / span).clamp(0, 1) ** per_sample(gamma, source).to(source)
        changed = low + span * curved * gain
        keep = per_sample(chosen, source).to(source.device)
        return replace(step.batch, source=torch.where(keep, changed, source))

    def _gain(
        self, source: Tensor, spacing_mm: tuple[float, float, float], rng: torch.Generator
    ) -> Tensor:
        """The smooth gain (B, 1, [1,] Y, X)."""
        count, dims = source.shape[0], source.ndim - 2
        size = torch.rand(count, generator=rng) * math.log(self.shading)
        phase, angle = (torch.rand(count, generator=rng) * 2 * math.pi for _ in range(2))
        wave = 2 * math.pi / (self.field_mm * (1 + 2 * torch.rand(count, generator=rng)))
        y, x = (
            torch.arange(length) * step_mm
            for length, step_mm in zip(source.shape[-2:], spacing_mm[-2:], strict=True)
        )
        along = torch.cos(angle).view(-1, 1, 1) * y[:, None] + torch.sin(angle).view(-1, 1, 1) * x
        wavy = torch.cos(wave.view(-1, 1, 1) * along + phase.view(-1, 1, 1))
        gain = torch.exp(size.view(-1, 1, 1) * wavy)
        return gain.view(count, *(1 for _ in range(dims - 1)), *gain.shape[1:]).to(source)
