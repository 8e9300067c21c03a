"""Small digital patients, made once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthct.data.phantom.patient import Protocol, make_patient

SMALL = Protocol(
    voxels_mm=dict.fromkeys(("ct", "mr", "cbct"), (8.0, 8.0, 8.0)),
    anatomy_mm=4.0,
    deformation_mm=(5.0, 5.0),
    setup_shift_mm=3.0,
    setup_turn_deg=1.0,
    ct_noise_hu=12.0,
    mr_noise=0.025,
    mr_shading=0.15,
    views=40,
    scatter=0.09,
    photons_per_mm2=2.0e4,
)


def small_patient(region, name="one"):
    torch.set_num_threads(1)

    def random(*names):
        text = "/".join((region, name, *names))
        return np.random.default_rng(list(text.encode()))

    return make_patient(region, SMALL, random)


@pytest.fixture(scope="session", params=["head-neck", "thorax", "abdomen"])
def region(request):
    return request.param


@pytest.fixture(scope="session")
def patient(region):
    return small_patient(region)


@pytest.fixture(scope="session")
def make_small():
    return small_patient
