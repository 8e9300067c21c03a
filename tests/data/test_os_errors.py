"""Any library's error about a full disk is reported as that, with the advice to free space."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthct.data.os_errors import machine_error
from tests.conftest import skip_or_fail

ROOT = Path(__file__).resolve().parents[2]

FULL = {
    "the kernel": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/x"),
    "a quota": OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "/home/x"),
    "safetensors": RuntimeError('I/O error: Os { code: 28, message: "No space left on device" }'),
    "tempfile": FileNotFoundError(
        errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp']"
    ),
}


@pytest.mark.parametrize("error", FULL.values(), ids=FULL)
def test_a_full_disk_is_reported_without_free_space(error):
    fault = machine_error(error)
    assert fault.code == "disk-full"
    assert "free space" in fault.remedy
    assert "MB" in fault.problem


def test_every_other_error_is_called_a_full_disk():
    assert (
        machine_error(PermissionError(errno.EACCES, "Permission denied", "/x")).code == "os-error"
    )


def test_a_full_tmp_is_reported_by_a_stage_without_free_space(tmp_path):
    small = tmp_path / "tmp"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        skip_or_fail("mount", "a small disk cannot be mounted here (no right to mount a tmpfs)")
    try:
        (small / "ballast").write_bytes(b"0" * (48 << 10))
        script = (
            "import sys\nfrom pathlib import Path\nimport tests.data.test_os_errors as t\n"
            "from synthct.data.layout import Layout\n"
            "from synthct.data.store.result_cache import LocalResults\n"
            "from synthct.tasks.pipeline.fanout import here\n"
            "from synthct.tasks.pipeline.stage import StageContext, Unit, build_out, run_units\n"
            "context = StageContext(Layout(), 1, LocalResults(Path('units')), here)\n"
            "try:\n    with build_out(context, 'toy') as out:\n"
            "        run_units(context, 'toy', out, [Unit('a', t.large)])\n"
            "except Exception as fault:\n    print(getattr(fault, 'code', '?'), fault)\n"
        )
        environment = {**os.environ, "TMPDIR": str(small), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", script]
        told = subprocess.check_output(command, cwd=tmp_path, text=True, env=environment)
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
    assert told.startswith("disk-full ")
    assert "free space" in told
    assert f"{small} has 0 MB" in told


def large(*, out: Path) -> None:
    """A unit of one file that no small disk holds."""
    (out / "large").write_bytes(b"0" * (256 << 10))
