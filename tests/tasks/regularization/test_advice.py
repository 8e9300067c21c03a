from __future__ import annotations

import pytest

from docs.make_advice import GRID, PAGE, evidence
from synthct.data.tables import read_table
from synthct.data.yaml_text import load_yaml
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.advice import EVIDENCE, advice


def row(difference, low, high, *, p=0.01, floor=1.0, changed=0):
    return {"pairs": "clean", "difference": str(difference), "low": str(low), "high": str(high),
            "adjusted_p": str(p), "floor": str(floor), "changed": str(changed)}  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([row(-3, -4, -2)], "recommended"),
        ([row(-3, -4, -2), row(0.1, -1, 1)], "recommended"),
        ([row(-3, -4, -2), row(3, 2, 4)], "experimental"),
        ([row(-3, -4, -2, p=0.2)], "situational"),
        ([row(-3, -7, 1)], "situational"),
        ([row(-3, -4, -2, floor=3.5)], "situational"),
        ([row(-3, -4, -2, changed=1)], "experimental"),
        ([], "experimental"),
    ],
)
def test_training_noise_and_harm_on_other_pairs_are_no_recommendation(rows, verdict):
    assert advice("any", rows).verdict == verdict


def test_the_evidence_is_that_of_the_page_of_the_study():
    """Run ``python -m docs.make_advice`` after the page has changed."""
    shipped = read_table(EVIDENCE)
    made = list(evidence(PAGE.read_text(), load_yaml(GRID.read_text())))
    assert [(r["regularizer"], r["pairs"], float(r["difference"])) for r in shipped] == [
        (r["regularizer"], r["pairs"], r["difference"]) for r in made
    ]
    assert {r["regularizer"] for r in shipped} <= set(REGULARIZERS.names())


def test_what_hurts_on_the_page_is_not_recommended():
    assert advice("mixup").verdict == "experimental"
    assert advice("jacobian_nuclear_norm").verdict == "experimental"
    assert advice("wasserstein_to_init").verdict == "recommended"
    assert advice("norm_loss").verdict == "situational"
