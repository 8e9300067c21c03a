"""Write the three Grafana dashboards to ``boards/`` as JSON from the panels listed here.

    python infra/monitoring/make_boards.py

A test fails if the JSON differs from what this file writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "prometheus"}

AGE = "time() - synthct_last_success_timestamp_seconds"
FREE = "synthct_memory_available_bytes / synthct_memory_total_bytes"

Panel = tuple[str, str, str, str, str]
"""Title, kind, unit, PromQL, legend."""

BOARDS: dict[str, tuple[str, tuple[Panel, ...]]] = {
    "pipeline": (
        "synthct: pipeline",
        (
            ("Prefect server answers", "stat", "bool_yes_no", "synthct_prefect_up", ""),
            ("Last run failed", "stat", "bool_yes_no", "synthct_last_run_failed", "{{workspace}}"),
            ("Age of the newest successful run", "stat", "s", AGE, "{{workspace}}"),
            ("Late runs", "stat", "none", "synthct_runs_late", ""),
            ("Runs by state", "timeseries", "none", "sum by (state) (synthct_runs)", "{{state}}"),
            ("Current run", "timeseries", "s", "synthct_run_seconds", "{{workspace}}"),
            ("Time of each stage", "bargauge", "s", "synthct_stage_seconds", "{{stage}}"),
            ("Units done", "timeseries", "none", "synthct_units_done", "done"),
            ("Units of the stage", "timeseries", "none", "synthct_units_total", "all"),
            ("Time since the last event", "timeseries", "s", "synthct_silence_seconds", ""),
            ("Failed units", "timeseries", "none", "synthct_recent_unit_failed", "failed"),
            ("Retried units", "timeseries", "none", "synthct_recent_unit_retried", "retried"),
            ("Excluded cases", "timeseries", "none", "synthct_recent_excluded", "excluded"),
            (
                "Next run in", "stat", "s",
                "synthct_next_run_timestamp_seconds - time()", "{{deployment}}",
            ),
        ),
    ),
    "cluster": (
        "synthct: cluster",
        (
            ("Workers", "stat", "none", "synthct_workers", ""),
            ("Units in progress", "stat", "none", "sum(synthct_worker_executing)", ""),
            ("Disk free", "stat", "bytes", "synthct_disk_free_bytes", ""),
            ("Memory free", "stat", "percentunit", FREE, ""),
            ("Worker memory", "timeseries", "bytes", "synthct_worker_memory_bytes", "{{worker}}"),
            (
                "Worker memory, share of its limit", "timeseries", "percentunit",
                "synthct_worker_memory_bytes / (synthct_worker_memory_limit_bytes > 0)",
                "{{worker}}",
            ),
            ("Spilled", "timeseries", "bytes", "synthct_worker_spilled_bytes", "{{worker}}"),
            ("Worker CPU", "timeseries", "percent", "synthct_worker_cpu_percent", "{{worker}}"),
            ("Queued units", "timeseries", "none", "synthct_worker_ready", "{{worker}}"),
            ("Tasks by state (Dask)", "timeseries", "none", "dask_scheduler_tasks", "{{state}}"),
            ("GPU busy", "timeseries", "percentunit", "synthct_gpu_busy_ratio", "GPU {{gpu}}"),
            (
                "GPU memory", "timeseries", "percentunit",
                "synthct_gpu_memory_used_bytes / synthct_gpu_memory_total_bytes", "GPU {{gpu}}",
            ),
            ("Isolated units", "timeseries", "none", "synthct_recent_set_aside", "isolated"),
            ("Stragglers", "timeseries", "none", "synthct_recent_straggler", "slow"),
            ("Entries of the result cache", "timeseries", "none", "synthct_finished_units", ""),
        ),
    ),
    "models": (
        "synthct: models",
        (
            ("Loss terms", "timeseries", "none", "synthct_training_loss", "{{unit}} {{term}}"),
            (
                "Best validation MAE [HU]", "timeseries", "none",
                "synthct_training_validation_mae_hu", "{{unit}}",
            ),
            ("Patches/s", "timeseries", "none", "synthct_training_patches_per_second", "{{unit}}"),
            (
                "MAE of unseen patients [HU]", "timeseries", "none",
                'synthct_score{metric="mae_hu", reference="registered"}',
                "{{workspace}} {{source}} {{method}}",
            ),
            (
                "MAE against the mean of 14 days", "timeseries", "percentunit",
                'synthct_score{method="model", metric="mae_hu"} / '
                'avg_over_time(synthct_score{method="model", metric="mae_hu"}[14d])',
                "{{workspace}} {{source}} {{reference}}",
            ),
            (
                "Registration gate", "bargauge", "none",
                "sum by (workspace, source, verdict) (synthct_registration_cases)",
                "{{workspace}} {{source}} {{verdict}}",
            ),
            (
                "Body median of the scans", "timeseries", "none",
                "synthct_input_body_median", "{{workspace}} {{modality}} {{of}}",
            ),
            (
                "Age of the results", "stat", "s",
                "time() - synthct_results_timestamp_seconds", "{{workspace}}",
            ),
        ),
    ),
}  # fmt: skip


def board(name: str) -> dict[str, Any]:
    """One dashboard in Grafana's import format."""
    title, panels = BOARDS[name]
    return {
        "uid": f"synthct-{name}",
        "title": title,
        "tags": ["synthct"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    title, kind, unit, expression, legend = panel
    return {
        "id": number + 1,
        "title": title,
        "type": kind,
        "datasource": SOURCE,
        "gridPos": {"h": 7, "w": 6, "x": 6 * (number % 4), "y": 7 * (number // 4)},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend or "__auto",
                "instant": kind != "timeseries",
            }
        ],
    }


def text(name: str) -> str:
    """Content of the JSON file of a dashboard."""
    return json.dumps(board(name), indent=2) + "\n"


if __name__ == "__main__":
    for each in BOARDS:
        (HERE / "boards" / f"{each}.json").write_text(text(each))
