"""Every command and option of ``synthct``, from typer."""

from __future__ import annotations

import enum
import re
from typing import Any

import typer

from docs.generator.docstrings import stacked
from docs.generator.sources import COMMANDS
from synthct.flows.cli.app import AS_TYPED

MARKUP = re.compile(r"\[/?[a-z ]+\](?!\()")


def page() -> str:
    """The reference of the command line."""
    root: Any = typer.main.get_command(COMMANDS)
    parts = [
        "# Command line",
        "Generated from the program; `synthct COMMAND --help` says the same.",
    ]
    parts += [_help(root.help), _options(root)]
    for name, command in root.commands.items():
        parts += [
            f"## synthct {name}",
            _help(command.help),
            f"```text\n{_usage(name, command)}\n```",
        ]
        parts += [_options(command), _examples(command)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _help(text: str | None) -> str:
    return MARKUP.sub("", (text or "").replace("\f", "")).strip()


def _usage(name: str, command: Any) -> str:
    arguments = [
        parameter for parameter in command.params if parameter.param_type_name == "argument"
    ]
    return " ".join(["synthct", name, "[OPTIONS]", *(_placeholder(each) for each in arguments)])


def _placeholder(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    name = f"{name}..." if parameter.nargs == -1 and not name.endswith("...") else name
    return name if parameter.required else f"[{name}]"


def _options(command: Any) -> str:
    rows = [
        _row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)
    ]
    if not rows:
        return ""
    return stacked(
        "options", ["| option | value | default | meaning |", "|---|---|---|---|", *rows]
    )


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = [_placeholder(parameter)]
    else:
        names = [*parameter.opts, *parameter.secondary_opts]
    cells = (
        ", ".join(f"`{name}`" for name in names),
        _value(parameter),
        _default(parameter),
        _meaning(parameter),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return ""
    annotation = parameter.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(f"`{choice.value}`" for choice in annotation)
    bounds = [f"≥ {parameter.min:g}"] if parameter.min is not None else []
    bounds += [f"≤ {parameter.max:g}"] if parameter.max is not None else []
    name = parameter.metavar or getattr(annotation, "__name__", "VALUE")
    name = {"int": "INTEGER", "float": "NUMBER", "str": "TEXT"}.get(name, name)
    again = " (may be repeated)" if parameter.multiple else ""
    return " ".join([name, *bounds]) + again


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default() if callable(parameter.default) else parameter.default
    if value is None or value is False or value in ("", (), []) or repr(value).endswith("UNSET"):
        return ""
    return f"`{getattr(value, 'value', value)}`"


def _meaning(parameter: Any) -> str:
    text = _help(getattr(parameter, "help", None))
    if variable := getattr(parameter, "envvar", None):
        text += f" Environment variable `{variable}`."
    return " ".join(text.split())


def _examples(command: Any) -> str:
    epilog = (command.epilog or "").removeprefix(AS_TYPED)
    lines = [line.strip() for line in epilog.splitlines()[1:] if line.strip()]
    return (
        "Examples:\n\n```console\n" + "\n".join(f"$ {line}" for line in lines) + "\n```"
        if lines
        else ""
    )
