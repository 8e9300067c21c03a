"""``card.html``: the card for people, one file without scripts or addresses of other machines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

PAGE = "card.html"


def render_card(card: Mapping[str, Any]) -> str:
    """The card as one HTML page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["said"] = said
    scores = [row for row in card["scores"] if row["metric"] in SHOWN]
    return environment.get_template("card.html.j2").render(card=card, scores=scores)


SHOWN = ("mae_hu", "me_hu", "psnr_db", "ms_ssim")
"""Metrics of the page's table; ``card.json`` has all."""


def said(value: Any) -> str:
    """A value of the card as words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {said(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(said(inner) for inner in value)
    return str(value)
