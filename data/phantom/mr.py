r"""MR by signal equation: spoiled gradient echo or spin echo, coil shading, Rician noise.

.. math::
    S_{GRE} = PD \sin\alpha \frac{1 - E_1}{1 - E_1 \cos\alpha} e^{-TE/T_2^*}, \qquad
    S_{SE} = PD\,(1 - E_1)\, e^{-TE/T_2}, \qquad E_1 = e^{-TR/T_1}

Bernstein, King & Zhou, Handbook of MRI Pulse Sequences (2004), chapters 14.1 and 14.3. Noise:
Gudbjartsson & Patz, Magn Reson Med 34 (1995) 910-914.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthct.data.phantom.anatomy import Anatomy
from synthct.data.phantom.canvas import smooth_noise
from synthct.data.phantom.deformation import Deformation
from synthct.data.phantom.sampling import sample
from synthct.data.volume import Grid, Modality, Volume

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sequence:
    """A pulse sequence: ``kind`` is ``gre`` (spoiled gradient echo) or ``se`` (spin echo)."""

    kind: str
    tr_ms: float
    te_ms: float
    flip_deg: float

    def signal(self, pd: Floats, t1_ms: Floats, t2_ms: Floats, t2_star_ms: Floats) -> Floats:
        """Signal of the tissues, in units of the magnetisation of water."""
        e1 = np.exp(-self.tr_ms / t1_ms)
        if self.kind == "se":
            return np.asarray(pd * (1 - e1) * np.exp(-self.te_ms / t2_ms))
        a = np.deg2rad(self.flip_deg)
        steady = np.sin(a) * (1 - e1) / (1 - e1 * np.cos(a))
        return np.asarray(pd * steady * np.exp(-self.te_ms / t2_star_ms))

    def attributes(self) -> dict[str, Any]:
        """DICOM keywords of the sequence."""
        return {
            "ScanningSequence": "GR" if self.kind == "gre" else "SE",
            "SequenceVariant": "SP" if self.kind == "gre" else "NONE",
            "MRAcquisitionType": "3D" if self.kind == "gre" else "2D",
            "RepetitionTime": round(self.tr_ms, 3),
            "EchoTime": round(self.te_ms, 3),
            "FlipAngle": round(self.flip_deg, 3),
            "MagneticFieldStrength": 1.5,
            "ImagingFrequency": 63.87,
        }


TYPICAL: dict[str, Sequence] = {
    "head-neck": Sequence("se", 550.0, 12.0, 90.0),
    "thorax": Sequence("gre", 5.0, 2.1, 14.0),
    "abdomen": Sequence("gre", 6.0, 2.3, 16.0),
}
"""T1-weighted protocols of radiotherapy planning in each region."""


def draw_sequence(region: str, rng: np.random.Generator) -> Sequence:
    """The region's protocol with times up to 5 % off: sites and patients differ."""
    typical = TYPICAL[region]
    tr, te = rng.uniform(0.95, 1.05, 2) * (typical.tr_ms, typical.te_ms)
    return Sequence(typical.kind, float(tr), float(te), typical.flip_deg)


def signal_raster(anatomy: Anatomy, day: str, sequence: Sequence) -> Floats:
    """Signal on the anatomy's raster, with the texture of the tissues in T1 and PD."""
    labels, values = anatomy.labels[day], anatomy.values
    amount = values.texture[labels]
    pd = values.pd[labels] * (1 - 0.6 * amount * anatomy.texture + 0.6 * amount * anatomy.streaks)
    t1 = values.t1_ms[labels] * (1 + amount * anatomy.texture)
    return sequence.signal(pd, t1, values.t2_ms[labels], values.t2_star_ms[labels])


def mr_scan(
    anatomy: Anatomy,
    grid: Grid,
    deformation: Deformation,
    sequence: Sequence,
    rng: np.random.Generator,
    *,
    noise: float,
    shading: float,
) -> Volume:
    """The MR of the MR day, scaled as scanners do to whole numbers of arbitrary gain.

    ``noise`` is the standard deviation of the complex noise as a fraction of the 90th percentile
    of the signal in the body; ``shading`` the spread (SD of the logarithm) of the coils'
    sensitivity over about 150 mm.
    """
    raster = signal_raster(anatomy, "mr", sequence)
    (signal,) = sample(raster[None], anatomy.grid, grid, deformation)
    signal = ndimage.gaussian_filter(signal, 0.35)
    signal *= np.exp(shading * smooth_noise(rng, grid, 150.0))
    level = float(np.percentile(signal[signal > 0.02 * signal.max()], 90))
    complex_noise = noise * level * rng.standard_normal((2, *grid.shape)).astype(np.float32)
    magnitude = np.hypot(signal + complex_noise[0], complex_noise[1])
    gain = rng.uniform(600, 1400) / level
    return Volume(np.rint(magnitude * gain).astype(np.int16), grid, Modality.MR)
