"""``help``, ``completion`` and ``--version``."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from synthct.data.errors import UsageError, did_you_mean
from synthct.flows.cli.options import Json, examples, print_json
from synthct.flows.exits import CLEAN

PAGES = Path(__file__).with_name("pages")
"""Links to the pages of the documentation; the wheel holds copies."""

PROGRAM = "synthct"
COMPLETE_VARIABLE = f"_{PROGRAM.upper()}_COMPLETE"
"""Set by the shell's completion script when it asks for completions."""

MARGIN = 100
"""Widest text on a terminal: longer lines are hard to read."""

_IMAGE = re.compile(r"^!\[[^\n]*\n", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)\s]+\)")


class Shell(StrEnum):
    """Shells with completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def topics() -> dict[str, Path | None]:
    """Topic to its page; None where the text is made from the checkout and the code."""
    found: dict[str, Path | None] = {"params": None, "presets": None}
    found |= {page.stem: page for page in PAGES.glob("*/*.md")}
    return dict(sorted(found.items()))


def _starting_with(incomplete: str) -> list[str]:
    return [name for name in topics() if name.startswith(incomplete)]


@examples(
    "synthct help                  all topics",
    "synthct help exit-codes",
    "synthct help formats | less",
)
def help(
    topic: Annotated[
        str | None,
        typer.Argument(metavar="TOPIC", help="Name of a topic.", autocompletion=_starting_with),
    ] = None,
    as_json: Json = False,
) -> int:
    """Explain a topic, or list the topics.

    The pages are those of the documentation: how-to guides, reference and explanation. `synthct
    COMMAND --help` explains a command.
    """
    known = topics()
    if topic is None:
        titles = {name: _title(name) for name in known}
        if as_json:
            print_json(titles)
            return CLEAN
        width = max(map(len, titles))
        typer.echo("\n".join(f"{name:{width}}  {title}" for name, title in titles.items()))
        return CLEAN
    if topic not in known:
        raise UsageError(
            f"there is no topic {topic!r}",
            remedy=did_you_mean(topic, known),
            where="help",
            code="unknown-topic",
        )
    text = _text(topic)
    if as_json:
        print_json({"topic": topic, "title": _title(topic), "text": text})
    else:
        _show(text)
    return CLEAN


def _title(topic: str) -> str:
    return _text(topic).partition("\n")[0].removeprefix("# ")


def _text(topic: str) -> str:
    """Markdown of a topic; links to other pages lose their targets, pictures are left out."""
    page = topics()[topic]
    if page is None:
        return _params() if topic == "params" else _presets()
    return _LINK.sub(r"\1", _IMAGE.sub("", page.read_text()))


def _params() -> str:
    from synthct.tasks.chain.explain import json_schema

    schema = json_schema()
    lines = ["# Sections of params.yaml", ""]
    for name, field in schema["properties"].items():
        section = schema["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})
        meaning = field.get("description") or section.get("description", "")
        lines.append(f"* `{name}`: {' '.join(meaning.partition(chr(10) * 2)[0].split())}")
    lines += [
        "",
        "`synthct params KEY` explains a key or a whole section, `synthct params --diff` lists "
        "what a workspace changes, `synthct params --schema` prints a JSON Schema for editors.",
    ]
    return "\n".join(lines) + "\n"


def _presets() -> str:
    from synthct.flows.workspace.presets import PRESETS, preset_names
    from synthct.flows.workspace.project import find_root

    root = find_root()
    lines = ["# Presets of this checkout", ""]
    for name in preset_names(root):
        text = (root / PRESETS / f"{name}.yaml").read_text()
        head = " ".join(re.match(r"(?:#.*\n)*", text)[0].replace("#", " ").split())  # type: ignore[index]
        first = re.match(r".*?\.(?=\s|$)", head)
        lines.append(f"* `{name}`: {first[0] if first else head}")
    lines += ["", "`synthct run --preset NAME` runs one; presets with a study: `synthct study`."]
    return "\n".join(lines) + "\n"


def _show(text: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    if console.is_terminal:
        console.print(Markdown(text, hyperlinks=False), width=min(console.width, MARGIN))
    else:
        typer.echo(text, nl=False)


@examples(
    "source <(synthct completion bash)               this shell; add it to ~/.bashrc",
    "synthct completion zsh > ~/.zfunc/_synthct      a folder of $fpath",
    "synthct completion fish > ~/.config/fish/completions/synthct.fish",
)
def completion(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> int:
    """Print the script that completes commands, options and names in a shell."""
    from typer.completion import get_completion_inspect_parameters, shell_complete

    get_completion_inspect_parameters()  # makes the shells known
    root = context.find_root().command
    return shell_complete(root, {}, PROGRAM, COMPLETE_VARIABLE, f"source_{shell.value}")


def versions() -> dict[str, str]:
    """Version of synthct, Python and every package whose version can change a result."""
    import platform
    from importlib import metadata

    from synthct.tasks.pipeline.packages import COMPUTING

    found = {"synthct": metadata.version("synthct"), "python": platform.python_version()}
    for distribution in sorted(COMPUTING.values(), key=str.lower):
        try:
            found[distribution] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            found[distribution] = "not installed"
    return found
