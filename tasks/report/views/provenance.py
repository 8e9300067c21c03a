"""Provenance of the page: content, params, code and packages; neither time nor host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from synthct.data.files import content_hash
from synthct.data.layout import Layout
from synthct.tasks.pipeline.code import code_hash, source_root
from synthct.tasks.report.reading import STAGES, Chain
from synthct.tasks.report.table import Cell, Column, Table

PACKAGES = (
    "numpy", "scipy", "SimpleITK-SimpleElastix", "pydicom", "zarr", "torch", "monai",
    "scikit-image", "onnx", "onnxruntime", "safetensors", "pydantic", "pillow",
)  # fmt: skip
"""Packages whose version can change a number or a picture."""


BEFORE = ("cohort", "reconstruction")
"""Stages before those whose outputs the page shows."""


@dataclass(frozen=True)
class Provenance:
    """Sentences of the methods section, tables of hashes and versions, and the params file."""

    methods: Sequence[tuple[str, str]]
    stages: Table
    units: Table | None
    packages: Sequence[tuple[str, str]]
    params: str


def provenance(chain: Chain, layout: Layout, methods: Mapping[str, str]) -> Provenance:
    """The provenance section; ``methods`` has one sentence per stage."""
    params_file = layout.params_file
    return Provenance(
        methods=[(stage, text) for stage, text in methods.items() if stage in (*BEFORE, *STAGES)],
        stages=_stages(chain),
        units=_units(chain),
        packages=[(name, _version(name)) for name in PACKAGES],
        params=params_file.read_text() if params_file.is_file() else "",
    )


def _stages(chain: Chain) -> Table:
    columns = [Column("Stage"), Column("Content of its output", "SHA-256"),
               Column("Code that it runs", "SHA-256")]  # fmt: skip
    rows = [
        [
            Cell(stage),
            Cell(content_hash(chain.folders[stage]) if chain.has(stage) else "not run", "hash"),
            Cell(_code(stage), "hash"),
        ]
        for stage in STAGES
    ]
    return Table("Outputs and code", columns, rows)


def _code(stage: str) -> str:
    file = source_root() / "tasks" / stage / "run.py"
    return code_hash((f"synthct.tasks.{stage}.run",)) if file.is_file() else "absent"


def _units(chain: Chain) -> Table | None:
    """Patients, cases and folds with their key, the hash of inputs, params and code."""
    rows = [
        [Cell(stage), Cell(unit), Cell(entry["key"], "hash"), Cell(entry["content"], "hash")]
        for stage, units in chain.units.items()
        for unit, entry in sorted(units.items())
    ]
    columns = [Column("Stage"), Column("Unit"), Column("Key: inputs, params, code", "SHA-256"),
               Column("Content", "SHA-256")]  # fmt: skip
    return (
        Table("Every unit with the hashes of its key and its content", columns, rows)
        if rows
        else None
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
