"""Random responses and the shrinkage towards the calibration."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.data.store.volumes import read_volume
from synthct.tasks.models.calibration import calibrate
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.networks.residual import KNOTS
from synthct.tasks.training.fit import fit
from synthct.tasks.training.params import TrainingParams
from synthct.tasks.training.response import RandomResponse
from synthct.tasks.training.runner import load_network
from synthct.tasks.training.shrinkage import fit_shares

UNIT_HU = 2047.5


def units(hu):
    return (np.asarray(hu, float) + 1024) / UNIT_HU - 1


def test_a_random_response_rises_and_leaves_air_and_soft_tissue():
    rng, grid = np.random.default_rng(0), units(np.linspace(-1024, 3071, 400))
    shown = [RandomResponse(0.2)(grid, rng) for _ in range(50)]
    for one in shown:
        assert (np.diff(one) >= 0).all()
        assert (np.diff(one[one < 1]) > 0).all()
        fixed = np.interp(units([-1000, 40]), grid, one)
        np.testing.assert_allclose(fixed, units([-1000, 40]), atol=0.004)
    bone = np.array([np.interp(units(1200), grid, one) for one in shown])
    assert 0.05 < bone.std() < 0.3


def test_without_spread_nothing_changes():
    grid = units(np.linspace(-1000, 3000, 50))
    shown = RandomResponse(0.0)(grid, np.random.default_rng(0))
    np.testing.assert_allclose(shown, grid, atol=1e-6)


def corrected(right, size, count=4000, seed=0):
    """Voxels whose correction has this size and is ``right`` times too large."""
    rng = np.random.default_rng(seed)
    calibrated = rng.uniform(-0.5, 0.5, count).astype(np.float32)
    correction = (size * rng.choice([-1, 1], count)).astype(np.float32)
    return calibrated, correction, (calibrated + right * correction).astype(np.float32)


def test_the_shares_are_those_that_minimise_the_error_by_size():
    cases = [corrected(0.9, KNOTS[1]), corrected(0.5, KNOTS[3]), corrected(0.2, KNOTS[5])]
    shares = fit_shares(KNOTS, cases)
    np.testing.assert_allclose(shares[[1, 3, 5]], [0.9, 0.5, 0.2], atol=0.01)
    assert (np.diff(shares) <= 1e-9).all()


def test_a_correction_in_the_wrong_direction_is_not_taken_and_a_right_one_is_taken_whole():
    assert fit_shares(KNOTS, [corrected(-1.0, KNOTS[2])])[2] == 0
    assert fit_shares(KNOTS, [corrected(1.5, KNOTS[2])])[2] == 1


def test_shares_never_rise_with_the_size_of_the_correction():
    """A large correction that happened to be right in one case is not trusted above small ones."""
    shares = fit_shares(KNOTS, [corrected(0.3, KNOTS[2]), corrected(0.9, KNOTS[5])])
    assert (np.diff(shares) <= 1e-9).all()
    assert 0.3 < shares[2] < 0.9


@pytest.fixture
def scans(tmp_path):
    """Pairs whose CBCT shows soft tissue, fat and bone of the CT with another gain and offset."""
    from synthct.data.store.volumes import write_volume
    from synthct.data.volume import Grid, Modality, Volume

    shape, files = (8, 48, 48), {}
    for number, name in enumerate(("a", "b", "c")):
        rng = np.random.default_rng(number)
        labels = rng.integers(0, 4, (1, 6, 6)).repeat(8, 0).repeat(8, 1).repeat(8, 2)
        ct = np.array([40, 40, -100, 900])[labels]
        body = np.zeros(shape, bool)
        body[:, 6:-6, 6:-6] = True
        ct[~body] = -1000
        shown = np.where(ct > 40, 40 + 0.7 * (ct - 40), ct)
        cbct = (0.9 + 0.1 * number) * shown + 30 * number + rng.normal(0, 10, shape)
        grid = Grid(shape, (2.0, 1.5, 1.5))
        arrays = {
            "source": (cbct.astype(np.float32), Modality.CBCT),
            "ct": (ct.astype(np.int16), Modality.CT),
            "mask": (body, Modality.MASK),
        }
        for kind, (array, modality) in arrays.items():
            write_volume(tmp_path / name / f"{kind}.zarr", Volume(array, grid, modality))
            files[f"{name}/{kind}"] = tmp_path / name / f"{kind}.zarr"
    return files


def test_the_network_learns_the_residual_and_its_weights_hold_the_shares(scans, tmp_path):
    params = TrainingParams.model_validate(
        {
            "sources": ["cbct"],
            "network": {"name": "unet_plus_plus", "slices": 3, "width": 8, "norm": "instance"},
            "cbct": {
                "patch_size": [32, 32], "source_scaling": {"kind": "two_point"}, "residual": True,
                "response_spread": 0.05,
            },
            "steps": 30, "batch": 2, "validation_every": 30, "history_every": 10,
            "checkpoint_every": 30, "device": "cpu",
            "optimizer": {"learning_rate": 0.01, "schedule": "one_cycle"},
        },
        strict=False,
    )  # fmt: skip
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    for folder in (out, scratch):
        folder.mkdir()
    fit(
        out=out, scratch=scratch, source="cbct", fold=0, seed=1, params=params.as_json(),
        split={"train": ["a", "b"], "validation": ["c"], "test": [], "held_out": "patients"},
        regions=dict.fromkeys("abc", "head-neck"), **scans,
    )  # fmt: skip
    model = ModelDescription.load(out / "model.json")
    assert model.network["name"] == "residual"
    shares = load_network(out).share.numpy()
    assert shares.shape == (len(KNOTS),)
    assert ((shares >= 0) & (shares <= 1)).all()
    source, ct, mask = (read_volume(scans[f"c/{kind}"]).array for kind in ("source", "ct", "mask"))
    blind = np.abs(calibrate(source, mask).hu(source) - ct)[mask > 0].mean()
    assert model.validation_mae_hu < 1.02 * blind
