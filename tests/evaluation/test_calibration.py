"""Calibration: against a loop over images and bins."""

import numpy as np
import pytest

from tlhelpers.evaluation.scores import reliability


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
@pytest.mark.parametrize("bins", [1, 7, 10])
def test_agrees_with_the_loop(classes, bins):
    probabilities, labels = random_probabilities(300, classes)
    found = reliability(probabilities, labels, bins)
    rows, error = slowly(probabilities, labels, bins)
    np.testing.assert_allclose(found.confidence, [row[0] for row in rows])
    np.testing.assert_allclose(found.accuracy, [row[1] for row in rows])
    assert found.count.tolist() == [row[2] for row in rows]
    assert found.error == pytest.approx(error)


def test_perfect_and_worst():
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
    ("probabilities", "labels", "bins", "message"),
    [
        (np.ones((3, 2)) / 2, np.zeros(4), 10, r"shapes \(3, 2\) and \(4,\)"),
        (np.ones(3), np.zeros(3), 10, r"\[n, classes\]"),
        (np.ones((0, 2)), np.zeros(0), 10, "n at least 1"),
        (np.array([[2.0, -1.5]]), np.zeros(1), 10, "softmax to logits"),
        (np.ones((3, 2)) / 2, np.zeros(3), 0, "bins must be at least 1. Received: 0"),
    ],
)
def test_errors(probabilities, labels, bins, message):
    with pytest.raises(ValueError, match=message):
        reliability(probabilities, labels, bins)
