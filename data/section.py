"""The base of every section of ``params.yaml`` and of the descriptions that stages write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

REGIONS = ("head-neck", "thorax", "abdomen", "other")
"""Body regions, for which registration and outlines have their own settings."""


class Section(BaseModel):
    """Immutable and strict: a key that is not listed is an error, and so is ``"3"`` for 3.

    Sections reach a unit function as plain JSON: :meth:`as_json` where the unit is planned,
    :meth:`from_json` where it runs. That JSON is part of the unit's key.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    def as_json(self, *, exclude: set[str] | None = None) -> dict[str, Any]:
        """The section as plain JSON values, without the keys in ``exclude``."""
        plain: dict[str, Any] = json.loads(self.model_dump_json(exclude=exclude))
        return plain

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The section from plain JSON values; keys that are left out have their defaults."""
        return cls.model_validate_json(json.dumps(dict(value)))
