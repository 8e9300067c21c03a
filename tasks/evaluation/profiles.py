"""Ranges of HU: published intensity profiles for PSNR and MS-SSIM, and bands by tissue."""

from __future__ import annotations

from dataclasses import dataclass

from synthct.data.errors import UsageError

OUTSIDE_HU = -1024.0
"""Value of reference and prediction outside the mask, set before anything is measured [HU]."""


@dataclass(frozen=True)
class Profile:
    """A named intensity range; scores under different profiles are not comparable.

    Parameters
    ----------
    low_hu, high_hu
        Values are clipped to [low, high] for PSNR and MS-SSIM (never for MAE and ME).
    """

    name: str
    low_hu: float
    high_hu: float

    def __post_init__(self) -> None:
        if not OUTSIDE_HU <= self.low_hu < self.high_hu:
            raise ValueError(
                f"a profile has {OUTSIDE_HU:g} <= low_hu < high_hu (values outside the mask are "
                f"clipped to low), got {self.low_hu:g}, {self.high_hu:g}"
            )

    @property
    def width_hu(self) -> float:
        """The data range R = high - low [HU]."""
        return self.high_hu - self.low_hu

    def as_json(self) -> dict[str, str | float]:
        """The entry ``profile`` of the documents with scores."""
        return {"name": self.name, "low_hu": self.low_hu, "high_hu": self.high_hu}


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("synthrad2025_metrics", -1024.0, 3000.0),
        Profile("synthrad2025_container", -1024.0, 3071.0),
    )
}
"""The SynthRAD2025 metrics repository and its evaluation container differ in the upper limit."""

DEFAULT_PROFILE = "synthrad2025_container"


def profile_called(name: str, *, where: str = "") -> Profile:
    """The profile of that name; an unknown one raises :class:`UsageError`."""
    if name not in PROFILES:
        raise UsageError(
            f"no intensity profile is called {name!r}",
            where=where,
            remedy=f"known: {', '.join(sorted(PROFILES))}",
            code="unknown-profile",
        )
    return PROFILES[name]


HU_BANDS: dict[str, tuple[float, float]] = {
    "air": (-32768.0, -900.0),
    "lung": (-900.0, -200.0),
    "fat": (-200.0, -30.0),
    "soft": (-30.0, 150.0),
    "bone": (150.0, 2900.0),
    "metal": (2900.0, 32768.0),
}
"""[low, high) in HU; together they cover every CT number.

Usual clinical ranges (Schneider, Pedroni & Lomax, Phys Med Biol 41 (1996) 111-124); spongy bone
and contrast-filled vessels overlap around 150 HU, as they do on a real CT.
"""
