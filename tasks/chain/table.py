"""The stages, with what each reads and writes: ``dvc.yaml`` and the flow are made from it."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthct.data.errors import UsageError
from synthct.data.layout import Layout, study_folder
from synthct.data.yaml_text import dump_yaml
from synthct.tasks.pipeline.artefacts import PAGE, SUMMARY
from synthct.tasks.pipeline.code import CodeGraph, source_root
from synthct.tasks.pipeline.packages import (
    VERSIONS,
    stage_distributions,
    stale_versions,
    write_versions,
)

if TYPE_CHECKING:
    from synthct.tasks.chain.params import Params

COMMON_PARAMS = ("seed", "dataset", "max_excluded_fraction", "compute")
"""Top-level params on which every stage depends."""


@dataclass(frozen=True)
class Stage:
    """One row of the chain.

    Parameters
    ----------
    name
        Name of the stage, its package (``tasks/NAME/run.py``), params section and output folder.
    summary
        What it produces, in a few words.
    reads
        Stages whose outputs it reads where they are part of the workspace; ``raw`` is the folder
        of the data set.
    metrics
        Files of its output that DVC shows as metrics.
    also_params
        Params sections of other stages that it reads.
    prints_all_params
        Whether it prints the params of every stage, and so is stale when any of them changes.
    quotes_methods
        Whether it quotes the methods sentences of the stages before it.
    """

    name: str
    summary: str
    reads: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    also_params: tuple[str, ...] = ()
    prints_all_params: bool = False
    quotes_methods: bool = False

    @property
    def module(self) -> str:
        """Dotted module with the stage's ``run``."""
        return f"synthct.tasks.{self.name}.run"

    @property
    def run_file(self) -> Path:
        """The file of :attr:`module`, relative to the root."""
        return Path("tasks") / self.name / "run.py"

    def outs(self, layout: Layout) -> Path:
        """The folder that the stage writes."""
        return layout.artefact(self.name)

    def deps(
        self, layout: Layout, graph: CodeGraph, active: Sequence[Stage] | None = None
    ) -> list[Path]:
        """Outputs of earlier stages, then code files and plug-in folders, relative to the root."""
        here = STAGES if active is None else active
        present = {"raw", *(stage.name for stage in here)}
        data = [
            layout.raw if name == "raw" else layout.artefact(name)
            for name in self.reads
            if name in present
        ]
        code = set(graph.stage(self.module))
        if self.quotes_methods:
            code |= {stage.run_file for stage in here[: here.index(self)]}
        return [*data, *sorted(code)]

    def methods_sentence(self) -> str:
        """First line of the docstring of the stage's ``run``, read without importing it."""
        for node in ast.parse((source_root() / self.run_file).read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name == "run":
                return (ast.get_docstring(node) or "").partition("\n")[0]
        raise LookupError(f"{self.run_file} defines no run()")


STAGES: tuple[Stage, ...] = (
    Stage("cohort", "digital patients with known truth"),
    Stage("reconstruction", "cone-beam CTs from kept projections", ("raw",)),
    Stage("ingestion", "checked, de-identified volumes in zarr", ("raw", "reconstruction")),
    Stage("registration", "CT moved onto each MR and CBCT, with a gate", ("ingestion",)),
    Stage(
        "pretraining",
        "features and initial weights from unpaired scans",
        ("ingestion", "registration"),
        also_params=("registration", "training"),
    ),
    Stage("training", "one network per source and fold", ("registration", "pretraining")),
    Stage(
        "evaluation",
        "synthetic CT of unseen patients, scored beside baselines",
        ("ingestion", "registration", "training"),
        (SUMMARY,),
    ),
    Stage(
        "export",
        "release folders with parity and card",
        ("ingestion", "registration", "training", "evaluation"),
        quotes_methods=True,
    ),
    Stage(
        "report",
        "one offline HTML page",
        ("ingestion", "registration", "pretraining", "training", "evaluation", "export"),
        prints_all_params=True,
        quotes_methods=True,
    ),
    Stage(
        "study",
        "regularizers compared on the same pairs",
        ("ingestion", "registration"),
        also_params=("registration", "training"),
    ),
)


STAGE_MODULES = tuple(stage.module for stage in STAGES)

NOT_IN_A_STUDY = {"pretraining", "training", "evaluation", "export", "report"}
"""Stages that train, evaluate and release one model."""


def stage_called(name: str) -> Stage:
    """The stage of that name."""
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise UsageError(
        f"no stage is called {name!r}",
        remedy=f"stages: {', '.join(stage.name for stage in STAGES)}",
        code="unknown-stage",
    )


def active_stages(params: Params) -> tuple[Stage, ...]:
    """The stages of a workspace; cohort, reconstruction and pretraining only with their sections.

    A workspace with a ``study`` section registers pairs and compares methods on them, and
    releases nothing.
    """
    absent = set() if params.cohort is not None else {"cohort"}
    absent |= {"reconstruction"} if params.reconstruction is None else set()
    absent |= set() if params.pretraining is not None else {"pretraining"}
    absent |= {"study"} if params.study is None else NOT_IN_A_STUDY
    return tuple(stage for stage in STAGES if stage.name not in absent)


def methods_up_to(name: str, params: Params) -> dict[str, str]:
    """Methods sentences of the workspace's stages up to the one called ``name``."""
    sentences: dict[str, str] = {}
    for stage in active_stages(params):
        sentences[stage.name] = stage.methods_sentence()
        if stage.name == name:
            break
    return sentences


def render(workspace: Path, graph: CodeGraph | None = None) -> str:
    """The text of the workspace's ``dvc.yaml``."""
    from synthct.tasks.chain.params import layout_of, load_params

    graph = graph or CodeGraph(source_root())

    params = load_params(workspace / "params.yaml")
    layout = layout_of(workspace, params)
    studies = [study_folder(name) / PAGE for name in params.report.studies]
    active = active_stages(params)
    stages = {
        stage.name: _entry(stage, layout, studies if stage.name == "report" else (), graph, active)
        for stage in active
    }
    metrics = [
        _from_here(stage.outs(layout) / file, workspace)
        for stage in active
        for file in stage.metrics
    ]
    document = {"stages": stages, "metrics": metrics}
    header = (
        "# Rendered from tasks/chain/table.py by `make dag`; a test fails when they disagree.\n"
    )
    return header + dump_yaml(document, sort_keys=False, width=100)


def _entry(
    stage: Stage,
    layout: Layout,
    shown: Sequence[Path],
    graph: CodeGraph,
    active: Sequence[Stage],
) -> dict[str, Any]:
    """``shown``: pages of other workspaces' studies that the stage reads."""
    command = f"python -m synthct.tasks {stage.name}"
    if not layout.is_root:
        command += f" --workspace {layout.workspace.as_posix()}"
    entry: dict[str, Any] = {"desc": stage.summary, "cmd": command}
    if not layout.is_root:
        entry["wdir"] = "/".join([".."] * len(layout.workspace.parts))
    entry["deps"] = [path.as_posix() for path in [*stage.deps(layout, graph, active), *shown]]
    chain = [s.name for s in STAGES if s.name == "cohort" or s in active]
    sections = chain if stage.prints_all_params else [stage.name, *stage.also_params]
    keys = [*COMMON_PARAMS, *sections]
    own = keys if layout.is_root else [{layout.params_file.as_posix(): keys}]
    entry["params"] = [*own, {VERSIONS.as_posix(): stage_distributions(stage.module, graph)}]
    # persist: DVC leaves the old output in place, so that the stage can adopt its finished units
    # after a clone and a pull; the stage itself replaces the folder in one rename.
    entry["outs"] = [{stage.outs(layout).as_posix(): {"persist": True}}]
    return entry


def _from_here(path: Path, workspace: Path) -> str:
    return path.relative_to(workspace).as_posix()


def write_dvc_file(workspace: Path) -> None:
    """Render ``dvc.yaml``, and ``versions.yaml`` in the root (``make dag``)."""
    from synthct.data.files import write_whole

    graph = CodeGraph(source_root())
    write_versions(STAGE_MODULES, graph)
    write_whole(workspace / "dvc.yaml", render(workspace, graph))


def stale_dvc_file(workspace: Path) -> bool:
    """Whether the files on disk differ from the table or the installed packages."""
    file = workspace / "dvc.yaml"
    graph = CodeGraph(source_root())
    if stale_versions(STAGE_MODULES, graph):
        return True
    return not file.is_file() or file.read_text() != render(workspace, graph)
