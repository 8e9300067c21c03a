from __future__ import annotations

import pytest
import torch

from synthct.data.errors import UsageError


def holes(problem, name="cutout", number=0, **options):
    small = problem(name, fill=9.0, **options)
    perturbed = small.composition.perturb(small.step(seed=number)).batch.source
    return perturbed == 9.0


def test_one_voxel_holes_cut_exactly_one_voxel_of_every_channel(problem):
    cut = holes(problem, size_mm=0.4)
    assert cut.sum(dim=(2, 3)).tolist() == [[1, 1], [1, 1]]
    assert torch.equal(cut[:, 0], cut[:, 1])


def test_the_side_is_in_millimetres_and_may_stick_out_of_the_patch(problem):
    sides = {int(holes(problem, size_mm=3.0, number=n)[0, 0].any(dim=0).sum()) for n in range(60)}
    # Spacing 1 mm: three voxels inside, fewer where the square sticks out, never more.
    assert sides == {2, 3}


def test_the_strength_is_the_probability_of_a_cut(problem):
    small = problem("cutout", weight=0.25, size_mm=1.0, fill=9.0)
    cut = 0
    for number in range(300):
        source = small.composition.perturb(small.step(seed=number)).batch.source
        cut += int((source == 9.0).flatten(1).any(dim=1).sum())
    assert cut / 600 == pytest.approx(0.25, abs=0.05)


def test_the_target_stays_whole(problem):
    small = problem("cutout")
    assert small.composition.perturb(small.step()).batch.target is small.batch.target


@pytest.mark.parametrize("options", [{"size_mm": 0.0}, {"holes": 0}])
def test_impossible_squares_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("cutout", **options)


@pytest.mark.claim
def test_a_model_learns_to_use_the_surroundings(problem):
    """The paper's claim: less reliance on single features, more on the context.

    The target is in the input twice, strong in the left half and weak in the right. Plain
    training listens to the loud copy alone and is lost when it is blanked; with cutout it is not.
    """

    def blanked_error(weight):
        small = problem("cutout", weight=weight, size_mm=2.0)
        loud_faint = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([loud_faint], lr=0.2)
        rng = torch.Generator().manual_seed(4)
        for number in range(400):
            truth = torch.randn((8, 1, 1, 1), generator=rng, dtype=torch.float64)
            source = torch.cat([truth, 0.3 * truth], dim=3).expand(8, 1, 2, 2)
            batch = replace_source(small.batch, source)
            seen = small.composition.perturb(small.step(number, batch, seed=number)).batch.source
            error = ((seen[:, 0, 0] * loud_faint).sum(dim=1) - truth[:, 0, 0, 0]).square().mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        return abs(1 - 0.3 * loud_faint[1].item())

    # With a 2-voxel square on a 2 x 2 patch the loud column is often the only one that is lost.
    assert blanked_error(weight=0.8) < 0.7 * blanked_error(weight=0.0)


def replace_source(batch, source):
    from dataclasses import replace

    return replace(batch, source=source)
