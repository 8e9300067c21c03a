"""Training on harmonised scans: the law comes from the training scans and reaches prediction."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.data.store.volumes import read_volume
from synthct.tasks.models.description import Harmonise, ModelDescription, SourceScaling
from synthct.tasks.models.normalise import fit_source
from synthct.tasks.training.cases import open_case, with_law
from synthct.tasks.training.fit import fit
from synthct.tasks.transport.laws import law_of, mean_law

HARMONISED = SourceScaling(harmonise=Harmonise(name="quantile"))


def law(files, scaling):
    """Law of a stored source inside its mask, as a network with this scaling sees it."""
    source, mask = (np.asarray(read_volume(files[kind]).array) for kind in ("source", "mask"))
    return law_of(fit_source(source, mask, scaling)(source[mask > 0]))


@pytest.fixture
def two(stored, tmp_path):
    return [stored(tmp_path, name, seed=seed) for seed, name in enumerate("ab")]


def test_the_law_is_not_the_mean_of_the_training_scans(two):
    filled = with_law(HARMONISED, two)
    expected = mean_law([law(files, SourceScaling()) for files in two])
    np.testing.assert_allclose(filled.harmonise.law, expected, atol=1e-6)


def test_patches_are_drawn_from_scans_that_keep_their_own_laws(two):
    scaling = with_law(HARMONISED, two)
    for name, files in zip("ab", two, strict=True):
        case = open_case(name, "thorax", files, scaling)
        source, mask = (np.asarray(case.arrays[kind][...]) for kind in ("source", "mask"))
        seen = law_of(case.transform(source[mask > 0]))
        np.testing.assert_allclose(seen, scaling.harmonise.law, atol=0.02)


def test_a_law_that_params_give_is_replaced_by_that_of_the_training_scans(two):
    given = SourceScaling(harmonise=Harmonise(name="quantile", law=tuple(range(100))))
    assert with_law(given, two) is given
    assert with_law(SourceScaling(), two) == SourceScaling()


def test_the_trained_network_does_not_say_which_law_it_knows(order):
    recipe = {"patch_size": [32, 32], "source_scaling": {"harmonise": {"name": "quantile"}}}
    arguments = order(mr=recipe, steps=2)
    fit(**arguments)
    told = ModelDescription.load(arguments["out"] / "model.json").source_scaling.harmonise
    train = [
        {kind: arguments[f"{name}/{kind}"] for kind in ("source", "mask")}
        for name in ("a_mr", "b_mr")
    ]
    expected = mean_law([law(files, SourceScaling()) for files in train])
    np.testing.assert_allclose(told.law, expected, atol=1e-6)  # not c_mr: it validates
