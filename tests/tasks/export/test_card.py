"""What a reader of ``card.html`` sees first: the picture, and words that are whole."""

from __future__ import annotations

import json
import re

import pytest

from synthct.tasks.export.card import render_card
from synthct.tasks.export.card_chart import error_chart


def row(method, mean, sd=2.0, reference="registered", metric="mae_hu"):
    return {
        "metric": metric, "reference": reference, "method": method, "mean": mean, "sd": sd, "n": 9,
    }  # fmt: skip


def test_the_bars_of_the_picture_are_those_of_other_scores():
    scores = [
        row("model", 50.0), row("lookup", 100.0, None), row("model", 7.0, reference="truth"),
        row("model", 30.0, metric="psnr_db"),
    ]  # fmt: skip
    picture = error_chart(scores, "registered")
    widths = [float(each) for each in re.findall(r'<rect class="\w+" .*?width="([\d.]+)"', picture)]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.1)
    assert "model 50.0, lookup 100.0" in picture
    assert picture.count("<rect") == 2
    assert error_chart([], "registered") == ""


def test_a_name_of_a_method_becomes_markup():
    assert "<b>" not in error_chart([row("<b>x</b>", 1.0)], "registered")


def test_the_card_has_no_picture_or_one_of_a_patient(released):
    card = json.loads((released / "card.json").read_text())
    page = render_card(card | {"scores": [row("model", 50.0), row("lookup", 80.0)]})
    assert page.count('<svg class="chart"') == 1
    assert "<img" not in page
    assert "<svg" not in render_card(card | {"scores": []})
