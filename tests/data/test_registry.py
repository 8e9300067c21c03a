"""Plug-ins: found by name, never silently replaced, a stranger's package included."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest

from synthct.data import registry as registry_module
from synthct.data.errors import UsageError
from synthct.data.registry import Registry, documentation


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    package = tmp_path / "toy_shapes"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from synthct.data.registry import Registry\n"
        "SHAPES = Registry('shape', group='toy.shapes', package='toy_shapes')\n"
    )
    (package / "square.py").write_text(
        "from dataclasses import dataclass\nfrom toy_shapes import SHAPES\n"
        "@SHAPES.register('square')\n@dataclass(frozen=True)\n"
        "class Square:\n    side: float = 1.0\n"
        "    def __post_init__(self):\n"
        "        if self.side <= 0: raise ValueError(f'side must be positive, got {self.side}')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("toy_shapes").SHAPES
    for name in [name for name in sys.modules if name.startswith("toy_shapes")]:
        del sys.modules[name]


def test_one_new_file_is_enough_to_be_found(shapes):
    assert shapes.names() == ["square"]
    assert shapes.build("square", {"side": 2.0}).side == 2.0


def test_an_unknown_name_suggests_the_nearest(shapes):
    with pytest.raises(UsageError, match=r"no shape is called 'sqare'; did you mean 'square'\?"):
        shapes.build("sqare", {})


def test_an_unknown_parameter_suggests_the_nearest(shapes):
    with pytest.raises(UsageError, match=r"no parameter 'sides' \(did you mean 'side'\?\)"):
        shapes.build("square", {"sides": 2.0})


def test_a_bad_value_names_the_member_and_the_rule(shapes):
    with pytest.raises(UsageError, match="shape 'square': side must be positive, got -1"):
        shapes.build("square", {"side": -1})


def test_a_second_class_of_the_same_name_raises_instead_of_replacing(shapes):
    shapes.names()

    @dataclass(frozen=True)
    class Other:
        pass

    with pytest.raises(ValueError, match="'square' is already Square"):
        shapes.register("square")(Other)


def test_a_member_that_can_change_is_refused():
    @dataclass
    class Loose:
        side: float = 1.0

    with pytest.raises(TypeError, match="frozen"):
        Registry("shape", group="toy.none", package="tasks").register("loose")(Loose)


def test_a_strangers_entry_point_is_found(shapes, tmp_path, monkeypatch):
    (tmp_path / "strangers_shape.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass Circle:\n    r: float = 1.0\n"
    )
    point = EntryPoint("circle", "strangers_shape:Circle", "toy.shapes")
    monkeypatch.setattr(
        registry_module, "entry_points", lambda group: [point] if group == "toy.shapes" else []
    )
    assert shapes.names() == ["circle", "square"]
    assert shapes.module_of("circle") == "strangers_shape"


def test_a_parameter_of_a_base_class_is_not_explained():
    @dataclass(frozen=True, kw_only=True)
    class Base:
        """A base.

        Parameters
        ----------
        every
            The period,
            in steps.
        size
            Of the base.
        """

        every: int = 1
        size: int = 1

    @dataclass(frozen=True)
    class Listed(Base):
        """One.

        Parameters
        ----------
        size, width
            Its own words.

        References
        ----------
        A paper.
        """

        width: int = 2

    @dataclass(frozen=True)
    class Unlisted(Base):
        """Two.

        References
        ----------
        A paper.
        """

    words = "every\n    The period,\n    in steps.\n"
    ending = "\nReferences\n----------\nA paper."
    assert documentation(Listed) == (
        f"One.\n\nParameters\n----------\nsize, width\n    Its own words.\n{words}{ending}"
    )
    assert documentation(Unlisted) == (
        f"Two.\n\nParameters\n----------\n{words}size\n    Of the base.\n{ending}"
    )
