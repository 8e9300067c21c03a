"""Harmonisation of a scan from another scanner to the training scans' law, with a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import UsageError, did_you_mean
from synthct.data.files import write_whole
from synthct.tasks.figures.charts import Line, Point, line_chart
from synthct.tasks.models.description import Harmonise, ModelDescription
from synthct.tasks.models.normalise import Harmonised, fit_source
from synthct.tasks.prediction.prepare import Prepared
from synthct.tasks.prediction.release import Release
from synthct.tasks.transport.harmonisers import HARMONISERS
from synthct.tasks.transport.laws import ATOMS, Curve, Law, distance, law_of

BINS = 60
"""Number of bins of the plotted histograms."""


@dataclass(frozen=True, eq=False)
class Harmonisation:
    """Effect of a harmoniser on a scan, in units of the source scaling.

    Parameters
    ----------
    name
        Name of the harmoniser.
    before, after, reference
        Laws inside the body before and after, and the target law.
    """

    name: str
    curve: Curve
    before: Law
    after: Law
    reference: Law

    @property
    def shifts(self) -> NDArray[np.float64]:
        """Shift of each quantile inside the body."""
        return np.asarray(self.curve(np.asarray(self.before)), np.float64) - self.before

    @property
    def sentence(self) -> str:
        """Summary of the shifts in one sentence."""
        before, after = (distance(law, self.reference) for law in (self.before, self.after))
        moved = np.abs(self.shifts)
        return (
            f"harmonised ({self.name}): intensities moved by {moved.mean():.2g} in the mean and "
            f"{moved.max():.2g} at most (units of the source scaling); distance to the training "
            f"scans {before:.2g} before, {after:.2g} after"
        )

    def as_json(self) -> dict[str, Any]:
        """Numbers for the report."""
        return {
            "by": self.name,
            "moved_mean": _short(np.abs(self.shifts).mean()),
            "moved_most": _short(np.abs(self.shifts).max()),
            "distance_before": _short(distance(self.before, self.reference)),
            "distance_after": _short(distance(self.after, self.reference)),
            "curve": [[_short(x), _short(x + shift)] for x, shift in zip(
                self.before[:: ATOMS // 20], self.shifts[:: ATOMS // 20], strict=True
            )],
        }  # fmt: skip


def harmonising(release: Release, name: str | None) -> Release:
    """The release with a harmoniser added after its source scaling.

    Raises
    ------
    UsageError
        ``unknown-harmoniser``; ``law-missing``: the release does not hold the law of its training
        scans.
    """
    if name is None:
        return release
    if name not in HARMONISERS.names():
        raise UsageError(
            f"no harmoniser is called {name!r}",
            where="--harmonise",
            remedy=did_you_mean(name, HARMONISERS.names()),
            code="unknown-harmoniser",
        )
    scaling = release.model.source_scaling
    trained = scaling.harmonise.law if scaling.harmonise else None
    law = trained or (release.domain.law if release.domain else None)
    if law is None:
        raise UsageError(
            "the release does not say which intensities its training scans had",
            rule="a scan is harmonised to the law of the training scans, in domain.json",
            where=str(release.folder),
            remedy="export the model again, or leave out --harmonise",
            code="law-missing",
        )
    wanted = scaling.model_copy(update={"harmonise": Harmonise(name=name, law=law)})
    model = release.model.model_copy(update={"source_scaling": wanted})
    description = release.description.model_copy(update={"preprocessing": model})
    return replace(release, description=description)


def harmonisation_of(prepared: Prepared, model: ModelDescription) -> Harmonisation | None:
    """Effect of the model's harmoniser on a scan; None if the model has none."""
    wanted = model.source_scaling.harmonise
    if wanted is None or wanted.law is None:
        return None
    inside = np.asarray(prepared.mask.array) > 0
    fitted = fit_source(prepared.source.array, inside, model.source_scaling)
    if not isinstance(fitted, Harmonised):
        return None
    after = law_of(fitted(np.asarray(prepared.source.array)[inside]))
    return Harmonisation(wanted.name, fitted.curve, fitted.own, after, wanted.law)


def write_picture(path: Path, moved: Harmonisation) -> None:
    """Write an SVG with the body's histograms before and after, the reference's, and the curve."""
    laws = (moved.before, moved.after, moved.reference)
    low, high = min(law[0] for law in laws), max(law[-1] for law in laws)
    edges = np.linspace(low, high, BINS + 1)
    names = ("before", "after", "training scans")
    shares = [
        Line(name, _histogram(law, edges), colour)
        for colour, (name, law) in enumerate(zip(names, laws, strict=True))
    ]
    places = np.linspace(low, high, 200)
    lines = [
        Line("curve", _points(places, moved.curve(places)), 1),
        Line("unchanged", [(low, low), (high, high)], 0),
    ]
    unit = "intensity in units of the source scaling"
    charts = (
        line_chart(shares, x_label=unit, y_label="share of the body [%]", alt="Histograms"),
        line_chart(lines, x_label=f"{unit}, before", y_label="after", alt="Curve"),
    )
    write_whole(path, _SVG.format(*(_placed(chart, n) for n, chart in enumerate(charts))))


def _histogram(law: Law, edges: NDArray[np.float64]) -> Sequence[Point]:
    # Interpolated between the stored quantiles, so that the histogram has no gaps.
    fine = np.interp(np.linspace(0, ATOMS - 1, 50 * ATOMS), np.arange(ATOMS), law)
    counts, _ = np.histogram(fine, edges)
    return _points((edges[1:] + edges[:-1]) / 2, 100 * counts / fine.size)


def _points(x: NDArray[Any], y: NDArray[Any]) -> list[Point]:
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _placed(chart: str, number: int) -> str:
    """The chart, positioned in the picture."""
    return chart.replace("<svg ", f'<svg x="{10 + 440 * number}" y="34" width="430" ', 1).replace(
        "viewBox", 'height="250" viewBox', 1
    )


_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 890 290" font-family="sans-serif" '
    'font-size="11">'
    "<style>text{{fill:#444}} polyline{{fill:none;stroke-width:1.6}} .grid{{stroke:#ddd}} "
    ".axis,.tick{{stroke:#888;fill:none}} .c0{{stroke:#8a8f98}} .c1{{stroke:#c2410c}} "
    ".c2{{stroke:#1d4ed8}} text.k0{{fill:#8a8f98}} text.k1{{fill:#c2410c}} text.k2{{fill:#1d4ed8}}"
    "</style>"
    '<rect width="890" height="290" fill="white"/>'
    '<text class="k0" x="66" y="20">before</text><text class="k1" x="120" y="20">after</text>'
    '<text class="k2" x="165" y="20">training scans</text>'
    '<text class="k0" x="506" y="20">unchanged</text><text class="k1" x="580" y="20">curve</text>'
    "{}{}</svg>\n"
)


def _short(value: float) -> float:
    return float(f"{float(value):.4g}")
