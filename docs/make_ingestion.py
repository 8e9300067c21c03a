"""``python -m docs.make_ingestion``: the tables of ``docs/reference/findings.md``, from code."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import synthct.tasks.ingestion
import synthct.tasks.intake
from synthct.data.files import write_whole
from synthct.tasks.ingestion.findings import Code, Severity

PAGE = Path(__file__).with_name("reference") / "findings.md"
ROOT = PAGE.parents[2]
FOLDERS = ("data/readers", "tasks/ingestion", "tasks/intake")
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def codes() -> list[Code]:
    """Every kind of finding, from the modules of ingestion and intake, worst first."""
    found: dict[str, Code] = {}
    for package in (synthct.tasks.ingestion, synthct.tasks.intake):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, Code):
                    found[value.name] = value
    order = list(Severity)
    return sorted(found.values(), key=lambda code: (order.index(code.severity), code.name))


def refusals() -> dict[str, tuple[str, str]]:
    """Code, rule (else problem) and remedy of every error that readers and ingestion raise."""
    found: dict[str, tuple[str, str]] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for code, rule, remedy in _faults(ast.parse(path.read_text())):
                found.setdefault(code, (rule, remedy))
    return dict(sorted(found.items()))


def _faults(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        words = {word.arg: _text(word.value) for word in node.keywords}
        if name.endswith(("SynthctError", "Error")) and words.get("code"):
            problem = _text(node.args[0]) if node.args else ""
            yield words["code"], words.get("rule") or problem, words.get("remedy", "")


def _text(node: ast.AST) -> str:
    """A literal as text; what is filled in shows as ``…``."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.IfExp):
        return _text(node.body)
    return ""


def findings_table() -> str:
    """The findings of guards, header, pairs, intake and data set."""
    rows = [f"| `{one.name}` | {one.severity} | {one.meaning} | {one.remedy} |" for one in codes()]
    return "\n".join(
        ["| code | follows | what is wrong | what to do |", "|---|---|---|---|", *rows]
    )


def refusals_table() -> str:
    """Errors on reading and planning: the rule that was broken or, without one, the problem."""
    rows = [f"| `{code}` | {rule} | {remedy} |" for code, (rule, remedy) in refusals().items()]
    return "\n".join(
        ["| code | what must hold, or what is wrong | what to do |", "|---|---|---|", *rows]
    )


def rendered(text: str) -> str:
    """The page with its blocks made anew."""
    blocks = {"findings": findings_table, "refusals": refusals_table}
    return BLOCK.sub(lambda m: f"{m[1]}\n{blocks[m[2]]()}\n\n{m[3]}", text)


if __name__ == "__main__":
    write_whole(PAGE, rendered(PAGE.read_text()))
    sys.stdout.write(f"{PAGE.name}: {len(codes())} findings, {len(refusals())} refusals\n")
