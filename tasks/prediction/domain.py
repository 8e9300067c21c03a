"""Out-of-domain check: whether a scan resembles the training scans; reported with every result."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from synthct.data.section import Section
from synthct.data.volume import Volume
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.models.normalise import fit_source
from synthct.tasks.transport.laws import ATOMS, law_of, mean_law
from synthct.tasks.transport.partial import embed

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)

LIMIT = 0.5
"""Distance beyond the trained range up to which a feature is not reported [widths of the range]."""

_FEATURES = {f"intensity:q{round(100 * q):02d}" for q in QUANTILES} | {
    "edges", "noise", "section_cm2", "shared:moved", "shared:alone",
}  # fmt: skip
"""Features that :func:`fingerprint` computes."""

_MIN_WIDTH = {"intensity": 0.25, "edges": 0.05, "noise": 0.02, "section_cm2": 100.0,
                "shared": 0.1}  # fmt: skip
"""Minimum width of a feature's range: few training cases do not show how much patients vary."""


REACH = 0.5
"""Largest intensity difference at which two points may be the same tissue [standard deviations of
the reference law]."""

MAX_BODIES = 4.0
"""Cross-section relative to the reference above which a larger body makes no difference [1]."""


class TrainedBody(Section):
    """Reference of the partial transport: mean intensity law and cross-section in training."""

    law: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = Field(
        min_length=ATOMS, max_length=ATOMS
    )
    """Mean intensity law, quantiles at 0.5 %, 1.5 %, ..., 99.5 % [units of the source scaling]."""
    section_cm2: float = Field(gt=0, allow_inf_nan=False)
    """Mean cross-section of the body."""

    @model_validator(mode="after")
    def _rises(self) -> TrainedBody:
        if any(b < a for a, b in itertools.pairwise(self.law)):
            raise ValueError("law: quantiles do not fall")
        return self

    @classmethod
    def of(cls, scans: Sequence[tuple[Volume, Volume]], scaling: SourceScaling) -> TrainedBody:
        """Mean over training scans and their masks (at least one pair)."""
        laws, sections = [], []
        for source, mask in scans:
            inside = np.asarray(mask.array) > 0
            scale = fit_source(source.array, inside, scaling)
            laws.append(law_of(scale(np.asarray(source.array)[inside])))
            sections.append(_section_cm2(source, inside))
        law = tuple(_rounded(value) for value in mean_law(laws))
        return cls(law=law, section_cm2=_rounded(float(np.mean(sections))))

    def shared(self, values: NDArray[Any], section_cm2: float) -> dict[str, float]:
        r"""Compare a scan's law with the reference by partial transport.

        Both are measures of the tissue in a slice: the reference has 100 points, the scan a number
        in proportion to its cross-section. Points are paired within ``REACH``. Reference points
        without a partner cost nothing, so that tissue outside the field of view does not count.

        Returns
        -------
        dict
            ``shared:moved``: mean distance of the pairs [standard deviations of the reference].
            ``shared:alone``: share of the scan's points without a counterpart.
        """
        law = np.asarray(self.law)
        width = max(float(law.std()), 1e-6)
        bodies = min(section_cm2 / self.section_cm2, MAX_BODIES)
        count = max(1, round(ATOMS * bodies))
        points = np.quantile(values, (np.arange(count) + 0.5) / count)
        found = embed(law, points, REACH * width)
        pairs = max(1, int(found.kept.sum()))
        moved = float(np.abs(found.moved).sum()) / pairs / width
        return {"shared:moved": moved, "shared:alone": found.alone / count}


class Range(Section):
    """Range of one feature over the training cases."""

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} lies above high {self.high:g}")
        return self


