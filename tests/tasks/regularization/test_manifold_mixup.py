from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.inputs.manifold_mixup import ManifoldMixup


def identity_network():
    """Three 1 x 1 convolutions that pass their input on: the prediction is the hidden feature."""
    layers = (nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Conv2d(1, 1, 1))
    model = nn.Sequential(*layers).double()
    for layer in (model[0], model[2]):
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    return model


def hidden_and_target(small):
    """Prediction and target of one step whose source and target are the same positive image."""
    image = small.batch.target.abs()
    step = small.step(batch=replace(small.batch, source=image, target=image))
    step = small.composition.perturb(step)
    return image, step.batch, small.composition.evaluate(step).step.prediction


def test_features_and_targets_are_mixed_with_the_same_share(problem):
    """With a network that passes its input on, the mixed feature must equal the mixed target."""
    small = problem("manifold_mixup", model=identity_network(), layers=("1",))
    image, batch, prediction = hidden_and_target(small)
    assert torch.equal(batch.source, image)  # the layer is mixed, the input is not
    assert not torch.equal(batch.target, image)
    torch.testing.assert_close(prediction, batch.target)


def test_the_input_is_one_of_the_layers(problem):
    small = problem("manifold_mixup", model=identity_network(), layers=("input",))
    image, batch, prediction = hidden_and_target(small)
    assert not torch.equal(batch.source, image)
    torch.testing.assert_close(prediction, batch.target)


def test_only_one_of_the_layers_is_mixed_at_a_step(problem):
    small = problem("manifold_mixup", model=identity_network(), layers=("input", "0", "1"))
    for seed in range(12):
        image = small.batch.target.abs()
        step = small.step(batch=replace(small.batch, source=image, target=image), seed=seed)
        step = small.composition.perturb(step)
        prediction = small.composition.evaluate(step).step.prediction
        torch.testing.assert_close(prediction, step.batch.target)  # mixed twice it would differ


def test_the_default_is_a_layer_that_no_skip_passes_by(problem):
    regularizer = problem("manifold_mixup").member.regularizer
    unet = NETWORKS.build("unet_plus_plus", {"slices": 1, "width": 4, "norm": "group"}).build()
    (layer,) = regularizer.hides(unet)
    seen = {}
    handle = unet.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: seen.setdefault("cut", output.detach())
    )
    source = torch.zeros((1, 1, 32, 32), requires_grad=True)
    output = unet(source)
    handle.remove()
    assert seen["cut"].shape[-2:] == output.shape[-2:]
    cut = unet.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: output.detach()
    )
    assert torch.autograd.grad(unet(source).sum(), source, allow_unused=True) == (None,)
    cut.remove()


def test_a_layer_that_does_not_exist_is_reported(problem):
    small = problem("manifold_mixup", layers=("input", "nine"))
    (message,) = small.member.regularizer.problems(small.model)
    assert "no layer is called 'nine'" in message


def test_an_impossible_alpha_is_refused(problem):
    with pytest.raises(UsageError, match="must be positive"):
        problem("manifold_mixup", alpha=-1.0)


def two_tissues(count=16):
    """Two clusters in six channels; the target is the cluster."""
    rng = torch.Generator().manual_seed(8)
    tissue = torch.arange(count) % 2
    source = torch.randn((count, 6, 1, 1), generator=rng, dtype=torch.float64)
    source[:, 0, 0, 0] += 4 * tissue - 2
    return source, (tissue.double() - 0.5).view(-1, 1, 1, 1), tissue


def has_flatter_features(problem):
    """Spread within a tissue over the distance between tissues, in the mixed layer."""

    def spread(weight):
        torch.manual_seed(0)
        first = (nn.Conv2d(6, 12, 1), nn.Tanh(), nn.Conv2d(12, 12, 1), nn.Tanh())
        model = nn.Sequential(*first, nn.Conv2d(12, 1, 1)).double()
        small = problem("manifold_mixup", weight=weight, model=model, layers=("3",))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        source, target, tissue = two_tissues()
        batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(target))
        for number in range(200):
            step = small.composition.perturb(small.step(number, batch, seed=number))
            optimizer.zero_grad()
            small.objective(step).backward()
            optimizer.step()
        with torch.no_grad():
            feature = model[:4](source).flatten(1)
        means = torch.stack([feature[tissue == k].mean(dim=0) for k in (0, 1)])
        within = (feature - means[tissue]).norm(dim=1).mean()
        return (within / (means[0] - means[1]).norm()).item()

    return spread(0.5) < 0.85 * spread(0.0)


@pytest.mark.claim
def test_features_vary_in_fewer_directions_within_a_tissue(problem):
    """The paper's claim: representations are flattened, fewer directions of variance."""
    assert has_flatter_features(problem)


def test_without_the_mixing_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(ManifoldMixup, "perturb", Regularizer.perturb)
    monkeypatch.setattr(ManifoldMixup, "hidden", Regularizer.hidden)
    assert not has_flatter_features(problem)
