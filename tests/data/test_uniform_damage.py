"""Damage drawn uniformly over eight formats: never wrong voxels from a cut or compressed file."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest

from tests.fixtures import damage

MAY_PASS = {"NIfTI", "DICOM folder", "MHA"}
"""Uncompressed and without a checksum: a flipped pixel is another pixel."""


def run(name, count, tmp_path):
    """``count`` damaged files of one format, all kinds in turn; the outcomes by kind."""
    source = damage.make(name, tmp_path / "good")
    outcomes, slowest_s = Counter(), 0.0
    for number in range(count):
        kind = damage.KINDS[number % len(damage.KINDS)]
        rng = np.random.default_rng([number, len(name)])
        path = damage.damaged(source, kind, rng, tmp_path / "bad")
        started = time.process_time(), time.monotonic()
        outcomes[kind, damage.outcome(source, path)] += 1
        slowest_s = max(slowest_s, time.monotonic() - started[1])
    return outcomes, slowest_s


def require_honest(name, count, outcomes, slowest_s):
    assert sum(outcomes.values()) == count
    assert slowest_s < 10
    assert outcomes["cut", damage.WRONG] == 0
    assert outcomes["length", damage.WRONG] == 0
    assert outcomes["cut", damage.CAUGHT] > 0
    if name not in MAY_PASS:
        assert outcomes["payload", damage.WRONG] == 0
        assert outcomes["payload", damage.CAUGHT] > 0


@pytest.mark.parametrize("name", damage.FORMATS)
def test_damage_is_a_fault_or_harmless(tmp_path, name):
    require_honest(name, 25, *run(name, 25, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", damage.FORMATS)
def test_two_thousand_damaged_files_give_no_wrong_voxels(tmp_path, name):
    require_honest(name, 250, *run(name, 250, tmp_path))
