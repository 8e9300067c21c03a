"""The status page: one HTML document without scripts."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from synthct.flows.serve.records import Model, Record
from synthct.flows.serve.results import cases_of, report_of
from synthct.flows.serve.runs import Run
from synthct.flows.serve.snapshot import Facts
from synthct.tasks.pipeline.progress import spelled_s

_SHOWN_RUNS = 20
_GIB = 2**30


def status_page(
    facts: Facts, *, checkout: str, api: str, links: list[tuple[str, str]], private: bool = False
) -> str:
    """Render the page as HTML; all text from runs is escaped.

    ``private``: with links to reports and cases, which a password opens.
    """
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
    )
    active = facts.active
    return pages.get_template("status.html.j2").render(
        headline=_headline(facts),
        checkout=checkout,
        now=f"{_clock(facts.taken_s)} {time.strftime('%Z')}",
        links=links + _dashboards(facts),
        active=_active(active) if active else None,
        workers=list(_workers(facts)),
        up=facts.answer.up,
        runs=[_run(each, api) for each in facts.answer.runs[:_SHOWN_RUNS]],
        due=list(_due(facts)),
        models=[row for model in facts.models for row in _rows(model)],
        machine=_machine(facts),
        private=private,
    )


def _headline(facts: Facts) -> str:
    if not facts.answer.up:
        return "the Prefect server does not answer"
    on = [run for run in facts.answer.runs if run.state == "RUNNING"]
    if on:
        return f"{on[0].workspace} is running"
    ended = [run for run in facts.answer.runs if run.end_s is not None]
    if not ended:
        return "waiting for the first run"
    last = max(ended, key=lambda run: run.end_s or 0.0)
    return f"{last.workspace}: newest run {last.state.lower()}"


def _due(facts: Facts) -> Iterator[dict[str, str]]:
    for each in facts.answer.due:
        yield {"deployment": each.deployment, "at": _clock(each.at_s)}
    for name in facts.answer.off:
        yield {"deployment": name, "at": "off: its schedule is inactive (prefect.yaml)"}


def _dashboards(facts: Facts) -> list[tuple[str, str]]:
    found = [each.cluster.get("dashboard") for each in facts.records]
    return [("workers (Dask)", str(url)) for url in found if url]


def _active(record: Record) -> dict[str, Any]:
    now = record.progress
    words = [f"{now.done} of {now.total} results"] if now.total else ["planning"]
    words += [f"{now.reused} reused"] if now.reused else []
    words += [f"{now.excluded} excluded"] if now.excluded else []
    words += [f"about {spelled_s(now.left_s)} left"] if now.left_s is not None else []
    words += [now.text] if now.text else []
    return {"stage": record.stage, "percent": round(now.percent, 1), "progress": " · ".join(words)}


def _workers(facts: Facts) -> Iterator[dict[str, Any]]:
    for record in facts.records:
        for each in record.cluster.get("workers", []):
            limit = each["memory_limit_bytes"]
            of = f" of {limit / _GIB:.1f}" if limit else ""
            yield {
                "name": each["name"],
                "cpu": f"{each['cpu_percent']:.0f} %",
                "memory": f"{each['memory_bytes'] / _GIB:.1f}{of} GiB",
                "spilled": f"{each['spilled_bytes'] / _GIB:.1f} GiB",
                "executing": each["executing"],
                "gpus": f"{each['gpus']:g}",
            }


def _run(run: Run, api: str) -> dict[str, Any]:
    return {
        "url": f"{api.removesuffix('/api')}/runs/flow-run/{run.id}",
        "name": run.name,
        "workspace": run.workspace,
        "state": run.state.lower(),
        "started": _clock(run.start_s) if run.start_s else "",
        "took": spelled_s(run.seconds) if run.start_s else "",
        "message": textwrap.shorten(run.message, 200, placeholder=" …"),
    }


def _rows(model: Model) -> Iterator[dict[str, Any]]:
    """One row per source and reference with the model's own scores."""
    links = [("report", report_of(model)), ("cases", cases_of(model))]
    for (source, method, reference, metric), value in sorted(model.scores.items()):
        if (method, metric) == ("model", "mae_hu"):
            counted = sorted(model.verdicts.items())
            yield {
                "workspace": model.workspace,
                "source": source,
                "reference": reference,
                "mae": f"{value:.1f}",
                "verdicts": ", ".join(
                    f"{n} {verdict}" for (of, verdict), n in counted if of == source
                ),
                "made": _clock(model.made_s),
                "links": [(name, url) for name, url in links if url],
            }


def _machine(facts: Facts) -> str:
    free, (available, total) = facts.machine.free_bytes(), facts.machine.memory_bytes()
    words = [
        f"{free / _GIB:.0f} GiB of disk free",
        f"{available / _GIB:.1f} of {total / _GIB:.1f} GiB memory free",
        f"{facts.machine.finished_units()} results cached",
    ]
    words += [f"GPU {gpu.name} {gpu.busy:.0%} busy" for gpu in facts.machine.gpus()]
    return " · ".join(words)


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
