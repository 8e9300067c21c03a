"""YAML from users: plain values of bounded size, one kind of error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from synthct.data.errors import UsageError

MAX_BYTES = 8 << 20
MAX_NODES = 200_000
"""Values after expansion of every alias: nested aliases can expand beyond all memory."""
MAX_LEVELS = 60


class YamlRefused(yaml.YAMLError):
    """The text is larger or deeper than the limits, or has a value that Python cannot represent."""


MAX_DIGITS = 400
"""Characters of a number: no param needs more, and converting one takes longer the longer it is."""


class _Loader(yaml.SafeLoader):
    """Reads ``2e-2`` as a number, as YAML 1.2 and DVC do; YAML 1.1 wants ``2.0e-2``.

    Depth and numbers are bounded while the text is read, so that the time is in proportion to its
    length.
    """

    flow_level: int

    def fetch_flow_collection_start(self, TokenClass: type[yaml.Token]) -> None:
        """Open a bracket."""
        if self.flow_level >= MAX_LEVELS:
            raise YamlRefused(f"more than {MAX_LEVELS} levels")
        super().fetch_flow_collection_start(TokenClass)  # type: ignore[misc]

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Convert a number of bounded length."""
        if len(node.value) > MAX_DIGITS:
            raise YamlRefused(f"a number of {len(node.value)} characters")
        return int(super().construct_yaml_int(node))  # type: ignore[no-untyped-call]


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


class _Dumper(yaml.SafeDumper):
    """Puts a text into quotes that the loader would read as a number."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+0123456789."),
    )


def dump_yaml(value: Any, **options: Any) -> str:
    """Plain values as YAML that :func:`load_yaml` reads back; options as of ``yaml.dump``."""
    return str(yaml.dump(value, Dumper=_Dumper, **options))


def load_yaml(text: str) -> Any:
    """The plain values of a YAML text.

    Raises
    ------
    yaml.YAMLError
        Not YAML, not plain values, or refused (:class:`YamlRefused`).
    """
    if len(text) > MAX_BYTES:
        raise YamlRefused(f"{len(text)} characters, at most {MAX_BYTES} are read")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _require_bounded(node)
        return loader.construct_document(node)
    except RecursionError:
        raise YamlRefused(f"more than {MAX_LEVELS} levels") from None
    except (ValueError, OverflowError, AttributeError) as error:
        # For month 13 or an integer of ten thousand digits, the parser raises Python's own error.
        raise YamlRefused(f"an invalid value: {error}") from error
    finally:
        loader.dispose()


def _require_bounded(node: yaml.Node) -> None:
    """Count nodes and levels, each node once: expanding aliases would take exponential time."""
    known: dict[int, tuple[int, int]] = {}
    open_nodes: set[int] = set()

    def measured(each: yaml.Node) -> tuple[int, int]:
        if id(each) in known:
            return known[id(each)]
        if id(each) in open_nodes:
            raise YamlRefused("an alias inside its own anchor")
        if len(open_nodes) > MAX_LEVELS:
            raise YamlRefused(f"more than {MAX_LEVELS} levels")
        open_nodes.add(id(each))
        inner = [measured(child) for child in _children(each)]
        open_nodes.remove(id(each))
        size = 1 + sum(size for size, _ in inner)
        levels = 1 + max((levels for _, levels in inner), default=0)
        if size > MAX_NODES:
            raise YamlRefused(f"aliases that stand for more than {MAX_NODES} values")
        if levels > MAX_LEVELS:
            raise YamlRefused(f"more than {MAX_LEVELS} levels")
        known[id(each)] = size, levels
        return known[id(each)]

    measured(node)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def yaml_of(text: str, *, where: str) -> Any:
    """The plain values of a YAML text.

    Raises
    ------
    UsageError
        ``not-yaml``.
    """
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        raise UsageError(
            " ".join(str(error).split()),
            rule="the file is YAML of plain values",
            where=where,
            code="not-yaml",
        ) from error


def read_yaml(path: Path) -> Any:
    """The plain values of a file; errors as :func:`yaml_of`."""
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise UsageError(
            str(error), rule="the file is text in UTF-8", where=str(path), code="not-yaml"
        ) from error
    return yaml_of(text, where=str(path))
