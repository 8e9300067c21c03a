from __future__ import annotations

import json
import re

import pytest

from synthct.data.errors import UsageError
from synthct.tasks.regularization import catalogue

RESOLVABLE = re.compile(
    r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d{4,9}/\S+|\d+ \(\d{4}\) \d+-\d+|PhD thesis", re.ASCII
)
"""An identifier, or volume, year and pages of a journal."""


def test_the_catalogue_is_plain_values_and_names_the_papers():
    entries = json.loads(json.dumps(catalogue()))
    references = {entry["name"]: entry["references"] for entry in entries}
    assert references["cutout"].endswith("arXiv:1708.04552 (2017).")
    assert "arXiv:2109.14119" in references["gradient_norm"]
    assert "arXiv:2103.06583" in references["norm_loss"]


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: entry["name"])
def test_no_reference_is_one_that_a_reader_cannot_find(entry):
    assert RESOLVABLE.search(entry["references"]), entry["references"]


def test_a_regularizer_is_not_listed_at_a_seam_where_it_does_nothing():
    seams = {entry["name"]: entry["seams"] for entry in catalogue()}
    assert seams["cutout"] == ["perturb"]
    assert seams["norm_loss"] == ["penalty"]
    assert seams["gradient_norm"] == ["penalty", "gradient"]


def test_no_parameter_is_listed_without_its_default():
    (entry,) = catalogue("cutout")
    assert entry["parameters"][0] == {"name": "size_mm", "type": "float", "default": 32.0}
    assert entry["summary"].startswith("Squares of the input are blanked")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'norm_loss'"):
        catalogue("norm_los")
