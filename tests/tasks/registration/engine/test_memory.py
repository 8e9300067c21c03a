import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from synthct.data.errors import DataError
from synthct.data.volume import Grid
from synthct.tasks.registration.engine.memory import SIMILARITY, affordable, needed_bytes
from synthct.tasks.registration.engine.pyramid import levels
from synthct.tasks.registration.engine.settings import Penalty, Settings

GRID = Grid((60, 72, 72), (2.0, 1.5, 1.5))
TWO_WAY = (Penalty("diffusion", 0.03), Penalty("inverse_consistency", 0.01))
CASES = {name: {"similarity": name} for name in sorted(set(SIMILARITY) - {"impact"})} | {
    "mind_fine": {"oversampling": 2, "penalties": TWO_WAY, "factors": (2.0,)},
    "velocity": {"similarity": "ncc", "deformation": "velocity"},
    "dense": {"similarity": "ncc", "deformation": "dense", "penalty_stride": 1},
    "convex": {"similarity": "ncc", "start": "convex", "factors": (4.0,)},
}


def settings_of(name):
    return replace(Settings(factors=(1.0,), iterations=(9,)), **CASES[name])


def needed_gb(name):
    settings = settings_of(name)
    (level,) = levels(GRID.shape, GRID.spacing_mm, settings.factors)
    both = settings.penalties == TWO_WAY
    return needed_bytes(level, GRID, settings, both=both, tissue=True) / 1e9


def growth_gb(name):
    """By how much this process grows at most; in a child, whose memory nothing else has used."""
    import numpy as np
    import torch
    from scipy.ndimage import gaussian_filter

    from synthct.data.volume import Modality, Volume
    from synthct.tasks.registration.engine.deform import Pair, deform

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)

    def pair(grid):
        scan = gaussian_filter(rng.normal(size=grid.shape), 2).astype(np.float32)
        fixed = Volume(scan, grid, Modality.MR)
        moving = fixed.with_array(np.roll(scan, 1, axis=2))
        mask = np.ones(grid.shape, np.uint8)
        return Pair(fixed, moving, mask, mask, np.ones(grid.shape, np.float32))

    settings = settings_of(name)
    deform(pair(Grid((16, 16, 16), (1.0, 1.0, 1.0))), settings)  # what torch loads when first used
    two = pair(GRID)
    before = resident_gb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    assert deform(two, replace(settings, max_memory_gb=1.001 * needed_gb(name))).courses
    return resident_gb("VmHWM") - before


def resident_gb(which):
    """Of this process; getrusage would tell the parent's peak where that was higher."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) * 1024 / 1e9


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told by /proc")
@pytest.mark.parametrize(
    "name",
    ["mind", *(pytest.param(name, marks=pytest.mark.slow) for name in CASES if name != "mind")],
)
def test_the_engine_grows_by_no_more_than_its_cap_and_the_cap_is_no_idle_fear(name):
    # Pieces of this size are kept back when freed, those of a large scan are not: measured as if.
    one = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    line = [sys.executable, "-m", __name__, name]
    child = subprocess.run(line, check=True, capture_output=True, text=True, env=one)
    cap, grew = needed_gb(name), json.loads(child.stdout)
    assert 0.4 * cap < grew <= cap


def test_a_cap_leaves_out_the_finest_levels_and_then_says_that_none_is_left():
    settings = Settings()
    ladder = levels(GRID.shape, GRID.spacing_mm, settings.factors)
    needed = [needed_bytes(step, GRID, settings, both=False, tissue=False) for step in ladder]
    assert needed == sorted(needed)
    for count, bytes_ in enumerate(needed, start=1):
        cap = replace(settings, max_memory_gb=1.001 * bytes_ / 1e9)
        assert len(affordable(GRID, cap, both=False, tissue=False)) == count
    with pytest.raises(DataError, match="max_memory_gb") as fault:
        affordable(GRID, replace(settings, max_memory_gb=0.01), both=False, tissue=False)
    assert fault.value.code == "memory-cap"


@pytest.mark.parametrize("spacing_mm", [(3.0, 1.0, 1.0), (2.0, 0.8, 0.8), (1.2, 0.75, 0.75)])
def test_a_hospital_scan_loses_its_second_level_to_the_default(spacing_mm):
    grid = Grid((200, 512, 512), spacing_mm)
    kept = affordable(grid, Settings(), both=False, tissue=True)
    assert [level.factor for level, _ in kept] == [4.0, 2.0]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(growth_gb(sys.argv[1])))
