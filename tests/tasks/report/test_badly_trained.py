"""A fold that trained much worse than the others is named."""

from dataclasses import replace

from synthct.tasks.report.reading import read_chain
from synthct.tasks.report.views.headline import headline
from synthct.tasks.training.comparison import badly_trained


def rows(start: float, end: float, count: int = 20) -> list[dict[str, str]]:
    """A training whose objective falls in the first half and stays at its end."""
    falling = [start + (end - start) * min(1.0, 2 * i / count) for i in range(count)]
    return [{"step": str(i), "objective": f"{value:.6g}"} for i, value in enumerate(falling)]


def test_a_fold_whose_objective_ended_far_above_the_others_is_named_and_no_other():
    histories = {
        "mr_fold0": rows(1.0, 0.26),
        "mr_fold1": rows(1.0, 0.20),
        "mr_fold2": rows(1.0, 0.18),
        "cbct_fold0": rows(1.0, 0.9),  # another source has other objectives
        "cbct_fold1": rows(1.0, 0.9),
        "cbct_fold2": rows(1.0, 0.9),
    }
    (sentence,) = badly_trained(histories)
    assert sentence.startswith("mr_fold0 trained badly: its objective ended at 0.26")
    assert "0.19 (median)" in sentence


def test_folds_that_differ_as_their_patients_do_are_not_named():
    histories = {f"mr_fold{k}": rows(1.0, end) for k, end in enumerate((0.20, 0.22, 0.24))}
    assert badly_trained(histories) == []


def test_how_badly_a_training_began_does_not_count():
    histories = {f"mr_fold{k}": rows(start, 0.2) for k, start in enumerate((50.0, 1.0, 1.0))}
    assert badly_trained(histories) == []


def test_of_two_networks_none_is_the_usual_one():
    assert badly_trained({"mr_fold0": rows(1, 0.9), "mr_fold1": rows(1, 0.1)}) == []


def test_the_first_screen_of_the_report_names_the_badly_trained_fold(tree):
    chain = read_chain(tree.layout)
    histories = {f"mr_fold{k}": rows(1.0, end) for k, end in enumerate((0.4, 0.2, 0.2))}
    sentences = headline(replace(chain, histories=histories)).sentences
    assert any(sentence.startswith("mr_fold0 trained badly") for sentence in sentences)
    assert not any("trained badly" in sentence for sentence in headline(chain).sentences)
