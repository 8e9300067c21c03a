from __future__ import annotations

import pytest
from pydantic import ValidationError

from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.params import RegistrationParams


def test_a_region_with_a_method_of_its_own_does_not_get_the_options_of_another():
    params = RegistrationParams(
        method="lncc",
        method_options={"step_mm": 0.3},
        methods={"mr_head-neck": "elastix_mi"},
    )
    assert params.method_of("mr", "head-neck") == ("elastix_mi", {})
    assert params.method_of("mr", "thorax") == ("lncc", {"step_mm": 0.3})
    assert params.method_of("cbct", "head-neck") == ("lncc", {"step_mm": 0.3})


def test_a_misspelt_exception_is_reported_with_the_nearest_name():
    with pytest.raises(ValidationError, match="did you mean 'elastix_mi'"):
        RegistrationParams(methods={"mr_thorax": "elastix"})


@pytest.mark.parametrize("name", ["mi", "ncc", "lncc", "mind"])
def test_no_method_of_the_engine_bends_for_nothing_unless_asked_to(name):
    """Without a penalty of the similarity's own scale digital patients folded."""
    (penalty,) = METHODS.build(name, {}).settings().penalties
    assert (penalty.name, penalty.weight >= 100) == ("bending", True)
    given = METHODS.build(name, {"penalties": [{"name": "diffusion", "weight": 2.0}]})
    assert [p.name for p in given.settings().penalties] == ["diffusion"]
