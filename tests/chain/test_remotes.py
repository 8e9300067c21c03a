"""Artefacts travel to a remote and back: a folder out of the box, S3 with two settings."""

from __future__ import annotations

import shutil

import pytest


@pytest.mark.parametrize("where", ["local", "s3"])
def test_pushed_artefacts_come_back_with_other_bytes(where, reproduced, copy_of, request):
    source = copy_of(reproduced, "source")
    if where == "s3":
        source.extra = dict(request.getfixturevalue("s3_server"))
        source.run("dvc", "remote", "add", "-d", "--local", "cloud", "s3://synthct-test/dvc")
    source.run("dvc", "push")
    for folder in (".dvc/cache", "data/artefacts", "data/raw/demo"):
        shutil.rmtree(source.root / folder)
    source.run("dvc", "pull")
    assert source.outs() == reproduced.outs()
    assert "up to date" in source.run("dvc", "status").stdout
