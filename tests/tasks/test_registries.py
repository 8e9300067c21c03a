"""What every plug-in of every registry owes to whoever writes its options."""

from __future__ import annotations

import dataclasses

import pytest

from synthct.data.errors import UsageError
from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.export.shrink import SHRINKERS
from synthct.tasks.ingestion.guards import GUARDS
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.pretraining.objectives import OBJECTIVES
from synthct.tasks.registration.deformations import DEFORMATIONS
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.similarities import SIMILARITIES
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.transport.harmonisers import HARMONISERS

REGISTRIES = (
    BASELINES, CHECKS, DEFORMATIONS, GUARDS, HARMONISERS, LOSSES, METHODS, METRICS, NETWORKS,
    OBJECTIVES, REGULARIZERS, SHRINKERS, SIMILARITIES,
)  # fmt: skip
MEMBERS = [(registry, name) for registry in REGISTRIES for name in registry.names()]
named = pytest.mark.parametrize(
    ("registry", "name"), MEMBERS, ids=[f"{r.kind}-{name}" for r, name in MEMBERS]
)


@named
def test_a_misspelt_option_is_ignored(registry, name):
    with pytest.raises(UsageError, match="no parameter 'wieght'"):
        registry.build(name, {"wieght": 1.0})


@named
def test_options_of_the_wrong_type_are_found_one_a_run(registry, name):
    """A mapping of a type that no field takes: every field is named, in one error."""
    fields = [field.name for field in dataclasses.fields(registry.get(name))]
    typed = [key for key in fields if not _takes_mappings(registry.get(name), key)]
    if not typed:
        pytest.skip("it has no options of a plain type")
    with pytest.raises(UsageError) as caught:
        registry.build(name, {key: {"no such": {"value": None}} for key in typed})
    for key in typed:
        assert f"{key}: " in caught.value.problem


def _takes_mappings(cls, key):
    (field,) = [field for field in dataclasses.fields(cls) if field.name == key]
    return "Mapping" in str(field.type) or "dict" in str(field.type)
