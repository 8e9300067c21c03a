"""Clones of this checkout, working tree included, in which the tiny chain runs for real."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from synthct.data.files import tree_hashes
from tests.fixtures.checkout import ROOT, copy_checkout, known_files


@dataclass
class Checkout:
    """A temporary repository with a result cache of its own."""

    root: Path
    units: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What a person's shell would have, with this checkout's own store."""
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("SYNTHCT", "PREFECT"))
        }
        return inherited | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.root / "src"),
            "SYNTHCT_UNITS": str(self.units),
            "DVC_NO_ANALYTICS": "1",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",
            **self.extra,
        }

    def run(self, *command: str, check: bool = True, **more: str) -> subprocess.CompletedProcess:
        """Run a command in the repository's root."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment | more, capture_output=True, text=True
        )
        if check and done.returncode:
            raise AssertionError(
                f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def outs(self) -> dict[str, str]:
        """SHA-256 of every file that the stages wrote."""
        found = {}
        for folder in ("data/raw/demo", "data/artefacts"):
            base = self.root / folder
            for path in sorted(base.rglob("*")):
                if path.is_file() and path.name != ".gitignore":
                    found[str(path.relative_to(self.root))] = _sha256(path)
        return found

    def published(self) -> set[str]:
        """Keys of all finished units."""
        return {unit.name for shelf in self.units.glob("??") for unit in shelf.iterdir()}

    def set_params(self, old: str, new: str) -> None:
        """Edit params.yaml as a person would."""
        file = self.root / "params.yaml"
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in params.yaml"
        file.write_text(text.replace(old, new))


def _sha256(path: Path) -> str:
    return dict(tree_hashes(path.parent))[path.name]


def clone(target: Path, params: str) -> Checkout:
    """Copy what git knows or would add, commit it there, and give it tiny params."""
    copy_checkout(target)
    checkout = Checkout(target, target.parent / f"{target.name}-units")
    (target / "params.yaml").write_text(params)
    for command in (
        ("git", "add", "-A"),
        ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "clone"),
    ):
        checkout.run(*command)
    return checkout


@pytest.fixture(scope="session")
def tiny_params() -> str:
    """The smallest chain that still does everything."""
    return (Path(__file__).parent / "tiny.yaml").read_text()


@pytest.fixture
def make_clone(tmp_path, tiny_params):
    """Make a fresh clone with tiny params, by name."""
    return lambda name: clone(tmp_path / name, tiny_params)


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory, tiny_params) -> Checkout:
    """A clone in which plain `dvc repro` has run the whole tiny chain; tests only read it.

    With ``$SYNTHCT_KEPT_CHAIN`` it is kept in that folder, for later sessions over the very same
    files, so that the long tests can be run piece by piece.
    """
    kept = os.environ.get("SYNTHCT_KEPT_CHAIN")
    home = Path(kept) / _fingerprint() if kept else tmp_path_factory.mktemp("chain")
    done = home / "done"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        clone(home / "repro", tiny_params).run("dvc", "repro")
        done.touch()
    return Checkout(home / "repro", home / "repro-units")


def _fingerprint() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for name in known_files():
        if not name.startswith(("docs/", "tests/", "benchmarks/")) or name.startswith(
            "tests/chain/tiny"
        ):
            digest.update(f"{name}\0".encode() + _content(name))
    return digest.hexdigest()[:16]


def _content(name: str) -> bytes:
    path = ROOT / name
    return bytes(path.readlink()) if path.is_symlink() else path.read_bytes()


@pytest.fixture
def copy_of(tmp_path):
    """A private copy of a clone: its files, its outs, its cache, its units."""

    def copy(checkout: Checkout, name: str) -> Checkout:
        shutil.copytree(checkout.root, tmp_path / name, symlinks=True)
        shutil.copytree(checkout.units, tmp_path / f"{name}-units")
        return Checkout(tmp_path / name, tmp_path / f"{name}-units")

    return copy
