"""The methods sentences of the stages behind a release."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def methods_sentences(*, own_cohort: bool) -> dict[str, str]:
    """First docstring line of each stage's ``run``, by stage, in the order of the chain.

    The imports are written out so that the stages' code counts as code of the export: a sentence
    that changes makes the card stale.
    """
    from synthct.tasks.evaluation.run import run as evaluation
    from synthct.tasks.export.run import run as export
    from synthct.tasks.ingestion.run import run as ingestion
    from synthct.tasks.registration.run import run as registration
    from synthct.tasks.training.run import run as training

    stages: dict[str, Callable[..., Any]] = {
        "ingestion": ingestion,
        "registration": registration,
        "training": training,
        "evaluation": evaluation,
        "export": export,
    }
    if own_cohort:
        from synthct.tasks.cohort.run import run as cohort

        stages = {"cohort": cohort, **stages}
    return {name: first_sentence(function) for name, function in stages.items()}


def first_sentence(function: Callable[..., Any]) -> str:
    """First line of a docstring."""
    return (function.__doc__ or "").strip().splitlines()[0].strip()
