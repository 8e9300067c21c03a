"""Comparison of the folds of a source: a network that trained much worse than the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median

WORSE = 1.25
"""Ratio of training objectives from which a network counts as badly trained."""

LAST_PART = 0.25
"""Part of the training over whose end the objective is averaged."""

Rows = Sequence[Mapping[str, str]]


def badly_trained(histories: Mapping[str, Rows]) -> list[str]:
    r"""One sentence for each network whose training ended far from that of the other folds.

    The folds of a source share the recipe and most of their training patients, so their training
    objectives end close to each other, whoever the validation patients are. With :math:`q_k` the
    mean objective of network :math:`k` over the last quarter of its steps, it is named if

    .. math:: q_k > 1.25 \operatorname{median}_{j \neq k} q_j

    Parameters
    ----------
    histories
        Rows of ``history.csv`` by network, ``SOURCE_foldK``. A source with fewer than three
        networks is not compared: of two that differ, nobody knows which is the usual one.
    """
    ends: dict[str, dict[str, float]] = {}
    for name, rows in histories.items():
        last = rows[-max(1, round(LAST_PART * len(rows))) :]
        values = [float(row["objective"]) for row in last if row.get("objective")]
        if values:
            ends.setdefault(name.rpartition("_fold")[0], {})[name] = fmean(values)
    sentences = []
    for found in ends.values():
        for name, end in sorted(found.items()):
            others = [value for other, value in found.items() if other != name]
            if len(others) >= 2 and end > WORSE * median(others):
                sentences.append(
                    f"{name} trained badly: its objective ended at {end:.3g}, those of the other "
                    f"folds at {median(others):.3g} (median); try a smaller learning rate, "
                    "optimizer.clip_norm or more steps"
                )
    return sentences
