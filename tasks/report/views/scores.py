"""Selection of rows of ``scores.csv``."""

from __future__ import annotations

from collections.abc import Iterable

from synthct.tasks.figures.names import METHODS
from synthct.tasks.report.reading import Chain, Score

MAE = "mae_hu"


def pick(scores: Iterable[Score], **wanted: str) -> list[Score]:
    """The rows whose fields have the wanted values."""
    return [s for s in scores if all(getattr(s, name) == v for name, v in wanted.items())]


def values(scores: Iterable[Score]) -> list[float]:
    """The values of the rows."""
    return [score.value for score in scores]


def sources_of(scores: Iterable[Score]) -> list[str]:
    """Sources, MR first."""
    return sorted({score.source for score in scores}, reverse=True)


def regions_of(scores: Iterable[Score]) -> list[str]:
    """Regions, sorted by name."""
    return sorted({score.region for score in scores})


def methods_of(scores: Iterable[Score]) -> list[str]:
    """Methods in the order of :data:`METHODS`; unknown ones last, by name."""
    order = list(METHODS)
    found = {score.method for score in scores}
    return sorted(found, key=lambda m: (order.index(m) if m in order else len(order), m))


def references_of(scores: Iterable[Score]) -> list[str]:
    """References; first the registered CT, which every cohort has."""
    found = {score.reference for score in scores}
    return sorted(found, key=lambda name: (name != "registered", name))


def case_errors(chain: Chain) -> dict[str, float]:
    """The model's MAE [HU] of each case, against the registered CT if there is one."""
    found: dict[str, float] = {}
    for reference in reversed(references_of(chain.scores)):
        lines = pick(chain.scores, method="model", metric=MAE, reference=reference)
        found.update({score.case: score.value for score in lines})
    return found
