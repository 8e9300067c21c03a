"""The built HTML report: fresh, and copied where a person wants it."""

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

if TYPE_CHECKING:
    from rich.console import Console

STAGE = "report"


def fresh_page(project: Project, console: Console) -> Path:
    """The page; the report stage runs when it is stale, the long stages before it never."""
    stage = project.stage(STAGE)
    assert stage is not None, "every workspace has a report"
    stale = stale_targets(project)
    earlier = [each.name for each in project.stages if each.target in stale and each != stage]
    if earlier and report_page(project) is None:
        raise UsageError(
            "a report is made of finished stages",
            where=project.name,
            got=f"stale: {', '.join(earlier)}",
            remedy="synthct run",
            code="nothing-to-report",
        )
    if earlier:
        console.print(
            f"the report is older than {', '.join(earlier)}: `synthct run` brings all up to date",
            highlight=False,
            soft_wrap=True,
        )
    elif stage.target in stale:
        record = new_record(project.root)
        variables = project.environment() | {EVENTS: str(record.events)}
        with open_screen(console) as screen:
            build_stage(project, stage, record, variables, [screen])
    page = report_page(project)
    if page is None:
        raise MachineError(
            "the report stage leaves an index.html",
            where=str(stage.out),
            remedy="synthct run",
            code="report-missing",
        )
    return page


def copy_page(page: Path, folder: Path) -> Path:
    """Copy the one file that the report is."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(page, folder / page.name))
