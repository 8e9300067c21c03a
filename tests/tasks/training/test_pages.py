"""What the pages on training show is valid, and they omit no plug-in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from synthct.tasks.chain.params import parse_params
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import seams_of
from synthct.tasks.training.check import check

DOCS = Path(__file__).resolve().parents[3] / "docs"
TRAINING, WHICH = (DOCS / name for name in ("how-to/train.md", "explanation/regularizers.md"))
BLOCKS = re.findall(r"```yaml\n(.*?)```", TRAINING.read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split(":")[0])
def test_every_block_of_the_page_is_valid(block):
    indented = "".join(f"  {line}\n" for line in block.splitlines())
    whole = block.startswith("pretraining:")  # a section of its own
    text = f"dataset: demo\n{block}" if whole else f"dataset: demo\ntraining:\n{indented}"
    check(parse_params(text, where="docs/how-to/train.md").training)


def own(registry):
    """Names of the project's members: other tests register toys."""
    return {
        name for name in registry.names() if registry.module_of(name).startswith("synthct.tasks.")
    }


def test_every_network_loss_and_preset_is_on_the_page():
    page = TRAINING.read_text()
    presets = {p.stem for p in DOCS.parent.joinpath("presets").glob("*.yaml")}
    named = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert len(own(NETWORKS)) >= 3
    assert own(NETWORKS) <= named
    assert all(f"`{name}`" in page for name in own(LOSSES))
    assert {"synthrad_paper", "synthrad_configs", "glfc"} <= presets & named


def test_every_regularizer_of_training_answers_a_question():
    page = WHICH.read_text()
    missing = [
        name
        for name, cls in REGULARIZERS.items()
        if cls.__module__.startswith("synthct.tasks.regularization.")
        and not set(seams_of(cls)) <= {"displacement", "image"}
        and f"`{name}`" not in page
    ]
    assert not missing
