"""Find or rebuild the HTML report, and copy it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from synthct.data.environment import EVENTS
from synthct.data.errors import MachineError, UsageError
from synthct.flows.run.running import new_record
from synthct.flows.run.screen import open_screen
from synthct.flows.run.stages import build_stage
from synthct.flows.run.summary import report_page
from synthct.flows.workspace.freshness import stale_targets
from synthct.flows.workspace.project import Project
from synthct.tasks.pipeline.artefacts import PAGE

if TYPE_CHECKING:
    from rich.console import Console

STAGE = "report"


def fresh_page(project: Project, console: Console) -> Path:
    """Path of the report; a stale report is rebuilt, but the stages before it are never run.

    Raises
    ------
    UsageError
        ``nothing-to-report``: earlier stages are stale and there is no report yet.
    MachineError
        ``report-missing``: the stage succeeded without writing the page.
    """
    stage = project.stage(STAGE)
    assert stage is not None, "every workspace has a report"
    stale = stale_targets(project)
    earlier = [each.name for each in project.stages if each.target in stale and each != stage]
    if earlier and report_page(project) is None:
        raise UsageError(
            f"there is no report yet, and these stages have not run: {', '.join(earlier)}",
            rule="a report summarizes finished stages",
            where=project.name,
            remedy="synthct run",
            code="nothing-to-report",
        )
    if earlier:
        console.print(
            f"the report is outdated: run `synthct run` to rebuild {', '.join(earlier)}",
            highlight=False,
            soft_wrap=True,
        )
    elif stage.target in stale:
        record = new_record(project.root, project.name)
        variables = project.environment() | {EVENTS: str(record.events)}
        with open_screen(console) as screen:
            build_stage(project, stage, record, variables, [screen])
    page = report_page(project)
    if page is None:
        raise MachineError(
            f"the report stage wrote no {PAGE}",
            where=str(stage.out),
            remedy="synthct run",
            code="report-missing",
        )
    return page


def copy_page(page: Path, folder: Path) -> Path:
    """Copy the report, a single self-contained file, into a folder; its new path."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(page, folder / page.name))
