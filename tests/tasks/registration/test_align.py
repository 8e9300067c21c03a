from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.tasks.fields.geometry import working_grid
from synthct.tasks.registration import align as module
from synthct.tasks.registration.align import align
from synthct.tasks.registration.elastix.run import StepFailed
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.rigid.initial import placed
from synthct.tasks.registration.scan_pair import ScanPair


@pytest.fixture
def pair(known):
    return ScanPair(known.fixed, known.moving, known.fixed_body, known.moving_body)


@pytest.fixture
def short(quick):
    return replace(quick, bspline=replace(quick.bspline, iterations=(5, 5, 5)))


SHIFT_MM = (3.0, -7.0, 5.0)
"""Of the known pair (z, y, x)."""


def run(pair, preset, told=None):
    grid = working_grid(pair.fixed_body, (5.0, 4.0, 4.0), 12.0)
    told = [] if told is None else told
    return align(pair, grid, preset, METHODS.build("elastix_mi", {}), seed=1, tell=told.append)


def shifted(x, y, z):
    transform = sitk.Euler3DTransform()
    transform.SetTranslation((x, y, z))
    return transform


def always(found, tried):
    def rigid(images, step, **options):
        tried.append(options["seed"])
        return sitk.Euler3DTransform(found)

    return rigid


def middle_error_mm(transform, pair):
    """Of the body's middle, against the known shift (fixed to moving)."""
    middle = tuple(reversed(pair.fixed.grid.centre_mm))
    moved = np.subtract(transform.TransformPoint(middle), middle)
    return np.linalg.norm(moved - np.array(SHIFT_MM[::-1]))


def test_a_rigid_step_that_made_it_worse_is_not_built_upon(pair, short, monkeypatch):
    tried = []
    monkeypatch.setattr(module, "run_rigid", always(shifted(90.0, 60.0, 0.0), tried))
    steps = run(pair, short)
    assert len(set(tried)) == 3  # every start had its turn, each with a seed of its own
    assert middle_error_mm(steps.rigid, pair) < 6.0  # the witness's own search stands in


def test_a_rigid_step_that_nothing_can_mend_is_reported(pair, short, monkeypatch):
    wild = shifted(90.0, 60.0, 0.0)
    monkeypatch.setattr(module, "run_rigid", always(wild, []))
    monkeypatch.setattr(module, "nearest_peak", lambda pair, start, seed: wild)
    steps = run(pair, short)
    assert steps.rigid is None
    assert "mutual information" in steps.failures["rigid"]
    base = steps.deformable.GetNthTransform(0)
    assert np.abs(base.GetTranslation()).max() < 30


def test_a_start_that_looks_better_from_afar_leaves_the_pair_without_a_rigid_step(
    pair, short, monkeypatch
):
    """On 8 mm voxels a digital head's start had 6 % more information than the peak nearby."""
    monkeypatch.setattr(module, "run_rigid", always(shifted(3.0, 0.0, 0.0), []))

    def short_sighted(view, transform):
        return 1.0596 if isinstance(transform, sitk.TranslationTransform) else 1.0561

    monkeypatch.setattr(module.Overview, "information", short_sighted)
    steps = run(pair, short)
    assert steps.rigid is not None
    assert middle_error_mm(steps.rigid, pair) < 6.0


def test_an_end_worse_than_a_start_at_hand_does_not_stand(pair, short, monkeypatch):
    """From a poor start every end looks like a gain: a lung ended 10 mm off its joined centres."""
    far = sitk.TranslationTransform(3, (0.0, 0.0, 400.0))
    elsewhere = placed(pair, far.GetInverse())

    def rigid(images, step, **options):
        at_home = abs(images.moving.GetOrigin()[2] - elsewhere.moving.grid.origin_mm[0]) < 1.0
        return shifted(30.0, 10.0, 400.0) if at_home else shifted(90.0, 60.0, 0.0)

    monkeypatch.setattr(module, "run_rigid", rigid)
    steps = run(elsewhere, short)
    back = sitk.CompositeTransform([far.GetInverse(), steps.rigid])
    assert middle_error_mm(back, pair) < 6.0


def test_a_second_start_gets_its_turn_after_a_crash(pair, short, monkeypatch):
    honest = module.run_rigid
    calls = []

    def crashes_once(images, step, **options):
        calls.append(1)
        if len(calls) == 1:
            raise StepFailed("elastix failed: a crash")
        return honest(images, step, **options)

    monkeypatch.setattr(module, "run_rigid", crashes_once)
    steps = run(pair, short)
    assert steps.rigid is not None
    assert "rigid" not in steps.failures


def test_steps_are_reported_in_order(pair, short):
    told = []
    run(pair, short, told)
    assert told == ["rigid", "deformable"]
