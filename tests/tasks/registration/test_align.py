from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from tasks.registration import align as module
from tasks.registration.align import align
from tasks.registration.elastix import StepFailed
from tasks.registration.geometry import working_grid
from tasks.registration.methods import METHODS
from tasks.registration.scan_pair import ScanPair


@pytest.fixture
def pair(known):
    return ScanPair(known.fixed, known.moving, known.fixed_body, known.moving_body)


@pytest.fixture
def short(quick):
    return replace(quick, bspline=replace(quick.bspline, iterations=(5, 5, 5)))


def run(pair, preset, told=None):
    grid = working_grid(pair.fixed_body, (5.0, 4.0, 4.0), 12.0)
    told = [] if told is None else told
    return align(pair, grid, preset, METHODS.build("elastix_mi", {}), seed=1, tell=told.append)


def test_a_rigid_step_that_made_it_worse_is_not_built_upon(pair, short, monkeypatch):
    tried = []

    def wild(images, step, **options):
        tried.append(options["seed"])
        transform = sitk.Euler3DTransform()
        transform.SetTranslation((90.0, 60.0, 0.0))
        return transform

    monkeypatch.setattr(module, "run_rigid", wild)
    steps = run(pair, short)
    assert steps.rigid is None
    assert "mutual information" in steps.failures["rigid"]
    assert len(set(tried)) == 3  # every start had its turn, each with a seed of its own
    base = steps.deformable.GetNthTransform(0)
    assert np.abs(base.GetTranslation()).max() < 30


def test_a_second_start_gets_its_turn_after_a_crash(pair, short, monkeypatch):
    honest = module.run_rigid
    calls = []

    def crashes_once(images, step, **options):
        calls.append(1)
        if len(calls) == 1:
            raise StepFailed("elastix can register the pair", got="a crash")
        return honest(images, step, **options)

    monkeypatch.setattr(module, "run_rigid", crashes_once)
    steps = run(pair, short)
    assert steps.rigid is not None
    assert "rigid" not in steps.failures


def test_steps_are_told_in_order(pair, short):
    told = []
    run(pair, short, told)
    assert told == ["rigid", "deformable"]
