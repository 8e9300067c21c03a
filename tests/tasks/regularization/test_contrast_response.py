from __future__ import annotations

import pytest
import torch

from synthct.data.errors import UsageError


def changed(problem, weight=1.0, number=0, **options):
    small = problem("contrast_response", weight=weight, **options)
    return small.batch, small.composition.perturb(small.step(seed=number)).batch


def test_a_curve_without_shading_keeps_the_order_and_the_ends_of_every_sample(problem):
    before, after = changed(problem, shading=1.0)
    for old, new in zip(before.source, after.source, strict=True):
        order = old.flatten().argsort()
        assert (new.flatten()[order].diff() >= -1e-9).all()
        torch.testing.assert_close(new.amin(), old.amin(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(new.amax(), old.amax(), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(new, old)


def test_shading_is_one_smooth_gain_for_all_slices_and_leaves_air_alone(problem):
    before, after = changed(problem, contrast=1.0, shading=1.3, field_mm=200.0)
    low = before.source.flatten(1).amin(1).view(-1, 1, 1, 1)
    rise = (before.source - low).clamp(min=1e-3)
    gain = (after.source - low) / rise
    solid = before.source - low > 0.1
    for ratio, keep in zip(gain, solid, strict=True):
        both = keep[0] & keep[1]
        torch.testing.assert_close(ratio[0][both], ratio[1][both], rtol=1e-4, atol=1e-4)
        assert ratio[keep].max() <= 1.3 + 1e-4
        assert ratio[keep].min() >= 1 / 1.3 - 1e-4
        assert ratio[keep].max() - ratio[keep].min() < 0.2  # 6 mm of 200
    torch.testing.assert_close(
        after.source.flatten(1).amin(1), before.source.flatten(1).amin(1), rtol=1e-5, atol=1e-5
    )


def test_the_target_stays_whole(problem):
    before, after = changed(problem)
    assert after.target is before.target


def test_the_strength_is_the_probability_of_a_change(problem):
    count = 0
    for number in range(200):
        before, after = changed(problem, weight=0.25, number=number)
        count += int((before.source != after.source).flatten(1).any(dim=1).sum())
    assert count / 400 == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("options", [{"contrast": 0.5}, {"shading": 0.9}, {"field_mm": 0.0}])
def test_impossible_responses_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("contrast_response", **options)


@pytest.mark.claim
def test_a_model_learns_to_read_contrast_instead_of_absolute_brightness(problem):
    """The papers' claim: what is trained on random responses works under one not seen before.

    The target depends on the ratio of two channels. A linear reader of both is trained with and
    without random gains, then read under a gain.
    """

    def error_under_gain(weight):
        small = problem(
            "contrast_response", weight=weight, contrast=1.0, shading=1.6, field_mm=50.0
        )
        reader = torch.nn.Sequential(
            torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
        ).double()
        torch.manual_seed(0)
        for layer in (reader[0], reader[2]):
            torch.nn.init.normal_(layer.weight, std=0.5)
        optimizer = torch.optim.Adam(reader.parameters(), lr=0.02)
        rng = torch.Generator().manual_seed(4)

        def draw():
            level = 1 + torch.rand((16, 1, 4, 4), generator=rng, dtype=torch.float64)
            step_up = torch.rand((16, 1, 4, 4), generator=rng, dtype=torch.float64)
            pair = torch.cat([level, level * (1 + step_up)], dim=1)
            pair[:, :, 0, 0] = 0.0  # air
            return pair, step_up

        for number in range(300):
            source, truth = draw()
            batch = replace_source(small.batch, source)
            seen = small.composition.perturb(small.step(number, batch, seed=number)).batch.source
            error = (reader(seen.movedim(1, -1)).movedim(-1, 1) - truth)[:, :, 1:, 1:]
            optimizer.zero_grad()
            error.square().mean().backward()
            optimizer.step()
        source, truth = draw()
        with torch.no_grad():
            read = reader((1.5 * source).movedim(1, -1)).movedim(-1, 1)
        return (read - truth)[:, :, 1:, 1:].square().mean().item()

    assert error_under_gain(weight=1.0) < error_under_gain(weight=0.0)


def replace_source(batch, source):
    from dataclasses import replace

    return replace(batch, source=source)
