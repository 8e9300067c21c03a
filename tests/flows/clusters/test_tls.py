"""A scheduler with certificates of its own authority: strangers are turned away."""

from __future__ import annotations

import stat
import subprocess

import pytest

from synthct.data.environment import TLS
from synthct.data.errors import MachineError, UsageError
from synthct.flows.clusters.authority import make_authority
from synthct.flows.clusters.opening import open_cluster
from synthct.tasks.pipeline import dask_client, fanout


def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def secured(tmp_path, monkeypatch):
    """Address of a TLS cluster whose certificates lie in the folder that the environment names."""
    from distributed import LocalCluster

    make_authority(tmp_path / "ours")
    monkeypatch.setenv(TLS, str(tmp_path / "ours"))
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tls", host="127.0.0.1",
        security=dask_client.security("tls://"), dashboard_address=None,
    ) as cluster:  # fmt: skip
        yield cluster.scheduler_address


def test_units_do_not_run_over_tls_or_a_stranger_gets_in(secured, tmp_path, monkeypatch, request):
    assert secured.startswith("tls://127.0.0.1:")
    with open_cluster(secured, workers=None, root=request.config.rootpath, variables={}) as given:
        ((_, outcome),) = fanout.OnDask(given.scheduler)(double, [21], label=str)
    assert outcome.result() == 42
    make_authority(tmp_path / "theirs")
    monkeypatch.setenv(TLS, str(tmp_path / "theirs"))
    monkeypatch.setattr(dask_client, "_CONNECT", "2s")
    with pytest.raises(MachineError, match="no Dask scheduler answers"):
        list(fanout.OnDask(secured)(double, [21], label=str))
    with pytest.raises(MachineError, match="no Dask scheduler answers"):
        list(fanout.OnDask(secured.replace("tls://", "tcp://"))(double, [21], label=str))


def test_a_key_is_readable_by_others_or_an_authority_is_replaced(tmp_path):
    make_authority(tmp_path)
    for name in ("ca.key", "node.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    before = (tmp_path / "ca.pem").read_bytes()
    with pytest.raises(UsageError, match=r"already holds a ca\.key"):
        make_authority(tmp_path)
    assert (tmp_path / "ca.pem").read_bytes() == before


def test_a_worktree_of_the_checkout_has_no_certificates(tmp_path, monkeypatch):
    """A scheduled run works in one; its certificates are the checkout's."""
    monkeypatch.delenv(TLS, raising=False)
    site, place = tmp_path / "site", tmp_path / "site" / ".synthct" / "worktrees" / "run"
    site.mkdir()
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (
        ("init", "-q"),
        (*identity, "commit", "-q", "--allow-empty", "-m", "first"),
        ("worktree", "add", "-q", "--detach", str(place)),
    ):
        subprocess.run(["git", *command], cwd=site, check=True, capture_output=True)
    make_authority(site / ".synthct" / "tls")
    for folder in (site, place):
        monkeypatch.chdir(folder)
        assert dask_client.security("tls://10.0.0.5:8786").tls_ca_file == str(
            site / ".synthct/tls/ca.pem"
        )
