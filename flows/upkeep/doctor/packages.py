"""Checks of Python and of the installed packages against the pinned versions."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib import metadata

from packaging.requirements import Requirement

from synthct.flows.upkeep.doctor.check_result import CheckResult, error, ok, warning

_PURPOSES = {"": "predict", "train": "the chain", "ops": "the flow"}
"""What the base package and the extras are for."""

_RUN_HERE = ("3.11", "3.12", "3.13")
_LOCKED_ONLY = ("3.14",)


def check_packages() -> Iterator[CheckResult]:
    """Check Python, the pinned packages, and the two SimpleITK wheels, which exclude each other."""
    yield python_version(platform.python_version(), platform.machine())
    installed = installed_versions()
    for extra, purpose in _PURPOSES.items():
        yield pins(extra, purpose, requirements(extra), installed)
    yield itk_wheel(installed)


def installed_versions() -> dict[str, str]:
    """Installed versions by normalized package name."""
    return {
        _normal(found.metadata["Name"]): found.version
        for found in metadata.distributions()
        if found.metadata["Name"]
    }


def requirements(extra: str) -> list[Requirement]:
    """Requirements of synthct's own metadata, of an extra or (``""``) of the base."""
    wanted = []
    for line in metadata.requires("synthct") or []:
        requirement = Requirement(line)
        marker = requirement.marker
        in_base = marker is None or marker.evaluate({"extra": ""})
        if (
            in_base
            if not extra
            else not in_base and marker is not None and marker.evaluate({"extra": extra})
        ):
            wanted.append(requirement)
    return wanted


def pins(
    extra: str, purpose: str, wanted: list[Requirement], installed: Mapping[str, str]
) -> CheckResult:
    """Whether all packages of an extra are installed, at the versions that were tested."""
    about = f"packages for {purpose}"
    missing = [each.name for each in wanted if _normal(each.name) not in installed]
    wrong = [
        f"{each.name} {version} (pinned {each.specifier})"
        for each in wanted
        if (version := installed.get(_normal(each.name)))
        and not each.specifier.contains(version, prereleases=True)
    ]
    remedy = f"pip install '.[{extra}]'" if extra else "pip install ."
    if wrong:
        return error(about, ", ".join(wrong), f"{remedy}; docs/decisions says why each is pinned")
    if missing:
        report = warning if extra else error
        return report(about, f"missing: {', '.join(missing)}", remedy)
    return ok(about, f"{len(wanted)} as pinned")


def itk_wheel(installed: Mapping[str, str]) -> CheckResult:
    """Check the SimpleITK wheel: the stock wheel overwrites files of the one with elastix."""
    elastix, stock = "simpleitk-simpleelastix", "simpleitk"
    remedy = (
        "pip uninstall -y SimpleITK SimpleITK-SimpleElastix && "
        "pip install --no-deps 'SimpleITK-SimpleElastix==3.0.0a1.post183'"
    )
    if stock in installed:
        return error(
            "SimpleITK", f"the stock wheel {installed[stock]} is installed as well", remedy
        )
    if elastix not in installed:
        return error("SimpleITK", "not installed", remedy)
    import SimpleITK as sitk

    if not hasattr(sitk, "ElastixImageFilter"):
        return error("SimpleITK", "has no elastix: its files are of another wheel", remedy)
    return ok("SimpleITK", f"with elastix, {installed[elastix]}")


def python_version(version: str, machine: str) -> CheckResult:
    """Whether there is a lock for this Python, and whether it was ever run with it."""
    minor = version.rsplit(".", 1)[0]
    what = f"{version} on {machine}"
    if machine != "x86_64":
        return error("Python", what, "use Linux on x86_64: elastix has no wheel for others")
    if minor in _RUN_HERE:
        return ok("Python", version)
    if minor in _LOCKED_ONLY:
        remedy = "it has a lock, but tests ran on 3.11, 3.12 and 3.13 only"
        return warning("Python", version, remedy)
    return error("Python", version, "use Python 3.11, 3.12 or 3.13: PYTHON=python3.11 make setup")


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
