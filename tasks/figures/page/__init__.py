"""Template, style sheet and script of the page, inlined when the page is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from synthct.tasks.figures.numbers import fixed
from synthct.tasks.figures.pictures import DIVERGING, WINDOWS, colour_tables, window_table
from synthct.tasks.figures.templates import templates

FOLDER = Path(__file__).parent


def render(**content: Any) -> str:
    """The whole page as text; ``content`` are the views, by their names in the template."""
    environment = templates(FOLDER)
    environment.filters["whole"] = _whole
    return environment.get_template("report.html.j2").render(
        style=_inline("report.css"),
        script=_inline("report.js"),
        windows=WINDOWS,
        window_tables={name: _row(window_table(low, high)) for name, (_, low, high) in _limits()},
        colour_tables=[_row(channel) for channel in colour_tables()],
        gradient=Markup(", ".join(DIVERGING)),
        **content,
    )


def _whole(value: float) -> str:
    return fixed(value, 0)


def _limits() -> list[tuple[str, tuple[str, float, float]]]:
    return list(WINDOWS.items())


def _inline(name: str) -> Markup:
    return Markup((FOLDER / name).read_text())


def _row(values: np.ndarray) -> str:
    return " ".join(f"{value:.3f}".rstrip("0").rstrip(".") for value in values)
