"""Every method by its name, on one pair of files and in the stage's unit."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from synthct.data.errors import UsageError
from synthct.data.itk import displacement_to_itk, resample
from synthct.data.store.volumes import read_displacement, read_volume
from synthct.tasks.registration.case import register_case
from synthct.tasks.registration.job import Job
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.pair import register_files
from synthct.tasks.registration.params import RegistrationParams
from synthct.tasks.registration.presets import preset_called
from synthct.tasks.registration.scan_pair import ScanPair

QUICK = {"factors": [2, 1], "iterations": [12, 6]}


class Slopes(torch.nn.Module):
    """A network without weights."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [torch.cat([(torch.roll(x, 1, dims=[a]) - x).abs() for a in (2, 3, 4)], dim=1)]


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "slopes.pt"
    torch.jit.save(torch.jit.script(Slopes()), str(path))
    return path


@pytest.fixture(params=[name for name in METHODS.names() if name != "elastix_mi"])
def engine_case(request, stored, arguments, network, tmp_path):
    changes = {"method": request.param, "method_options": QUICK}
    extra = {"network": network} if request.param == "impact" else {}
    preset = arguments()["preset"]
    preset["rigid"]["iterations"] = [30, 20, 20]
    register_case(out=tmp_path, **stored, **arguments(preset=preset, **changes), **extra)
    return tmp_path


def test_every_engine_method_registers_a_case_and_its_files_agree(engine_case, known):
    quality = json.loads((engine_case / "quality.json").read_text())
    assert quality["failures"] == {}
    assert quality["transform"] == "displacement.zarr"
    assert not list(engine_case.glob("transform.*")), "24 bytes a voxel that no stage reads"
    u = read_displacement(engine_case / "displacement.zarr")
    field = sitk.DisplacementFieldTransform(displacement_to_itk(u))
    ct, inside = read_volume(engine_case / "ct.zarr"), read_volume(engine_case / "mask.zarr").array
    again = resample(known.moving, u.grid, transform=field, outside=-1024).array
    assert np.abs(again - ct.array)[inside > 0].max() <= 2.0
    assert quality["truth"]["registered_mm"] < quality["truth"]["unregistered_mm"]


def test_the_network_is_named_by_its_content_not_by_its_path(stored, arguments, network, tmp_path):
    options = {"factors": [2], "iterations": [2]}
    preset = arguments()["preset"]
    preset["rigid"]["iterations"] = [10, 10, 10]
    changes = {"method": "impact", "method_options": options, "preset": preset}
    register_case(out=tmp_path, **stored, network=network, **arguments(**changes))
    text = (tmp_path / "quality.json").read_text()
    assert len(json.loads(text)["method_facts"]["network_sha256"]) == 64
    assert str(network.parent) not in text


@pytest.mark.parametrize(
    ("method", "options", "told"),
    [
        ("impact", {}, "use method 'mind'"),
        ("impact", {"network": "nowhere.pt"}, "nowhere.pt"),
        ("mind", {"factor": [1]}, "did you mean 'factors'"),
        ("mind", {"similarity": {"radios": 1}}, "did you mean 'radius'"),
        ("mind", {"start": "concave"}, "start is one of"),
        ("mind", {"deformation": {"grid_mm": 3}}, "has a name"),
        ("mind", {"penalties": [{"name": "bending"}]}, "a weight is a number of at least 0"),
        ("mind", {"penalties": [{"name": "bendin", "weight": 1}]}, "did you mean 'bending'"),
        ("mi", {"ct_window_hu": [300, -300]}, "lower and a higher bound"),
        ("mindy", {}, "did you mean 'mind'"),
    ],
)
def test_a_wrong_method_is_reported_before_an_hour_of_reading(tmp_path, method, options, told):
    nowhere = tmp_path / "no.mha"
    with pytest.raises(UsageError, match=told):
        register_files(
            nowhere, nowhere, method=method, method_options=options, out=tmp_path / "out"
        )


def test_params_know_every_method_and_hint_at_a_misspelt_one():
    for name in METHODS.names():
        assert RegistrationParams(method=name).method == name
    with pytest.raises(ValueError, match="did you mean 'lncc'"):
        RegistrationParams(method="lnc")


def test_mi_sees_the_bone_that_a_presets_window_would_hide(known):
    narrow = replace(preset_called("mr_HN_demo"), flatten_mm=0.0, ct_window_hu=(-200.0, 100.0))
    pair = ScanPair(known.fixed, known.moving, known.fixed_body, known.moving_body)
    job = Job.of(pair, known.fixed.grid, narrow, seed=0, threads=1)
    brightest = {
        name: METHODS.build(name, {}).prepared(job).compared.moving.array.max()
        for name in ("mi", "lncc")
    }
    assert brightest["lncc"] == 100.0
    assert brightest["mi"] > 200.0
    assert METHODS.build("mi", {}).facts()["ct_window_hu"] == [-1000.0, 1500.0]
    assert METHODS.build("mi", {"ct_window_hu": None}).prepared(job) is job
