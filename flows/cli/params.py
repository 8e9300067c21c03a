"""``params``: what a key of ``params.yaml`` means, and what a workspace changes."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from synthct.data.errors import UsageError
from synthct.flows.cli.options import Json, Preset, examples, print_json
from synthct.flows.exits import CLEAN


@examples(
    "synthct params training.steps",
    "synthct params export.gate --preset sts",
    "synthct params --diff --preset sts       what differs from the defaults",
    "synthct params --schema > params.schema.json",
)
def params(
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="A key such as training.steps, or a whole section."),
    ] = None,
    preset: Preset = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="List the keys that differ from their defaults.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of params.yaml, for editors.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Explain a key of params.yaml, or list what differs from the defaults.

    Shows type, default, value in the workspace and meaning, and the stages that are computed again
    after a change.
    """
    if (key is not None) + diff + schema != 1:
        raise UsageError(
            "none or more than one of KEY, --diff and --schema is given",
            rule="the command takes exactly one of them",
            where="params",
            code="params-what",
        )
    if schema:
        from synthct.tasks.chain.explain import json_schema

        print_json(json_schema())
        return CLEAN
    from synthct.flows.workspace.presets import params_of
    from synthct.flows.workspace.project import find_root
    from synthct.tasks.chain.explain import differences, explain

    here = params_of(find_root(), preset)
    if diff:
        _show_differences(differences(here), as_json=as_json)
        return CLEAN
    found = explain(key or "", here)
    if as_json:
        print_json([one.as_json() for one in found])
        return CLEAN
    for one in found:
        typer.echo(f"{one.key}: {one.value}  ({one.type}; default {one.default})")
        typer.echo(f"    {one.meaning}")
    typer.echo(f"recomputed after a change: {', '.join(found[0].stale) or 'nothing'}")
    return CLEAN


def _show_differences(found: dict[str, tuple[Any, Any]], *, as_json: bool) -> None:
    if as_json:
        rows = {name: {"value": value, "default": usual} for name, (value, usual) in found.items()}
        print_json(rows)
        return
    for name, (value, usual) in found.items():
        typer.echo(f"{name}: {json.dumps(value)}  (default {json.dumps(usual)})")
