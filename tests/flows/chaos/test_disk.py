"""The disk is full at many points: a typed error, nothing half-written, a later run continues."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthct.data.store.result_cache import LocalResults
from tests.conftest import skip_or_fail
from tests.flows.chaos.conftest import COUNT, outs, started

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one MiB, as a tmpfs."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=4000", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        skip_or_fail("mount", "a small disk cannot be mounted here (no right to mount a tmpfs)")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


LEVELS = {440: ()} | dict.fromkeys((4, 40, 120, 200, 280, 360, 520, 600, 680), (pytest.mark.slow,))


@pytest.mark.parametrize("free_kib", [pytest.param(n, marks=m) for n, m in LEVELS.items()])
def test_a_full_disk_shows_half_a_unit_or_loses_one(free_kib, small_disk, undisturbed, tmp_path):
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * (1024 - free_kib) * 1024)
    script = (
        "import sys\nfrom pathlib import Path\nimport tests.flows.chaos.naps as naps\n"
        "from synthct.tasks.pipeline.fanout import here\nnaps.NAP_S = 0.0\n"
        f"naps.stage(Path({str(small_disk)!r}), here, {COUNT})\n"
    )
    wrapped = (
        "import sys\nfrom synthct.data.os_errors import machine_error\ntry:\n"
        + "".join(f"    {line}\n" for line in script.splitlines())
        + "except OSError as error:\n    sys.exit(str(machine_error(error)))\n"
        "except Exception as error:\n    sys.exit(str(error))\n"
    )
    command = [sys.executable, "-c", wrapped]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "TMPDIR": str(tmp_path)}
    full = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert full.returncode == 1, "the disk was large enough"
    assert len(full.stderr.strip().splitlines()) == 1, full.stderr
    assert "no space left on the device" in full.stderr
    assert "free space" in full.stderr
    store = LocalResults(small_disk / "units")
    finished = list(store.keys())
    for number, key in enumerate(finished):
        assert store.fetch(key, tmp_path / f"back{number}"), "half a unit is visible"
    assert not (small_disk / "data" / "artefacts" / "toy").exists(), "half an out is visible"
    ballast.unlink()
    with contextlib.suppress(FileNotFoundError):
        (small_disk / "started.log").unlink()
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert outs(small_disk) == undisturbed
    assert len(started(small_disk)) == COUNT - len(finished), "a finished unit ran again"
