from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest
from pydantic import ValidationError

from synthct.data import registry
from synthct.data.errors import UsageError
from synthct.tasks.chain.params import parse_params
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.training.check import check
from synthct.tasks.training.params import TrainingParams
from synthct.tasks.training.plugins import build_composition, build_network, plugin_modules


def params(**changes):
    import json

    return TrainingParams.model_validate_json(json.dumps(changes))


def test_the_defaults_are_the_published_recipe():
    default = TrainingParams()
    check(default)
    assert build_network(default).slices == 5
    assert (default.folds, default.mr.patch_size, default.cbct.patch_size) == (
        5,
        (320, 320),
        (256, 256),
    )
    assert [(loss.name, loss.weight) for loss in default.losses] == [("l1", 1.0)]
    assert (default.target_scaling.low_hu, default.target_scaling.high_hu) == (-1024, 3071)


def test_every_fault_is_reported_at_once_with_its_place():
    wrong = params(
        network={"name": "unet_plus_plus", "norm": "layer", "widht": 8},
        losses=[{"name": "hubert"}],
        regularizers=[
            {"name": "cutuot", "weight": 0.5},
            {"name": "cutout", "weight": 1.5, "size_mm": "big"},
            {"name": "gradient_norm", "weight": 0.1, "evry": 2, "reach": 0.1},
        ],
    )
    with pytest.raises(UsageError) as caught:
        check(wrong)
    told = str(caught.value)
    for part in (
        "did you mean 'width'?",
        "norm: Input should be 'batch', 'instance' or 'group', got 'layer'",
        "losses[0]: no loss is called 'hubert'; did you mean 'huber'?",
        "regularizers[0]: no regularizer is called 'cutuot'; did you mean 'cutout'?",
        "size_mm: Input should be a valid number, got 'big'",
        "did you mean 'every'?",
    ):
        assert part in told


def test_layers_probabilities_and_patches_are_checked_against_the_network():
    wrong = params(
        network={"name": "unet_plus_plus", "width": 8},
        mr={"patch_size": [48, 64]},
        regularizers=[
            {"name": "cutout", "weight": 1.5},
            {"name": "norm_loss", "weight": 0.1, "layers": ["encoder.stem.0", "heat"]},
        ],
    )
    with pytest.raises(UsageError) as caught:
        check(wrong)
    told = str(caught.value)
    assert "mr.patch_size: 'unet_plus_plus' takes 2 multiples of 32, got [48, 64]" in told
    assert "the weight of 'cutout' is a probability in [0, 1], got 1.5" in told
    assert "regularizers[1]: no layer is called 'heat'; did you mean 'head'" in told


def test_a_patch_that_shrinks_to_one_voxel_is_reported():
    with pytest.raises(UsageError, match=r"mr.patch_size: one axis is at least 64"):
        check(params(mr={"patch_size": [32, 32]}))


def test_two_that_cannot_be_combined_are_reported(monkeypatch):
    @dataclass(frozen=True)
    class Jealous(Regularizer):
        incompatible = frozenset({"cutout"})

    monkeypatch.setitem(REGULARIZERS._known, "jealous", Jealous)
    with pytest.raises(UsageError, match="'jealous' cannot be combined with cutout"):
        check(
            params(
                regularizers=[{"name": "jealous", "weight": 1.0}, {"name": "cutout", "weight": 0.5}]
            )
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"regularizers": [{"name": "cutout", "weight": -0.5}]},
        {"losses": []},
        {"losses": [{"name": "l1", "weight": 0.0}]},
        {"sources": ["mr", "mr"]},
        {"sources": ["pet"]},
        {"folds": 1},
        {"step": 5},
        {"mr": {"patch_size": [64]}},
        {"optimizer": {"betas": [0.9, 1.0]}},
    ],
    ids=str,
)
def test_values_that_cannot_be_are_refused(changes):
    with pytest.raises(ValidationError):
        params(**changes)


