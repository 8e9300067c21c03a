"""The whole tiny chain with its voxels on S3: every key and every content as without."""

from __future__ import annotations

import json
import shutil

import pytest

from synthct.data.files import content_hash
from tests.chain.conftest import clone

STAGES = ("cohort", "ingestion", "registration", "training", "evaluation", "export", "report")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_voxels_on_s3_change_a_key_or_a_content_of_the_real_stages(
    reproduced, tmp_path, tiny_params, s3, s3_server
):
    remote = clone(tmp_path / "remote", tiny_params)
    remote.extra = {
        **s3_server,
        "SYNTHCT_ARRAYS": f"{s3}/{tmp_path.name}",
        "SYNTHCT_ARRAYS_COPIES": str(tmp_path / "copies"),
    }
    finished = json.loads((reproduced.root / "data/artefacts/export/units.json").read_text())
    for key in (entry["key"] for entry in finished.values()):
        # The stage that takes longest, from units that were finished before: their keys must fit.
        shutil.copytree(reproduced.units / key[:2] / key, remote.units / key[:2] / key)
    remote.run("dvc", "repro")
    for stage in STAGES:
        where = "data/raw/demo" if stage == "cohort" else f"data/artefacts/{stage}"
        ours, theirs = (each.root / where for each in (remote, reproduced))
        for name in ("units.json", "excluded.json"):
            assert json.loads((ours / name).read_text()) == json.loads((theirs / name).read_text())
        assert content_hash(ours) == content_hash(theirs), stage
    arrays = list((remote.root / "data").rglob("*.zarr"))
    assert len(arrays) == len(list((remote.root / "data").rglob("receipt.json"))) > 10
    assert not any((array / "0" / "c").exists() for array in arrays)
    assert remote.published() == reproduced.published()
    assert "up to date" in remote.run("dvc", "status").stdout
