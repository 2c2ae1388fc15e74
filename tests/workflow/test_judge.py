"""Intervals, calibration, thresholds and doubtful labels, against independent computations."""

import json
from dataclasses import astuple

import numpy as np
import pytest

from tlhelpers.evaluation.scores import paired_difference, reliability, wilson_interval
from tlhelpers.workflow.judge import (
    as_plain,
    balanced,
    by_class,
    choose_threshold,
    coverage_curve,
    doubtful_labels,
    error_to_aim_at,
    fit_temperature,
    gain,
    gap_by_chance,
    share,
    soften,
    soften_unseen,
)


def test_single_images_have_wilsons_interval():
    found = share(np.repeat([True, False], [95, 5]))
    assert (found.low, found.high) == pytest.approx(wilson_interval(95, 100))
    alone = share(np.repeat([True, False], [95, 5]), np.arange(100))
    assert (alone.low, alone.high) == pytest.approx((found.low, found.high))


def test_an_interval_covers_the_truth_also_where_images_come_in_groups():
    """Groups of ten that are right or wrong together: 95 % of the intervals hold the truth."""
    rng = np.random.default_rng(0)
    held = {"grouped": 0, "naive": 0}
    groups = np.repeat(np.arange(60), 10)
    for _ in range(300):
        right = np.repeat(rng.random(60) < 0.8, 10)
        for name, numbers in (("grouped", groups), ("naive", None)):
            found = share(right, numbers)
            held[name] += found.low <= 0.8 <= found.high
    assert held["grouped"] > 0.92 * 300
    assert held["naive"] < 0.6 * 300


@pytest.mark.parametrize("sizes", [[100] + [1] * 50, [50, 50] + [1] * 200, [30] * 3 + [3] * 30])
def test_an_interval_covers_the_truth_also_where_one_group_is_large(sizes):
    rng, groups, held = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes), 0
    for _ in range(300):
        found = share((rng.random(len(sizes)) < 0.8)[groups], groups)
        held += found.low <= 0.8 <= found.high
    assert held > 0.92 * 300


def test_nothing_is_no_share():
    found = share(np.zeros(0))
    assert np.isnan(found.accuracy)
    assert (found.low, found.high, found.n) == (0, 1, 0)


def test_precision_and_recall():
    predicted, labels = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    cat, dog, owl = by_class(predicted, labels, ("cat", "dog", "owl"), np.arange(5))
    assert (cat["precision"].accuracy, cat["recall"].accuracy, cat["n"]) == (0.5, 0.5, 2)
    assert dog["precision"].accuracy == pytest.approx(2 / 3)
    assert (dog["recall"].low, dog["recall"].high) == pytest.approx(wilson_interval(2, 3))
    assert owl["n"] == owl["recall"].n == 0


def test_shots_of_one_animal_narrow_no_interval():
    """Ten shots of each of thirty animals, right or wrong together: that is thirty, not 300."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 10)
    labels, right = groups % 2, np.repeat(rng.random(30) < 0.8, 10)
    cat, _ = by_class(np.where(right, labels, 1 - labels), labels, ("cat", "dog"), groups)
    hits = int(right[labels == 0].sum())
    expected = wilson_interval(round(hits / 10), 15)
    assert (cat["recall"].low, cat["recall"].high) == pytest.approx(expected)
    alone, together = balanced(right, labels), balanced(right, labels, groups)
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_balanced_accuracy_holds_the_truth():
    """Classes at 9 to 1 with 95 % and 70 % right: 95 of 100 intervals hold 82.5 %."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [180, 20])
    found = [balanced(rng.random(200) < np.where(labels, 0.7, 0.95), labels) for _ in range(300)]
    assert 0.92 < np.mean([one.low <= 0.825 <= one.high for one in found]) < 0.98
    assert found[0].n == 200


