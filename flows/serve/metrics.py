"""The Prometheus exporter of the chain, for what Prefect's and Dask's own metrics lack."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from synthct.flows.serve.runs import ENDED

if TYPE_CHECKING:
    from synthct.flows.serve.snapshot import Facts

Family = GaugeMetricFamily


def exposition(facts: Facts) -> bytes:
    """The page that Prometheus scrapes."""
    registry = CollectorRegistry()
    families = [*_runs(facts), *_watchers(facts), *_stages(facts), *_cluster(facts)]
    registry.register(_Fixed([*families, *_models(facts)]))
    return generate_latest(registry)


class _Fixed(Collector):
    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Any]:
        """Yield the families."""
        yield from self._families


def _runs(facts: Facts) -> Iterator[Family]:
    answer = facts.answer
    yield _one("synthct_prefect_up", "Whether the Prefect server answers", float(answer.up))
    yield _one("synthct_runs_late", "Scheduled runs that did not start in time", answer.late)
    states = Counter((run.workspace, run.state) for run in answer.runs)
    newest = _family("synthct_runs", "Newest 100 runs by state", "workspace", "state")
    for (workspace, state), count in sorted(states.items()):
        newest.add_metric([workspace, state.lower()], count)
    yield newest
    success = _family(
        "synthct_last_success_timestamp_seconds",
        "End of the newest successful run",
        "workspace",
        "what",
    )
    failing = _family(
        "synthct_last_run_failed", "Whether the newest ended run failed or crashed", "workspace"
    )
    running = _family("synthct_run_seconds", "Duration of the current run", "workspace")
    for workspace in sorted({run.workspace for run in answer.runs}):
        mine = [run for run in answer.runs if run.workspace == workspace]
        ended = [run for run in mine if run.state in ENDED and run.end_s is not None]
        good = [run for run in ended if run.state == "COMPLETED"]
        for what in sorted({run.what for run in good}):
            newest_s = max(run.end_s or 0.0 for run in good if run.what == what)
            success.add_metric([workspace, what], newest_s)
        if ended:
            last = max(ended, key=lambda run: run.end_s or 0.0)
            failing.add_metric([workspace], float(last.state in ("FAILED", "CRASHED")))
        on = [run.seconds for run in mine if run.state == "RUNNING"]
        if on:
            running.add_metric([workspace], max(on))
    yield from (success, failing, running)
    due = _family("synthct_next_run_timestamp_seconds", "Next start of a schedule", "deployment")
    for each in answer.due:
        due.add_metric([each.deployment], each.at_s)
    yield due


def _watchers(facts: Facts) -> Iterator[Family]:
    blind = _family(
        "synthct_watcher_blind_seconds",
        "Time since a scheduled watcher last polled successfully",
        "workspace",
    )
    oldest = _family(
        "synthct_watcher_oldest_waiting_seconds",
        "Age of the oldest scan in the inbox without a result",
        "workspace",
    )
    for watcher in facts.watchers:
        blind.add_metric([watcher.workspace], watcher.since_poll_s)
        oldest.add_metric([watcher.workspace], watcher.oldest_s)
    yield from (blind, oldest)


def _stages(facts: Facts) -> Iterator[Family]:
    stage_s = _family("synthct_stage_seconds", "Wall time of a stage, newest run of it", "stage")
    seen: set[str] = set()
    for record in facts.records:
        for stage, seconds in record.stage_s.items():
            if stage not in seen:
                seen.add(stage)
                stage_s.add_metric([stage], seconds)
    yield stage_s
    counts: Counter[str] = Counter()
    for record in facts.records:
        counts += record.counts
    for kind, text in (
        ("unit_failed", "Units that failed"),
        ("unit_retried", "Units that were retried"),
        ("set_aside", "Units that were isolated because workers died"),
        ("straggler", "Units that were much slower than the others"),
        ("excluded", "Cases that were excluded"),
    ):
        yield _one(f"synthct_recent_{kind}", f"{text}, newest 20 runs", counts[kind])
    now = facts.active
    yield _one("synthct_active", "Whether a run is writing events", float(now is not None))
    yield _one(
        "synthct_units_done", "Units done of the current stage", now.progress.done if now else 0
    )
    yield _one(
        "synthct_units_total", "Units of the current stage", now.progress.total if now else 0
    )
    silent_s = time.time() - now.last_s if now else 0.0
    yield _one("synthct_silence_seconds", "Time since the last event of the current run", silent_s)
    free, memory = facts.machine.free_bytes(), facts.machine.memory_bytes()
    yield _one("synthct_disk_free_bytes", "Free space on the disk of the checkout", free)
    yield _one("synthct_memory_available_bytes", "Free memory of this machine", memory[0])
    yield _one("synthct_memory_total_bytes", "Memory of this machine", memory[1])
    yield _one(
        "synthct_finished_units", "Entries of the result cache", facts.machine.finished_units()
    )


def _cluster(facts: Facts) -> Iterator[Family]:
    workers = [worker for record in facts.records for worker in record.cluster.get("workers", [])]
    yield _one("synthct_workers", "Dask workers of current runs", len(workers))
    for name, text in (
        ("memory_bytes", "Memory of a worker"),
        ("memory_limit_bytes", "Memory limit of a worker"),
        ("spilled_bytes", "Data that a worker spilled to disk"),
        ("cpu_percent", "CPU utilization of a worker"),
        ("executing", "Units that a worker runs"),
        ("ready", "Units that wait on a worker"),
    ):
        family = _family(f"synthct_worker_{name}", text, "worker")
        for worker in workers:
            family.add_metric([worker["name"]], worker[name])
        yield family
    busy = _family("synthct_gpu_busy_ratio", "Utilization of a GPU", "gpu")
    used = _family("synthct_gpu_memory_used_bytes", "Memory in use on a GPU", "gpu")
    total = _family("synthct_gpu_memory_total_bytes", "Memory of a GPU", "gpu")
    for gpu in facts.machine.gpus():
        busy.add_metric([gpu.name], gpu.busy)
        used.add_metric([gpu.name], gpu.used_bytes)
        total.add_metric([gpu.name], gpu.total_bytes)
    yield from (busy, used, total)


def _models(facts: Facts) -> Iterator[Family]:
    yield from _training(facts)
    score = _family(
        "synthct_score", "Mean over unseen cases",
        "workspace", "source", "method", "reference", "metric",
    )  # fmt: skip
    cases = _family(
        "synthct_registration_cases", "Registered cases by verdict of the gate",
        "workspace", "source", "verdict",
    )  # fmt: skip
    level = _family(
        "synthct_input_body_median", "Body median of the scans [HU, or MR units]",
        "workspace", "modality", "of",
    )  # fmt: skip
    made = _family("synthct_results_timestamp_seconds", "When results were written", "workspace")
    for model in facts.models:
        made.add_metric([model.workspace], model.made_s)
        for (source, method, reference, metric), value in sorted(model.scores.items()):
            score.add_metric([model.workspace, source, method, reference, metric], value)
        for (source, verdict), count in sorted(model.verdicts.items()):
            cases.add_metric([model.workspace, source, verdict], count)
        for modality, values in sorted(model.intensities.items()):
            for of, value in zip(("smallest", "median", "largest"), values, strict=True):
                level.add_metric([model.workspace, modality, of], value)
    yield from (score, cases, level, made)


def _training(facts: Facts) -> Iterator[Family]:
    loss = _family("synthct_training_loss", "Newest value of a loss term", "unit", "term")
    best = _family("synthct_training_validation_mae_hu", "Best validation MAE [HU]", "unit")
    speed = _family("synthct_training_patches_per_second", "Speed of training", "unit")
    seen: set[str] = set()
    for record in facts.records:
        for unit, event in record.steps.items():
            if unit in seen:
                continue
            seen.add(unit)
            for term, value in sorted(event["terms"].items()):
                loss.add_metric([unit, term], float(value))
            if event.get("best_validation_mae_hu") is not None:
                best.add_metric([unit], float(event["best_validation_mae_hu"]))
            if event.get("patches_per_s") is not None:
                speed.add_metric([unit], float(event["patches_per_s"]))
    yield from (loss, best, speed)


def _family(name: str, text: str, *labels: str) -> Family:
    return GaugeMetricFamily(name, text, labels=labels)


def _one(name: str, text: str, value: float) -> Family:
    return GaugeMetricFamily(name, text, value=value)
