"""``synthct regularizers`` in a terminal: whole names, readable formulae, lines for params."""

from __future__ import annotations

import re

import pytest
import yaml

from synthct.flows.cli.app import command_line
from synthct.flows.cli.plain_math import plain_formula, plain_text
from synthct.tasks.chain.params import parse_params
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import seams_of


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\tfrac12\|\nabla L\|^2", "½‖∇ L‖²"),
        (r"L + \tfrac{\eta}{4}\,\overline{\|\nabla L_b\|^2}", "L + η/4 ⟨‖∇ L_b‖²⟩"),
        (r"\sqrt{\sum_i |\nabla u_i|^2 + \varepsilon^2}", "√( Σ_i |∇ u_i|² + ε²)"),
        (r"\sqrt3", "√3"),
        (r"\frac{a + b}{c}", "(a + b)/c"),
        ("\\frac{\\sum_i a_i}\n     {c}", "( Σ_i a_i)/c"),
        (r"\mathcal N(0, s^2)", "N(0, s²)"),
        (r"\|b_l\|_2^{2k} + x^{k}", "‖b_l‖_2^(2k) + x^k"),
        (r"\lceil (1 - R)\,B \rceil", "⌈ (1 - R) B ⌉"),
    ],
)
def test_a_formula_is_read_as_mathematics_and_not_as_latex(latex, text):
    assert plain_formula(latex) == text


def test_a_formula_on_lines_of_its_own_stays_with_its_text():
    text = plain_text("Energy,\n\n.. math:: W = \\mu\n          + \\lambda\n\nof a solid.\n")
    assert text == "Energy,\n\n    W = μ + λ\n\nof a solid.\n"


def test_no_name_is_cut_and_no_latex_is_printed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert command_line(["regularizers"]) == 0
    shown = capsys.readouterr().out
    for name in REGULARIZERS.names():
        assert re.search(rf"^ *{name}\b", shown, re.MULTILINE), name
    assert ":math:" not in shown
    assert "\\" not in shown


@pytest.mark.parametrize("name", REGULARIZERS.names())
def test_the_line_for_params_is_accepted_with_a_weight(name, capsys):
    assert command_line(["regularizers", name]) == 0
    shown = capsys.readouterr().out
    assert ":math:" not in shown
    assert "\\" not in shown
    if f"synthct reconstruct --prior {name} --weight WEIGHT" in shown:
        assert seams_of(REGULARIZERS.get(name)) == ("image",)
        return
    (line,) = re.findall(r"^In params.yaml: (.*)$", shown, re.MULTILINE)
    text = "dataset: demo\n" + line.replace("WEIGHT", "0.5")
    params = parse_params(text, where="the line")
    if "training" in yaml.safe_load(text):
        from synthct.tasks.training.plugins import build_composition

        if name != "hoag":  # it needs the name of another regularizer, whose weight it learns
            build_composition(params.training)
    else:
        from synthct.tasks.registration.methods import METHODS

        METHODS.build("mind", params.registration.method_options).plugins()
