"""The metric names that boards and rules ask for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

MONITORING = Path(__file__).resolve().parents[2] / "infra" / "monitoring"

_WORDS = {
    "abs", "and", "avg", "avg_over_time", "by", "delta", "on", "sum", "time", "unless", "or",
    "ignoring", "max", "min", "rate",
}  # fmt: skip


def expressions() -> dict[str, str]:
    """Every PromQL expression, by where it stands."""
    found = {}
    for file in sorted((MONITORING / "boards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                found[f"{file.stem}: {panel['title']}"] = target["expr"]
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            found[f"alert: {rule['alert']}"] = rule["expr"]
    return found


def names(expression: str) -> set[str]:
    """Metric names of one expression."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", bare)
    bare = re.sub(r"\b(by|on|ignoring|without)\s*\([^)]*\)", "", bare)
    return {word for word in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare) if word not in _WORDS}


def told(scrape: str) -> set[str]:
    """Metric names that a scrape announces."""
    return set(re.findall(r"^# TYPE (\S+) ", scrape, flags=re.MULTILINE))
