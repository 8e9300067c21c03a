"""What a key of ``params.yaml`` means, which stages it makes stale, and what differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from synthct.data.errors import UsageError, did_you_mean
from synthct.tasks.chain.params import Params
from synthct.tasks.chain.table import COMMON_PARAMS, Stage, active_stages
from synthct.tasks.cohort.params import CohortParams

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class Explained:
    """One key: its type, default, value here and meaning, and the stages that depend on it."""

    key: str
    type: str
    default: str
    value: str
    meaning: str
    stale: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "stale": list(self.stale)}


def json_schema() -> dict[str, Any]:
    """JSON Schema of ``params.yaml``, with which editors complete and check it."""
    return {"$schema": DIALECT, **Params.model_json_schema(), "title": "params.yaml of synthct"}


def explain(key: str, params: Params) -> list[Explained]:
    """The key, or every key of the section of that name; ``params`` are those of the workspace.

    Raises
    ------
    UsageError
        ``unknown-param``.
    """
    schema = json_schema()
    known = dict(_keys(schema, schema, ""))
    chosen = [name for name in known if name == key or name.startswith(f"{key}.")]
    if not chosen:
        raise UsageError(
            f"there is no key {key!r}",
            where="params.yaml",
            remedy=did_you_mean(key, known) if key else "name a key, such as training.steps",
            code="unknown-param",
        )
    here = params.as_json()
    leaves = [name for name in chosen if not any(one.startswith(f"{name}.") for one in chosen)]
    return [_explained(name, known[name], here, params, schema) for name in leaves]


def differences(params: Params) -> dict[str, tuple[Any, Any]]:
    """Key to its value and its default, where these differ; ``dataset`` has no default."""
    cohort = None if params.cohort is None else CohortParams()
    usual = Params(dataset=params.dataset, cohort=cohort).as_json()
    found: dict[str, tuple[Any, Any]] = {"dataset": (params.dataset, None)}
    found |= dict(changed(params.as_json(), usual))
    return found


def changed(
    here: Mapping[str, Any], there: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Dotted key and both values, of every leaf that differs; None where one side lacks it."""
    for name in sorted({*here, *there}):
        one, other = here.get(name), there.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from changed(one, other, f"{above}{name}.")
        elif one != other:
            yield f"{above}{name}", (one, other)


def _explained(
    name: str, entry: Mapping[str, Any], here: Mapping[str, Any], params: Params, schema: Any
) -> Explained:
    value: Any = here
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    default = json.dumps(entry["default"]) if "default" in entry else "required"
    return Explained(
        key=name,
        type=_type(entry, schema),
        default=default,
        value=json.dumps(value),
        meaning=" ".join(str(entry.get("description", "")).replace("``", "`").split()),
        stale=_stale(name.partition(".")[0], params),
    )


def _stale(top: str, params: Params) -> tuple[str, ...]:
    """The first stage that depends on the section, and all that follow it."""
    stages = active_stages(params)
    for number, stage in enumerate(stages):
        if top in COMMON_PARAMS or _reads(stage, top):
            return tuple(each.name for each in stages[number:])
    return ()


def _reads(stage: Stage, section: str) -> bool:
    return section in (stage.name, *stage.also_params)


def _keys(
    node: Mapping[str, Any], schema: Mapping[str, Any], above: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, entry in node.get("properties", {}).items():
        yield f"{above}{name}", entry
        inner = _resolved(entry, schema)
        if "properties" in inner:
            yield from _keys(inner, schema, f"{above}{name}.")


def _resolved(entry: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section that an entry refers to, also where null is allowed; else the entry."""
    for each in (entry, *entry.get("anyOf", ()), *entry.get("allOf", ())):
        if "$ref" in each:
            return dict(schema["$defs"][each["$ref"].rpartition("/")[2]])
    return entry


def _type(entry: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "anyOf" in entry:
        return " or ".join(_type(each, schema) for each in entry["anyOf"])
    if "enum" in entry:
        return " or ".join(map(str, entry["enum"]))
    if "$ref" in entry:
        return "section"
    if entry.get("type") == "array":
        return f"list of {_type(entry.get('items', {}), schema)}"
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {entry[name]:g}" for name, sign in words.items() if name in entry]
    return " ".join([str(entry.get("type", "any")), *bounds])
