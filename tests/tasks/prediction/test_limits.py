"""Memory and disk: checked before a prediction, limited during it, reported when they run out."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from synthct.data.errors import MachineError
from synthct.data.itk import resample
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.tasks.prediction import memory
from synthct.tasks.prediction.memory import held, needed_bytes, require_room
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.predict import predict_file
from synthct.tasks.prediction.slab_resampling import on_grid, resample_slabs

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def scan_file(tmp_path, patient):
    write_image(tmp_path / "scan.mha", patient)
    return tmp_path / "scan.mha"


def test_a_scan_that_does_not_fit_is_refused_before_anything_is_computed(
    release, scan_file, tmp_path
):
    with pytest.raises(MachineError) as caught:
        predict_file(
            release, scan_file, tmp_path / "sct.mha", options=PredictOptions(max_ram_gb=0.01)
        )
    assert caught.value.code == "memory-cap"
    assert "--max-ram" in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"scan.mha", "release"}


TIGHT = """
import sys
from synthct.flows.cli.app import command_line
model, scan, out = sys.argv[1:4]
options = ["--model", model, "--input", scan, "--out", out, "--max-ram", "0.1"]
sys.exit(command_line(["predict", *options]))
"""


def test_a_limit_below_the_memory_of_python_is_refused_and_no_library_crashes(
    release, scan_file, tmp_path
):
    done = _python(TIGHT, release, scan_file, tmp_path / "sct.mha")
    assert done.returncode not in (0, -6, -9, -11)
    assert "0.1 GB allowed (--max-ram)" in done.stderr
    assert "OpenBLAS" not in done.stderr


def test_more_slices_need_more_memory_and_fit_under_a_higher_limit(model):
    small, large = (Grid((count, 256, 256), (6.0, 2.0, 2.0)) for count in (100, 1000))
    assert needed_bytes(large, model) > needed_bytes(small, model)
    room_gb = (memory.resident_bytes() + needed_bytes(small, model)) / 1e9
    require_room(small, model, room_gb + 0.05)
    with pytest.raises(MachineError):
        require_room(large, model, room_gb + 0.05)


def test_an_interval_and_a_choice_of_networks_are_left_out_of_the_memory_that_is_needed(model):
    scan = Grid((400, 512, 512), (1.0, 1.0, 1.0))
    voxels = 400 * 512 * 512
    working = int(voxels / math.prod(model.spacing_mm))
    plain = needed_bytes(scan, model, 10**10)  # networks so large that the checks take less
    assert needed_bytes(scan, model, 10**10, interval=True) - plain == 5 * voxels
    assert needed_bytes(scan, model, 10**10, pool=3) - plain == pytest.approx(18 * working, abs=18)


WINDOWS = """
import numpy as np
from synthct.tasks.prediction import memory

def hungry(inputs):
    kept.append(np.ones(4_000_000 * len(inputs)))  # 32 MB a window
    return inputs

kept = []
for room_bytes in (4_000_000_000, 160_000_000, 0):
    cap_bytes = memory.resident_bytes() + room_bytes
    print(memory.choose_batch(hungry, (1, 8, 8), cap_bytes, 0))
"""


def test_fewer_windows_enter_at_once_where_memory_is_short():
    # A process of its own: in this one, what earlier tests freed serves the windows unseen.
    done = _python(WINDOWS)
    assert done.returncode == 0, done.stderr
    roomy, tight, none = map(int, done.stdout.split())
    assert roomy >= memory.MAX_BATCH
    assert 1 <= tight <= 5
    assert none == 1


HELD = """
import sys
from synthct.tasks.prediction.memory import held, resident_bytes
import numpy as np
from synthct.data.errors import MachineError
cap_gb = (resident_bytes() + 200e6) / 1e9
with held(cap_gb):
    np.ones(10_000_000)  # 80 MB: allowed
try:
    with held(cap_gb):
        np.ones(100_000_000)  # 800 MB
except MachineError as fault:
    assert fault.code == "memory-cap", fault.code
    np.ones(100_000_000)  # the limit went with the block
    sys.exit(7)
