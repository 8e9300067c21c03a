"""Workers are killed while the real stages run: same bytes, and only lost work is redone."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
import yaml

from synthct.data.files import write_whole
from tests.chain.harassed import Toll, harass
from tests.chain.test_scheduled import GRID

FIGURES = Path(os.environ.get("SYNTHCT_FIGURES", "")).absolute()
"""File for the figures, for the docs. Without it they are only compared with their limits."""

_HEAD = """# Workers killed at random moments, stage by stage

`SYNTHCT_FIGURES=docs/benchmarks/kills.md pytest tests/chain/test_kills.py -m slow`: each
stage of a small chain, on two workers, with up to two SIGKILLs per run at random moments of the
stage (uniform distribution). Each run starts without results. Every run gave the same bytes as an
undisturbed one (SHA-256 of each file).

| stage | units | kills | runs | units started again | undisturbed [s] | killed [s] | date |
|---|---|---|---|---|---|---|---|
"""


def note_down(file: Path, toll: Toll) -> None:
    """Put the stage's row into the table, in the place of an older one."""
    rows = {
        line.split("|")[1].strip(): line
        for line in (file.read_text().splitlines() if file.exists() else [])
        if line.startswith("| ") and not line.startswith("| stage")
    }
    rows[toll.stage] = (
        f"| {toll.stage} | {toll.units} | {toll.kills} | {toll.runs} | {toll.again} "
        f"| {toll.calm_s:.1f} | {toll.seconds / toll.runs:.1f} "
        f"| {time.strftime('%Y-%m-%d', time.gmtime())} |"
    )
    write_whole(file, _HEAD + "\n".join(rows.values()) + "\n")


@pytest.mark.timeout(5400)  # 20 runs of the longest stage, three minutes each on a crowded machine
@pytest.mark.parametrize(
    ("stage", "kills"),
    [
        pytest.param("registration", 2, marks=pytest.mark.slow),
        *(
            pytest.param(stage, 20, marks=pytest.mark.slow)
            for stage in (
                "cohort", "ingestion", "registration", "training", "evaluation", "export"
            )
        ),
    ],
)  # fmt: skip
def test_killed_workers_change_the_bytes_of_a_stage_or_cost_more_than_was_lost(
    stage, kills, reproduced, copy_of, monkeypatch
):
    checkout = copy_of(reproduced, stage)
    monkeypatch.chdir(checkout.root)
    toll = harass(checkout, stage, kills, seed=8)
    assert toll.kills == kills
    assert toll.again <= kills + 1
    if os.environ.get("SYNTHCT_FIGURES"):
        note_down(FIGURES, toll)


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_killed_workers_change_the_bytes_of_a_study_or_cost_more_than_was_lost(
    reproduced, copy_of, tiny_params, monkeypatch
):
    """Two arms on two alignments: trials, the pairs made for them, the prices."""
    checkout = copy_of(reproduced, "study")
    monkeypatch.chdir(checkout.root)
    place = "workspaces/study"
    params = yaml.safe_load(tiny_params) | GRID
    (checkout.root / place).mkdir(parents=True)
    (checkout.root / place / "params.yaml").write_text(yaml.safe_dump(params))
    for stage in ("cohort", "ingestion", "registration", "study"):
        checkout.run(sys.executable, "-m", "synthct.tasks", stage, "--workspace", place)
    toll = harass(checkout, "study", 6, seed=8, workspace=place)
    assert toll.kills == 6
    assert toll.again <= 7
    if os.environ.get("SYNTHCT_FIGURES"):
        note_down(FIGURES, toll)
