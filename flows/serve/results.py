"""Reports, cases and the viewer behind the status page, for holders of the password.

The status page is open to every user of the computer, because it shows numbers and pseudonyms only.
These pages show images of patients, so they ask for the password of Prefect's pages: only the owner
of the service can read its file (docs/explanation/threat-model.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote

from synthct.data.tables import read_table
from synthct.flows.serve.pages import Page
from synthct.flows.serve.records import Model
from synthct.tasks.figures.templates import templates
from synthct.tasks.pipeline.artefacts import PAGE, SCORES

REPORT, CASES, VIEW = "/report/", "/cases/", "/view/"

PREFIXES = (REPORT, CASES, VIEW)


def find(models: Iterable[Model], path: str) -> Page | None:
    """The page at a path, or None."""
    kind, *names = (unquote(part) for part in path.strip("/").split("/"))
    model = next((each for each in models if [each.workspace] == names[:1]), None)
    if model is None:
        return None
    if kind == "report" and len(names) == 1 and report_of(model):
        return lambda: ("text/html", (model.folder / "report" / PAGE).read_bytes())
    if kind == "cases" and len(names) == 1 and cases_of(model):
        return lambda: ("text/html", _cases(model).encode())
    if kind == "view" and len(names) == 2 and names[1] in viewable(model):
        return lambda: ("text/html", _view(model, names[1]).encode())
    return None


def report_of(model: Model) -> str | None:
    """Path of the report of a workspace, if there is one."""
    there = (model.folder / "report" / PAGE).is_file()
    return REPORT + quote(model.workspace, safe="") if there else None


def cases_of(model: Model) -> str | None:
    """Path of the list of cases of a workspace, if any was scored."""
    there = (model.folder / "evaluation" / SCORES).is_file()
    return CASES + quote(model.workspace, safe="") if there else None


def viewable(model: Model) -> set[str]:
    """Scored cases whose volumes are in the checkout."""
    scored = {path.name for path in (model.folder / "evaluation").glob("*/")}
    return {path.name for path in (model.folder / "registration").glob("*/")} & scored


def _cases(model: Model) -> str:
    """The scored cases, the largest error first, with links to the viewer."""
    here, workspace = viewable(model), quote(model.workspace, safe="")
    errors = {
        row["case"]: (float(row["value"]), row["source"], row["region"])
        for row in read_table(model.folder / "evaluation" / SCORES)
        if (row["method"], row["reference"], row["metric"]) == ("model", "registered", "mae_hu")
        and row["value"]
    }
    rows = [
        {
            "case": case,
            "source": source,
            "region": region,
            "mae": f"{mae_hu:.1f}",
            "url": f"{VIEW}{workspace}/{quote(case, safe='')}" if case in here else None,
        }
        for case, (mae_hu, source, region) in sorted(errors.items(), key=lambda each: -each[1][0])
    ]
    return (
        templates(Path(__file__).parent)
        .get_template("cases.html.j2")
        .render(workspace=model.workspace, rows=rows, report=report_of(model))
    )


def _view(model: Model, case: str) -> str:
    from synthct.tasks.report.viewer.page import case_of_workspace, write_page

    return write_page(
        case_of_workspace(model.folder / "registration", model.folder / "evaluation", case)
    )