class Domain(Section):
    """``domain.json`` of a release: ranges over training cases, never a single case's values."""

    cases: int = Field(ge=1)
    features: dict[str, Range]
    reference: TrainedBody | None = None
    """For scans truncated by the field of view, and for ``predict --harmonise``; absent in releases
    of older versions."""

    @property
    def law(self) -> tuple[float, ...] | None:
        """The mean intensity law of the training scans."""
        return self.reference.law if self.reference else None

    @model_validator(mode="after")
    def _known(self) -> Domain:
        unknown = sorted(set(self.features) - _FEATURES)
        if unknown:
            raise ValueError(f"features: {unknown[0][:40]!r} is not a feature that is measured")
        return self

    @classmethod
    def of(
        cls, cases: Sequence[Mapping[str, float]], reference: TrainedBody | None = None
    ) -> Domain:
        """Ranges over the fingerprints of training cases (at least one)."""
        features = {
            name: Range(
                low=_rounded(min(case[name] for case in cases)),
                high=_rounded(max(case[name] for case in cases)),
            )
            for name in sorted(cases[0])
        }
        return cls(cases=len(cases), features=features, reference=reference)

    def unlike(
        self, fingerprint: Mapping[str, float], *, cut: bool = False
    ) -> dict[str, dict[str, float]]:
        """Features beyond the trained range by more than half its width, worst first.

        Where the field of view cuts the body (``cut``), quantiles and cross-section describe only
        the part in view. They are then replaced by the features of :meth:`TrainedBody.shared`, if
        the domain has a reference.
        """
        found = {}
        for name, trained in self.features.items():
            partly = cut and self.reference is not None
            if name.startswith("intensity:" if partly else "shared:"):
                continue
            value = fingerprint[name]
            if partly and name == "section_cm2":
                value = max(value, trained.low)
            width = max(trained.high - trained.low, _MIN_WIDTH[name.split(":")[0]])
            beyond = max(trained.low - value, value - trained.high, 0.0) / width
            if beyond > LIMIT:
                found[name] = {
                    "value": _rounded(value), "low": trained.low, "high": trained.high,
                    "beyond": _rounded(beyond),
                }  # fmt: skip
        return dict(sorted(found.items(), key=lambda pair: -pair[1]["beyond"]))


def fingerprint(
    source: Volume, mask: Volume, scaling: SourceScaling, reference: TrainedBody | None = None
) -> dict[str, float]:
    """Features of a scan as the network sees it.

    ``intensity:qNN``: quantiles inside the body, in network units. ``edges``: mean in-plane
    gradient per voxel. ``noise``: median absolute second difference along x, over 0.6745 sqrt 6:
    the standard deviation of white noise. ``section_cm2``: mean cross-section of the body.
    With a reference also the two features of :meth:`TrainedBody.shared`.

    Parameters
    ----------
    source, mask
        Scan and body mask on the working grid (Z, Y, X).
    """
    inside = np.asarray(mask.array) > 0
    scale = fit_source(source.array, inside, scaling)
    values = scale(np.asarray(source.array)[inside])
    quantiles = np.quantile(values, QUANTILES)
    features = {
        f"intensity:q{round(100 * q):02d}": float(value)
        for q, value in zip(QUANTILES, quantiles, strict=True)
    }
    edges, noise = _texture(source, inside, scale)
    section = _section_cm2(source, inside)
    if reference is not None:
        features |= reference.shared(values, section)
    return {**features, "edges": edges, "noise": noise, "section_cm2": section}


def _section_cm2(source: Volume, inside: NDArray[np.bool_]) -> float:
    present = inside.any(axis=(1, 2))
    area_mm2 = source.grid.spacing_mm[1] * source.grid.spacing_mm[2]
    return float(inside.sum()) / max(1, int(present.sum())) * area_mm2 / 100


def _texture(source: Volume, inside: NDArray[np.bool_], scale: Any) -> tuple[float, float]:
    """Computed slice by slice, so that no array of the scan's size is allocated."""
    slopes, seconds = [], []
    for plane, body in zip(source.array, inside, strict=True):
        if not body.any():
            continue
        values = scale(np.asarray(plane))
        both = body[:, 1:] & body[:, :-1]
        slopes.append(np.abs(np.diff(values, axis=1))[both].astype(np.float32))
        three = both[:, 1:] & both[:, :-1]
        seconds.append(np.abs(np.diff(values, 2, axis=1))[three].astype(np.float32))
    slope, second = np.concatenate(slopes), np.concatenate(seconds)
    if not slope.size or not second.size:
        return 0.0, 0.0
    return float(slope.mean()), float(np.median(second)) / (0.6745 * 6**0.5)


def warning_of(unlike: Mapping[str, Mapping[str, float]], cases: int) -> str:
    """One sentence on the features that deviate from the training scans."""
    parts = [
        f"{_WORDS.get(name.split(':')[0], name)}{' ' + name.split(':')[1] if ':' in name else ''} "
        f"{entry['value']:g} (training {entry['low']:g} to {entry['high']:g})"
        for name, entry in list(unlike.items())[:3]
    ]
    more = f" and {len(unlike) - 3} more" if len(unlike) > 3 else ""
    return (
        f"the scan is unlike the {cases} that the model was trained on: {', '.join(parts)}{more}; "
        "the model may be wrong without showing it"
    )


_WORDS = {
    "intensity": "normalised intensity", "edges": "edge strength", "noise": "noise",
    "section_cm2": "body cross-section [cm2]", "shared": "tissue shared with training,",
}  # fmt: skip


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
