"""Everyday mistakes, as they are typed: one line that says what, where and what to do.

Each row is a command line and what the line must say. Every one ends with exit code 2 and neither
changes a file nor makes a workspace. Those of the machine (permissions, missing extras, ports, lost
artefacts, added and removed patients) are in ``test_mistakes_of_the_machine.py``; two runs at once
in ``chaos/test_dvc_lock.py``, Ctrl-C in ``test_cli.py``, edited workspaces in
``test_workspaces.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from synthct.data.files import content_hash
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series
from synthct.flows.cli.app import command_line
from synthct.flows.exits import USAGE
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from tests.tasks.prediction.conftest import GRID, small_patient, write_release

ROOT = Path(__file__).resolve().parents[2]

PARAMS = {
    "section.yaml": "trainng: {folds: 3}",
    "method_key.yaml": "registration: {methods: {mr_headneck: elastix_mi}}",
    "method.yaml": "registration: {method: elastix}",
    "preset_name.yaml": "registration: {presets: {mr_thorax: mr_TH_dmo}}",
    "spacing.yaml": "registration: {grid_spacing_mm: [3.0, -1.0, 1.0]}",
    "unit.yaml": "registration: {grid_spacing_mm: 1 mm}",
    "no_weight.yaml": "training: {regularizers: [{name: norm_loss}]}",
    "negative.yaml": "training: {regularizers: [{name: norm_loss, weight: -1.0}]}",
    "rate.yaml": "training: {optimizer: {learning_rate: high}}",
    "source.yaml": "training: {sources: [ct]}",
    "outline.yaml": "ingestion: {body: {by_region: {Thorax: {mr: 0.3}}}}",
    "gate.yaml": "export: {gate: {checks: [identiy]}}",
    "cleared.yaml": "export: {cleared_for: us, gate: {when_refused: demonstration}}",
    "name.yaml": "dataset: My Study",
    "tab.yaml": "training:\n\tfolds: 3",
    "twice.yaml": "study: {arms: [{name: norm, regularizers: [{name: norm_loss}]}]}",
    "no_study.yaml": "seed: 1",
}

MANIFESTS = {
    "headless.csv": "mr.mha,P1,MR,thorax\n",
    "region.csv": "path,patient,modality,region\nmr.mha,P1,MR,Thoraks\n",
    "modality.csv": "path,patient,modality,region\nmr.mha,P1,MRI,thorax\n",
    "path.csv": "path,patient,modality,region\nmrr.mha,P1,MR,thorax\n",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with good scans, a release, and whatever people get wrong."""
    folder = tmp_path_factory.mktemp("place")
    mr = small_patient()
    body = (mr.array > 100).astype(np.uint8)
    ct = np.where(body, 40.0 + mr.array / 20, -1000.0).astype(np.int16)
    write_image(folder / "mr.mha", mr)
    write_image(folder / "ct.mha", Volume(ct, GRID, Modality.CT))
    write_image(folder / "body.mha", Volume(body, GRID, Modality.MASK))
    write_image(folder / "empty.mha", Volume(np.zeros_like(body), GRID, Modality.MASK))
    part = Volume(body, GRID, Modality.MASK).crop((0, 0, 0), (12, 20, 40))
    write_image(folder / "part.mha", part)
    coarse = Grid((6, 24, 20), (12.0, 4.0, 4.0), GRID.origin_mm)
    write_image(folder / "coarse.mha", Volume(ct[::2, ::2, ::2].copy(), coarse, Modality.CT))
    write_image(folder / "scaled.mha", Volume((ct * 20.0).astype(np.float32), GRID, Modality.CT))
    write_series(
        folder / "ct_series", Volume(ct, GRID, Modality.CT),
        patient_id="P1", study="s", series_description="CT", uid_seed="1",
    )  # fmt: skip
    mr_series = {"patient_id": "P1", "study": "s", "uid_seed": "2"}
    write_series(folder / "mr_two" / "a", mr, series_description="T1", **mr_series)
    other = Volume(mr.array + 7, GRID, Modality.MR)
    write_series(
        folder / "mr_two" / "b", other, series_description="T2", **mr_series | {"uid_seed": "3"}
    )
    (folder / "text.nii.gz").write_text("no image")
    model = ModelDescription(
        source="mr", fold=0, network={"name": "toy"}, slices=3, patch_size=(32, 32), divisor=8,
        spacing_mm=(6.0, 2.0, 2.0), source_scaling=SourceScaling(), target_scaling=TargetScaling(),
    )  # fmt: skip
    write_release(folder / "release", model, (0.2, 0.4))
    write_release(folder / "damaged", model, (0.2, 0.4))
    (folder / "damaged" / "fold0.onnx").write_bytes(b"other weights")
    (folder / "refused").mkdir()
    refusal = {"problem": "9 of 9 unseen cases are suspect", "remedy": "look at these cases"}
    (folder / "refused" / "refused.json").write_text(json.dumps(refusal))
    (folder / "earlier").mkdir()
    (folder / "earlier" / "quality.json").write_text("{}")
    (folder / "notes").mkdir()
    (folder / "notes" / "diary.txt").write_text("mine")
    (folder / "earlier.mha").write_text("an earlier result")
    (folder / "earlier.json").write_text("{}")
    for name, text in PARAMS.items():
        head = "" if text.startswith("dataset") else "dataset: demo\n"
        (folder / name).write_text(head + text)
    for name, text in MANIFESTS.items():
        (folder / name).write_text(text)
    return folder


