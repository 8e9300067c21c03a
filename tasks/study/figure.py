"""Forest plot of the effects, and effect against cost, as SVG text in the report's style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from synthct.tasks.figures.charts import Frame, axis_share, svg, text_at, ticks
from synthct.tasks.study.effects import Effect
from synthct.tasks.study.params import is_replicate

ROW = 22
"""Height of one arm in the forest plot [SVG units]."""

NAME = 14
"""Smallest distance between two names [SVG units]."""

CHEAP = 1.25
"""Relative cost up to which an arm's name is placed left of the axis."""

FEW = 3
"""For fewer arms than this no plot of effect against cost is drawn; the table suffices."""


def forest(effects: Sequence[Effect], *, unit: str, alt: str) -> str:
    """One row per arm: the paired difference to the control with its interval; best first.

    The band is the floor: differences inside it are as those of two runs of one recipe.
    """
    shown = sorted(effects, key=lambda effect: effect.difference)
    if not shown:
        return ""
    frame = Frame(760, 62 + ROW * len(shown), 230, 100, 10, 46)
    ends = [v for e in shown for v in (e.difference, e.low, e.high) if v is not None]
    floor = shown[0].floor or 0.0
    axis = ticks(min(-floor, *ends), max(floor, *ends), 7)
    body = [_band(frame, axis, floor)] if floor else []
    body.append(_columns(frame, axis))
    for number, effect in enumerate(shown):
        y = frame.top + ROW * (number + 0.5)
        body.append(_interval(frame, effect, axis, y, number + 1))
    body.append(text_at(frame.x(0.5), frame.height - 8, f"difference to none [{unit}]", "middle"))
    return svg(frame, alt, body)


def scatter(effects: Sequence[Effect], prices: Mapping[str, float], *, unit: str, alt: str) -> str:
    """Effect against arithmetic per step (none = 1), every point with its arm's name.

    Names of cheap arms are placed left of the axis, as nothing costs less than ``none``, the
    others right of their points. Empty for fewer than ``FEW`` arms.
    """
    shown = [e for e in effects if e.arm in prices and not is_replicate(e.arm)]
    shown.sort(key=lambda e: -e.difference)
    if len(shown) < FEW:
        return ""
    cheap = [e for e in shown if prices[e.arm] <= CHEAP]
    height = max(360.0, 60 + NAME * (2 + len(cheap)))
    frame = Frame(760, height, 250, 150, 14, 46)
    x_axis = ticks(1.0, max(1.5, *(prices[e.arm] for e in shown)), 6)
    values = [effect.difference for effect in shown]
    y_axis = ticks(min(0.0, *values), max(0.0, *values), 6)
    body = [_rows(frame, y_axis), _below(frame, x_axis)]
    for side in (cheap, [e for e in shown if prices[e.arm] > CHEAP]):
        at = [frame.y(axis_share(effect.difference, y_axis)) for effect in side]
        for effect, y, name_y in zip(side, at, _apart(frame, at), strict=True):
            x = frame.x(axis_share(prices[effect.arm], x_axis))
            title = (
                f"{effect.arm}: {effect.difference:+.2f} {unit} at {prices[effect.arm]:.2f} times "
                "the arithmetic"
            )
            end, anchor = (frame.left - 52, "end") if side is cheap else (x + 16, "start")
            body.append(
                f'<path class="grid" d="M{x:.1f} {y:.1f}L{end:.1f} {name_y:.1f}"/>'
                f'<circle class="dot c0" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(title)}'
                "</title></circle>"
                + text_at(end + (-4 if side is cheap else 4), name_y + 4, effect.arm, anchor)
            )
    body.append(text_at(frame.x(0.5), frame.height - 8, "arithmetic a step, none = 1", "middle"))
    body.append(
        f'<g transform="translate(14 {frame.y(0.5):.1f}) rotate(-90)">'
        + text_at(0, 0, f"difference to none [{unit}]", "middle")
        + "</g>"
    )
    return svg(frame, alt, body)


def _apart(frame: Frame, wanted: Sequence[float]) -> list[float]:
    """Heights of the names, as close to those wanted (ascending) as possible without overlap."""
    placed: list[float] = []
    for y in wanted:
        placed.append(max(y, placed[-1] + NAME) if placed else max(y, frame.y(1)))
    lowest = frame.y(0)
    for number in reversed(range(len(placed))):
        placed[number] = min(placed[number], lowest)
        lowest = placed[number] - NAME
    return placed


def _interval(frame: Frame, effect: Effect, axis: Sequence[float], y: float, rank: int) -> str:
    at = frame.x(axis_share(effect.difference, axis))
    parts = [text_at(frame.left - 10, y + 4, f"{effect.arm}  {rank}", "end")]
    if effect.low is not None and effect.high is not None:
        low, high = (frame.x(axis_share(v, axis)) for v in (effect.low, effect.high))
        parts.append(f'<path class="axis" d="M{low:.1f} {y:.1f}H{high:.1f}"/>')
    parts.append(f'<circle class="dot c0" cx="{at:.1f}" cy="{y:.1f}" r="4.5"/>')
    parts.append(text_at(frame.width - 8, y + 4, f"{effect.difference:+.2f}", "end", "strong"))
    return f"<g><title>{escape(effect.arm)}</title>{''.join(parts)}</g>"


def _band(frame: Frame, axis: Sequence[float], floor: float) -> str:
    left, right = (frame.x(axis_share(end, axis)) for end in (-floor, floor))
    return (
        f'<rect class="band" x="{left:.1f}" y="{frame.y(1):.1f}" width="{right - left:.1f}" '
        f'height="{frame.y(0) - frame.y(1):.1f}"><title>floor: {floor:.2f}</title></rect>'
    )


def _columns(frame: Frame, axis: Sequence[float]) -> str:
    parts = []
    for value in axis:
        x = frame.x(axis_share(value, axis))
        kind = "mean" if value == 0 else "grid"
        parts.append(f'<path class="{kind}" d="M{x:.1f} {frame.y(1):.1f}V{frame.y(0):.1f}"/>')
        parts.append(text_at(x, frame.y(0) + 16, f"{value:g}", "middle"))
    return "".join(parts)


def _rows(frame: Frame, axis: Sequence[float]) -> str:
    parts = []
    for value in axis:
        y = frame.y(axis_share(value, axis))
        kind = "mean" if value == 0 else "grid"
        parts.append(f'<path class="{kind}" d="M{frame.x(0):.1f} {y:.1f}H{frame.x(1):.1f}"/>')
        parts.append(text_at(frame.x(0) - 6, y + 4, f"{value:g}", "end"))
    return "".join(parts)


def _below(frame: Frame, axis: Sequence[float]) -> str:
    return "".join(
        text_at(frame.x(axis_share(value, axis)), frame.y(0) + 17, f"{value:g}", "middle")
        for value in axis
    )
