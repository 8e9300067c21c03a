"""Smaller forms: exact where they promise it, better than cutting, and chosen by what they save."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.export.form_cost import FormCost, choices
from synthct.tasks.export.params import ExportParams
from synthct.tasks.export.shrink import SHRINKERS, Calibration
from synthct.tasks.export.shrink.low_rank import factorised, multiply_adds, rank_at
from synthct.tasks.export.shrink.merged_channels import Inner, inner_channels, merge
from synthct.tasks.export.shrink.weight_bits import packed_weights
from synthct.tasks.models.rounding import leading_bits, rounded
from synthct.tasks.prediction.release import open_release
from synthct.tasks.prediction.runtime import onnx_runner


def of_rank(layer, rank):
    """The layer's weights cut to a rank."""
    u, s, v = torch.linalg.svd(layer.weight.detach().flatten(1), full_matrices=False)
    with torch.no_grad():
        layer.weight.copy_(((u[:, :rank] * s[:rank]) @ v[:rank]).reshape(layer.weight.shape))
    return layer


@pytest.fixture
def calibration(describe):
    inputs = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    return Calibration(describe(), 18, inputs)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.GroupNorm(16, 16), nn.ReLU(),
        nn.Conv2d(16, 8, 3, padding=1), nn.LeakyReLU(), nn.Conv2d(8, 1, 1), nn.Tanh(),
    ).eval()  # fmt: skip


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 16, 3, padding=1),
        nn.Conv2d(16, 12, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(8, 16, 5, padding=2, dilation=1, padding_mode="reflect"),
        nn.Conv3d(8, 8, 3, padding=1),
    ],
)
def test_a_layer_trained_to_half_its_rank_is_changed_by_its_factors(layer):
    of_rank(layer, layer.out_channels // 2)
    pair = factorised(layer, 1 - 1e-9)
    assert sum(p.numel() for p in pair.parameters()) < 0.7 * layer.weight.numel()
    x = torch.randn(2, layer.in_channels, *([16] * (layer.weight.ndim - 2)))
    torch.testing.assert_close(pair(x), layer(x), atol=1e-5, rtol=0)


def test_a_layer_low_in_direction_is_cut_along_its_axes():
    layer = nn.Conv2d(6, 6, 3, padding=1)
    with torch.no_grad():  # one vertical and one horizontal filter for all channels
        torch.manual_seed(2)
        high, wide = torch.randn(3, 1), torch.randn(1, 3)
        layer.weight.copy_(0.1 * torch.randn(6, 6, 1, 1) * (high @ wide))
    pair = factorised(layer, 1 - 1e-9)
    assert [tuple(part.kernel_size) for part in pair] == [(3, 1), (1, 3)]
    x = torch.randn(1, 6, 9, 9)
    torch.testing.assert_close(pair(x), layer(x), atol=1e-5, rtol=0)


def test_a_layer_of_full_rank_is_made_more_expensive():
    assert factorised(nn.Conv2d(16, 16, 3, padding=1), 1.0) is None


def test_the_rank_keeps_the_energy_by_hand():
    values = torch.tensor([2.0, 1.0, 1.0])  # squares 4, 1, 1: shares 0.67, 0.83, 1
    assert [rank_at(values, energy) for energy in (0.6, 0.8, 0.84, 1.0)] == [1, 2, 3, 3]
    assert rank_at(torch.zeros(3), 0.5) == 1


def test_a_layer_before_a_stride_is_priced_as_if_it_ran_on_the_voxels_of_the_output():
    along_y = nn.Conv2d(8, 2, (3, 1), stride=(2, 1), padding=(1, 0), bias=False)
    along_x = nn.Conv2d(2, 8, (1, 3), stride=(1, 2), padding=(0, 1), bias=False)
    # 8 x 2 x 3 weights, at two voxels along x for each voxel of the output
    assert multiply_adds(nn.Sequential(along_y, along_x)) == 2 * 48 + 48


def test_a_factorised_network_of_low_rank_has_the_same_onnx_output_and_less_arithmetic(
    network, calibration
):
    for layer in network:
        if isinstance(layer, nn.Conv2d) and layer.out_channels > 1:
            of_rank(layer, max(1, layer.out_channels // 4))
    before = network(torch.from_numpy(calibration.inputs)).detach().numpy()
    shrunk = SHRINKERS.build("low_rank", {"energy": 0.999999}).shrink(network, calibration)
    after = onnx_runner(shrunk.graph)(calibration.inputs)
    np.testing.assert_allclose(after, before, atol=1e-5)
    pixels = 32 * 32
    full = pixels * sum(m.weight.numel() for m in network if isinstance(m, nn.Conv2d))
    assert shrunk.multiply_adds < 0.6 * full
    assert isinstance(network[0], nn.Conv2d)  # the network given is not changed


def duplicated(norm):
    """Eight channels of which the last four repeat the first four."""
    torch.manual_seed(3)
    first, second = nn.Conv2d(3, 8, 3, padding=1, bias=norm is None), nn.Conv2d(8, 2, 3, padding=1)
    with torch.no_grad():
        first.weight[4:] = first.weight[:4]
        if norm is None:
            first.bias[4:] = first.bias[:4]
        else:
            norm.weight.uniform_(0.5, 2)
            norm.bias.normal_()
            norm.weight[4:], norm.bias[4:] = norm.weight[:4], norm.bias[:4]
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean[:4].normal_()
            norm.running_mean[4:] = norm.running_mean[:4]
    middle = [nn.ReLU()] if norm is None else [norm, nn.ReLU()]
    return nn.Sequential(first, *middle, second).eval()


@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d(8), nn.GroupNorm(8, 8)])
def test_channels_that_are_equal_are_merged_without_loss_where_cutting_loses(norm):
    network = duplicated(norm)
    x = torch.randn(2, 3, 12, 12)
    before = network(x).detach()
    (inner,) = inner_channels(network)
    merge(network, inner, 0.5)
    assert network[0].out_channels == 4
    assert network[-1].in_channels == 4
    torch.testing.assert_close(network(x), before, atol=1e-4, rtol=0)


def test_merging_half_of_similar_channels_loses_less_than_cutting_them():
    merged_error, cut_error = [], []
    for seed in range(8):
        torch.manual_seed(seed)
        kinds = torch.randn(4, 3, 3, 3)
        network = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 3, padding=1)
        )
        with torch.no_grad():  # four kinds of filter, each four times with a little noise
            network[0].weight.copy_(kinds.repeat(4, 1, 1, 1) + 0.2 * torch.randn(16, 3, 3, 3))
        x = torch.randn(2, 3, 16, 16)
        exact = network(x).detach()
        first, second = network[0].weight, network[2].weight
        score = first.flatten(1).norm(dim=1) * second.transpose(0, 1).flatten(1).norm(dim=1)
        cut = torch.argsort(score, descending=True)[:8]
        hidden = torch.relu(network[0](x))[:, cut]
        by_cut = nn.functional.conv2d(hidden, second[:, cut], network[2].bias, padding=1)
        cut_error.append((by_cut - exact).abs().mean().item())
        merge(network, Inner("0", "", "2"), 0.5)
        merged_error.append((network(x) - exact).abs().mean().item())
    assert np.mean(merged_error) < 0.7 * np.mean(cut_error)


