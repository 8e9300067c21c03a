"""Hook of mkdocs: adds the generated pages, and the files of the root that the site shows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

COPIED = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Files of the root that are pages too; their links are made relative to ``docs/``."""


LISTED = ("decisions", "benchmarks")
"""Folders whose pages are all in the menu, in the order of their file names."""


def on_config(config: MkDocsConfig, **_: Any) -> MkDocsConfig:
    """Put every decision and every benchmark into the menu: a new page needs no other edit."""
    for entry in config.nav or []:
        for pages_of in entry.values() if isinstance(entry, dict) else ():
            for folder in LISTED:
                if isinstance(pages_of, list) and f"{folder}/index.md" in pages_of:
                    found = sorted((ROOT / "docs" / folder).glob("*.md"))
                    pages_of += [_entry(folder, page) for page in found if page.stem != "index"]
    return config


def _entry(folder: str, page: Path) -> dict[str, str]:
    """A short name: benchmarks have long titles."""
    name = page.stem.replace("_", " ").capitalize()
    if folder == "decisions":
        number, _, words = page.stem.partition("-")
        name = f"{int(number)}. {words.replace('-', ' ').capitalize()}"
    return {name: f"{folder}/{page.name}"}


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Write the pages; ``--strict`` reports a link to a page that is not there."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> dict[str, str]:
    """Path below ``docs/`` to markdown."""
    from docs.generator import api, command_line, params, plugins

    copied = {
        target: (ROOT / source).read_text().replace("](docs/", "](")
        for source, target in COPIED.items()
    }
    return {
        "reference/params.md": params.page(),
        "reference/command-line.md": command_line.page(),
        "reference/python-api.md": api.page(),
        **plugins.pages(),
        **copied,
    }
