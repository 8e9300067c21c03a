from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from synthct.data.errors import UsageError
from synthct.tasks.losses import LOSSES
from synthct.tasks.losses.self_similarity import self_similarity
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.registration.similarities.mind import Mind

NETS = Path(os.environ.get("SYNTHCT_SHARED_DATA", "../shared/data")) / "feature_nets"


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [2.0 * x, x.square()]


class Asked(nn.Module):
    """As for registration: arguments are the number of layers, statistics and a direction."""

    def forward(self, x: Tensor, layers: int, numbers: Tensor, direction: int) -> list[Tensor]:
        return [(x - numbers[0]) / (numbers[1] - numbers[0]) * layers]


@pytest.fixture
def stored(tmp_path):
    def write(module):
        path = tmp_path / "features.pt"
        torch.jit.script(module).save(path)
        return {"network": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    return write


def lost(p, t, weight=None, **options):
    weight = torch.ones_like(t) if weight is None else weight
    wanted = Target(t, weight, (3.0, 1.0, 1.0), TargetScaling())
    return LOSSES.build("impact_synth", options)(p, wanted)


def test_hand_value_of_two_layers(stored):
    p, t = torch.full((1, 1, 4, 4), 0.5), torch.full((1, 1, 4, 4), -0.5)
    # In [0, 1]: 0.75 next to 0.25; doubled they are 1 apart, squared 0.5.
    value = lost(p, t, layer_weights=(1.0, 4.0), **stored(Doubled()))
    assert value.item() == pytest.approx(1 + 4 * 0.5)


def test_a_network_with_four_arguments_gets_layers_and_statistics(stored):
    p = torch.rand((1, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    same = lost(3 * p - 1, p, **stored(Asked()))  # min-max scaling undoes any linear change
    assert same.item() == pytest.approx(0, abs=1e-6)
    assert lost(p**2, p, **stored(Asked())) > 0.05


def test_another_file_than_the_one_named_is_not_run(stored):
    options = stored(Doubled()) | {"sha256": "0" * 64}
    with pytest.raises(UsageError, match=r"sha256 of .*features.pt must be that of the file"):
        LOSSES.build("impact_synth", options)


def test_a_file_that_is_absent_is_reported_before_any_work(tmp_path):
    with pytest.raises(UsageError, match="must be a readable TorchScript file"):
        LOSSES.build("impact_synth", {"network": str(tmp_path / "none.pt")})


@pytest.mark.parametrize(
    "options",
    [{"channels": 3}, {"layer_weights": ()}, {"layer_weights": (0.0,)}, {"input_range": (1.0, 0.0)},
     {"layer_weights": (math.inf,)}],
)  # fmt: skip
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError):
        LOSSES.build("impact_synth", options)


def test_the_network_stays_frozen_and_its_weights_get_no_gradient(stored, monkeypatch):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 2, 3, padding=1)

        def forward(self, x: Tensor) -> list[Tensor]:
            return [self.convolution(x)]

    loaded, load = [], torch.jit.load
    monkeypatch.setattr(
        torch.jit, "load", lambda *a, **k: loaded.append(load(*a, **k)) or loaded[0]
    )
    p = torch.zeros((2, 1, 8, 8), requires_grad=True)
    lost(p, torch.rand(2, 1, 8, 8), channels=3, **stored(Net())).backward()
    assert p.grad.abs().sum() > 0
    weights = list(loaded[0].parameters())
    assert weights
    assert all(w.grad is None and not w.requires_grad for w in weights)


@pytest.mark.parametrize("shape", [(1, 1, 9, 8), (1, 1, 5, 9, 8)])
def test_contrast_does_not_matter_to_self_similarity(shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1)).double()
    (plain,), (inverted,) = self_similarity(image), self_similarity(1 - image)
    torch.testing.assert_close(plain, inverted)
    assert plain.shape[1] == (4 if len(shape) == 4 else 12)


def test_in_a_volume_it_is_the_descriptor_of_registration():
    image = torch.rand((1, 1, 6, 9, 8), generator=torch.Generator().manual_seed(1)).double()
    # To the softening of the variance.
    torch.testing.assert_close(
        self_similarity(image)[0], Mind().features(image, (1.0, 1.0, 1.0)), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("file", ["R1D2_2D.pt", "M730_1_Layers.pt"])
def test_real_feature_networks_tell_right_from_blurred(file):
    path = NETS / file
    if not path.is_file():
        pytest.skip(f"no {path}: set SYNTHCT_SHARED_DATA")
    options = {
        "network": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "dimensions": 2 if "2D" in file else 3,
    }  # fmt: skip
    t = torch.rand((2, 1, 16, 16), generator=torch.Generator().manual_seed(0)) * 2 - 1
    p = torch.nn.functional.avg_pool2d(t, 3, 1, 1).requires_grad_()
    assert lost(t, t, **options).item() == 0
    value = lost(p, t, **options)
    value.backward()
    assert value > 0.01
    assert p.grad.abs().sum() > 0
