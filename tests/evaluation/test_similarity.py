"""Transferability scores: each against another way to compute it, and published properties."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, ortho_group

import tlhelpers
from tlhelpers.evaluation import similarity
from tlhelpers.evaluation.similarity import h_score, logme


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def blobs(rng, n=120, d=6, classes=3, distance=1.5):
    labels = np.arange(n) % classes
    centres = rng.normal(0, distance, (classes, d))
    return centres[labels] + rng.normal(size=(n, d)) @ rng.normal(size=(d, d)), labels


def test_it_is_public():
    assert tlhelpers.similarity is similarity


# H-score


def h_score_by_covariances(features, labels):
    means = np.stack([features[labels == c].mean(axis=0) for c in np.unique(labels)])
    between = np.cov(means[np.searchsorted(np.unique(labels), labels)], rowvar=False)
    return np.trace(np.linalg.pinv(np.atleast_2d(np.cov(features, rowvar=False))) @ between)


def test_h_score_equals_the_formula_with_covariances(rng):
    features, labels = blobs(rng)
    dependent = np.c_[features, features[:, :2] @ rng.normal(size=(2, 3)), np.full(120, 4.0)]
    for f in (features, dependent):
        expected = h_score_by_covariances(f, labels)
        assert h_score(f, labels, shrink=False) == pytest.approx(expected, rel=1e-6)
    # Labels need not be 0, 1, 2.
    assert h_score(features, 5 * labels - 3) == pytest.approx(h_score(features, labels))


def test_shrunk_h_score_equals_the_formula_with_ledoit_and_wolfs_covariance(rng):
    from sklearn.covariance import LedoitWolf

    features, labels = blobs(rng, n=40, d=60)
    fitted = LedoitWolf().fit(features)
    means = np.stack([features[labels == c].mean(axis=0) for c in range(3)])[labels]
    between = np.cov(means, rowvar=False, bias=True)
    expected = np.trace(np.linalg.inv(fitted.covariance_) @ between) * (1 - fitted.shrinkage_)
    assert h_score(features, labels) == pytest.approx(expected, rel=1e-6)


def test_h_score_ignores_any_invertible_map_and_knows_its_bounds(rng):
    features, labels = blobs(rng)
    value = h_score(features, labels, shrink=False)
    mapped = features @ rng.normal(size=(6, 6)) + 5.0
    assert h_score(mapped, labels, shrink=False) == pytest.approx(value, rel=1e-6)
    assert 0 < value < 2
    perfect = np.eye(3)[labels]
    assert h_score(perfect, labels, shrink=False) == pytest.approx(2.0)
    shuffled = [h_score(features, rng.permutation(labels)) for _ in range(20)]
    assert max(shuffled) < h_score(features, labels)


def test_many_features_fool_the_plain_h_score_and_it_says_so(rng):
    features = rng.normal(size=(30, 200))
    labels = np.arange(30) % 3
    with pytest.raises(ValueError, match=r"any labels score 2\. Received: 30 rows of rank 29"):
        h_score(features, labels, shrink=False)
    fooled = h_score(rng.normal(size=(30, 25)), labels, shrink=False)
    assert fooled > 1.4
    assert h_score(features, labels) < 0.5 * fooled


# LogME


def log_evidence(features, target, log_alpha, log_beta):
    log_alpha, log_beta = np.clip((log_alpha, log_beta), -30, 30)
    covariance = features @ features.T / np.exp(log_alpha)
    covariance += np.eye(len(features)) / np.exp(log_beta)
    return multivariate_normal(np.zeros(len(target)), covariance).logpdf(target)


def logme_by_brute_force(features, labels):
    total = []
    for c in np.unique(labels):
        target = (labels == c).astype(float)
        starts = [(a, b) for a in (-2.0, 2.0, 6.0) for b in (0.0, 3.0)]
        found = [
            minimize(lambda p, t=target: -log_evidence(features, t, *p), s, method="Nelder-Mead")
            for s in starts
        ]
        total.append(-min(one.fun for one in found) / len(features))
    return np.mean(total)


def logme_by_fixed_point(features, labels):
    """The iteration of You et al. 2021, Algorithm 1."""
    n, d = features.shape
    gram, total = features.T @ features, []
    for c in np.unique(labels):
        y = (labels == c).astype(float)
        alpha = beta = 1.0
        for _ in range(500):
            a = alpha * np.eye(d) + beta * gram
            m = beta * np.linalg.solve(a, features.T @ y)
            values = np.linalg.eigvalsh(gram)
            gamma = (beta * values / (alpha + beta * values)).sum()
            alpha, beta = gamma / (m @ m), (n - gamma) / ((features @ m - y) ** 2).sum()
        a = alpha * np.eye(d) + beta * gram
        m = beta * np.linalg.solve(a, features.T @ y)
        evidence = n / 2 * np.log(beta) + d / 2 * np.log(alpha) - n / 2 * np.log(2 * np.pi)
        evidence -= beta / 2 * ((features @ m - y) ** 2).sum() + alpha / 2 * m @ m
        total.append((evidence - 0.5 * np.linalg.slogdet(a)[1]) / n)
    return np.mean(total)


def test_logme_equals_a_brute_force_maximum_and_the_published_iteration(rng):
    features, labels = blobs(rng, n=30, d=4)
    assert logme(features, labels) == pytest.approx(
        logme_by_brute_force(features, labels), abs=1e-5
    )
    features, labels = blobs(rng, n=200, d=10, classes=4)
    assert logme(features, labels) == pytest.approx(
        logme_by_fixed_point(features, labels), abs=1e-6
    )


def test_logme_with_more_features_than_rows_equals_brute_force(rng):
    features, labels = blobs(rng, n=16, d=30, classes=2, distance=0.5)
    assert logme(features, labels) == pytest.approx(
        logme_by_brute_force(features, labels), abs=1e-4
    )


def test_logme_grows_with_the_signal_and_ignores_rotation_and_scale(rng):
    labels = np.arange(300) % 3
    noise = rng.normal(size=(300, 8))
    means = rng.normal(size=(3, 8))[labels]
    values = [logme(signal * means + noise, labels) for signal in (0.0, 0.3, 1.0, 3.0)]
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.3
    features = means + noise
    turned = 1e-3 * features @ ortho_group.rvs(8, random_state=0)
    assert logme(turned, labels) == pytest.approx(logme(features, labels), abs=1e-6)


def test_logme_of_features_that_say_nothing_is_the_evidence_of_noise_alone(rng):
    labels = np.arange(400) % 2
    useless = rng.normal(size=(400, 5))
    for c in (0, 1):
        useless[labels == c] -= useless[labels == c].mean(axis=0)
    # A Gaussian of mean 0 whose best variance is the share of ones, a half.
    noise_alone = -0.5 * (np.log(2 * np.pi * 0.5) + 1)
    assert logme(useless, labels) == pytest.approx(noise_alone, abs=1e-6)


# All of them


@pytest.mark.parametrize("score", [h_score, logme])
def test_scores_say_what_is_wrong(rng, score):
    x = rng.normal(size=(10, 3))
    with pytest.raises(ValueError, match=r"at least 2 classes\. Received: 1"):
        score(x, np.zeros(10, int))
    with pytest.raises(ValueError, match=r"features must differ between images\. Received: 10"):
        score(np.full((10, 3), 2.0), np.arange(10) % 2)
    with pytest.raises(ValueError, match=r"pool feature maps first\. Received: shape \[0, 3\]"):
        score(x[:0], np.zeros(0, int))
    with pytest.raises(ValueError, match=r"shape \[10, 3, 1\]"):
        score(x[:, :, None], np.zeros(10, int))
    with pytest.raises(ValueError, match="finite numbers"):
        score(np.where(x > 1e9, 0, np.nan), np.arange(10) % 2)
    with pytest.raises(ValueError, match=r"each of 10 rows\. Received: shape \[9\]"):
        score(x, np.zeros(9, int))
    with pytest.raises(TypeError, match="integers"):
        score(x, np.linspace(0, 1, 10))


def test_a_constant_feature_changes_nothing(rng):
    features, labels = blobs(rng)
    more = np.c_[features, np.full(120, 3.0)]
    assert h_score(more, labels, shrink=False) == pytest.approx(
        h_score(features, labels, shrink=False)
    )
    assert np.isfinite(logme(more, labels))
