from __future__ import annotations

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.models.networks.blocks import norm_layer


def parameters(**options):
    with torch.device("meta"):
        model = NETWORKS.build("unet_plus_plus", options).build()
    return sum(p.numel() for p in model.parameters())


def test_the_published_network_has_its_published_size():
    assert parameters(slices=5) == 26_084_881
    assert parameters(slices=3) == 26_078_609


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "mish", "silu"])
def test_every_norm_and_activation_learns_from_every_parameter(norm, activation):
    options = {"slices": 3, "width": 4, "norm": norm, "activation": activation}
    torch.manual_seed(0)
    model = NETWORKS.build("unet_plus_plus", options).build()
    out = model(torch.randn(2, 3, 64, 96))
    assert out.shape == (2, 1, 64, 96)
    assert out.abs().max() <= 1
    out.square().sum().backward()
    dead = [name for name, p in model.named_parameters() if not p.grad.abs().sum() > 0]
    assert not dead


def test_norms_and_activations_do_not_change_the_size():
    sizes = {
        parameters(width=16, norm=norm, activation=activation)
        for norm in ("batch", "instance", "group")
        for activation in ("relu", "silu")
    }
    assert len(sizes) == 1


def test_a_prediction_does_not_depend_on_its_neighbours_in_the_batch():
    torch.manual_seed(0)
    model = NETWORKS.build("unet_plus_plus", {"width": 4, "norm": "instance"}).build().eval()
    x = torch.randn(3, 5, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=0, atol=1e-4)


def test_fresh_weights_come_from_the_given_stream_alone():
    network = NETWORKS.build("unet_plus_plus", {"width": 4})
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(network.build().state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slices": 4}, "slices must be odd, got 4"),
        ({"width": 6}, "multiple of 4, got 6"),
        ({"stem_stride": 4}, "stem_stride must be 1 or 2, got 4"),
        ({"answering": 5, "columns": True}, "answering must be from 1 to 4, got 5"),
        ({"answering": 2}, "answering needs columns: true"),
        ({"norm": "layer"}, "norm: Input should be"),
        ({"widht": 16}, "did you mean 'width'?"),
    ],
)
def test_wrong_options_do_not_pass_silently(options, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        NETWORKS.build("unet_plus_plus", options)


def test_a_stem_of_stride_one_keeps_the_size_and_halves_the_divisor():
    small = NETWORKS.build("unet_plus_plus", {"width": 8, "stem_stride": 1})
    published = NETWORKS.build("unet_plus_plus", {"width": 8})
    assert (small.divisor, published.divisor) == (16, 32)
    assert parameters(width=8, stem_stride=1) == parameters(width=8)
    assert small.build()(torch.randn(2, 5, 32, 48)).shape == (2, 1, 32, 48)


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_training_starts_at_water_and_never_in_the_flat_part_of_tanh(norm):
    torch.manual_seed(0)
    model = NETWORKS.build("unet_plus_plus", {"width": 16, "norm": norm}).build()
    out = model(torch.randn(2, 5, 64, 64))
    hu = (out + 1) / 2 * 4095 - 1024
    assert hu.mean().abs() < 100
    assert out.std() < 0.2


def test_instance_norm_is_torchs_instance_norm():
    ours = norm_layer("instance", 6)
    theirs = torch.nn.InstanceNorm2d(6, affine=True)
    x = torch.randn((3, 6, 5, 7), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x))


COLUMNS = {"slices": 3, "width": 4, "stem_stride": 1, "norm": "instance", "columns": True}


def test_every_parameter_of_the_columns_learns():
    torch.manual_seed(0)
    model = NETWORKS.build("unet_plus_plus", COLUMNS).build()
    out = model(torch.randn(2, 3, 32, 32))
    assert out.shape == (2, 1, 32, 32)
    out.square().sum().backward()
    assert not [n for n, p in model.named_parameters() if not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("answering", [1, 2, 4])
def test_the_first_columns_answer_without_computing_the_others(answering):
    torch.manual_seed(0)
    whole = NETWORKS.build("unet_plus_plus", COLUMNS).build().eval()
    part = NETWORKS.build("unet_plus_plus", {**COLUMNS, "answering": answering}).build().eval()
    part.load_state_dict(whole.state_dict())
    answers, ran = [], []
    whole.columns.register_forward_hook(lambda _m, _i, out: answers.append(out))
    for name, node in part.nodes.items():
        node.register_forward_hook(lambda *_, name=name: ran.append(name))
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        whole(x)
        expected = torch.tanh(answers[0][:, :answering].mean(dim=1, keepdim=True))
        torch.testing.assert_close(part(x), expected)
    assert len(ran) == answering * (answering + 1) // 2
