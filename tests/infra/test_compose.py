"""The compose site as rendered: nothing writable, rooted, open or with a password that we know."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import skip_or_fail

SECRET = ("PASSWORD", "AUTH_STRING", "SECRET_ACCESS", "TOKEN")
INFRA = Path(__file__).resolve().parents[2] / "infra"


def config(*more, **variables):
    tool = Path(sys.executable).with_name("docker-compose")
    command = [str(tool), "--file", str(INFRA / "compose/compose.yaml"), "config", *more]
    environment = {"PATH": os.environ["PATH"], "HOME": "/tmp", **variables}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def rendered():
    """What `docker compose` makes of it."""
    tool = Path(sys.executable).with_name("docker-compose")
    command = [
        str(tool),
        "--file",
        str(INFRA / "compose/compose.yaml"),
        "config",
        "--format",
        "json",
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": "/tmp", "SYNTHCT_CHECKOUT": "/srv/synthct"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_checkout_is_forgotten_without_a_word():
    done = config()
    assert done.returncode != 0
    assert "the checkout on the host" in done.stderr


def test_the_workers_of_the_site_idle_while_runs_take_the_one_that_serves(rendered):
    address = rendered["services"]["worker"]["environment"]["SYNTHCT_CLUSTER"]
    assert address == "tls://scheduler:8786"
    assert address in " ".join(rendered["services"]["dask-worker"]["command"])
    shipped = yaml.safe_load((INFRA.parent / "prefect.yaml").read_text())["deployments"]
    assert [each["parameters"].get("cluster") for each in shipped] == [None] * 3


def test_a_service_is_writable_rooted_or_privileged(rendered):
    for name, service in rendered["services"].items():
        assert service.get("read_only") is True, name
        assert service.get("cap_drop") == ["ALL"], name
        assert service.get("security_opt") == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        assert service.get("user", "") not in ("0", "root", "0:0"), name
        # These images have a user of their own.
        assert service.get("user") or name in ("nginx", "s3"), name
        assert ":latest" not in service["image"], name
        assert ":" in service["image"], name


def test_more_than_one_door_leads_in(rendered):
    published = {
        name: [(each["host_ip"], each["published"]) for each in service["ports"]]
        for name, service in rendered["services"].items()
        if service.get("ports")
    }
    assert published == {"worker": [("127.0.0.1", "8443")]}, "nginx shares its network"
    assert rendered["networks"]["inside"]["internal"] is True
    beside = {
        n for n, s in rendered["services"].items() if s.get("network_mode") == "service:worker"
    }
    assert beside == {"nginx", "prometheus", "grafana"}


def test_a_secret_stands_in_the_file(rendered):
    text = (INFRA / "compose/compose.yaml").read_text()
    for name, service in rendered["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            secret = any(
                w in variable for w in ("PASSWORD", "AUTH_STRING", "SECRET_ACCESS", "TOKEN")
            )
            assert not secret or str(value).startswith("/run/secrets/"), (name, variable)
    assert "admin:" not in text
    for secret in rendered["secrets"].values():
        assert Path(secret["file"]).parent == INFRA / "compose/secrets"


def test_dask_speaks_in_the_clear(rendered):
    for name in ("scheduler", "dask-worker"):
        service = rendered["services"][name]
        assert service["environment"]["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "true"
        assert any("tls" in word for word in service["command"]), name


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """A copy of the folder in which `make-secrets.sh` has run, twice."""
    root = tmp_path_factory.mktemp("site")
    (root / "src").symlink_to(INFRA.parent / "src")
    shutil.copytree(INFRA / "compose", root / "infra" / "compose")
    script = root / "infra" / "compose" / "make-secrets.sh"
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(root / "src")}
    told = [
        subprocess.run([str(script)], capture_output=True, text=True, env=environment, check=True)
        for _ in range(2)
    ]
    return root / "infra" / "compose" / "secrets", told


def test_a_secret_is_missing_known_or_made_anew(secrets, rendered):
    folder, (first, second) = secrets
    wanted = {Path(each["file"]).name for each in rendered["secrets"].values()}
    assert wanted <= {path.name for path in folder.iterdir()}
    assert "shown once" in first.stdout
    assert second.stdout == ""
    passwords = {(folder / n).read_text() for n in ("postgres_password", "grafana_password")}
    assert len(passwords) == 2
    assert all(len(each) == 48 for each in passwords)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "other users of the machine"
    for name in wanted:  # of a container: mounts of single files, read by users of its own
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o444, name
    assert stat.S_IMODE((folder / "authority/ca.key").stat().st_mode) == 0o600


def key_in(container):
    """The check value of the pseudonym key that a command in the container finds."""
    done = subprocess.run(
        [str(INFRA / "images/with-secrets"), sys.executable, "-m", "synthct.flows", "key"],
        capture_output=True, text=True, env=container, check=False,
    )  # fmt: skip
    return done.stdout.split()[-1] if done.returncode == 0 else done.stderr


def test_a_restarted_container_gives_every_patient_a_second_name(secrets, rendered, tmp_path):
    worker = rendered["services"]["worker"]
    name = "SYNTHCT_PSEUDONYM_KEY_FILE"
    (mounted,) = [one for one in worker["secrets"] if worker["environment"][name].endswith(
        f"/{one['target'].rpartition('/')[2]}")]  # fmt: skip
    stored = secrets[0] / Path(rendered["secrets"][mounted["source"]]["file"]).name
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(INFRA.parent / "src")}
    found = set()
    for start in ("first", "second"):
        (home := tmp_path / start).mkdir()  # /tmp of the container: empty at each start
        found.add(key_in({**base, "HOME": str(home), name: str(stored)}))
        assert not list(home.rglob("pseudonym.key"))
    (check,) = found
    assert len(check) == 16
    assert "no pseudonym key" in key_in({**base, "HOME": str(tmp_path / "first")})


def test_nginx_refuses_its_configuration(secrets, tmp_path):
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        skip_or_fail("nginx", "nginx is absent (apt-get install nginx-light)")
    text = (INFRA / "compose/nginx.conf").read_text()
    text = text.replace("/tmp/", f"{tmp_path}/").replace("/run/secrets/", f"{secrets[0]}/")
    text = text.replace("http://prefect:4200", "http://127.0.0.1:4200")  # no such name here
    (tmp_path / "nginx.conf").write_text(text)
    done = subprocess.run(
        [str(nginx), "-t", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
