r"""Formulae of docstrings for a terminal: ``:math:`\tfrac12\|\nabla L\|^2``` becomes ½‖∇ L‖²."""

from __future__ import annotations

import re

_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon":
    "ε", "zeta": "ζ", "eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ",
    "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ",
    "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ",
    "Theta": "Θ", "Lambda": "Λ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega":
    "Ω", "ell": "ℓ",
}  # fmt: skip
_SYMBOLS = {
    **_GREEK, "nabla": "∇", "partial": "∂", "sum": " Σ", "prod": "Π", "int": "∫", "infty": "∞",
    "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "approx": "≈", "sim": "~", "in": "∈",
    "gets": "←", "to": "→", "mapsto": "↦", "cdot": "·", "times": "×", "odot": "⊙", "circ": "∘",
    "pm": "±", "langle": "⟨", "rangle": "⟩", "lceil": "⌈", "rceil": "⌉", "lfloor": "⌊",
    "rfloor": "⌋", "lVert": "‖", "rVert": "‖", "lvert": "|", "rvert": "|", "top": "T",
    "cup": "∪", "cap": "∩", "dots": "…", "ldots": "…", "cdots": "…", "mid": "|", "otimes": "⊗",
    "ast": "*", "propto": "∝", "forall": "∀", "leftarrow": "←", "rightarrow": "→",
    "left": "", "right": "", "qquad": "   ", "quad": "  ", "big": "", "Big": "", "bigl": "",
    "bigr": "", "Bigl": "", "Bigr": "", "displaystyle": "", "limits": "",
}  # fmt: skip
_RAISED = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")
_HALVES = {("1", "2"): "½", ("1", "4"): "¼"}

_STYLES = "mathrm|text|operatorname|mathbf|mathcal|mathbb"
_BRACED = r"\{([^{}]*)\}"


def plain_text(text: str) -> str:
    """The text with every formula, in the line or on its own, in plain characters."""
    text = re.sub(r":math:`([^`]*)`", lambda found: plain_formula(found[1]), text)
    return re.sub(
        r"^( *)\.\. math::(.*(?:\n(?: +\S.*|$))*)",
        lambda found: f"{found[1]}    {plain_formula(' '.join(found[2].split()))}\n",
        text,
        flags=re.MULTILINE,
    )


def plain_formula(latex: str) -> str:
    """One formula in plain characters; what has none keeps its LaTeX name."""
    text = re.sub(r"\s+", " ", latex)
    text = re.sub(r"\\begin\{[^{}]*\}|\\end\{[^{}]*\}|&", " ", text)
    text = text.replace("\\|", "‖").replace("\\{", "❴").replace("\\}", "❵").replace("\\\\", "; ")
    text = re.sub(r"\\[,;:! ]", " ", text)
    for _ in range(6):  # from the innermost braces outwards
        text = re.sub(rf"\\(?:{_STYLES}){_BRACED}", r"\1", text)
        text = re.sub(rf"\\(?:{_STYLES}) (\w)", r"\1", text)
        text = re.sub(rf"\\(?:overline|bar){_BRACED}", r"⟨\1⟩", text)
        text = re.sub(rf"\\(?:hat|tilde){_BRACED}", r"\1", text)
        text = re.sub(rf"\\sqrt{_BRACED}", r"√(\1)", text)
        text = re.sub(rf"\\[dt]?frac ?{_BRACED} ?{_BRACED}", _fraction, text)
        text = re.sub(r"\\[dt]?frac ?(\w)(\w)", _fraction, text)
        text = re.sub(r"\\sqrt ?(\w)", r"√\1", text)
        text = re.sub(r"\^\{([0-9+-]+)\}", lambda found: found[1].translate(_RAISED), text)
        text = re.sub(rf"([_^]){_BRACED}", r"\1(\2)", text)
    text = re.sub(r"\^([0-9])", lambda found: found[1].translate(_RAISED), text)
    text = re.sub(r"\\([A-Za-z]+)", lambda found: _SYMBOLS.get(found[1], found[1]), text)
    text = re.sub(r"(_)\((\w+)\)|(\^)\((\w)\)", _bare, text).replace("{", "").replace("}", "")
    return " ".join(text.replace("❴", "{").replace("❵", "}").replace("\\", "").split())


def _bare(found: re.Match[str]) -> str:
    return "".join(part for part in found.groups() if part)


def _fraction(found: re.Match[str]) -> str:
    above, below = found[1].strip(), found[2].strip()
    if (above, below) in _HALVES:
        return _HALVES[above, below]
    parts = (part if re.fullmatch(r"\w+|\\\w+", part) else f"({part})" for part in (above, below))
    return "/".join(parts)
