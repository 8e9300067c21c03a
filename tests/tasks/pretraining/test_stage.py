"""The stage: no held-out patient is seen, a killed run resumes, others read its outputs."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from synthct.data.errors import MachineError, UsageError
from synthct.data.layout import Layout
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.pretraining import fit
from synthct.tasks.pretraining import run as pretraining_run
from synthct.tasks.pretraining.params import PretrainingParams
from synthct.tasks.pretraining.run import check, run, unpaired
from synthct.tasks.registration.similarities import SIMILARITIES
from synthct.tasks.report.reading import read_chain
from synthct.tasks.report.views.pretraining import pretraining
from synthct.tasks.training import run as training_run
from synthct.tasks.training.params import TrainingParams
from synthct.tasks.training.run import _pretrained, plans_of
from tests.tasks.pretraining.conftest import PRETRAINING, TRAINING


def params(**changes):
    return PretrainingParams.from_json({**PRETRAINING, **changes})


def order(stored, folder, **changes):
    files = dict(unpaired(stored, "mr", {"c", "d", "e", "f"}))
    (folder / "out").mkdir(parents=True)
    (folder / "scratch").mkdir()
    return {
        "out": folder / "out", "scratch": folder / "scratch", "unit": "mr_fold0", "source": "mr",
        "seed": 1, "spacing_mm": [3.0, 2.0, 2.0], "params": params(**changes).as_json(),
        "training": TRAINING, **files,
    }  # fmt: skip


def test_a_network_has_seen_scans_of_the_patients_it_is_tested_on(workspace):
    context = workspace()
    run(context, params())
    plans, _ = plans_of(context, context.section("training", TrainingParams))
    assert len(plans) == 2
    for plan in plans:
        facts = json.loads(
            (context.artefact("pretraining") / plan.name / "pretrained.json").read_text()
        )
        test = {case.removesuffix("_mr") for case in plan.fold.test}
        validation = {case.removesuffix("_mr") for case in plan.fold.validation}
        assert test
        assert validation
        assert not test & set(facts["patients"])
        assert not validation & set(facts["patients"])
        # The scans of a patient without a usable pair serve as well.
        wanted = {case.removesuffix("_mr") for case in plan.fold.train} | {"f"}
        assert set(facts["patients"]) == wanted
        assert set(facts["scans"]) == {f"{p}/{s}" for p in wanted for s in ("mr", "ct")}


def test_training_starts_from_weights_that_saw_a_test_patient(workspace):
    context = workspace()
    plans, _ = plans_of(context, context.section("training", TrainingParams))
    folder = context.artefact("pretraining")
    for plan in plans:
        (folder / plan.name).mkdir(parents=True)
        seen = sorted(plan.held_out)[:1] if plan.number else []
        (folder / plan.name / "pretrained.json").write_text(json.dumps({"patients": seen}))
    with pytest.raises(MachineError, match="mr_fold1 starts from weights that have seen"):
        _pretrained(folder, plans)
    kept, unfit = _pretrained(folder / "elsewhere", plans)
    assert kept == []
    assert [row["code"] for row in unfit] == ["start-absent"] * 2


def test_a_law_that_training_fills_in_stops_pretraining(stored, tmp_path, monkeypatch):
    asked = order(stored, tmp_path)
    harmonise = {"kind": "zscore_in_mask", "harmonise": {"name": "quantile"}}
    recipe = {**TRAINING["mr"], "source_scaling": harmonise}

    def stopped(run):
        raise StopIteration(sorted(scan.name for scan in run.sampler.scans))

    monkeypatch.setattr(fit.Run, "run", stopped)
    with pytest.raises(StopIteration) as reached:
        fit.pretrain(**{**asked, "training": {**TRAINING, "mr": recipe}})
    assert reached.value.value == ["a/ct", "a/mr", "b/ct", "b/mr"]


def test_pretraining_with_a_given_law_is_not_made_anew_when_the_harmoniser_changes(
    workspace, monkeypatch
):
    law = {"name": "quantile", "law": [n / 50 - 1 for n in range(100)]}
    context = workspace(mr={**TRAINING["mr"], "source_scaling": {"harmonise": law}})
    made = []
    monkeypatch.setattr(pretraining_run, "check", lambda *_: None)
    monkeypatch.setattr(pretraining_run, "run_units", lambda *args, **_: made.extend(args[3]))
    run(context, params())
    assert all(any("harmonisers.quantile" in name for name in unit.plugins) for unit in made)
    assert made


def test_a_killed_run_ends_with_other_bytes(stored, tmp_path, monkeypatch):
    changes = {"objectives": [{"name": "tico"}, {"name": "masked_latents", "weight": 0.5}]}
    whole = order(stored, tmp_path / "whole", **changes)
    fit.pretrain(**whole)
    killed = order(stored, tmp_path / "killed", **changes)
    step = fit.Run._step

    def dies(self, views, optimizer):
        if self.done == 3:
            raise KeyboardInterrupt
        return step(self, views, optimizer)

    monkeypatch.setattr(fit.Run, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        fit.pretrain(**killed)
    monkeypatch.setattr(fit.Run, "_step", step)
    done = []
    monkeypatch.setattr(fit.Run, "_record", _noted(done, fit.Run._record))
    fit.pretrain(**killed)
    assert done == [3, 4]  # from the checkpoint of step 2 on
    names = sorted(path.name for path in whole["out"].iterdir())
    assert names == ["features.pt", "history.csv", "pretrained.json", "weights.safetensors"]
    for name in names:
        assert (whole["out"] / name).read_bytes() == (killed["out"] / name).read_bytes(), name


def _noted(done, record):
    def noting(self, values, rate):
        done.append(self.done)
        record(self, values, rate)

    return noting


def test_outputs_are_not_what_training_registration_and_the_loss_read(stored, tmp_path):
    made = order(stored, tmp_path)
    fit.pretrain(**made)
    out = made["out"]
    facts = json.loads((out / "pretrained.json").read_text())
    options = {key: value for key, value in TRAINING["network"].items() if key != "name"}
    model = NETWORKS.build("unet_plus_plus", options).build()
    model.load_state_dict(load_file(out / "weights.safetensors"))

    file = str(out / "features.pt")
    similarity = SIMILARITIES.build("impact", {"network": file, "distance": "cosine"})
    image = torch.randn((1, 1, 6, 32, 32), generator=torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(1)
    compared = similarity.compare(image, image, (3.0, 2.0, 2.0), rng)
    assert compared.moving.shape[1:] == (sum(facts["channels"]), 6, 32, 32)
    inside = torch.ones_like(image)
    apart = similarity.compare(image, image.roll(5, 4), (3.0, 2.0, 2.0), rng)
    same = compared.cost(compared.moving, inside).item()
    assert same < 0.1 * apart.cost(apart.moving, inside).item()

    loss = LOSSES.build("impact_synth", {"network": file, "sha256": facts["sha256"]})
    prediction = (image[:, :, 2] / 5).requires_grad_()
    target = Target(
        torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32), (3.0, 2.0, 2.0), TargetScaling()
    )
    with pytest.raises(ValueError, match="sha256"):
        type(loss)(network=file, sha256="0" * 64)
    volume = LOSSES.build(
        "impact_synth", {"network": file, "sha256": facts["sha256"], "dimensions": 3}
    )
    value = volume(prediction, target)
    value.backward()
    assert value > 0
    assert prediction.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("changes", "training", "message"),
    [
        ({"objectives": [{"name": "tcio"}]}, {}, "did you mean 'tico'"),
        ({"patch_size": [30, 32]}, {}, "multiples of 16"),
        ({"patch_size": [16, 16]}, {}, "at least 32"),
        ({"layers": ["encoder.stm"]}, {}, r"did you mean 'encoder\.stem'"),
        ({"views": {"shift_voxels": 16}}, {}, "is not common"),
        ({"network": {"name": "me_unet", "width": 8}}, {}, "other steps for images"),
        ({"network": {"name": "unet", "width": 8}}, {}, "no network is called 'unet'"),
    ],
)
def test_a_mistake_is_found_after_hours_of_registration(changes, training, message):
    with pytest.raises(UsageError, match=message):
        check(params(**changes), TrainingParams.from_json({**TRAINING, **training}))


def test_the_defaults_are_refused():
    check(
        PretrainingParams(), TrainingParams.from_json(TRAINING | {"mr": {"patch_size": [64, 64]}})
    )


def test_a_network_starts_from_the_weights_of_another_fold(workspace, monkeypatch):
    context = workspace(start_from="pretraining")
    section = context.section("training", TrainingParams)
    planned = []
    monkeypatch.setattr(
        training_run, "run_units", lambda *args, **kw: planned.extend(args[3]) or []
    )
    plans, _ = plans_of(context, section)
    for plan in plans:
        folder = context.artefact("pretraining") / plan.name
        folder.mkdir(parents=True)
        (folder / "pretrained.json").write_text(json.dumps({"patients": ["f"]}))
    training_run.run(context, section)
    starts = {unit.name: unit.inputs["start"] for unit in planned}
    folder = context.artefact("pretraining")
    assert starts == {p.name: folder / p.name / "weights.safetensors" for p in plans}
    fresh = training_run.TrainingParams.from_json(TRAINING)
    planned.clear()
    training_run.run(context, fresh)
    assert not any("start" in unit.inputs for unit in planned)


def test_the_report_hides_what_was_pretrained(tmp_path):
    layout = Layout(tmp_path)
    folder = layout.artefact("pretraining") / "mr_fold0"
    folder.mkdir(parents=True)
    facts = {
        "objectives": [{"name": "tico", "weight": 0.5}], "patients": ["a", "b"],
        "scans": ["a/mr", "b/ct", "b/mr"], "channels": [8, 4], "effective_rank": 3.25,
        "dimensions": 16, "sha256": "c0ffee",
    }  # fmt: skip
    (folder / "pretrained.json").write_text(json.dumps(facts))
    (folder / "history.csv").write_text("step,objective,effective_rank\n20,1.5,2\n40,0.5,3.25\n")
    section = pretraining(read_chain(layout))
    assert section.there
    assert [heading for heading, _ in section.charts] == [
        "Objective", "Effective rank of the embeddings",
    ]  # fmt: skip
    cells = [[cell.text for cell in row] for row in section.networks.rows]
    assert cells == [["mr_fold0", "tico x 0.5", "2", "3", "12", "3.2 of 16", "c0ffee"]]
    assert not pretraining(read_chain(Layout(tmp_path / "other"))).there
