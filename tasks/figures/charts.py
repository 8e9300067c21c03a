"""Charts as SVG text: axes with units, round ticks, colours from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from synthct.tasks.figures.numbers import digits_for, fixed

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A named curve; ``colour`` is the number of a CSS class ``c0``, ``c1`` ..."""

    name: str
    points: Sequence[Point]
    colour: int = 0


@dataclass(frozen=True)
class Dots:
    """A row of values with a mean; ``values`` are (label, value, colour)."""

    name: str
    values: Sequence[tuple[str, float, int]]


@dataclass(frozen=True)
class Frame:
    """The chart's box [SVG units] inside its margins."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float

    def x(self, share: float) -> float:
        """Position of a share (0 to 1) of the horizontal axis."""
        return self.left + share * (self.width - self.left - self.right)

    def y(self, share: float) -> float:
        """Position of a share (0 to 1) of the vertical axis, growing upwards."""
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values (1, 2, 2.5 or 5 times a power of ten apart) that cover [low, high]."""
    span = high - low or abs(high) or 1.0
    raw = span / max(1, count - 1)
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999))
    first = float(np.floor(low / step + 1e-9))
    last = float(np.ceil(high / step - 1e-9))
    return [float(f"{n * step:.10g}") for n in np.arange(first, max(last, first + 1) + 1)]


def line_chart(lines: Sequence[Line], *, x_label: str, y_label: str, alt: str) -> str:
    """Curves over a common axis, both axes from round ticks."""
    frame = Frame(430, 250, 56, 14, 14, 42)
    shown = [line for line in lines if line.points]
    xs = [x for line in shown for x, _ in line.points]
    ys = [y for line in shown for _, y in line.points]
    if not xs:
        return ""
    x_ticks = ticks(min(0.0, *xs), max(xs))
    y_ticks = ticks(min(0.0, *ys), max(ys))
    body = [_grid(frame, x_ticks, y_ticks)]
    body += [_curve(frame, line, x_ticks, y_ticks) for line in shown]
    body.append(_axis_names(frame, x_label, y_label))
    return svg(frame, alt, body)


def _curve(frame: Frame, line: Line, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
    path = " ".join(
        f"{frame.x(axis_share(x, x_ticks)):.1f},{frame.y(axis_share(y, y_ticks)):.1f}"
        for x, y in line.points
    )
    title = f"<title>{escape(line.name)}</title>"
    marks = ""
    if len(line.points) <= 30:
        marks = "".join(
            f'<circle class="c{line.colour % 8}" r="2.4" cx="{pair.split(",")[0]}"'
            f' cy="{pair.split(",")[1]}"/>'
            for pair in path.split()
        )
    return f'<g>{title}<polyline class="c{line.colour % 8}" points="{path}"/>{marks}</g>'


def _grid(frame: Frame, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
    parts = []
    for value in y_ticks:
        y = frame.y(axis_share(value, y_ticks))
        parts.append(f'<path class="grid" d="M{frame.x(0):.1f} {y:.1f}H{frame.x(1):.1f}"/>')
        parts.append(text_at(frame.x(0) - 6, y + 4, _tick(value, y_ticks), "end"))
    for value in x_ticks:
        x = frame.x(axis_share(value, x_ticks))
        parts.append(f'<path class="tick" d="M{x:.1f} {frame.y(0):.1f}v4"/>')
        parts.append(text_at(x, frame.y(0) + 17, _tick(value, x_ticks), "middle"))
    axis = f"M{frame.x(0):.1f} {frame.y(0):.1f}H{frame.x(1):.1f}"
    parts.append(f'<path class="axis" d="{axis}"/>')
    return "".join(parts)


def _axis_names(frame: Frame, x_label: str, y_label: str) -> str:
    middle = frame.y(0.5)
    turned = f'<g transform="translate(14 {middle:.1f}) rotate(-90)">'
    return (
        text_at(frame.x(0.5), frame.height - 6, x_label, "middle")
        + turned
        + text_at(0, 0, y_label, "middle")
        + "</g>"
    )


def dot_chart(rows: Sequence[Dots], *, x_label: str, alt: str) -> str:
    """One row of dots per method, a bar at the mean; the colour legend is the caller's."""
    shown = [row for row in rows if row.values]
    if not shown:
        return ""
    step = 30
    frame = Frame(760, 58 + step * len(shown), 150, 70, 8, 50)
    highest = max(value for row in shown for _, value, _ in row.values)
    x_ticks = ticks(0.0, highest, 7)
    body = [_columns(frame, x_ticks)]
    for number, row in enumerate(shown):
        body.append(_dots(frame, row, frame.top + step * (number + 0.5), x_ticks))
    body.append(text_at(frame.x(0.5), frame.height - 8, x_label, "middle"))
    return svg(frame, alt, body)


def _columns(frame: Frame, x_ticks: Sequence[float]) -> str:
    parts = []
    for value in x_ticks:
        x = frame.x(axis_share(value, x_ticks))
        parts.append(f'<path class="grid" d="M{x:.1f} {frame.y(1):.1f}V{frame.y(0):.1f}"/>')
        parts.append(text_at(x, frame.y(0) + 16, _tick(value, x_ticks), "middle"))
    return "".join(parts)


def _dots(frame: Frame, row: Dots, y: float, x_ticks: Sequence[float]) -> str:
    mean = float(np.mean([value for _, value, _ in row.values]))
    at = frame.x(axis_share(mean, x_ticks))
    parts = [text_at(frame.left - 10, y + 4, row.name, "end")]
    for label, value, colour in row.values:
        x = frame.x(axis_share(value, x_ticks))
        title = f"{escape(label)}: {fixed(value, 1)}"
        parts.append(
            f'<circle class="dot c{colour % 8}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">'
            f"<title>{title}</title></circle>"
        )
    parts.append(f'<path class="mean" d="M{at:.1f} {y - 10:.1f}v20"/>')
    parts.append(text_at(frame.width - 6, y + 4, fixed(mean, digits_for([mean])), "end", "strong"))
    return "".join(parts)


def axis_share(value: float, axis: Sequence[float]) -> float:
    """Position (0 to 1) of a value on an axis from its first to its last tick."""
    return (value - axis[0]) / (axis[-1] - axis[0])


def _tick(value: float, axis: Sequence[float]) -> str:
    decimals = max(len(f"{v:.10g}".partition(".")[2]) for v in axis)
    return fixed(value, decimals)


def text_at(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    """A line of text; ``anchor`` is ``start``, ``middle`` or ``end``, ``kind`` a CSS class."""
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def svg(frame: Frame, alt: str, body: Sequence[str]) -> str:
    """The chart with its description for screen readers."""
    return (
        f'<svg class="chart" viewBox="0 0 {frame.width:.0f} {frame.height:.0f}" role="img"'
        f' aria-label="{escape(alt)}">{"".join(body)}</svg>'
    )
