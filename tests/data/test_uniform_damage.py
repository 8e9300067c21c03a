"""Damage drawn uniformly: no wrong voxels from a cut or compressed file, no error but a fault."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter

import numpy as np
import pytest

from data.faults import DataFault
from data.readers import read_scan
from data.volume import Modality
from data.writers import write_image

FORMATS = (".mha", ".nii", ".nii.gz", ".nrrd", ".zip", "folder")
EACH = 40


@pytest.fixture
def whole(tmp_path, oblique, write_ct):
    def make(kind):
        if kind in ("folder", ".zip"):
            files = write_ct(tmp_path / "whole", oblique)
            if kind == "folder":
                return tmp_path / "whole"
            with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for file in files:
                    archive.write(file, file.name)
            return tmp_path / "whole.zip"
        write_image(tmp_path / f"whole{kind}", oblique)
        return tmp_path / f"whole{kind}"

    return make


def damage(data, how, rng):
    data = bytearray(data)
    at = int(rng.integers(len(data)))
    if how == "cut":
        return bytes(data[:at])
    if how == "flip":
        data[at] ^= 1 << int(rng.integers(8))
    else:
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    return bytes(data)


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_is_a_fault_or_harmless(tmp_path, whole, oblique, kind):
    rng = np.random.default_rng(len(kind))
    source, outcomes = whole(kind), Counter()
    for number in range(EACH):
        how = ("cut", "flip", "zero")[number % 3]
        target = tmp_path / f"damaged{kind}"
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
            file = sorted(target.iterdir())[int(rng.integers(12))]
        else:
            shutil.copy(source, target)
            file = target
        file.write_bytes(damage(file.read_bytes(), how, rng))
        try:
            found = read_scan(target, Modality.CT)
        except DataFault:
            outcomes[how, "caught"] += 1
            continue
        same = found.array.shape == oblique.array.shape and np.array_equal(
            found.array, oblique.array
        )
        same = same and found.grid.is_close(oblique.grid, 1e-3)
        outcomes[how, "harmless" if same else "wrong"] += 1
    assert outcomes["cut", "caught"] == (EACH + 2) // 3
    if kind in (".nii.gz", ".zip"):  # everything lies under a checksum
        assert outcomes["flip", "wrong"] == outcomes["zero", "wrong"] == 0
        assert outcomes["flip", "caught"] >= 10
