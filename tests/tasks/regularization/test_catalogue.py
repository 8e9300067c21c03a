from __future__ import annotations

import json

import pytest

from synthct.data.errors import UsageError
from synthct.tasks.regularization import catalogue


def test_the_catalogue_is_plain_values_and_names_the_papers():
    entries = json.loads(json.dumps(catalogue()))
    papers = {entry["name"]: entry["paper"] for entry in entries}
    assert papers["cutout"] == 64
    assert papers["gradient_norm"] == 106
    assert papers["norm_loss"] == 17


def test_the_first_three_stand_at_different_seams():
    seams = {entry["name"]: entry["seams"] for entry in catalogue()}
    assert seams["cutout"] == ["perturb"]
    assert seams["norm_loss"] == ["penalty"]
    assert seams["gradient_norm"] == ["penalty", "gradient"]


def test_one_entry_tells_its_parameters_with_their_defaults():
    (entry,) = catalogue("cutout")
    assert entry["parameters"][0] == {"name": "size_mm", "type": "float", "default": 32.0}
    assert entry["summary"].startswith("Squares of the input are blanked")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'norm_loss'"):
        catalogue("norm_los")