class Skips(nn.Module):
    """The first convolution is read twice, the second once."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.act = nn.ModuleList([nn.ReLU(), nn.ReLU()])

    def forward(self, x):
        first = self.act[0](self.a(x))
        return self.c(self.act[1](self.b(first))) + first


def test_a_channel_that_a_skip_connection_reads_is_merged_away():
    assert inner_channels(Skips()) == [Inner("b", "", "c")]


def test_a_network_whose_layers_depend_on_the_input_is_a_users_error():
    class Depends(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UsageError) as caught:
        inner_channels(Depends())
    assert caught.value.code == "network-not-traced"


def test_every_shrinker_gives_a_graph_of_its_reference_and_leaves_the_network(network, calibration):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for name in SHRINKERS.names():
        shrunk = SHRINKERS.build(name, {}).shrink(network, calibration)
        graph, reference = onnx_runner(shrunk.graph), shrunk.reference
        for inputs in (calibration.inputs, calibration.inputs[:1]):
            np.testing.assert_allclose(graph(inputs), reference(inputs), atol=1e-4, err_msg=name)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_leading_bits_by_hand():
    weights = np.array([[127.0, 64.0, -9.0, 7.0]], np.float32)
    for bits, expected in ((8, [127, 64, -9, 7]), (4, [7, 4, -1, 0]), (2, [1, 1, 0, 0])):
        leading, unit = leading_bits(weights, bits)
        assert leading.tolist() == [expected]
        assert unit.item() == 2 ** (8 - bits)
    np.testing.assert_array_equal(rounded(np.zeros((2, 3), np.float32), 4), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="bits must be"):
        leading_bits(weights, 1)


@pytest.mark.parametrize(("bits", "share"), [(8, 0.35), (4, 0.22)])
def test_packed_weights_are_smaller_and_are_the_rounded_ones(describe, bits, share):
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 33, 3, padding=1))
    from synthct.tasks.export.graph import export_graph

    graph = export_graph(wide, describe(), 21)
    packed, _ = packed_weights(graph, bits)
    assert len(packed) < share * len(graph)
    x = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        for layer in (wide[0], wide[2]):
            layer.weight.copy_(torch.from_numpy(rounded(layer.weight.numpy(), bits)))
        expected = wide(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(onnx_runner(packed)(x), expected, atol=1e-4)
    onnx.checker.check_model(onnx.load_from_string(packed))


def cost(bytes=100, adds=100, released=True):
    mae = {"all": 60.0}
    return FormCost(bytes, 100, adds, 100, mae, mae, released)


def test_the_fast_form_has_the_least_arithmetic_and_the_small_one_the_least_bytes():
    fold = {"a": cost(60, 50), "b": cost(20, 100), "c": cost(10, 10, released=False)}
    assert choices([fold, fold], []) == {"fast": "a", "small": "b"}
    assert choices([fold], [15]) == {"fast": "a", "small": "int8"}
    assert choices([{"b": cost(20, 100)}], []) == {"small": "b"}
    other = {"a": cost(60, 50, released=False), "b": cost(20, 100)}
    assert choices([fold, other], []) == {"small": "b"}  # every fold must have it
    assert choices([{}], []) == {}


@pytest.mark.slow
def test_a_release_offers_its_forms_and_the_card_says_what_they_cost(release_of):
    params = {
        "shrink": ({"name": "weight_bits", "bits": 8}, {"name": "low_rank", "energy": 0.3}),
        "max_shrink_cost_hu": 1e6,
    }
    folder = release_of(folds=(0, 1), params=params)
    opened = open_release(folder)
    (fold, _) = opened.card["folds"]
    assert set(fold["forms"]) == {"weight_bits", "low_rank"}
    assert "low_rank" in fold["parity"]
    assert opened.description.fast == "low_rank"
    assert len(list(opened.graphs(form="fast"))) == 2
    assert "Smaller forms" in (folder / "card.html").read_text()
    assert opened.graphs_bytes(form="fast") == sum(
        (folder / f"fold{k}.low_rank.onnx").stat().st_size for k in (0, 1)
    )
    with pytest.raises(UsageError, match="--fast is given with --int8"):
        list(opened.graphs(form="fast", int8=True))


def test_a_form_that_costs_too_much_is_left_out_and_reported(release_of):
    params = {"shrink": ({"name": "low_rank", "energy": 0.01},), "max_shrink_cost_hu": 1e-9}
    opened = open_release(release_of(params=params))
    (fold,) = opened.card["folds"]
    worse = fold["forms"]["low_rank"]
    assert worse["released"] is (worse["mae_hu"]["all"] <= worse["mae_float_hu"]["all"])
    if not worse["released"]:
        assert "fold0.low_rank.onnx" not in opened.listed
        with pytest.raises(UsageError) as caught:
            list(opened.graphs(form="fast"))
        assert caught.value.code == "no-form"


def test_a_release_whose_model_json_names_a_form_it_lacks_is_not_opened(released):
    described = open_release(released).description
    content = {**json.loads(described.as_text()), "fast": "low_rank"}
    with pytest.raises(ValueError, match="no form"):
        type(described).model_validate(content, strict=False)


def test_a_shrinker_is_listed_twice():
    with pytest.raises(ValueError, match="listed once"):
        ExportParams(shrink=({"name": "low_rank"}, {"name": "low_rank", "energy": 0.5}))
