"""Scores: intervals against tests and the bootstrap, and calibration against a loop over bins."""

import numpy as np
import pytest
from scipy import stats

from tlhelpers.evaluation.scores import (
    balanced_accuracy,
    difference_over_draws,
    majority_accuracy,
    mean_interval,
    paired_difference,
    reliability,
    score,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("k", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (3, 7), (500, 1000), (986, 1000)]
)
def test_wilson_inverts_the_score_test(k, n):
    """Each end p solves |k/n - p| = z sqrt(p (1 - p) / n), or is 0 or 1."""
    z = stats.norm.ppf(0.975)
    for end in wilson_interval(k, n):
        off = abs(k / n - end) - z * np.sqrt(end * (1 - end) / n)
        assert end in (0.0, 1.0) or off == pytest.approx(0, abs=1e-9)
    low, high = wilson_interval(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert low < high


def test_wilson_covers_what_it_says():
    rng = np.random.default_rng(0)
    for share in (0.5, 0.9, 0.97):
        ends = np.array([wilson_interval(k, 100) for k in range(101)])
        drawn = ends[rng.binomial(100, share, 20_000)]
        covered = ((drawn[:, 0] <= share) & (share <= drawn[:, 1])).mean()
        assert 0.92 < covered < 0.98


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_impossible_counts(k, n):
    with pytest.raises(ValueError, match=f"Received: {k} of {n}"):
        wilson_interval(k, n)


def test_score():
    labels = np.arange(200) % 4
    predicted = np.where(np.arange(200) < 180, labels, (labels + 1) % 4)
    found = score(predicted, labels)
    assert (found.accuracy, found.n) == (0.9, 200)
    assert (found.low, found.high) == wilson_interval(180, 200)
    assert str(found) == "90.0% (85.1% to 93.4%, n = 200)"
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(4,\)"):
        score(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="1 or more"):
        score(np.zeros(0), np.zeros(0))


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur():
    labels, predicted = np.array([0, 0, 0, 2, 2]), np.array([0, 0, 1, 2, 0])
    assert balanced_accuracy(predicted, labels) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert balanced_accuracy(np.zeros(5, int), labels) == 0.5


def test_majority_accuracy():
    tested = np.array([0, 1, 1, 2, 2, 2, 2, 2])
    assert majority_accuracy(np.array([2, 2, 0, 1]), tested) == 5 / 8
    assert majority_accuracy(np.array([0, 1, 2]), tested) == pytest.approx(1 / 3)
    assert majority_accuracy(np.array([0, 0, 1, 1, 2]), tested) == pytest.approx(3 / 16)


def test_paired_difference_against_the_bootstrap():
    rng = np.random.default_rng(0)
    both = rng.random(600)
    first, second = both < 0.80, (both < 0.78) | (rng.random(600) < 0.5)
    found = paired_difference(first, second)
    assert found.difference == pytest.approx(second.mean() - first.mean())
    rows = rng.integers(0, 600, (4000, 600))
    low, high = np.quantile((second[rows].mean(1) - first[rows].mean(1)), [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.006)
    assert found.high == pytest.approx(high, abs=0.006)
    # Two independent samples would leave the difference far less certain.
    alone = [wilson_interval(int(right.sum()), 600) for right in (first, second)]
    assert found.high - found.low < sum(high - low for low, high in alone)


def test_paired_difference_has_a_sign():
    worse, better = np.arange(100) < 60, np.arange(100) < 90
    gain, loss = paired_difference(worse, better), paired_difference(better, worse)
    assert gain.difference == pytest.approx(0.3)
    assert gain.low > 0.15
    assert (loss.difference, loss.low, loss.high) == pytest.approx(
        (-gain.difference, -gain.high, -gain.low)
    )
    same = paired_difference(better, better)
    assert same.difference == 0
    assert -0.1 < same.low < 0 < same.high < 0.1


def test_paired_difference_needs_pairs():
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(4,\)"):
        paired_difference(np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(ValueError, match=r"\(0,\)"):
        paired_difference(np.ones(0, bool), np.ones(0, bool))


def test_a_difference_over_draws_holds_the_recipes_difference():
    """Heads differ by draw, images by how hard they are: the interval must cover both."""
    rng = np.random.default_rng(0)
    times, draws, n, true = 400, 5, 200, 0.05
    held = {"both": 0, "images": 0}
    for _ in range(times):
        hard = rng.normal(0, 0.15, n)
        luck = rng.normal(0, 0.05, (draws, 1))
        first = rng.random((draws, n)) < 0.7 + hard
        second = rng.random((draws, n)) < 0.7 + true + hard + luck
        over = difference_over_draws(first, second)
        one = paired_difference(first[0], second[0])
        assert over.difference == pytest.approx(second.mean() - first.mean())
        assert over.low < over.difference < over.high
        held["both"] += over.low <= true <= over.high
        held["images"] += one.low <= true <= one.high
    assert held["both"] / times >= 0.94
    assert held["images"] / times <= 0.93


def test_a_difference_over_draws_takes_shares_of_several_runs():
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 11, (5, 40)) / 10 for _ in range(2))
    over = difference_over_draws(first, second)
    assert over.difference == pytest.approx(second.mean() - first.mean())
    assert over.low < over.difference < over.high


@pytest.mark.parametrize("shape", [(1, 9), (5, 1), (9,), (0, 9)])
def test_a_difference_over_draws_needs_draws_and_images(shape):
    with pytest.raises(ValueError, match="2 draws or more"):
        difference_over_draws(np.ones(shape, bool), np.ones(shape, bool))
    with pytest.raises(ValueError, match=r"\(5, 9\) and \(5, 8\)"):
        difference_over_draws(np.ones((5, 9), bool), np.ones((5, 8), bool))


def test_mean_interval_agrees_with_scipy():
    values = np.random.default_rng(0).normal(0.8, 0.05, 5)
    expected = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    mean, low, high = mean_interval(values)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx(expected)
    alone = mean_interval(np.array([0.7]))
    assert alone == pytest.approx((0.7, np.nan, np.nan), nan_ok=True)
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval(np.array([]))


def slowly(probabilities, labels, bins):
    """Guo et al. 2017, eq. 3, one bin at a time."""
    rows, error = [], 0.0
    for m in range(bins):
        confidences, rights = [], []
        for p, label in zip(probabilities, labels, strict=True):
            if m / bins < max(p) <= (m + 1) / bins:
                confidences.append(max(p))
                rights.append(np.argmax(p) == label)
        if confidences:
            rows.append((np.mean(confidences), np.mean(rights), len(rights)))
            error += len(rights) / len(labels) * abs(np.mean(rights) - np.mean(confidences))
    return rows, error


def random_probabilities(n, classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(classes, 0.5), n), rng.integers(0, classes, n)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_reliability_agrees_with_the_loop(classes):
    probabilities, labels = random_probabilities(300, classes)
    found = reliability(probabilities, labels)
    rows, error = slowly(probabilities, labels, 10)
    np.testing.assert_allclose(found.confidence, [row[0] for row in rows])
    np.testing.assert_allclose(found.accuracy, [row[1] for row in rows])
    assert found.count.tolist() == [row[2] for row in rows]
    assert found.error == pytest.approx(error)


def test_perfect_and_worst_calibration():
    sure = np.eye(2)[[0, 1, 1, 0]]
    assert reliability(sure, np.array([0, 1, 1, 0])).error == 0
    assert reliability(sure, np.array([1, 0, 0, 1])).error == 1


def test_a_calibrated_model_has_a_small_error():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 20_000)
    labels = (rng.random(20_000) > p).astype(int)
    assert reliability(np.c_[p, 1 - p], labels).error < 0.015
    assert reliability(np.c_[p**0.2, 1 - p**0.2], labels).error > 0.1


def test_half_precision_sums():
    probabilities, labels = random_probabilities(50, 4)
    assert reliability(probabilities.astype(np.float16), labels).count.sum() == 50


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.ones((3, 2)) / 2, np.zeros(4), r"shapes \(3, 2\) and \(4,\)"),
        (np.ones(3), np.zeros(3), r"\[n, classes\]"),
        (np.ones((0, 2)), np.zeros(0), "n at least 1"),
        (np.array([[2.0, -1.5]]), np.zeros(1), "softmax to logits"),
    ],
)
def test_what_cannot_be_calibrated(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        reliability(probabilities, labels)
