"""Checks of disk, write access, git, DVC, S3 and certificates."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from synthct.data.environment import ARRAYS, UNITS
from synthct.data.errors import SynthctError
from synthct.data.layout import default_root
from synthct.data.store.connection import connect
from synthct.data.store.outage import call_with_retries
from synthct.flows.upkeep.doctor.check_result import CheckResult, error, ok, warning
from synthct.flows.workspace.project import QUIET
from synthct.tasks.pipeline.dask_client import tls_folder

MIN_FREE_GB = 5.0
"""Disk space that is required; the demo with its caches and server uses about 2 GB."""

MIN_DAYS = 21
"""Remaining validity below which a certificate is an error: the cluster fails when it expires."""

_GIB = 2**30


def check_storage(root: Path | None) -> Iterator[CheckResult]:
    """Check storage and tools; ``root`` is the checkout, None outside one."""
    git = shutil.which("git")
    git_result = ok("git", _output([git, "--version"])) if git else None
    yield git_result or error("git", "not installed", "install git")
    yield _s3_credentials()
    yield from _s3_access()
    if root is None:
        yield warning("checkout", "not inside one", "cd to the repository for `run` and `ingest`")
        yield _space(Path.cwd())
        return
    yield ok("checkout", str(root))
    for folder in {root, default_root(), Path(tempfile.gettempdir())}:
        yield _writable(folder)
    yield _space(root)
    yield from _certificates(tls_folder())
    yield _unfinished_dag(root)
    yield from _dvc(root)


def _space(folder: Path) -> CheckResult:
    free = shutil.disk_usage(folder).free / _GIB
    if free >= MIN_FREE_GB:
        return ok("disk", f"{free:.0f} GiB free")
    return error("disk", f"{free:.1f} GiB free", f"the demo needs {MIN_FREE_GB:g} GiB")


def _writable(folder: Path) -> CheckResult:
    about = f"write to {folder.name or folder}"
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing):
            return ok(about, "yes")
    except OSError as failure:
        return error(about, failure.strerror or "no", f"give this user write access to {existing}")


def _unfinished_dag(root: Path) -> CheckResult:
    from synthct.tasks.chain.table import stale_dvc_file

    before = Path.cwd()
    os.chdir(root)
    try:
        stale = stale_dvc_file(Path())
    finally:
        os.chdir(before)
    if stale:
        return warning(
            "dvc.yaml", "older than the stage table", "make dag (`synthct run` does it too)"
        )
    return ok("dvc.yaml", "matches the stage table")


def _dvc(root: Path) -> Iterator[CheckResult]:
    try:
        import dvc  # noqa: F401
    except ModuleNotFoundError:
        yield error("DVC", "not installed", "pip install '.[ops]'")
        return
    command = [sys.executable, "-m", "dvc"]
    yield ok("DVC cache", _output([*command, "cache", "dir"], root))
    listed = _output([*command, "remote", "list"], root)
    remotes = [line.split()[0] for line in listed.splitlines()]
    if remotes:
        yield ok("DVC remotes", ", ".join(remotes))
    else:
        yield warning("DVC remotes", "none", "dvc remote add -d NAME URL, to share results")


def _s3_credentials() -> CheckResult:
    """Whether there are credentials; they are neither read nor shown."""
    home = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    if os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY"):
        return ok("S3 credentials", "in the environment")
    if os.environ.get("AWS_ROLE_ARN") or os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return ok("S3 credentials", "a role")
    if home.is_file():
        return ok("S3 credentials", "in the credentials file")
    return warning("S3 credentials", "none", "only needed for s3:// stores and remotes")


def _s3_access() -> Iterator[CheckResult]:
    """Whether the configured S3 stores grant access."""
    for kind, variable in (("result cache", UNITS), ("array store", ARRAYS)):
        url = os.environ.get(variable, "")
        if url.startswith("s3://"):
            yield _answers(f"{kind} {url}", url, variable)


def _answers(about: str, url: str, variable: str) -> CheckResult:
    try:
        system, path = connect(url)
        call_with_retries(lambda: system.ls(path.split("/")[0]), where=url, patience_s=5.0)
    except SynthctError as failure:
        return error(about, failure.what, failure.remedy)
    except FileNotFoundError:
        return error(about, "no such bucket", f"create the bucket, or correct {variable}")
    return ok(about, "accessible")


def _certificates(folder: Path) -> Iterator[CheckResult]:
    """Remaining validity of the certificates of ``tls://`` clusters, if there are any."""
    file = folder / "node.pem"
    if not file.is_file():
        return
    from cryptography.x509 import load_pem_x509_certificate

    about = f"certificates in {folder}"
    try:
        ends = load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    except ValueError:
        yield error(
            about, "node.pem is not a certificate", "make new ones, docs/how-to/operations.md"
        )
        return
    left = (ends - datetime.datetime.now(datetime.UTC)).days
    validity = f"valid until {ends:%Y-%m-%d}, {left} days"
    if left < MIN_DAYS:
        remedy = (
            "`python -m synthct.flows.clusters.authority NEWDIR`, copy the files to all machines"
        )
        yield error(about, validity, remedy)
    else:
        yield ok(about, validity)


def _output(command: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **QUIET},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()
