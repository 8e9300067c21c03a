"""A Prometheus process on loopback with the alert rules of ``infra/``, if it is installed."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from synthct.data.files import canonical_json, write_whole
from synthct.data.yaml_text import dump_yaml
from synthct.flows.processes.children import SupervisedProcess
from synthct.flows.serve.snapshot import Facts

RULES = Path("infra") / "monitoring" / "alerts.yaml"
_HOST = "127.0.0.1"
_RETENTION = "30d"


class Prometheus:
    """A process that scrapes the exporter and the Dask schedulers of current runs."""

    def __init__(self, root: Path, folder: Path, exporter: str) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "prometheus.yaml", configuration(root, folder, exporter))
        write_whole(folder / "dask.json", "[]\n")
        with socket.socket() as probe:
            probe.bind((_HOST, 0))
            self.address = f"http://{_HOST}:{probe.getsockname()[1]}"
        self._log = (folder / "prometheus.log").open("wb")
        self.process = SupervisedProcess(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--storage.tsdb.retention.time={_RETENTION}",
                f"--web.listen-address={self.address.removeprefix('http://')}",
            ],
            folder=folder,
            environment=os.environ,
            output=self._log,
        )

    def follow(self, facts: Facts) -> None:
        """Update the scraped Dask schedulers to those that run now."""
        found = [record.cluster.get("dashboard") for record in facts.records]
        targets = sorted({str(url).split("/")[2] for url in found if url})
        text = canonical_json([{"targets": targets}] if targets else [])
        if (self._folder / "dask.json").read_text() != text:
            write_whole(self._folder / "dask.json", text)

    def stop(self) -> None:
        """Stop the process."""
        self.process.stop()
        self._log.close()


def installed() -> bool:
    """Whether Prometheus is installed."""
    return shutil.which("prometheus") is not None


def configuration(root: Path, folder: Path, exporter: str) -> str:
    """``prometheus.yaml`` for this machine; that of a site is in ``infra/monitoring``."""
    jobs = [
        {
            "job_name": "synthct",
            "static_configs": [{"targets": [exporter.removeprefix("http://")]}],
        },
        {"job_name": "dask", "file_sd_configs": [{"files": [str(folder / "dask.json")]}]},
    ]
    return dump_yaml(
        {
            "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
            "rule_files": [str(root / RULES)],
            "scrape_configs": jobs,
        },
        sort_keys=False,
    )
