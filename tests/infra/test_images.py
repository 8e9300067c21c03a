"""The image's recipe and its one script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

IMAGES = Path(__file__).resolve().parents[2] / "infra" / "images"


@pytest.mark.parametrize("name", ["Dockerfile", "predict.Dockerfile"])
def test_hadolint_finds_a_fault(name):
    tool = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [str(tool), "--config", str(IMAGES / ".hadolint.yaml"), str(IMAGES / name)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_for_prediction_runs_as_root_or_holds_the_checkout():
    """A checkout may hold scans: `data/raw` must never become a layer of an image."""
    lines = (IMAGES / "predict.Dockerfile").read_text().splitlines()
    copied = {line.split()[1] for line in lines if line.startswith("COPY") and "--from" not in line}
    assert copied == {"locks", "infra/local/install.sh", "dist/synthct-*.whl"}
    assert lines.index("USER 10001:10001") < lines.index('ENTRYPOINT ["synthct"]')


def test_the_recipe_for_apptainer_differs_from_the_image():
    """Both install the role `predict` from the locks, and then the wheel alone."""
    docker = (IMAGES / "predict.Dockerfile").read_text()
    apptainer = (IMAGES / "predict.def").read_text()
    base = re.search(r"^FROM (\S+) AS build", docker, re.MULTILINE)[1]
    assert f"From: {base}\n" in apptainer
    for step in ("install.sh /opt/venv predict", "--no-deps --no-index", "-m pip check"):
        assert step in docker
        assert step in apptainer


def test_the_image_runs_as_root_or_calls_home():
    text = (IMAGES / "Dockerfile").read_text()
    assert text.rindex("USER 10001:10001") > text.rindex("RUN ")
    for quiet in ("DO_NOT_TRACK=1", "DVC_NO_ANALYTICS=1", "ANALYTICS_ENABLED=false"):
        assert quiet in text
    assert "DVC_SITE_CACHE_DIR=/tmp/" in text, "DVC's default, /var/tmp, is read-only"


def test_a_secret_does_not_reach_the_command_or_stays_a_path(tmp_path):
    (tmp_path / "password").write_text("s3cret with = and spaces\n")
    (tmp_path / "hook").write_text("https://chat.example/hook")
    environment = {
        "PATH": os.environ["PATH"],
        "PREFECT_API_AUTH_STRING_FILE": str(tmp_path / "password"),
        "SYNTHCT_WEBHOOK_FILE": str(tmp_path / "hook"),
    }
    done = subprocess.run(
        [str(IMAGES / "with-secrets"), "env"],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert "PREFECT_API_AUTH_STRING=s3cret with = and spaces" in lines
    assert not [line for line in lines if line.startswith("PREFECT_API_AUTH_STRING_FILE")]
    assert f"SYNTHCT_WEBHOOK_FILE={tmp_path / 'hook'}" in lines


def test_dask_is_given_the_text_of_its_authority_in_the_place_of_the_file(tmp_path):
    """Its settings end in ``_FILE`` too; without them no worker of compose or Kubernetes starts."""
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    name = "DASK_DISTRIBUTED__COMM__TLS__CA_FILE"
    done = subprocess.run(
        [str(IMAGES / "with-secrets"), "env"], capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], name: str(tmp_path / "ca.pem")},
    )  # fmt: skip
    assert f"{name}={tmp_path / 'ca.pem'}" in done.stdout.splitlines()


def test_a_secret_that_cannot_be_read_starts_the_command_without_it(tmp_path):
    environment = {"PATH": os.environ["PATH"], "SECRET_FILE": str(tmp_path / "absent")}
    done = subprocess.run(
        [str(IMAGES / "with-secrets"), "echo", "started"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "started" not in done.stdout
    assert "cannot read" in done.stderr
