"""Ingestion: search for planted identifiers in everything that it writes and prints."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from synthct.data.layout import Layout
from synthct.data.store.result_cache import open_result_cache
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.run import run
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext
from tests.fixtures.identifier_search import Searched, search_flow
from tests.fixtures.identifiers import files_below, leaks, plant, random_body

DATA_SETS = 50
CONFIG = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"


def search(number: int) -> Searched:
    """Plant a data set, ingest it with the command, run the stage, search all results."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as undo:
        base = Path(temporary)
        root = base / "root"
        (root / ".dvc").mkdir(parents=True)
        (root / ".dvc" / "config").write_text(CONFIG)
        (root / "params.yaml").write_text("dataset: planted\ncohort: null\n")
        secrets = plant(base / "pacs", *random_body(number), number)
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SYNTHCT")},
            "SYNTHCT_PSEUDONYM_KEY": "a key of more than sixteen characters",
            "PYTHONPATH": str(Path.cwd() / "src"),
        }
        output = b""
        for more in ((), ("--json",)):
            call = [sys.executable, "-m", "synthct.flows", "ingest", str(base / "pacs"),
                    "--dataset", "planted", *more]  # fmt: skip
            done = subprocess.run(call, cwd=root, env=environment, capture_output=True)
            if done.returncode not in (0, 3):
                raise RuntimeError(done.stderr.decode()[-2000:])
            output += done.stdout + done.stderr
        undo.enter_context(contextlib.chdir(root))
        units, events = os.environ.get("SYNTHCT_UNITS"), os.environ.get("SYNTHCT_EVENTS")
        os.environ |= {"SYNTHCT_UNITS": str(base / "units"), "SYNTHCT_EVENTS": str(base / "events")}
        undo.callback(_restore, {"SYNTHCT_UNITS": units, "SYNTHCT_EVENTS": events})
        context = StageContext(Layout(dataset="planted"), 1, open_result_cache(), here,
                               max_excluded_fraction=1.0)  # fmt: skip
        run(context, IngestionParams())
        blobs = [("output", output), ("events", (base / "events").read_bytes())]
        blobs += [*files_below(root, base / "units")]
        size = sum(len(blob) for _, blob in blobs)
        return Searched(len(set(secrets)), len(blobs), size, tuple(leaks(secrets, blobs)))


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def measure() -> str:
    """Count over fifty data sets."""
    found = [search(number) for number in range(DATA_SETS)]
    with tempfile.TemporaryDirectory() as base:
        flow = search_flow(Path(base))
    leaked = [one for searched in (*found, flow) for one in searched.leaks]
    least = min(searched.secrets for searched in found)
    text = (
        f"{sum(one.secrets for one in found)} identifiers (at least {least} in each of {DATA_SETS} "
        f"data sets: texts of {len(found)} hospitals in every kind of element, private blocks, "
        "sequences, overlays, preambles, UIDs, dates, names of files and folders, headers of image "
        f"files) were searched for in {sum(one.files for one in found)} files and streams "
        f"({sum(one.size for one in found) / 1e6:.0f} MB): copies, tables, JSON, events, units, "
        "artefacts. Another data set was processed by the whole flow, and its "
        f"{flow.secrets} identifiers were also searched for in the logs, the report, the flow "
        f"database and the metrics ({flow.files} files, {flow.size / 1e6:.0f} MB). "
        f"**{len(leaked)} were found.**"
    )
    return "\n".join([text, *(f"* {one}" for one in leaked)])
