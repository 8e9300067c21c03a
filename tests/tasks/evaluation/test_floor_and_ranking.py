"""The registration floor, and rankings as published and corrected."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate

from synthct.data.errors import UsageError
from synthct.data.files import canonical_json, write_whole
from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.data.store.volumes import write_volume
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.chain.params import load_params
from synthct.tasks.evaluation.floor import floor_of
from synthct.tasks.evaluation.params import FloorEntry
from synthct.tasks.evaluation.realign import measure_floor
from synthct.tasks.evaluation.statistics.ranking import higher_is_better, rank, rank_stability
from synthct.tasks.evaluation.summary import floor_rows
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext
from synthct.tasks.registration.params import RegistrationParams


def test_the_floor_is_the_distance_of_the_references_inside_the_mask():
    mask = np.array([[[True, True, False]]])
    images = {
        "chain": np.array([[[0, 0, 0]]]), "seed1": np.array([[[10, -20, 99]]]),
        "lncc": np.array([[[30, 30, 99]]]),
    }  # fmt: skip
    result = floor_of(images, mask)
    assert result["pairs"]["chain | seed1"] == {"mae_hu": 15.0, "me_hu": -5.0}
    assert result["pairs"]["seed1 | lncc"] == {"mae_hu": 35.0, "me_hu": 35.0}
    assert (result["floor_mae_hu"], result["worst_mae_hu"]) == (22.5, 30.0)


def turned(image, order, outside):
    """By five degrees: no shift alone, the registration's starts, brings it back."""
    moved = np.roll(image, 1, axis=2)
    return rotate(moved, 5.0, axes=(1, 2), reshape=False, order=order, cval=outside)


def run_intake(context):
    """One textured patient as ingestion leaves it: an MR, and a CT turned and beside it."""
    rng = np.random.default_rng(0)
    shape, grid = (20, 36, 36), Grid((20, 36, 36), (6.0, 5.0, 5.0))
    texture = gaussian_filter(rng.normal(size=shape), 1.6)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    body = y**2 / 0.6 + x**2 / 0.7 + z**8 / 0.8 < 1
    ct = np.where(body, np.clip(texture / texture.std() * 90, -150, 1200), -1000)
    mr = np.where(body, 300 - np.abs(ct - 40), 0) + rng.normal(size=shape)
    folder = context.artefact("ingestion") / "XX-01"
    for name, array, kind in (
        ("mr", mr.astype(np.float32), Modality.MR),
        ("mr_body", body.astype(np.uint8), Modality.MASK),
        ("ct", turned(ct, 1, -1000).astype(np.int16), Modality.CT),
        ("ct_body", turned(body.astype(np.uint8), 0, 0), Modality.MASK),
    ):
        write_volume(folder / f"{name}.zarr", Volume(array, grid, kind))
    facts = {"patient": "XX-01", "region": "other", "synthetic": False}
    write_whole(folder / "patient.json", canonical_json(facts | {"scans": {"ct": {}, "mr": {}}}))


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A workspace with one case and a preset that registers it quickly."""
    from synthct.tasks.registration import presets

    usual = presets.preset_called(RegistrationParams().preset_name("mr", "other"))
    short = dataclasses.replace(
        usual,
        name="short",
        bspline=dataclasses.replace(usual.bspline, iterations=(8, 8, 8), samples=800),
        rigid=dataclasses.replace(usual.rigid, iterations=(150,) * len(usual.rigid.iterations)),
    )
    monkeypatch.setitem(presets.PRESETS, "short", short)
    section = "{presets: {mr_other: short}, grid_spacing_mm: [6.0, 5.0, 5.0]}"
    result = f"seed: 1\ndataset: x\nregistration: {section}\n"
    write_whole(tmp_path / "params.yaml", result)
    (tmp_path / "store").mkdir()
    params = load_params(tmp_path / "params.yaml")
    context = StageContext(
        Layout(tmp_path), seed=1, units=LocalResults(tmp_path / "store"), fan_out=here,
        sections={"registration": params.registration},
    )  # fmt: skip
    run_intake(context)
    return context


@pytest.fixture
def registered(workspace):
    """The workspace whose chain has registered its case."""
    from synthct.tasks.registration import run

    run.run(workspace, load_params(workspace.layout.params_file).registration)
    return workspace


@pytest.mark.slow
def test_another_seed_moves_the_reference_and_the_same_one_does_not(registered, tmp_path):
    entries = (FloorEntry(name="same"), FloorEntry(name="again", seed=5))
    result = measure_floor(registered, tmp_path / "out", ["XX-01_mr"], entries)["XX-01_mr"]
    assert result["pairs"]["chain | same"]["mae_hu"] == 0
    assert result["pairs"]["chain | again"]["mae_hu"] > 0.1
    assert result["worst_mae_hu"] == result["pairs"]["chain | again"]["mae_hu"]
    row = {"case": "XX-01_mr", "patient": "XX-01", "source": "mr", "region": "other", "fold": 0}
    assert floor_rows([row], {"XX-01_mr": result})[0]["value"] == result["floor_mae_hu"]


@pytest.mark.parametrize(
    ("entries", "code"),
    [([{"name": "a"}, {"name": "a"}], "floor-names"), ([{"name": "compared"}], "floor-names"),
     ([{"name": "a", "registration": {"method": "by hand"}}], "floor-params")],
)  # fmt: skip
def test_invalid_alignments_are_reported_before_any_work(workspace, tmp_path, entries, code):
    wrong = [FloorEntry(**entry) for entry in entries]
    with pytest.raises(UsageError) as caught:
        measure_floor(workspace, tmp_path / "out", ["XX-01_mr"], wrong)
    assert caught.value.code == code


SCORES = {
    "sharp": {"mae_hu": 60.0, "psnr_db": 30.0, "ms_ssim": 0.93, "dice": 0.80},
    "smooth": {"mae_hu": 58.0, "psnr_db": 29.0, "ms_ssim": 0.90, "dice": 0.70},
    "poor": {"mae_hu": 90.0, "psnr_db": 25.0, "ms_ssim": 0.80, "dice": 0.60},
}


def test_the_published_ranking_prefers_the_worse_similarity_and_the_corrected_one_does_not():
    metrics = ["mae_hu", "psnr_db", "ms_ssim", "dice"]
    assert rank(SCORES, metrics) == {"sharp": 1.25, "smooth": 1.75, "poor": 3.0}
    published = rank(SCORES, metrics, "as_published")
    assert published == {"sharp": 2.25, "smooth": 1.75, "poor": 2.0}
    assert higher_is_better("dice_bone")
    assert not higher_is_better("hd95_mm_bone")
    assert not higher_is_better("dice_bone", "as_published")


def test_ties_share_a_rank_and_a_method_without_the_score_is_last():
    scores = {"a": {"mae_hu": 5.0}, "b": {"mae_hu": 5.0}, "c": {}}
    assert rank(scores, ["mae_hu"]) == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert rank({"a": {"psnr_db": 3.0}, "c": {}}, ["psnr_db"]) == {"a": 1.0, "c": 2.0}


def test_a_close_race_is_not_presented_as_a_win():
    rng = np.random.default_rng(0)
    hard = rng.normal(60, 10, 20)
    cases = {
        "a": {"mae_hu": hard}, "b": {"mae_hu": hard + rng.normal(0, 5, 20)},
        "c": {"mae_hu": hard + 20},
    }  # fmt: skip
    share = rank_stability(cases, ["mae_hu"], np.random.default_rng(1), draws=300)
    assert sum(share.values()) == pytest.approx(1)
    assert share["c"] == 0
    assert 0.03 < share["b"] < 0.97
