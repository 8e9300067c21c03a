"""Documents of evaluation and study, as these stages leave them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from synthct.data.files import canonical_json, write_whole
from synthct.data.tables import write_table

if TYPE_CHECKING:
    from tests.tasks.report.conftest import Tree

METHODS = {"model": 0.4, "linear": 0.8, "lookup": 1.0, "constant": 1.6, "unregistered": 1.3}


def write_study(out: Path) -> None:
    """Summary and effects as the study stage leaves them."""
    summary = {"metric": "mae_hu", "reference": "truth", "source": "mr", "patients": 3, "folds": 3,
               "seeds": 1, "significance": 0.05, "arms": ["cutout", "mixup"], "pairs": ["clean"],
               }  # fmt: skip
    write_whole(out / "summary.json", canonical_json(summary))
    row = {"pairs": "clean", "cases": 3, "control": 60.0, "flops_ratio": 1.0}
    rows = [
        {"arm": "mixup", **row, "mean": 65.0, "difference": 5.0, "low": 4.25, "high": 6.5,
         "p": 0.001, "adjusted_p": 0.002, "better": 0},
        {"arm": "cutout", **row, "mean": 58.5, "difference": -1.5, "low": None, "high": None,
         "p": None, "adjusted_p": None, "better": 2},
    ]  # fmt: skip
    write_table(out / "effects.csv", list(rows[0]), rows)


def trust(tree: Tree) -> dict:
    """As ``tasks/evaluation/trust.py`` writes it: one suspect case, one unlike scan."""
    covered = {"nominal": 0.9, "value": 0.81, "n": 6, "low": 0.75, "high": 0.86,
               "holds": False, "half_width": 113.0}  # fmt: skip
    few = covered | {"n": 3, "low": None, "high": None, "holds": None}
    suspect = {"case": tree.cases()[0], "check": "lost_structure", "value": 3.21, "limit": 0.5}
    suspect |= {
        "unit": "ml",
        "suspect": True,
        "message": "largest piece of bone with none near",
    }
    like = {"distance": 0.8, "limit": 2.0, "unlike": False, "because": "q1"}
    unlike = dict.fromkeys(tree.cases(), like)
    unlike[tree.cases()[1]] = like | {"distance": 9.1, "unlike": True, "because": "noise"}
    floor = {"pairs": {"chain | again": {"mae_hu": 21.0, "me_hu": 0.1}}}
    floor |= {"floor_mae_hu": 21.0, "worst_mae_hu": 21.0}
    mr = {"nominal": 0.9, "guarantee": "mean", "coverage": {"all": covered, "bone": few}}
    mr |= {"by_region": {"thorax": {"all": few}, "abdomen": {}}}
    mr["calibration"] = {"observed": [[0.5, 0.3], [0.9, 0.6]], "factor": [[0.9, 4.0]]}
    mr |= {"retention": [[0.5, 20.0, 5.0], [1.0, 50.0, 50.0]], "retention_gain": 0.4}
    nothing = {"nominal": 0.9, "guarantee": "mean", "coverage": {}, "by_region": {}}
    return {
        "schema": "synthct-trust/1",
        "suspects": [suspect],
        "unlike": unlike,
        "floor": {tree.cases()[0]: floor},
        "uncertainty": {"mr": {"registered": mr}, "cbct": {"registered": nothing}},
    }


def summary(tree: Tree) -> dict:
    ratio = {"value": 0.52, "n": 3, "low": 0.41, "high": 0.63}
    profile = {"name": "synthrad2025_container", "low_hu": -1024.0, "high_hu": 3071.0}
    summary = {
        "profile": profile,
        "ratio": {"mr": {"registered": {"model_over_lookup": ratio}}},
    }
    ranks = {
        "n": 3,
        "metrics": ["mae_hu", "ms_ssim"],
        "corrected": {"model": 1.0, "lookup": 2.0},
    }
    ranks |= {"as_published": {"model": 1.5, "lookup": 1.5}}
    ranks |= {"first_share": {"model": 1.0, "lookup": 0.0}}
    gain = {"baseline": "linear", "cases": 3, "model_mae_hu": 50.0, "baseline_mae_hu": 100.0}
    gain |= {"ratio": 0.5, "low": None, "high": None}
    summary["gain"] = {source: {"registered": gain} for source in ("mr", "cbct")}
    failed = {tree.cases()[0]: ["lost_structure"]}
    summary["suspect"] = {
        "mr": {"cases": 3, "failed": failed}, "cbct": {"cases": 3, "failed": {}},
    }  # fmt: skip
    summary["ranking"] = {"mr": {"registered": ranks}}
    if tree.synthetic:
        summary["registration_bias"] = {"mr": {"n": 3, "reference_mae_hu": 21.4}}
    return summary


def scores(tree: Tree, case: str) -> list[dict]:
    patient, source = case.split("_")
    base = {"case": case, "patient": patient, "source": source, "fold": 0}
    base["region"] = tree.patients[patient]
    rows = []
    methods = METHODS | ({"raw": 2.0} if source == "cbct" else {})
    for reference in ("registered", "truth") if tree.synthetic else ("registered",):
        for method, factor in methods.items():
            mae = tree.errors_hu[case] * factor / METHODS["model"]
            mae += 6.0 if reference == "registered" and method == "model" else 0.0
            values = {"mae_hu": mae if method != "model" or reference == "truth" else mae - 6}
            if reference == "truth" and method == "model":
                values["mae_hu"] = mae - 5.0
            values |= {"me_hu": -0.12 * mae, "psnr_db": 34 - mae / 20}
            values |= {"ms_ssim": 0.99 - mae / 1000}
            if tree.synthetic and method in {"model", "unregistered"}:
                values |= {"dice_bone": 0.9 - mae / 1000}
            rows += [
                base | {"method": method, "reference": reference, "metric": m, "value": v}
                for m, v in values.items()
            ]
    return rows
