"""Ranges of HU by the tissue that usually lies in them."""

from __future__ import annotations

HU_BANDS: dict[str, tuple[float, float]] = {
    "air": (-32768.0, -900.0),
    "lung": (-900.0, -200.0),
    "fat": (-200.0, -30.0),
    "soft": (-30.0, 150.0),
    "bone": (150.0, 2900.0),
    "metal": (2900.0, 32768.0),
}
"""[low, high) in HU; together they hold every CT number.

Usual clinical ranges (Schneider, Pedroni & Lomax, Phys Med Biol 41 (1996) 111-124); spongy bone
and contrast-filled vessels overlap around 150 HU, as they do on a real CT.
"""
