"""However a batch is divided, over processes or in time, the step is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from synthct.data.environment import EVENTS
from synthct.data.errors import MachineError
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Batch
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step
from synthct.tasks.training.compose import Composition, Member, Term
from synthct.tasks.training.descent import Descent
from synthct.tasks.training.run_state import Progress
from synthct.tasks.training.team import Team, split, weight_of

ROOT = Path(__file__).resolve().parents[3]


def patches(count=6, side=64):
    """Patches of which each has another part of body."""
    rng = torch.Generator().manual_seed(1)
    source = torch.randn((count, 3, side, side), generator=rng, dtype=torch.float64)
    target = torch.rand((count, 1, side, side), generator=rng, dtype=torch.float64)
    parts = torch.rand((count, 1, 1, 1), generator=rng, dtype=torch.float64)
    mask = (torch.rand(target.shape, generator=rng, dtype=torch.float64) < parts).double()
    many = ("a",) * count
    return Batch(source, target, mask, (3.0, 1.0, 1.0), many, many, ((0, 0, 0),) * count)


def descent(norm="instance", team=Team(), name="norm_loss"):  # noqa: B008 - frozen
    torch.manual_seed(0)
    options = {"slices": 3, "width": 4, "norm": norm}
    model = NETWORKS.build("unet_plus_plus", options).build().double()
    losses = [Term("l1", 1.0, LOSSES.build("l1", {}))]
    members = [Member(name, 0.01, REGULARIZERS.build(name, {}))]
    composition = Composition(losses, members, TargetScaling())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Descent("mr_fold0", model, composition, optimizer, torch.device("cpu"), team, Progress())


def gradients(made, batch):
    step = Step(
        batch=batch, model=made.model, number=0, total=1, epoch=0, seed=1, run=made.model,
        objective=lambda: torch.zeros(()), validation=lambda: batch,
    )  # fmt: skip
    values, _ = made.gradients(step)
    return torch.cat([p.grad.flatten() for p in made.model.parameters()]), values


CHILD = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[4])
import test_descent as here
from synthct.tasks.training.team import join
rank, norm, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
team = join(rank, 2, folder / "meeting", "cpu")
torch.save(here.gradients(here.descent(norm, team), here.patches()), folder / f"{rank}.pt")
torch.distributed.barrier()
"""


@pytest.mark.parametrize("norm", ["instance", pytest.param("group", marks=pytest.mark.slow)])
def test_two_processes_make_the_step_that_one_makes_with_the_doubled_batch(norm, tmp_path):
    """To 1e-6 and far below, in float64: nothing but rounding tells them apart."""
    expected, values = gradients(descent(norm), patches())
    command = [sys.executable, "-c", CHILD]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    children = [
        subprocess.Popen(
            [*command, str(rank), norm, str(tmp_path), str(Path(__file__).parent)], env=environment
        )
        for rank in range(2)
    ]
    assert [child.wait(timeout=300) for child in children] == [0, 0]
    for rank in range(2):
        got, told = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert (got - expected).abs().max() < 1e-12
        assert told == pytest.approx(values, rel=1e-12)


@pytest.mark.parametrize("pieces", [2, 4, 6, 9])
def test_gradients_accumulated_over_parts_are_those_of_the_whole(pieces):
    expected, values = gradients(descent(), patches())
    made = descent()
    made.progress.pieces = pieces
    got, told = gradients(made, patches())
    assert (got - expected).abs().max() < 1e-12
    assert told == pytest.approx(values, rel=1e-12)


def test_parts_are_even_and_hold_every_sample_once():
    batch = patches(count=7, side=8)
    parts = split(batch, 3)
    assert [len(part.source) for part in parts] == [2, 2, 3]
    assert torch.equal(torch.cat([part.source for part in parts]), batch.source)
    assert sum(weight_of(part, batch) for part in parts) == pytest.approx(1)


def test_without_any_body_parts_count_by_their_samples():
    batch = patches(count=4, side=8)
    batch.mask.zero_()
    assert [weight_of(part, batch) for part in split(batch, 2)] == [0.5, 0.5]


@pytest.fixture
def small_device(monkeypatch):
    """Runs out of memory on more than ``most`` patches at once; the sizes that were tried."""

    def make(most):
        sizes, evaluate = [], Composition.evaluate

        def limited(self, step, *, again=False):
            sizes.append(len(step.batch.source))
            if sizes[-1] > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return evaluate(self, step, again=again)

        monkeypatch.setattr(Composition, "evaluate", limited)
        return sizes

    return make


def test_out_of_memory_halves_the_parts_and_says_so(small_device, tmp_path, monkeypatch):
    expected, _ = gradients(descent(), patches())
    sizes = small_device(2)
    monkeypatch.setenv(EVENTS, str(tmp_path / "events.jsonl"))
    made = descent()
    got, _ = gradients(made, patches())
    assert sizes == [6, 3, 1, 2, 1, 2]
    assert (got - expected).abs().max() < 1e-12
    (remark,) = made.progress.remarks
    assert remark == (
        "out of memory at step 1: gradients are accumulated over parts of at most 2 patches "
        "from here on"
    )
    told = (tmp_path / "events.jsonl").read_text().splitlines()
    assert remark in json.loads(told[-1])["text"]


def test_a_batch_norm_that_sees_parts_alone_is_remarked(small_device):
    small_device(3)
    made = descent("batch")
    gradients(made, patches())
    assert "batch norms see these parts alone" in made.progress.remarks[0]


def test_what_needs_whole_batches_is_never_divided_silently(small_device):
    small_device(2)
    with pytest.raises(MachineError, match="gradient_norm need whole batches"):
        gradients(descent(name="gradient_norm"), patches())
    with pytest.raises(MachineError, match="nested_co_teaching need whole batches"):
        descent(name="nested_co_teaching", team=Team(0, 2)).check_team(8)


def test_one_patch_that_is_too_large_is_reported(small_device):
    small_device(0)
    with pytest.raises(MachineError, match="one patch too large"):
        gradients(descent(), patches(count=2))


def test_fewer_patches_than_processes_are_reported():
    with pytest.raises(MachineError, match="2 patches cannot be divided among 3 processes"):
        descent(team=Team(0, 3)).check_team(2)


def test_running_statistics_are_those_that_the_parts_showed():
    """The one thing that division changes, and why it is remarked."""
    whole, made = descent("batch"), descent("batch")
    made.progress.pieces = 2
    for each in (whole, made):
        gradients(each, patches())
    kinds = [m for m in made.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(int(m.num_batches_tracked) == 2 for m in kinds)
