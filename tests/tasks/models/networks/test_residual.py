"""The network on top of the calibration: what it adds, how it is shrunk, what is exported."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.export.graph import export_graph
from synthct.tasks.export.params import ExportParams
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.models.networks.residual import KNOTS
from synthct.tasks.prediction.runtime import onnx_runner
from synthct.tasks.training.params import TrainingParams
from synthct.tasks.training.plugins import networks_of, plugin_modules

BASE = {"name": "unet_plus_plus", "slices": 3, "width": 4, "norm": "instance"}


def built(**options):
    torch.manual_seed(0)
    network = NETWORKS.build("residual", {"base": BASE, **options})
    return network, network.build().eval()


def stack(network, count=2, times=2, seed=0):
    side = times * network.divisor
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn((count, network.slices, side, side), generator=generator)


def test_training_starts_at_the_calibration_not_at_water():
    network, model = built()
    x = stack(network)
    with torch.no_grad():
        apart_hu = (model(x) - x[:, 1:2].clamp(-1, 1)).abs().mean() * 2047.5
    assert apart_hu < 60


def test_a_share_of_zero_leaves_the_calibration():
    network, model = built(gain=1.2, shift=-0.1)
    model.share.zero_()
    x = stack(network)
    with torch.no_grad():
        torch.testing.assert_close(model(x), (1.2 * x[:, 1:2] - 0.1).clamp(-1, 1))


def test_the_share_is_linear_between_the_knots_and_constant_beyond():
    _, model = built()
    values = torch.linspace(1, 0.3, len(KNOTS))
    model.share.copy_(values)
    at = torch.tensor([-KNOTS[2], (KNOTS[3] + KNOTS[4]) / 2, 5.0])
    found = model.weight(at)
    wanted = [values[2], (values[3] + values[4]) / 2, values[-1]]
    torch.testing.assert_close(found, torch.stack(wanted), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_what_is_exported_holds_the_calibration_and_the_shares():
    network, model = built()
    model.share.copy_(torch.linspace(1, 0, len(KNOTS)))
    description = ModelDescription(
        source="cbct", fold=0, network={"name": "residual", "base": BASE}, slices=network.slices,
        patch_size=(64, 64), divisor=network.divisor, spacing_mm=(2.0, 1.5, 1.5),
        source_scaling=SourceScaling(kind="two_point"), target_scaling=TargetScaling(),
    )  # fmt: skip
    run = onnx_runner(export_graph(model, description, ExportParams().opset))
    for x in (stack(network), stack(network, count=1, times=3, seed=1)):
        with torch.no_grad():
            np.testing.assert_allclose(run(x.numpy()), model(x).numpy(), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"base": {"name": "residual"}}, "not residual itself"),
     ({"base": {"name": "unet_pluss"}}, "no network is called"),
     ({"base": {**BASE, "widht": 3}}, "did you mean 'width'"),
     ({"reach": 0.0}, "above 0")],
)  # fmt: skip
def test_wrong_options_do_not_pass_silently(options, message):
    with pytest.raises(UsageError, match=message):
        NETWORKS.build("residual", options)


def params(**cbct):
    return TrainingParams.model_validate(
        {"network": BASE, "cbct": {"source_scaling": {"kind": "two_point"}, **cbct}}, strict=False
    )


def test_the_params_turn_it_on_for_cbct_alone():
    both = params(residual=True)
    assert both.of_source("mr").network.name == "unet_plus_plus"
    wrapped = both.of_source("cbct").network
    assert wrapped.name == "residual"
    assert [entry.name for entry in networks_of(wrapped.as_json())] == ["residual", BASE["name"]]
    modules = plugin_modules(both.of_source("cbct"))
    assert any(name.endswith("unet_plus_plus") for name in modules)
    assert any(name.endswith("residual") for name in modules)


def test_a_narrower_target_window_still_starts_at_the_same_hu():
    low, high = -1024.0, 2000.0
    narrow = TrainingParams.model_validate(
        {
            "network": BASE, "target_scaling": {"low_hu": low, "high_hu": high},
            "cbct": {"source_scaling": {"kind": "two_point"}, "residual": True},
        },
        strict=False,
    )  # fmt: skip
    options = narrow.of_source("cbct").network.options
    for hu in (-1000.0, 40.0, 1500.0):
        source = 2 * (hu + 1024) / 4095 - 1
        target = 2 * (hu - low) / (high - low) - 1
        assert options["gain"] * source + options["shift"] == pytest.approx(target)


@pytest.mark.parametrize("option", [{"residual": True}, {"response_spread": 0.1}])
def test_a_residual_on_an_uncalibrated_scan_is_refused(option):
    wrong = {"cbct": {"source_scaling": {"kind": "min_p99.5"}, **option}}
    with pytest.raises(ValueError, match="need source_scaling"):
        TrainingParams.model_validate(wrong, strict=False)
    with pytest.raises(ValueError, match="is for cbct"):
        TrainingParams.model_validate(
            {"mr": {"source_scaling": {"kind": "two_point"}}}, strict=False
        )
