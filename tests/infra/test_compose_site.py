"""The compose site for real, without containers: its services as processes with its settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import skip_or_fail
from tests.fixtures.checkout import ROOT, copy_checkout
from tests.infra import compose_site

PROGRAMS = {
    "nginx": "nginx-light", "prometheus": "prometheus", "unshare": "util-linux",
    "setpriv": "util-linux", "ip": "iproute2",
}  # fmt: skip
PLACES = f"{os.environ['PATH']}:/usr/sbin:{Path(sys.executable).parent}"
USER = 10001


def require_programs():
    absent = sorted({p for name, p in PROGRAMS.items() if not shutil.which(name, path=PLACES)})
    if not Path(compose_site.POSTGRES).is_dir():
        absent.append("postgresql")
    if absent:
        skip_or_fail("compose", f"apt-get install {' '.join(absent)}")
    if os.geteuid() or subprocess.run(["unshare", "--net", "--mount", "true"]).returncode:
        skip_or_fail("compose", "namespaces of the kernel need root")


@pytest.fixture
def checkout(tmp_path):
    """A checkout with tiny params that belongs to the user of the image."""
    root = copy_checkout(tmp_path / "checkout")
    shutil.copy(ROOT / "tests/chain/tiny.yaml", root / "params.yaml")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["add", "-A"], [*identity, "commit", "-qm", "site"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    subprocess.run(["chown", "-R", f"{USER}:{USER}", str(root)], check=True)
    tmp_path.chmod(0o755)
    return root


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_services_of_the_compose_file_do_not_start_or_do_not_work_together(checkout, tmp_path):
    require_programs()
    site = tmp_path / "site"
    (site / "src").mkdir(parents=True)
    (site / "src" / "synthct").symlink_to(ROOT / "src" / "synthct")
    shutil.copytree(ROOT / "infra", site / "infra")
    made = subprocess.run(
        [site / "infra/compose/make-secrets.sh"], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    password = re.search(r"password (\w+)", made.stdout)[1]
    rendered = subprocess.run(
        [Path(sys.executable).with_name("docker-compose"), "--file",
         site / "infra/compose/compose.yaml", "config", "--format", "json"],
        capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "HOME": "/tmp", "SYNTHCT_CHECKOUT": str(checkout)},
    )  # fmt: skip
    (tmp_path / "config.json").write_text(rendered.stdout)
    namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    (folder := tmp_path / "services").mkdir()
    done = subprocess.run(
        ["unshare", *namespaces, sys.executable, compose_site.__file__,
         tmp_path / "config.json", folder, password],
        capture_output=True, text=True, env={**os.environ, "PATH": PLACES},
    )  # fmt: skip
    logs = {log.stem: log.read_text()[-1500:] for log in folder.glob("*.log")}
    assert done.returncode == 0, f"{done.stderr}\n{logs}"
    found = json.loads(done.stdout)
    assert found["without password"] == dict.fromkeys(
        ("/status", "/", "/api/health", "/grafana/"), 401
    )
    assert set(found["with password"].values()) == {200}, found
    assert found["a form of a web page"] == 403
    assert found["straight to Prefect"] == 401
    assert "authorization" not in found["told to Grafana"], "it would refuse nginx's password"
    assert found["told to Grafana"]["host"] == "localhost:8443"
    assert found["web socket"] == 101
    assert found["run"] == "COMPLETED", "\n".join(found["log"])
    assert any("cohort: ran" in line for line in found["log"])
    assert found["units on S3"] >= 2, "the workers' units"
    assert found["targets"] == {"synthct": "up", "dask": "up"}
    assert found["rules"] == ["ok"]
