"""The report of fifty cases: time and size."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext
from synthct.tasks.report.params import ReportParams
from synthct.tasks.report.run import run

CASES = 50
LINKED = ("registration", "evaluation")


def fifty(source, root):
    """The demo's artefacts with its scored cases repeated until there are fifty of them."""
    artefacts = root / "artefacts"
    artefacts.mkdir(parents=True)
    for stage in ("ingestion", "training", "export"):
        if (source / stage).is_dir():
            (artefacts / stage).symlink_to((source / stage).absolute())
    shutil.copy("params.yaml", root / "params.yaml")
    known = sorted(p.parent.name for p in (source / "evaluation").glob("*/scores.json"))
    names = {f"{known[n % len(known)]}": [] for n in range(len(known))}
    for number in range(CASES):
        case = known[number % len(known)]
        patient, source = case.rsplit("_", 1)
        names[case].append(f"{patient}r{number // len(known)}_{source}")
    for stage in LINKED:
        (artefacts / stage).mkdir()
        for case, copies in names.items():
            for copy in copies:
                repeat(source / stage / case, artefacts / stage / copy)
        for file in (p for p in (source / stage).iterdir() if p.is_file()):
            table = repeated(file, names) if file.suffix == ".csv" else file.read_text()
            (artefacts / stage / file.name).write_text(table)
    return root


def repeat(folder, target):
    """The case under another name: its JSON rewritten, its volumes linked."""
    target.mkdir()
    for entry in folder.iterdir():
        if entry.name == "case.json":
            facts = json.loads(entry.read_text())
            facts |= {"case": target.name, "patient": target.name.rsplit("_", 1)[0]}
            (target / entry.name).write_text(json.dumps(facts))
        else:
            (target / entry.name).symlink_to(entry.absolute())


def repeated(file, names):
    """A table with the rows of each case under each of its names."""
    head, *lines = file.read_text().splitlines()
    rows = []
    for line in lines:
        case, _, rest = line.partition(",")
        patient = case.rsplit("_", 1)[0]
        for copy in names.get(case, ()):
            rows.append(f"{copy},{rest.replace(patient, copy.rsplit('_', 1)[0], 1)}")
    return "\n".join([head, *rows]) + "\n"


def measure():
    """The page's text."""
    source = Path(os.environ.get("SYNTHCT_BENCH_ARTEFACTS", "data/artefacts"))
    if not (source / "evaluation").is_dir():
        return "Not measured: it needs the results of the demo (`make run`).\n"
    with tempfile.TemporaryDirectory() as temporary:
        root = fifty(source, Path(temporary) / "workspace")
        (root / "units").mkdir()
        context = StageContext(Layout(root, "demo"), 1, LocalResults(root / "units"), here)
        started, used = time.perf_counter(), time.process_time()
        run(context, ReportParams())
        seconds, cpu = time.perf_counter() - started, time.process_time() - used
        size = (root / "artefacts" / "report" / "index.html").stat().st_size / 1e6
    return (
        f"{CASES} cases (the demo's, repeated), {ReportParams().slices_per_case} slices each, one "
        "process:\n\n| | measured |\n|---|---|\n"
        f"| size of the file | {size:.1f} MB |\n"
        f"| wall time | {seconds:.0f} s |\n| processor time | {cpu:.0f} s |\n"
    )
