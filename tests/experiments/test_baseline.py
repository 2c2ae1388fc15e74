"""The trials that choose the baseline's recipe: which follow which, and which one wins."""

import pytest
from toys import small_backbone, striped_data

from tlhelpers.experiments.baseline import LONGEST, RATES, VARIATIONS, baseline_recipe, next_trial


def try_all(score, most=20):
    """Follow `next_trial` to its end, each trial scored by a function of its settings."""
    tried = []
    while (trial := next_trial(tried)) is not None:
        tried.append({**trial, "validation": score(trial)})
        assert len(tried) < most
    return tried


def test_each_variation_is_tried_at_the_best_rate():
    tried = try_all(lambda trial: 0.9 if trial["learning_rate"] == 3e-3 else 0.5)
    assert [trial["learning_rate"] for trial in tried] == [*RATES, *[3e-3] * len(VARIATIONS)]
    assert [trial["length"] for trial in tried[3:]] == [0.5, 1.0, 2.0]
    assert [trial["augmented"] for trial in tried] == [True] * 4 + [False, True]


def test_training_grows_longer_only_while_that_helps():
    longer_is_better = try_all(lambda trial: trial["length"])
    assert [trial["length"] for trial in longer_is_better[5:]] == [2.0, 4.0]
    assert longer_is_better[-1]["length"] == LONGEST
    twice_is_enough = try_all(lambda trial: -abs(trial["length"] - 2))
    assert [trial["length"] for trial in twice_is_enough[5:]] == [2.0, 4.0]
    once_is_enough = try_all(lambda trial: -abs(trial["length"] - 1))
    assert [trial["length"] for trial in once_is_enough[5:]] == [2.0]


@pytest.mark.slow
def test_the_best_trial_gives_the_recipe():
    data, base = striped_data(24, 8), small_backbone()
    tried = try_all(lambda trial: trial["length"])
    usual = baseline_recipe(tried[:1], data, base)
    best = baseline_recipe(tried, data, base)
    assert best.epochs == LONGEST * usual.epochs
    assert best.views is None
    plain = baseline_recipe([{**tried[0], "augmented": False}], data, base)
    assert plain.views == 0
    with pytest.raises(ValueError, match="run baseline_trials"):
        baseline_recipe([], data, base)