"""


def test_an_allocation_beyond_the_limit_is_an_error_and_the_limit_ends_with_the_block():
    done = _python(HELD)
    assert done.returncode == 7, done.stderr


def test_words_of_other_errors_are_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="cannot read"), held(None):
        raise RuntimeError("cannot read")


PEAK = """
import json, sys
from pathlib import Path
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.predict import predict_file
options = PredictOptions(max_ram_gb=float(sys.argv[4]), threads=1)
predict_file(*map(Path, sys.argv[1:4]), options=options)
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(int(line.split()[1]) / 1e6)
"""


def test_the_peak_of_a_prediction_stays_under_its_cap(release, tmp_path, patient):
    big = np.tile(patient.array, (4, 3, 3))
    write_image(tmp_path / "big.mha", Volume(big, Grid(big.shape, (6.0, 2.0, 2.0)), Modality.MR))
    done = _python(PEAK, release, tmp_path / "big.mha", tmp_path / "sct.mha", 0.9)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 0.9


@pytest.mark.parametrize("nearest", [False, True])
def test_slices_resampled_a_few_at_a_time_equal_the_whole(patient, monkeypatch, nearest):
    angle = np.deg2rad(7)
    turned = ((1.0, 0.0, 0.0), (0.0, np.cos(angle), -np.sin(angle)),
              (0.0, np.sin(angle), np.cos(angle)))  # fmt: skip
    grid = Grid((31, 50, 44), (2.5, 1.7, 1.9), (-25.0, -33.0, 10.0), turned)
    whole = resample(patient, grid, outside=-5.0, nearest=nearest)
    monkeypatch.setattr(memory, "SLAB_BYTES", 16 * 50 * 44 * 3)
    assert memory.slab_of(grid) == 3
    parts = resample_slabs(patient, grid, outside=-5.0, nearest=nearest)
    assert np.ptp(whole.array) > 100
    np.testing.assert_allclose(parts.array, whole.array, atol=2e-3)


def test_a_result_put_back_a_few_slices_at_a_time_equals_the_whole(patient, monkeypatch):
    inside = (patient.array > 100).astype(np.uint8)
    mask = patient.with_array(inside, Modality.MASK)
    fine = Grid((25, 80, 70), (3.0, 1.2, 1.2), patient.grid.origin_mm)
    body = resample(mask, fine, outside=0, nearest=True)
    whole = on_grid(patient.array, mask, body, -1024.0)
    monkeypatch.setattr(memory, "SLAB_BYTES", 16 * 80 * 70 * 2)
    np.testing.assert_allclose(on_grid(patient.array, mask, body, -1024.0), whole, atol=2e-3)


def test_a_disk_without_room_is_named_before_anything_is_computed(
    release, scan_file, tmp_path, monkeypatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 30, 1 << 30, 1000))
    with pytest.raises(MachineError) as caught:
        predict_file(release, scan_file, tmp_path / "sct")
    assert caught.value.code == "disk-full"
    assert not (tmp_path / "sct").exists()


SHORT = """
import json, resource, signal, sys
from pathlib import Path
import numpy as np
from synthct.data.errors import SynthctError
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
noise = np.random.default_rng(0).integers(-1000, 1000, (40, 64, 64)).astype(np.int16)
volume = Volume(noise, Grid(noise.shape, (1.0, 1.0, 1.0)), Modality.CT)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # as a disk that is full: EFBIG
told = {}
for suffix in (".mha", ".nii.gz", ".nii", ".nrrd"):
    try:
        write_image(Path(sys.argv[1]) / f"sct{suffix}", volume)
    except SynthctError as fault:
        told[suffix] = fault.code
print(json.dumps(told))
"""


def test_a_write_that_the_disk_cuts_short_is_reported_and_leaves_nothing(tmp_path):
    """ITK's NIfTI writer says nothing then: half a file was taken for a whole one."""
    done = _python(SHORT, tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == dict.fromkeys((".mha", ".nii.gz", ".nii", ".nrrd"), "disk-full")
    assert list(tmp_path.iterdir()) == []


SERIES = """
import resource, signal, sys
from pathlib import Path
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.predict import predict_file
from synthct.data.errors import SynthctError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def full(step):
    if step == "write the result":
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
try:
    predict_file(*map(Path, sys.argv[1:4]), options=PredictOptions(threads=1), step=full)
except (SynthctError, OSError) as error:
    print(type(error).__name__, str(error)[:300])
    sys.exit(7)
"""


def test_a_series_that_the_disk_cuts_short_leaves_no_folder(release, scan_file, tmp_path):
    done = _python(SERIES, release, scan_file, tmp_path / "sct")
    assert done.returncode == 7, done.stderr
    # The command line tells an OSError as a fault of the machine (`flows/exits.py`).
    assert done.stdout.startswith(("MachineError", "OSError")), done.stdout
    assert not (tmp_path / "sct").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"release", "scan.mha"}


def _python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