PAIR = "register --fixed {p}/mr.mha --fixed-modality mr --moving {p}/ct.mha --moving-modality ct"
SWAPPED = "register --fixed {p}/ct.mha --fixed-modality ct --moving {p}/mr.mha --moving-modality mr"
PREDICT = "predict --model {p}/release --input {p}/mr.mha --out {p}/new.mha"
EVALUATE = "evaluate --prediction {p}/ct.mha --reference {p}/ct.mha"
STUDY = "study --grid {p}/"
INGEST = "ingest {p}/mr.mha --dataset nobody --dry-run"

MISTAKES = [
    # names of commands, options, presets, stages
    ("rnu", "Did you mean 'run'?"),
    ("run --clustr here", "--cluster"),
    ("run --preset no-such", "no preset 'no-such'; presets: axes"),
    ("run --until trainig", "no stage 'trainig'; stages: cohort"),
    ("run --cluster slrum", "did you mean 'slurm'?"),
    ("run --prefect-port 99999", "--prefect-port"),
    ("completion tcsh", "'SHELL': 'tcsh' is not one of 'bash', 'zsh', 'fish'; see"),
    ("regularizers cutuot", "did you mean 'cutout'?"),
    # params
    (f"{STUDY}section.yaml", "trainng: no such key (did you mean 'training'?)"),
    (f"{STUDY}method_key.yaml", "'mr_headneck' is not a source and region (did you mean 'mr_head-"),
    (f"{STUDY}method.yaml", "is called 'elastix'; did you mean 'elastix_mi'?"),
    (f"{STUDY}preset_name.yaml", "'mr_TH_dmo'; did you mean 'mr_TH_demo'?"),
    (f"{STUDY}spacing.yaml", "grid_spacing_mm.1: Input should be greater than 0, got -1.0"),
    (f"{STUDY}unit.yaml", "grid_spacing_mm: Input should be a valid array, got '1 mm'"),
    (f"{STUDY}no_weight.yaml", "training.regularizers.0.weight: this key is required"),
    (f"{STUDY}negative.yaml", "weight: Input should be greater than or equal to 0, got -1.0"),
    (f"{STUDY}rate.yaml", "learning_rate: Input should be a valid number, got 'high'"),
    (f"{STUDY}source.yaml", "training.sources.0: Input should be 'mr' or 'cbct', got 'ct'"),
    (f"{STUDY}outline.yaml", "'Thorax' is not a region (did you mean 'thorax'?)"),
    (f"{STUDY}gate.yaml", "'identiy' is not in evaluation.checks (did you mean 'identity'?)"),
    (f"{STUDY}cleared.yaml", "cannot be cleared for clinical use"),
    (f"{STUDY}name.yaml", "got 'My Study'"),
    (f"{STUDY}tab.yaml", "line 3"),
    (f"{STUDY}twice.yaml", "norm_loss: a regularizer needs a weight, which has no default"),
    (f"{STUDY}no_study.yaml", "there is no section `study:`"),
    (f"{STUDY}absent.yaml", "does not exist"),
    # two scans
    (f"{PAIR} --out {{p}}/new".replace("mr.mha", "mrr.mha"), "no such file or folder"),
    (
        "register --fixed {p}/mr.mha --moving {p}/ct.mha --out {p}/new",
        "state it with --fixed-modality",
    ),
    (f"{SWAPPED} --out {{p}}/new", "exchange --fixed and --moving"),
    (f"{PAIR} --out {{p}}/new --method elstix", "did you mean 'elastix_mi'?"),
    (f"{PAIR} --out {{p}}/new --settings mr_XX", "did you mean 'mr_TH'?"),
    (f"{PAIR} --out {{p}}/new --region Thorax", "did you mean 'thorax'?"),
    (f"{PAIR} --out {{p}}/new --option factors", "write NAME=VALUE"),
    (f"{PAIR} --out {{p}}/new --fixed-mask {{p}}/empty.mha", "the fixed body mask is empty"),
    (f"{PAIR} --out {{p}}/earlier", "the output exists already"),
    (f"{PAIR} --out {{p}}/notes --overwrite", "the output folder holds other files"),
    # a release and a scan
    (PREDICT.replace("release", "relaese"), "there is no such folder"),
    (PREDICT.replace("release", "refused"), "refused this model: 9 of 9 unseen cases"),
    (PREDICT.replace("release", "damaged"), "copy it again"),
    (PREDICT.replace("mr.mha", "mrr.mha"), "no such file or folder"),
    (PREDICT.replace("mr.mha", "text.nii.gz"), "copy or export the file again"),
    (PREDICT.replace("mr.mha", "ct_series"), "the scan is CT, the model predicts from MR"),
    (PREDICT.replace("mr.mha", "mr_two"), "--series"),
    (f"{PREDICT} --mask {{p}}/mr.mha", "it is an image"),
    (f"{PREDICT} --mask {{p}}/part.mha", "the scan reaches 56 mm beyond the mask"),
    (f"{PREDICT} --mask {{p}}/empty.mha", "the body mask is empty"),
    (PREDICT.replace("new.mha", "earlier.mha"), "add --overwrite"),
    (PREDICT.replace("new.mha", "mr.mha") + " --overwrite", "an input or another output has"),
    (PREDICT.replace("new.mha", "new.txt"), "name a file with one of these suffixes"),
    (f"{PREDICT} --dicom-reference {{p}}/ct_series", "name an output folder"),
    (f"{PREDICT} --public-key {{p}}/absent.pem", "synthct sign --new-key"),
    (f"{PREDICT} --student", "leave out --student"),
    # a prediction and a reference
    (EVALUATE.replace("ct.mha", "ctt.mha", 1), "no such file or folder"),
    (EVALUATE.replace("ct.mha", "coarse.mha", 1), "give --resample"),
    (EVALUATE.replace("ct.mha", "scaled.mha", 1), "apply the rescale slope"),
    (f"{EVALUATE} --mask {{p}}/empty.mha", "the mask is empty"),
    (f"{EVALUATE} --mask {{p}}/part.mha", "give --resample"),
    (f"{EVALUATE} --out {{p}}/earlier.json", "add --overwrite"),
    (f"{EVALUATE} --dose-prediction {{p}}/ct.mha", "only one dose is given"),
    (f"{EVALUATE} --profile brain", "known: synthrad2025_container"),
    # scans to ingest
    (INGEST.replace("nobody", "BadName"), "lower-case letters"),
    (INGEST.replace("mr.mha", "mrr.mha"), "the source does not exist"),
    (f"{INGEST} --region knee", "use `other` if none fits"),
    (f"{INGEST} --manifest {{p}}/absent.csv", "there is no manifest"),
    (f"{INGEST} --manifest {{p}}/headless.csv", "add the header line"),
    (f"{INGEST} --manifest {{p}}/region.csv", "did you mean 'thorax'?"),
    (f"{INGEST} --manifest {{p}}/modality.csv", "the modality is 'MRI'"),
    (f"{INGEST} --manifest {{p}}/path.csv", "a path of the manifest does not exist"),
]


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "a key of more than sixteen characters")


@pytest.mark.parametrize(("line", "said"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_not_told_in_one_line_or_changes_a_file(place, capsys, line, said):
    before, workspaces = content_hash(place), sorted((ROOT / "workspaces").glob("*"))
    assert command_line(line.format(p=place).split()) == USAGE
    error = capsys.readouterr().err
    (told,) = [each for each in error.splitlines() if each.startswith("synthct: ")]
    assert said in told
    assert "Traceback" not in error
    assert "this is a bug" not in told
    assert content_hash(place) == before
    assert sorted((ROOT / "workspaces").glob("*")) == workspaces