def test_a_negative_strength_names_its_key_in_params_yaml():
    text = "dataset: demo\ntraining: {regularizers: [{name: cutout, weight: -1.0}]}"
    with pytest.raises(UsageError, match=r"training\.regularizers\.0\.weight"):
        parse_params(text, where="params.yaml")


def test_the_same_loss_twice_has_two_names():
    twice = params(losses=[{"name": "huber"}, {"name": "huber", "delta_hu": 9.0}])
    assert build_composition(twice).labels == ["huber", "huber_2"]


def test_a_units_key_holds_the_plug_ins_it_names_and_no_others():
    modules = plugin_modules(params(regularizers=[{"name": "cutout", "weight": 0.5}]))
    assert modules == (
        "synthct.tasks.losses.pointwise", "synthct.tasks.models.networks.unet_plus_plus",
        "synthct.tasks.models.scalings.moments", "synthct.tasks.models.scalings.percentiles",
        "synthct.tasks.regularization.inputs.cutout",
    )  # fmt: skip


def test_a_strangers_regularizer_comes_through_its_entry_point(tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text(
        "from dataclasses import dataclass\n"
        "from synthct.tasks.regularization.base import Regularizer\n"
        "@dataclass(frozen=True)\n"
        "class Shy(Regularizer):\n"
        "    depth: int = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("shy", "stranger:Shy", "synthct.regularizers")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    fresh = registry.Registry(
        "regularizer", group="synthct.regularizers", package="synthct.tasks.regularization"
    )
    fresh._known.update(REGULARIZERS._known)
    assert fresh.build("shy", {"depth": 4}).depth == 4
    assert fresh.module_of("shy") == "stranger"


def test_a_penalty_on_displacements_silently_does_nothing_in_training():
    with pytest.raises(UsageError, match=r"regularizers\[0\]: 'bending' acts on displacement"):
        check(params(regularizers=[{"name": "bending", "weight": 1.0}]))


def test_a_scheduled_perturbation_is_given_a_probability_above_1():
    wrong = params(regularizers=[{"name": "early_late_dropout", "weight": 1.5}])
    with pytest.raises(UsageError, match=r"probability in \[0, 1\], got 1.5"):
        check(wrong)


def test_compiling_what_a_regularizer_must_look_into_is_reported():
    wrong = params(compile=True, regularizers=[{"name": "nested_dropout", "weight": 0.5}])
    with pytest.raises(
        UsageError, match="'nested_dropout' acts inside the network: it needs compile"
    ):
        check(wrong)
    check(params(compile=True, regularizers=[{"name": "norm_loss", "weight": 0.1}]))


def test_faults_of_every_kind_are_reported_in_one_go():
    """Names, layers, probabilities, clashes and patches: none hides another."""
    wrong = params(
        network={"name": "unet_plus_plus", "width": 8},
        losses=[{"name": "ssimm"}, {"name": "sobolev", "order": 9.0}],
        regularizers=[
            {"name": "nested_dropout", "weight": 1.5},
            {"name": "nested_co_teaching", "weight": 0.5},
            {"name": "norm_loss", "weight": 0.1, "layers": ["heat"]},
            {"name": "wavelet_sparsityy", "weight": 0.1},
        ],
        mr={"patch_size": [48, 64]},
    )
    with pytest.raises(UsageError) as caught:
        check(wrong)
    told = str(caught.value)
    for part in (
        "losses[0]: no loss is called 'ssimm'; did you mean 'ssim'?",
        "order must be in [-4, 4], got 9.0",
        "the weight of 'nested_dropout' is a probability",
        "'nested_co_teaching' cannot be combined with nested_dropout",
        "no layer is called 'heat'; did you mean 'head'",
        "no regularizer is called 'wavelet_sparsityy'; did you mean 'wavelet_sparsity'?",
        "mr.patch_size: 'unet_plus_plus' takes 2 multiples of 32, got [48, 64]",
    ):
        assert part in told
