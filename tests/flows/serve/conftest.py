"""A small site that is served for real: Prefect server, runner, pages; only the chain is a toy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from synthct.flows.run.prefect_api import Api
from synthct.flows.run.prefect_server import START_TIMEOUT_S, read_password
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from tests.tasks.prediction.conftest import write_release

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

PREFECT = """name: site
deployments:
  - name: nightly
    entrypoint: flows/jobs/schedule.py:scheduled
    schedules: [{cron: "0 2 1 1 *", timezone: UTC, active: true}]
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
    parameters: {cluster: here}
    tags: [pipeline]
  - name: weekly-study
    entrypoint: flows/jobs/schedule.py:scheduled
    schedules: [{cron: "0 4 1 1 *", timezone: UTC, active: true}]
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
    parameters: {what: study, preset: study, cluster: here}
  - name: watcher
    entrypoint: flows/jobs/schedule.py:scheduled
    schedules: [{cron: "*/5 * * * *", timezone: UTC, active: false}]
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
    parameters: {what: watch, options: {model: release, inbox: incoming, out: predicted}}
"""


def make_site(root: Path) -> Path:
    """A repository with params, DVC, schedules, and a toy in the place of the chain."""
    package = root / "src" / "synthct"
    (package / "flows").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "flows" / "__init__.py").touch()
    shutil.copy(HERE / "site_flows.py", package / "flows" / "__main__.py")
    (root / "params.yaml").write_text("dataset: demo\nseed: 1\n")
    (root / "presets").mkdir()
    shutil.copy(ROOT / "presets" / "study.yaml", root / "presets")
    (root / "prefect.yaml").write_text(PREFECT)
    (root / ".gitignore").write_text(".synthct/\nmarks/\n__pycache__/\n")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (root / "marks").mkdir()
    for command in (
        ("init", "-q"),
        ("add", "-A"),
        ("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "site"),
    ):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def write_toy_release(folder: Path) -> Path:
    """A release for the real watcher, which runs with the code of the server."""
    description = ModelDescription(
        source="mr", fold=0, network={"name": "toy"}, slices=3, patch_size=(32, 32), divisor=8,
        spacing_mm=(6.0, 2.0, 2.0), source_scaling=SourceScaling(),
        target_scaling=TargetScaling(),
    )  # fmt: skip
    return write_release(folder, description, (0.2,))


@dataclass
class Site:
    """A served site."""

    root: Path
    page: str
    process: subprocess.Popen
    heard: list[dict] = field(default_factory=list)

    @property
    def api(self) -> str:
        """Address of its Prefect API."""
        return (self.root / ".synthct" / "serving.url").read_text()

    @property
    def calls(self) -> Api:
        """It, with the password that stands in its file."""
        password = read_password(self.root / ".synthct" / "prefect", self.api)
        return Api(self.api, password, timeout_s=120)

    def ask(self, path, /, method="POST", **body):
        """One call of the API."""
        for _ in range(20):
            answer = self.calls.request(path, method, body)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(0.5)  # SQLite was busy: Prefect's own client asks again too
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def start(self, deployment="nightly", **parameters):
        """Start a deployment now; id of its run."""
        wanted = {"name": {"any_": [deployment]}}
        (deployment,) = self.ask("/deployments/filter", deployments=wanted)
        return self.ask(
            f"/deployments/{deployment['id']}/create_flow_run",
            parameters=parameters, state={"type": "SCHEDULED"},
        )["id"]  # fmt: skip

    def run(self, identity):
        """A run as the server knows it."""
        for _ in range(10):
            with contextlib.suppress(httpx.TransportError):  # a crowded machine: asked again
                return self.ask(f"/flow_runs/{identity}", method="GET")
        log = (self.root / ".synthct" / "prefect" / "server.log").read_text()
        raise AssertionError(f"the Prefect server does not answer: {log[-4000:]}")

    def state(self, identity):
        """Type of its state."""
        return self.run(identity)["state_type"]

    def words(self, identity):
        """Its log."""
        found = self.ask("/logs/filter", logs={"flow_run_id": {"any_": [identity]}})
        return [each["message"] for each in found]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def webhook(heard):
    """A chat that remembers what it was told."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_): ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def served(root: Path):
    """Serve a site in a process of its own; it and all it started are gone afterwards."""
    heard: list[dict] = []
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "SYNTHCT", "GIT_"))
    }
    with webhook(heard) as url, (root / "marks" / "said").open("w+") as said:
        (root / "marks" / "hook").write_text(url)
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, str(HERE / "toy_serve.py"), str(root), str(port)],
            cwd=root, stdout=said, stderr=subprocess.STDOUT,
            env={**inherited, "PYTHONPATH": str(ROOT / "src"),
                 "SYNTHCT_UNITS": str(root / "marks/units"),
                 "SYNTHCT_WEBHOOK_FILE": str(root / "marks" / "hook"), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        site = Site(root, f"http://127.0.0.1:{port}", process, heard)
        try:
            _wait_until_up(site)
            yield site
        finally:
            _end(process)


def _wait_until_up(site: Site) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(httpx.HTTPError, FileNotFoundError):
            if len(site.ask("/deployments/filter")) == 3:
                return
        text = (site.root / "marks" / "said").read_text()
        log = site.root / ".synthct" / "serve" / "runner.log"
        text += log.read_text() if log.exists() else ""
        assert site.process.poll() is None, text
        assert time.monotonic() < deadline, text
        time.sleep(0.2)


def _end(process: subprocess.Popen) -> None:
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    for each in psutil.wait_procs(family, timeout=5)[1]:
        each.kill()


@pytest.fixture(scope="module")
def site(tmp_path_factory, empty_database):
    """The served site that the tests of a module share."""
    root = make_site(tmp_path_factory.mktemp("site") / "site")
    (root / ".synthct" / "prefect").mkdir(parents=True)
    shutil.copy(empty_database, root / ".synthct" / "prefect" / "prefect.db")
    with served(root) as found:
        yield found
