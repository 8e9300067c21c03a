"""What a person sees, in a real browser: Prefect with an active run, Dask, the status page."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from synthct.flows.clusters.activity import watched
from synthct.flows.clusters.opening import open_cluster
from synthct.tasks.pipeline.fanout import OnDask
from synthct.tasks.report.params import ReportParams
from synthct.tasks.report.run import run
from tests.flows.serve.screen import SHOTS, opened
from tests.flows.serve.test_serving import ended, waiting
from tests.tasks.report.conftest import Tree

ROOT = Path(__file__).resolve().parents[3]
KEEP = os.environ.get("SYNTHCT_PICTURES")
"""Folder that keeps the pictures, for docs/how-to/operations.md; unset: they are only looked at."""


def is_drawn(path):
    """More than a blank page with one line: ink in many rows, many colours."""
    from PIL import Image

    pixels = np.asarray(Image.open(path).convert("RGB"))
    rows = (pixels.reshape(len(pixels), -1).astype(int).std(axis=1) > 1.0).mean()
    return rows > 0.3 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 40


def work(seconds):
    time.sleep(seconds)


def tell_a_run(record):
    """Events of a registration in progress."""
    record.mkdir(parents=True)
    now_s = time.time()
    done = [
        {"kind": "unit_done", "unit": f"TH-0{n}_mr", "done": n + 5, "time_s": now_s} for n in (1, 2)
    ]
    lines = [
        {"kind": "stage_started", "stage": "registration", "time_s": now_s - 60},
        {"kind": "units_planned", "total": 18, "reused": 5, "time_s": now_s},
        *done,
    ]
    (record / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def with_results(root, folder):
    """A scored workspace with its report, which the page links."""
    mine = Tree(folder / "workspaces" / "mine").build()
    run(mine.context(), ReportParams())
    shutil.copytree(mine.root, root / "workspaces" / "mine")


@pytest.mark.slow
def test_a_person_sees_an_empty_page(site, until, browser, tmp_path):
    folder = Path(KEEP) if KEEP else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    assert ended(site, site.start(), until) == "COMPLETED"
    assert ended(site, site.start(until="fail"), until) == "FAILED"
    first = site.start(until="wait")
    waiting(site, until)
    with_results(site.root, tmp_path)
    record = site.root / ".synthct" / "runs" / "20261125-020000-ab12"
    tell_a_run(record)
    prefect, password = site.api.removesuffix("/api"), site.calls.auth
    with opened(browser, tmp_path / "profile") as look:
        with (
            open_cluster("local", workers=2, root=ROOT, variables={}) as cluster,
            watched(cluster, record),
        ):
            on = OnDask(cluster.scheduler)
            names = [f"registration/TH-{number:02d}_mr" for number in range(200)]
            units = threading.Thread(
                target=lambda: list(on(work, [0.25] * 200, label=lambda _: names.pop())),
                daemon=True,
            )
            units.start()
            time.sleep(4)
            pictures = [
                look(cluster.dashboard, folder / "dask.png", "Workers", settle_s=8.0),
                *(
                    look(site.page, folder / f"status-{name}.png", "7 of 18 results", **how)
                    for name, how in SHOTS.items()
                ),
            ]
            units.join()
        pictures += [
            look(f"{prefect}/runs", folder / "prefect-runs.png", "Running", password=password),
            look(
                f"{prefect}/runs/flow-run/{first}",
                folder / "prefect-run.png",
                "Running",
                password=password,
            ),
        ]
    for path in pictures:
        assert is_drawn(path), path.name
