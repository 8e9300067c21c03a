"""The contract of all networks; a new one is tested as soon as it is registered."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.export.graph import export_graph
from synthct.tasks.export.params import ExportParams
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.prediction.runtime import onnx_runner

SMALL = {
    "unet_plus_plus": {"slices": 3, "width": 4},
    "unet_3d": {"width": 8, "levels": 3},
    "me_unet": {"slices": 3, "width": 8, "levels": 2},
}
"""Options that make a network small; third-party networks use their defaults."""

# "residual" wraps one of these and has promises of its own: test_residual.py.
NORMS = ("batch", "instance", "group")
ACTIVATIONS = ("relu", "leaky_relu", "mish", "silu")
PAIRED = [(norm, ACTIVATIONS[n % 4]) for n, norm in enumerate(NORMS)] + [("instance", "silu")]


@pytest.fixture(params=[name for name in NETWORKS.names() if name != "residual"])
def name(request):
    return request.param


def small(name, **options):
    return NETWORKS.build(name, {**SMALL.get(name, {}), **options})


def stack(network, count=2, times=2, seed=0):
    """Inputs of the smallest size at which every level has more than one voxel."""
    side = times * network.divisor
    shape = (network.slices, side, side + network.divisor)
    if network.dimensions == "3d":
        shape = (1, side, *shape[1:])
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("norm", "activation"), PAIRED)
def test_every_parameter_learns_under_every_norm_and_activation(name, norm, activation):
    torch.manual_seed(0)
    network = small(name, norm=norm, activation=activation)
    model, x = network.build(), stack(network)
    out = model(x)
    assert out.shape == (2, 1, *x.shape[2:])
    assert out.abs().max() <= 1
    out.square().sum().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not [n for n in dead if not n.endswith("conv.bias")]  # a norm takes biases away


def test_norms_and_activations_are_all_offered_and_do_not_change_the_size(name):
    sizes = set()
    for norm, activation in itertools.product(NORMS, ACTIVATIONS):
        with torch.device("meta"):
            model = small(name, norm=norm, activation=activation).build()
        sizes.add(sum(p.numel() for p in model.parameters()))
    assert len(sizes) == 1


def test_training_starts_near_water(name):
    torch.manual_seed(0)
    network = small(name)
    hu = (network.build()(stack(network)) + 1) / 2 * 4095 - 1024
    assert hu.mean().abs() < 150
    assert hu.std() < 500


def test_a_prediction_does_not_depend_on_its_neighbours_in_the_batch(name):
    torch.manual_seed(0)
    network = small(name, norm="instance")
    model, x = network.build().eval(), stack(network, count=3)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=0, atol=1e-4)


def test_fresh_weights_come_from_the_given_stream_alone(name):
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(small(name).build().state_dict())
        torch.rand(3)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"norm": "layer"}, "norm: Input should be"),
     ({"activation": "gelu"}, "activation: Input should be"),
     ({"widht": 16}, "did you mean 'width'")],
)  # fmt: skip
def test_wrong_options_do_not_pass_silently(name, options, message):
    with pytest.raises(UsageError, match=message):
        NETWORKS.build(name, options)


def test_what_is_exported_answers_the_same_at_other_sizes(name):
    """To 2e-5 network units, 0.04 HU, in ONNX Runtime."""
    torch.manual_seed(0)
    network = small(name)
    model = network.build().eval()
    x = stack(network)
    description = ModelDescription(
        source="mr", fold=0, network={"name": name, **SMALL.get(name, {})},
        dimensions=network.dimensions, slices=network.slices, patch_size=tuple(x.shape[2:]),
        divisor=network.divisor, spacing_mm=(3.0, 2.0, 2.0), source_scaling=SourceScaling(),
        target_scaling=TargetScaling(),
    )  # fmt: skip
    run = onnx_runner(export_graph(model, description, ExportParams().opset))
    for given in (x, x[:1], stack(network, count=3, times=3, seed=1)):
        with torch.no_grad():
            expected = model(given).numpy()
        np.testing.assert_allclose(run(given.numpy()), expected, rtol=0, atol=2e-5)
