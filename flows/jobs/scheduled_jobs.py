"""Scheduled jobs: a run, a study or a watcher, each as a command line of ``synthct``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synthct.data.errors import UsageError
from synthct.tasks.pipeline.artefacts import (
    BIAS,
    EFFECTS,
    MATRIX,
    OUTCOMES,
    PAGE,
    QUALITY_TABLE,
    SCORES,
    SUMMARY,
)

RUN, STUDY, WATCH = "run", "study", "watch"
KINDS = (RUN, STUDY, WATCH)

DEMO = "demo"
"""Name of the workspace in the root."""

QUARANTINED = "scans were quarantined"
"""Begins the message of a watcher that completed, but could not predict every scan."""

_NEGATABLE: dict[str, frozenset[str]] = {
    RUN: frozenset(),
    STUDY: frozenset(),
    WATCH: frozenset({"--no-tta"}),
}
"""The ``--no-`` options of each command; all other switches are off by default."""

_KEPT = {
    "ingestion": (QUALITY_TABLE,),
    "registration": (QUALITY_TABLE,),
    "evaluation": (SCORES,),
    "report": (PAGE,),
    "study": (EFFECTS, OUTCOMES, MATRIX, BIAS, SUMMARY, PAGE),
}


@dataclass(frozen=True)
class ScheduledJob:
    """One scheduled job, from the parameters of its deployment.

    Parameters
    ----------
    what
        ``run``, ``study`` or ``watch``.
    preset
        Workspace; None: the demo, or ``presets/study.yaml``.
    options
        Long options of the command by name, e.g. ``{"inbox": "incoming", "uncertainty": True}``.
        True sets a switch, False sets its ``--no-`` form if it has one, None omits the option.

    Raises
    ------
    UsageError
        ``unknown-job-kind``, ``watcher-options-missing``.
    """

    what: str = RUN
    preset: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.what not in KINDS:
            raise UsageError(
                f"there is no scheduled job {self.what!r}",
                rule=f"a schedule starts one of {', '.join(KINDS)}",
                where="parameter `what`",
                remedy="correct it in prefect.yaml",
                code="unknown-job-kind",
            )
        needed = ("model", "inbox", "out") if self.what == WATCH else ()
        missing = [name for name in needed if not self.options.get(name)]
        if missing:
            raise UsageError(
                f"missing: {', '.join(missing)}",
                rule="a watcher needs the options model, inbox and out",
                where="parameter `options`",
                remedy="set them in prefect.yaml, or for this run alone",
                code="watcher-options-missing",
            )

    @property
    def workspace(self) -> str:
        """Name of what the job works on; two jobs of one workspace never run at once."""
        return workspace_of(self.what, self.preset, self.options)

    def arguments(self) -> list[str]:
        """The command line after ``python -m synthct.flows``."""
        words = [self.what]
        if self.what == RUN and self.preset:
            words += ["--preset", self.preset]
        if self.what == STUDY and self.preset:
            words += ["--grid", f"presets/{self.preset}.yaml"]
        if self.what == WATCH:
            words += ["--once"]
        return words + [
            word for name, value in self.options.items() for word in _as(self.what, name, value)
        ]


def workspace_of(what: str, preset: str | None, options: Mapping[str, Any]) -> str:
    """Workspace name under which runs are listed."""
    if what == WATCH:
        return f"watch {options.get('inbox', '')}".strip()
    return preset or (STUDY if what == STUDY else DEMO)


def kept_files() -> list[str]:
    """Files of an artefacts folder that are kept when a run's worktree is removed."""
    return [f"{stage}/{file}" for stage, files in _KEPT.items() for file in files]


def _as(what: str, name: str, value: Any) -> list[str]:
    option = name.replace("_", "-")
    if value is None:
        return []
    if value is True:
        return [f"--{option}"]
    if value is False:
        return [f"--no-{option}"] if f"--no-{option}" in _NEGATABLE[what] else []
    return [f"--{option}", str(value)]