def test_a_gain_is_that_of_pairs_and_knows_groups():
    rng = np.random.default_rng(0)
    before, after = rng.random(200) < 0.7, rng.random(200) < 0.8
    for groups in (None, np.arange(200)):
        found, expected = gain(before, after, groups), paired_difference(before, after)
        assert astuple(found) == pytest.approx(astuple(expected))
    groups, held = np.repeat(np.arange(40), 10), 0
    for _ in range(300):
        first, second = (np.repeat(rng.random(40) < 0.7, 10) for _ in range(2))
        held += gain(first, second, groups).low <= 0 <= gain(first, second, groups).high
    assert held > 0.92 * 300
    half = gain(np.full(100, 0.5), np.ones(100))
    assert half.difference == 0.5


def test_the_temperature_that_made_probabilities_too_sure_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=p) for p in true])
    sure = np.exp(2.5 * logits) / np.exp(2.5 * logits).sum(axis=1, keepdims=True)
    assert fit_temperature(sure, labels) == pytest.approx(2.5, rel=0.1)
    np.testing.assert_allclose(soften(sure, 2.5), true, atol=1e-4)
    softer, temperature = soften_unseen(sure, labels, np.arange(4000) % 5)
    assert temperature == pytest.approx(2.5, rel=0.1)
    np.testing.assert_allclose(softer, true, atol=0.03)


def test_no_mistakes_do_not_make_it_sure_of_everything():
    """Of sixty without a mistake, one in sixty-one may be wrong; in folds as well."""
    p, labels = np.tile([0.9, 0.1], (60, 1)), np.zeros(60, int)
    assert soften(p, fit_temperature(p, labels))[0, 0] == pytest.approx(60 / 61, abs=1e-3)
    softer, _ = soften_unseen(p, labels, np.arange(60) % 5)
    assert softer.max() < 0.985


def test_a_gap_by_chance_is_that_of_labels_drawn_from_the_probabilities():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), 150)
    drawn = [np.array([rng.choice(3, p=one) for one in p]) for _ in range(50)]
    expected = np.mean([reliability(p, labels).error for labels in drawn])
    assert gap_by_chance(p) == pytest.approx(expected, rel=0.15)
    assert gap_by_chance(np.eye(3)) == 0


def test_the_threshold_keeps_to_the_wanted_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 5000)
    p = np.c_[confidence, 1 - confidence]
    labels = (rng.random(5000) > confidence).astype(int)
    threshold = choose_threshold(p, labels, 0.05)
    answered = confidence >= threshold
    assert (labels[answered] == 1).mean() <= 0.05
    lower = confidence >= threshold - 0.05
    assert (labels[lower] == 1).mean() > 0.05
    assert choose_threshold(p, np.zeros(5000, int), 0.05) == 0
    assert choose_threshold(p, np.ones(5000, int), 0.05) > 0.99


def test_half_the_error_is_aimed_at_unless_another_is_wanted():
    p = np.tile([0.8, 0.2], (10, 1))
    assert error_to_aim_at(p, np.repeat([0, 1], [8, 2])) == pytest.approx(0.1)
    assert error_to_aim_at(p, np.zeros(10, int)) == 0


def test_coverage_ends_at_the_accuracy():
    p = np.c_[np.linspace(0.5, 1, 100), np.linspace(0.5, 0, 100)]
    right = np.arange(100) >= 20
    curve = coverage_curve(p, right)
    assert curve[-1] == (1.0, 0.8)
    assert curve[0][1] == 1.0


def test_doubtful_labels_come_worst_first():
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]])
    assert doubtful_labels(p, np.array([0, 0, 0, 1])).tolist() == [2, 1]


def test_what_json_cannot_hold_is_made_plain():
    made = as_plain(
        {"a": share(np.zeros(0)), 1: np.arange(2), "b": (np.float32(0.5), float("nan"))}
    )
    assert made["a"] == {"value": None, "low": 0.0, "high": 1.0, "n": 0}
    assert json.loads(json.dumps(made))["b"] == [0.5, None]
