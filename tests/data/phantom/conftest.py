"""Small digital patients, made once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthct.data.phantom.patient import make_patient
from tests.fixtures.digital_patients import SMALL


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
