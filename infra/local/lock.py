"""Write ``locks/``: what each role installs on each Python, every file by its SHA-256.

``python infra/local/lock.py`` (``make lock``) keeps the versions that are locked and still fit;
``--upgrade`` takes the newest. ``--torch WHEEL`` adds a CPU build of the pinned torch to the known
builds.

uv resolves for a Python that need not be installed, and lists for each package the files that fit
Linux on x86_64. It ignores upper bounds of ``Requires-Python``, with which pip would refuse the
package when a user installs it, so `check_python` compares them.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "locks"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
RUN = ("train", "ops", "sign", "dose", "reconstruct")
ROLES: dict[str, tuple[str, ...]] = {
    "predict": (),
    "run": RUN,
    "cluster": (*RUN, "slurm", "kubernetes"),
    "dev": (*RUN, "slurm", "docs", "dev"),
}
PLATFORM = "x86_64-manylinux_2_28"
SDISTS = {"antlr4-python3-runtime"}
"""Packages without wheels. Another one stops `make lock`, because building it runs its code."""
CPU_BUILDS = LOCKS / "torch-cpu-builds.txt"
BUILD_TOOLS = "build.txt"

Package = dict[str, Any]


def main() -> None:
    """Resolve once for each Python with all extras, then once for each role within that."""
    arguments = argparse.ArgumentParser(description="Write locks/ from pyproject.toml.")
    arguments.add_argument("--upgrade", action="store_true", help="take the newest versions")
    arguments.add_argument("--torch", type=Path, help="add this CPU build to the known builds")
    options = arguments.parse_args()
    if options.torch:
        add_cpu_build(options.torch)
    with tempfile.TemporaryDirectory() as scratch:
        written = dict(files(Path(scratch), upgrade=options.upgrade))
    for old in LOCKS.glob("*.txt"):
        if old != CPU_BUILDS:
            old.unlink()
    for name, text in written.items():
        (LOCKS / name).write_text(text)
        sys.stdout.write(f"locks/{name}: {text.count('==')} packages\n")


def files(scratch: Path, *, upgrade: bool) -> Iterator[tuple[str, str]]:
    """Name and text of each lock."""
    known = "" if upgrade else pins()
    for python in PYTHONS:
        everything = scratch / f"{python}.txt"
        everything.write_text(known)  # uv prefers the versions that its output names already
        extras = sorted({extra for role in ROLES.values() for extra in role})
        resolve(python, extras, everything)
        known = known or everything.read_text()  # the same version on all Pythons if it fits all
        torch: dict[str, Package] = {}
        for role, chosen in ROLES.items():
            pylock = scratch / f"pylock.{role}.toml"
            resolve(python, chosen, pylock, "--constraints", str(everything))
            packages = tomllib.loads(pylock.read_text())["packages"]
            torch |= {package["name"]: package for package in packages if is_torch(package)}
            kept = [package for package in packages if not is_torch(package)]
            check_python(kept, python)
            yield file_name(python, role), lock_text(kept, python, role)
        yield file_name(python, "cuda"), lock_text(torch.values(), python, "cuda")
        if build := cpu_build(torch["torch"]["version"], python):
            yield file_name(python, "cpu"), lock_text([build], python, "cpu")
        if python == PYTHONS[0]:
            tools = [package for package in packages if package["name"] == "setuptools"]
            yield BUILD_TOOLS, lock_text(tools, python, "build")


def resolve(python: str, extras: Iterable[str], out: Path, *more: str) -> None:
    """Let uv write ``out``, a list of requirements or a pylock.toml by its suffix."""
    command = [
        str(Path(sys.executable).with_name("uv")), "pip", "compile", "pyproject.toml", "-",
        "--no-config", "--quiet", "--no-python-downloads", "--python", sys.executable,
        "--python-version", python, "--python-platform", PLATFORM, "--no-header", "--no-annotate",
        "--output-file", str(out), *more,
    ]  # fmt: skip
    for extra in extras:
        command += ["--extra", extra]
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    subprocess.run(command, cwd=ROOT, check=True, input="\n".join(build), text=True)


def is_torch(package: Package) -> bool:
    """Whether it is torch or required by its CUDA build only; these have locks of their own."""
    return re.match(r"(nvidia|cuda)-|triton$|torch$", package["name"]) is not None


def lock_text(packages: Iterable[Package], python: str, role: str) -> str:
    """One lock in pip's format: a version and the SHA-256 of each file that may be installed."""
    lines = [
        f"# {role}, Python {python}, Linux x86_64. Written by `make lock` from pyproject.toml.",
        "--only-binary :all:",
        *(f"--no-binary {name}" for name in sorted(SDISTS)),
    ]
    for package in sorted(packages, key=lambda package: package["name"]):
        hashes = file_hashes(package, python)
        lines.append(f"{package['name']}=={package['version']} \\")
        lines.append(" \\\n".join(f"    --hash=sha256:{each}" for each in sorted(hashes)))
    return "\n".join(lines) + "\n"


def file_hashes(package: Package, python: str) -> set[str]:
    """SHA-256 of the wheels, or of the source distribution for a package in ``SDISTS``."""
    name, wheels = package["name"], package.get("wheels", [])
    if not wheels and name not in SDISTS:
        sys.exit(f"{name} {package['version']} has no wheel for Python {python}: see SDISTS")
    chosen = wheels or [package["sdist"]]
    return {each["hashes"]["sha256"] for each in chosen}


def check_python(packages: Iterable[Package], python: str) -> None:
    """Exit if an installed package declares that it does not support this Python."""
    installed = {each.name.lower(): each for each in metadata.distributions()}
    for package in packages:
        found = installed.get(package["name"])
        if found is None or found.version != package["version"]:
            continue
        bounds = found.metadata["Requires-Python"] or ""
        if not SpecifierSet(bounds).contains(f"{python}.99"):
            sys.exit(
                f"{found.name} {found.version} asks for Python {bounds}, so pip refuses it on "
                f"{python}: give it an environment marker in pyproject.toml"
            )


def cpu_build(version: str, python: str) -> Package | None:
    """The CPU build, if it is known; the public index lists the CUDA build only.

    Its version has the local tag. A single requirement with the hashes of both builds would not do:
    pip prefers a file for which its index gives a hash, and a folder of wheels gives none.
    """
    start = f"torch-{version}+cpu-cp{python.replace('.', '')}-"
    lines = [line.split() for line in CPU_BUILDS.read_text().splitlines() if line[:1] != "#"]
    wheels = [{"hashes": {"sha256": digest}} for digest, name in lines if name.startswith(start)]
    return {"name": "torch", "version": f"{version}+cpu", "wheels": wheels} if wheels else None


def add_cpu_build(wheel: Path) -> None:
    """Add the SHA-256 of a local wheel to the list of known builds."""
    with wheel.open("rb") as stream:
        line = f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {wheel.name}\n"
    text = CPU_BUILDS.read_text()
    CPU_BUILDS.write_text(text if line in text else text + line)


def pins() -> str:
    """The versions that are locked now, those of the oldest Python first."""
    lines: dict[str, str] = {}
    for python in PYTHONS:
        for path in sorted(LOCKS.glob(file_name(python, "*"))):
            for name, version in re.findall(
                r"^([\w.-]+)==([^\s+]+)", path.read_text(), re.MULTILINE
            ):
                lines.setdefault(name, f"{name}=={version}\n")
    return "".join(lines.values())


def file_name(python: str, role: str) -> str:
    """``py311-run.txt``."""
    return f"py{python.replace('.', '')}-{role}.txt"


if __name__ == "__main__":
    main()
