"""A small artefact tree as the contracts of docs/reference/artefacts.md lay it out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from synthct.data.files import canonical_json, write_whole
from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.data.store.volumes import write_displacement, write_volume
from synthct.data.tables import write_table
from synthct.data.volume import Displacement, Grid, Modality, Volume
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext
from synthct.tasks.report.params import ReportParams
from synthct.tasks.report.run import run
from tests.tasks.report.tables import scores, summary, trust, write_study


def copied(tree: Tree, root: Path) -> Tree:
    shutil.copytree(tree.root, root)
    return Tree(root, errors_hu=dict(tree.errors_hu))


@dataclass
class Tree:
    """A workspace with artefacts; ``errors_hu`` is the model's MAE of each case."""

    root: Path
    shape: tuple[int, int, int] = (12, 40, 48)
    synthetic: bool = True
    patients: dict[str, str] = field(
        default_factory=lambda: {"HN-01": "head-neck", "TH-01": "thorax", "AB-01": "abdomen"}
    )
    errors_hu: dict[str, float] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        return Layout(self.root, "fixture", own_cohort=self.synthetic)

    @property
    def grid(self) -> Grid:
        return Grid(self.shape, (4.0, 2.0, 2.0), (-24.0, -40.0, -48.0))

    def context(self) -> StageContext:
        return StageContext(
            self.layout,
            1,
            LocalResults(self.root / "units"),
            here,
            methods={"registration": "Moved the CT onto each scan."},
        )

    def page(self) -> str:
        return (self.layout.artefact("report") / "index.html").read_text()

    def folder(self, stage: str) -> Path:
        return self.layout.artefact(stage)

    def cases(self) -> list[str]:
        return [f"{p}_{source}" for p in self.patients for source in ("mr", "cbct")]

    def build(self) -> Tree:
        for number, case in enumerate(self.cases()):
            self.errors_hu.setdefault(case, 40.0 + 10 * number)
        write_whole(self.root / "params.yaml", "seed: 1\ndataset: fixture\n")
        self.ingestion()
        self.registration()
        self.training()
        self.evaluation()
        self.export()
        for stage in ("ingestion", "registration", "training", "evaluation", "export"):
            write_whole(self.folder(stage) / "excluded.json", "[]\n")
            units = {"a-unit": {"key": "5" * 64, "content": "7" * 64}}
            write_whole(self.folder(stage) / "units.json", canonical_json(units))
        return self

    def ingestion(self) -> None:
        out = self.folder("ingestion")
        licence = {"name": "CC BY 4.0", "url": "https://example.org/by/4.0", "cite": "Nobody 2020"}
        dataset = {"format": 1, "dataset": "fixture", "synthetic": self.synthetic}
        dataset |= {"licence": licence | {"non_commercial": False}}
        write_whole(out / "dataset.json", canonical_json(dataset))
        write_whole(out / "labels.json", canonical_json({"1": {"name": "b", "structure": "bone"}}))
        rows = []
        for patient, region in self.patients.items():
            scans = {name: self.scan(name) for name in ("ct", "mr", "cbct")}
            facts = {"patient": patient, "region": region, "synthetic": self.synthetic}
            write_whole(out / patient / "patient.json", canonical_json(facts | {"scans": scans}))
            rows += [
                {"patient": patient, "scan": name, "spacing_z_mm": 4.0, "findings": ""}
                for name in scans
            ]
        write_table(out / "quality.csv", ("patient", "scan", "spacing_z_mm", "findings"), rows)

    def scan(self, name: str) -> dict:
        finding = {"code": "metal", "severity": "note", "sentence": "metal above 2500 HU"}
        return {
            "modality": name.upper(), "shape": list(self.shape), "spacing_mm": [4.0, 2.0, 2.0],
            "findings": [finding] if name == "ct" else [],
        }  # fmt: skip

    def registration(self) -> None:
        out, rows = self.folder("registration"), []
        for number, case in enumerate(self.cases()):
            patient, source = case.split("_")
            verdict = "suspect" if number == 1 else "pass"
            facts = {
                "case": case, "patient": patient, "source": source, "synthetic": self.synthetic,
                "region": self.patients[patient], "method": "elastix", "verdict": verdict,
            }  # fmt: skip
            write_whole(out / case / "case.json", canonical_json(facts))
            reason = "0.20 % of the body folds" if verdict == "suspect" else ""
            write_whole(out / case / "quality.json", canonical_json({"reason": reason}))
            self.volumes(out / case, number)
            row = facts | {"step": "deformable", "reason": reason, "dice_before": 0.81}
            row |= {"dice_after": 0.93, "folding_percent": 0.01 * number, "max_mm": 9.5 + number}
            if self.synthetic:
                row |= {"true_unregistered_mm": 6.1 + number, "true_registered_mm": 2.2}
            rows.append(row)
        columns = list(dict.fromkeys(name for row in rows for name in row))
        write_table(out / "quality.csv", columns, rows)

    def volumes(self, folder: Path, number: int) -> None:
        ct, body = patient(self.shape, number)
        moved = np.roll(ct, (1, 3), axis=(1, 2))
        rng = np.random.default_rng(number)
        mr = np.where(body, 300 + 0.2 * np.clip(ct, -200, 100), 5) + rng.normal(0, 4, ct.shape)
        cbct = ct + rng.normal(0, 45, ct.shape)
        is_mr = number % 2 == 0
        source = mr.astype(np.float32) if is_mr else cbct.astype(np.int16)
        modality = Modality.MR if is_mr else Modality.CBCT
        write_volume(folder / "source.zarr", Volume(source, self.grid, modality))
        for name, values in (("ct", ct), ("unregistered_ct", moved)):
            volume = Volume(values.astype(np.int16), self.grid, Modality.CT)
            write_volume(folder / f"{name}.zarr", volume)
        mask = Volume(body.astype(np.uint8), self.grid, Modality.MASK)
        write_volume(folder / "mask.zarr", mask)
        z = np.indices(self.shape)[0]
        vectors = np.zeros((3, *self.shape), np.float32)
        vectors[2] = 6 + 2 * np.sin(np.indices(self.shape)[2] / 4)
        vectors[0] = 0.05 * z * (number - 2)
        write_displacement(folder / "displacement.zarr", Displacement(vectors, self.grid))

    def training(self) -> None:
        out = self.folder("training")
        folds: dict[str, list] = {}
        for source in ("mr", "cbct"):
            mine = [case for case in self.cases() if case.endswith(f"_{source}")]
            folds[source] = []
            for k, test in enumerate(mine):
                others = [case for case in mine if case != test]
                fold = {"train": others[1:], "validation": others[:1], "test": [test]}
                folds[source].append(fold)
                self.model(out / f"{source}_fold{k}", source, k, fold)
        write_whole(out / "folds.json", canonical_json(folds))

    def model(self, folder: Path, source: str, fold: int, parts: dict) -> None:
        model = {
            "format": 1, "source": source, "fold": fold, "validation_mae_hu": 61.5 + fold,
            "network": {"name": "unet_plus_plus", "width": 8},
            "regularizers": [{"name": "norm_loss", "weight": 0.01}],
            **{f"{name}_cases": cases for name, cases in parts.items()},
        }  # fmt: skip
        write_whole(folder / "model.json", canonical_json(model))
        rows = []
        for step in range(10, 401, 10):
            noise = 0.02 * np.sin(step * 7.3 + fold)
            row = {"step": step, "l1": 0.3 * np.exp(-step / 90) + 0.06 + noise * np.exp(-step / 90)}
            row |= {"norm_loss": 0.01, "learning_rate": 1e-3}
            if step % 100 == 0:
                row["validation_mae_hu"] = 160 * np.exp(-step / 150) + 55 + 4 * fold
            rows.append(row)
        columns = ("step", "l1", "norm_loss", "learning_rate", "validation_mae_hu")
        write_table(folder / "history.csv", columns, rows)

    def evaluation(self) -> None:
        out, rows = self.folder("evaluation"), []
        for number, case in enumerate(self.cases()):
            ct, body = patient(self.shape, number)
            rng = np.random.default_rng(100 + number)
            scale = self.errors_hu[case] / 0.8
            error = np.where(body, rng.normal(0, scale, ct.shape), 0)
            error[self.shape[0] // 3] *= 2
            sct = Volume((ct + error).astype(np.int16), self.grid, Modality.CT)
            write_volume(out / case / "sct.zarr", sct)
            write_whole(out / case / "scores.json", canonical_json({"case": case}))
            rows += scores(self, case)
        write_whole(out / "summary.json", canonical_json(summary(self)))
        write_whole(out / "trust.json", canonical_json(trust(self)))
        self.study()
        columns = ("case", "patient", "source", "region", "fold", "method", "reference", "metric")
        write_table(out / "scores.csv", (*columns, "value"), rows)

    def study(self) -> None:
        out = self.folder("study")
        cells = {("elastix_mi", "elastix_mi"): 67.0, ("elastix_mi", "impact"): 68.3,
                 ("impact", "elastix_mi"): 72.5, ("impact", "impact"): 63.6}  # fmt: skip
        rows = [
            {"trained_on": own, "scored_on": scorer, "cases": 3, "mean": mean}
            for (own, scorer), mean in cells.items()
        ]
        write_table(out / "matrix.csv", list(rows[0]), rows)
        bias = {"scored_on": "impact", "other": "elastix_mi", "difference": -4.7}
        bias |= {"low": -6.1, "high": -3.2}
        write_table(out / "bias.csv", list(bias), [bias])
        write_study(out)

    def export(self) -> None:
        out = self.folder("export")
        card = {
            "format": 1, "name": "synthct mr to synthetic CT", "intended_use": "research",
            "licence": {"of_the_data": {"name": "CC BY 4.0"}, "propagates": "attribution"},
            "folds": [{"fold": 0, "parity": {"max_difference_hu": 0.0021, "windows": 4}}],
            "caveats": ["Trained on digital patients."],
        }  # fmt: skip
        write_whole(out / "mr" / "card.json", canonical_json(card))
        refused = {"code": "gate-score", "where": "cbct", "rule": "the model's mean MAE is at most"}
        refused |= {"problem": "90.0 HU against 100.0 HU", "remedy": "train longer"}
        write_whole(out / "cbct" / "refused.json", canonical_json(refused))


def patient(shape: tuple[int, int, int], number: int) -> tuple[np.ndarray, np.ndarray]:
    """A body with two lungs and a spine: CT [HU] and body mask."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    narrow = 1 - 0.15 * z**2
    body = (x / 0.85 / narrow) ** 2 + (y / 0.65) ** 2 < 1
    rng = np.random.default_rng(number)
    ct = np.full(shape, -1000.0)
    ct[body] = 30
    ct[body & ((x / 0.8 / narrow) ** 2 + (y / 0.6) ** 2 > 0.9)] = -100
    if number // 2 != 0:
        for side in (-0.4, 0.4):
            ct[((x - side) / 0.28) ** 2 + (y / 0.4) ** 2 + (z / 0.9) ** 2 < 1] = -800
    ct[(x / 0.12) ** 2 + ((y - 0.4) / 0.14) ** 2 < 1] = 350
    ct[((x / 0.12) ** 2 + ((y - 0.4) / 0.14) ** 2 < 1.0) & ((x / 0.08) ** 2 > 0.7)] = 900
    return ct + np.where(body, rng.normal(0, 12, shape), 0), body


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Tree:
    """Three digital patients, MR and CBCT, all stages; to be read, not changed."""
    return Tree(tmp_path_factory.mktemp("template") / "fixture").build()


@pytest.fixture
def tree(template, tmp_path) -> Tree:
    """The same, for the test to change."""
    return copied(template, tmp_path / "workspaces" / "fixture")


@pytest.fixture(scope="session")
def page_file(template) -> Path:
    """The page of the unchanged tree."""
    run(template.context(), ReportParams(slices_per_case=2))
    return template.folder("report") / "index.html"


@pytest.fixture
def page(page_file) -> str:
    return page_file.read_text()
