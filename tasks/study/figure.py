"""Effect against cost, and effects in a row, as SVG text in the report's style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from tasks.report.charts import Frame, ticks
from tasks.study.effects import Effect

ROW = 22
"""Height of one arm in the forest plot [SVG units]."""

FEW = 3
"""Fewer arms than this make no picture of effect against cost: the table says it."""


def forest(effects: Sequence[Effect], *, unit: str, alt: str) -> str:
    """One row an arm: the paired difference to the control with its interval; best first."""
    shown = sorted(effects, key=lambda effect: effect.difference)
    if not shown:
        return ""
    frame = Frame(760, 62 + ROW * len(shown), 230, 100, 10, 46)
    ends = [v for e in shown for v in (e.difference, e.low, e.high) if v is not None]
    axis = ticks(min(0.0, *ends), max(0.0, *ends), 7)
    body = [_columns(frame, axis)]
    for number, effect in enumerate(shown):
        y = frame.top + ROW * (number + 0.5)
        body.append(_interval(frame, effect, axis, y, number + 1))
    body.append(_text(frame.x(0.5), frame.height - 8, f"difference to none [{unit}]", "middle"))
    return _svg(frame, alt, body)


def scatter(effects: Sequence[Effect], prices: Mapping[str, float], *, unit: str, alt: str) -> str:
    """Effect against arithmetic a step (none = 1); numbers are the rows of the forest plot.

    Empty for fewer than ``FEW`` arms.
    """
    ranked = sorted(effects, key=lambda effect: effect.difference)
    shown = [(n, e, prices[e.arm]) for n, e in enumerate(ranked, 1) if e.arm in prices]
    if len(shown) < FEW:
        return ""
    frame = Frame(760, 360, 64, 20, 14, 46)
    x_axis = ticks(min(1.0, *(cost for *_, cost in shown)), max(1.5, *(c for *_, c in shown)), 6)
    values = [effect.difference for _, effect, _ in shown]
    y_axis = ticks(min(0.0, *values), max(0.0, *values), 6)
    body = [_rows(frame, y_axis), _below(frame, x_axis)]
    for number, effect, cost in shown:
        x, y = frame.x(_share(cost, x_axis)), frame.y(_share(effect.difference, y_axis))
        told = f"{effect.arm}: {effect.difference:+.2f} {unit} at {cost:.2f} times the arithmetic"
        body.append(
            f'<circle class="dot c0" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(told)}</title>'
            f"</circle>{_text(x + 6, y + 4, str(number), 'start')}"
        )
    body.append(_text(frame.x(0.5), frame.height - 8, "arithmetic a step, none = 1", "middle"))
    body.append(
        f'<g transform="translate(14 {frame.y(0.5):.1f}) rotate(-90)">'
        + _text(0, 0, f"difference to none [{unit}]", "middle")
        + "</g>"
    )
    return _svg(frame, alt, body)


def _interval(frame: Frame, effect: Effect, axis: Sequence[float], y: float, rank: int) -> str:
    at = frame.x(_share(effect.difference, axis))
    parts = [_text(frame.left - 10, y + 4, f"{effect.arm}  {rank}", "end")]
    if effect.low is not None and effect.high is not None:
        low, high = (frame.x(_share(v, axis)) for v in (effect.low, effect.high))
        parts.append(f'<path class="axis" d="M{low:.1f} {y:.1f}H{high:.1f}"/>')
    parts.append(f'<circle class="dot c0" cx="{at:.1f}" cy="{y:.1f}" r="4.5"/>')
    parts.append(_text(frame.width - 8, y + 4, f"{effect.difference:+.2f}", "end", "strong"))
    return f"<g><title>{escape(effect.arm)}</title>{''.join(parts)}</g>"


def _columns(frame: Frame, axis: Sequence[float]) -> str:
    parts = []
    for value in axis:
        x = frame.x(_share(value, axis))
        kind = "mean" if value == 0 else "grid"
        parts.append(f'<path class="{kind}" d="M{x:.1f} {frame.y(1):.1f}V{frame.y(0):.1f}"/>')
        parts.append(_text(x, frame.y(0) + 16, f"{value:g}", "middle"))
    return "".join(parts)


def _rows(frame: Frame, axis: Sequence[float]) -> str:
    parts = []
    for value in axis:
        y = frame.y(_share(value, axis))
        kind = "mean" if value == 0 else "grid"
        parts.append(f'<path class="{kind}" d="M{frame.x(0):.1f} {y:.1f}H{frame.x(1):.1f}"/>')
        parts.append(_text(frame.x(0) - 6, y + 4, f"{value:g}", "end"))
    return "".join(parts)


def _below(frame: Frame, axis: Sequence[float]) -> str:
    return "".join(
        _text(frame.x(_share(value, axis)), frame.y(0) + 17, f"{value:g}", "middle")
        for value in axis
    )


def _share(value: float, axis: Sequence[float]) -> float:
    return (value - axis[0]) / (axis[-1] - axis[0])


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(frame: Frame, alt: str, body: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {frame.width:.0f} {frame.height:.0f}" role="img"'
        f' aria-label="{escape(alt)}">{"".join(body)}</svg>'
    )
