"""A folder as the examples of the Python API see it: a scan pair, a release, a folder of scans."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthct.data.files import write_whole
from synthct.data.volume import Volume
from synthct.data.writers import write_image
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.registration import presets
from tests.tasks.prediction.conftest import write_release
from tests.tasks.registration.conftest import QUICK, make_known

TABLE = """path,patient,modality,region
scans/mr.nii.gz,P1,MR,
scans/ct.nii.gz,P1,CT,
"""


@pytest.fixture(scope="session")
def pair() -> tuple[Volume, Volume]:
    """An MR and a CT of one textured body."""
    known = make_known()
    return known.fixed, known.moving


@pytest.fixture
def scene(tmp_path, monkeypatch, pair) -> Path:
    """The working directory: ``mr.nii.gz``, ``ct.nii.gz``, ``release``, ``scans``, its table."""
    for folder in (tmp_path, tmp_path / "scans"):
        for name, scan in zip(("mr", "ct"), pair, strict=True):
            write_image(folder / f"{name}.nii.gz", scan)
    write_whole(tmp_path / "scans.csv", TABLE)
    model = ModelDescription(
        source="mr", fold=0, network={"name": "toy"}, slices=3, patch_size=(32, 32), divisor=8,
        spacing_mm=pair[0].grid.spacing_mm, source_scaling=SourceScaling(),
        target_scaling=TargetScaling(),
    )  # fmt: skip
    write_release(tmp_path / "release", model, (0.2, 0.4))
    # The published settings take minutes on any pair.
    monkeypatch.setitem(presets.PRESETS, presets.usual_preset("mr", "abdomen"), QUICK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "a key of more than sixteen characters")
    return tmp_path
