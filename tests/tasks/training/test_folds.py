from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthct.data.errors import UsageError
from synthct.tasks.training.folds import CaseFacts, Fold, make_folds, require_apart

REGIONS = ("abdomen", "head-neck", "thorax")


def cohort(sizes):
    return [
        CaseFacts(f"{region}-{number:02}_mr", f"{region}-{number:02}", region)
        for region, size in zip(REGIONS, sizes, strict=True)
        for number in range(size)
    ]


def folds(cases, count=3, seed=1, fraction=0.2, smallest=3):
    return make_folds(
        cases, count=count, seed=seed, validation_fraction=fraction, smallest_training=smallest
    )


def patient(case):
    return case.removesuffix("_mr")


@given(
    sizes=st.tuples(*[st.integers(1, 6)] * 3),
    count=st.integers(2, 6),
    seed=st.integers(0, 1000),
)
def test_no_patient_is_ever_on_both_sides(sizes, count, seed):
    cases = cohort(sizes)
    made = folds(cases, count, seed)
    for fold in made:
        sides = [fold.train, fold.test]
        sides += [fold.validation] if fold.held_out == "patients" else []
        seen = [patient(case) for side in sides for case in side]
        assert len(seen) == len(set(seen)) == len(cases)
        assert fold.train
        assert fold.test
    tested = sorted(case for fold in made for case in fold.test)
    assert tested == sorted(fact.case for fact in cases)


@given(sizes=st.tuples(*[st.integers(1, 6)] * 3), count=st.integers(2, 4))
def test_folds_and_regions_are_balanced_to_one_patient(sizes, count):
    made = folds(cohort(sizes), count)
    assert max(len(f.test) for f in made) - min(len(f.test) for f in made) <= 1
    for region in REGIONS:
        counts = [sum(case.startswith(region) for case in fold.test) for fold in made]
        assert max(counts) - min(counts) <= 1


def test_the_seed_alone_decides():
    cases = cohort((5, 5, 5))
    assert folds(cases, seed=1) == folds(list(reversed(cases)), seed=1)
    assert folds(cases, seed=1) != folds(cases, seed=2)


def test_two_patients_are_left_out_one_by_one_and_validation_is_called_a_slab():
    cases = [CaseFacts("a_mr", "a", "thorax"), CaseFacts("b_mr", "b", "thorax")]
    first, second = folds(cases, count=5)
    assert {first.test, second.test} == {("a_mr",), ("b_mr",)}
    for fold in (first, second):
        assert fold.held_out == "slab"
        assert fold.validation == fold.train != fold.test


def test_two_scans_of_one_patient_stay_together():
    cases = [
        CaseFacts("a_mr", "a", "thorax"),
        CaseFacts("a-late_mr", "a", "thorax"),
        CaseFacts("b_mr", "b", "thorax"),
        CaseFacts("c_mr", "c", "thorax"),
    ]
    for fold in folds(cases, count=3, smallest=1):
        sides = [set(fold.train), set(fold.validation), set(fold.test)]
        assert sum(bool({"a_mr", "a-late_mr"} & side) for side in sides) == 1


def test_held_back_patients_leave_enough_to_train_on():
    (fold, *_) = folds(cohort((3, 3, 3)), count=3, fraction=0.2, smallest=5)
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (5, 1, 3)
    (fold, *_) = folds(cohort((3, 3, 3)), count=3, fraction=0.2, smallest=6)
    assert fold.held_out == "slab"
    assert len(fold.train) == 6


def test_one_patient_cannot_be_folded():
    with pytest.raises(ValueError, match="two patients"):
        folds([CaseFacts("a_mr", "a", "thorax")])


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [(("A_mr", "B_mr"), ("C_mr",), ("A_cbct",)), (("A_mr",), ("B_mr",), ("B_cbct",)),
     (("A_mr",), ("A_cbct",), ("B_mr",))],
)  # fmt: skip
def test_a_patient_in_two_splits_is_refused(train, validation, test):
    names = sorted({*train, *validation, *test})
    cases = [CaseFacts(case, case[0], "thorax") for case in names]
    with pytest.raises(UsageError, match="one of training, validation and test"):
        require_apart(Fold(train, validation, test, "patients"), cases)


def test_named_folds_hold_the_named_patients_and_those_without_a_pair_are_left_out():
    cases = cohort((2, 2, 2))
    names = sorted({fact.patient for fact in cases})
    made = make_folds(
        cases, count=5, seed=1, validation_fraction=0.2, smallest_training=3,
        test_patients=[names[:2], [*names[2:4], "absent"], ["absent-too"], names[4:]],
    )  # fmt: skip
    tested = [{patient(case) for case in fold.test} for fold in made]
    assert tested == [set(names[:2]), set(names[2:4]), set(names[4:])]


def test_a_patient_in_no_named_fold_would_train_every_network_and_never_be_tested():
    cases = cohort((2, 2, 2))
    names = sorted({fact.patient for fact in cases})
    with pytest.raises(UsageError) as caught:
        make_folds(
            cases, count=2, seed=1, validation_fraction=0.2, smallest_training=3,
            test_patients=[names[:2], names[2:5]],
        )  # fmt: skip
    assert caught.value.code == "patient-without-fold"
    assert names[5] in str(caught.value)
