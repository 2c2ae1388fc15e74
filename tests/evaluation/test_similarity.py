"""Similarity and transferability: each against another way to compute it, and published properties."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import multivariate_normal, ortho_group

import tlhelpers
from tlhelpers.evaluation import similarity
from tlhelpers.evaluation.similarity import (
    h_score,
    leep,
    linear_cka,
    logme,
    mmd2,
    nce,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def blobs(rng, n=120, d=6, classes=3, distance=1.5):
    labels = np.arange(n) % classes
    centres = rng.normal(0, distance, (classes, d))
    return centres[labels] + rng.normal(size=(n, d)) @ rng.normal(size=(d, d)), labels


def entropy(labels):
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]
    return -(shares * np.log(shares)).sum()


def test_it_is_public():
    assert tlhelpers.similarity is similarity


# CKA


def cka_by_gram_matrices(x, y, debiased):
    """Kornblith et al.'s form with kernels; debiased as in Song et al. 2012, eq. 5, term by term."""
    k, m = np.asarray(x) @ np.asarray(x).T, np.asarray(y) @ np.asarray(y).T
    n = len(k)
    centring = np.eye(n) - 1 / n

    def hsic(a, b):
        if not debiased:
            return np.trace(a @ centring @ b @ centring)
        a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
        one = np.ones(n)
        return (
            np.trace(a @ b)
            + (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one @ a @ b @ one)
        )

    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize(("p", "q"), [(5, 3), (90, 4), (70, 80)], ids=["few", "one wide", "wide"])
def test_cka_equals_the_form_with_gram_matrices(rng, p, q, debiased):
    x = rng.normal(1.0, 1.0, (40, p))
    y = np.tanh(x[:, :2] @ rng.normal(size=(2, q))) + 0.1 * rng.normal(size=(40, q))
    expected = cka_by_gram_matrices(x, y, debiased)
    assert linear_cka(x, y, debiased=debiased) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_ignores_rotation_scale_and_shift_but_not_a_linear_map(rng, debiased):
    x, y = rng.normal(size=(60, 8)), rng.normal(size=(60, 5))
    y[:, 0] += x[:, 0]
    before = linear_cka(x, y, debiased=debiased)
    turned = 7.0 * x @ ortho_group.rvs(8, random_state=0) + 3.0
    assert linear_cka(turned, y, debiased=debiased) == pytest.approx(before, abs=1e-9)
    assert linear_cka(x, turned, debiased=debiased) == pytest.approx(1.0)
    assert linear_cka(y, x, debiased=debiased) == pytest.approx(before)
    stretched = x * np.r_[100.0, np.ones(7)]
    assert abs(linear_cka(stretched, y, debiased=debiased) - before) > 0.05


def test_unrelated_features_look_alike_until_cka_is_debiased(rng):
    x, y = rng.normal(size=(2, 30, 500))
    assert linear_cka(x, y, debiased=False) > 0.9
    draws = [linear_cka(*rng.normal(size=(2, 30, 50))) for _ in range(200)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(200)


def test_cka_says_what_is_wrong(rng):
    x = rng.normal(size=(10, 3))
    with pytest.raises(ValueError, match=r"same images\. Received: 10 and 9 rows"):
        linear_cka(x, x[:9])
    with pytest.raises(ValueError, match=r"y must differ between images\. Received: 10 equal rows"):
        linear_cka(x, np.ones((10, 2)))
    with pytest.raises(ValueError, match=r"at least 4 rows.*shape \[3, 3\]"):
        linear_cka(x[:3], x[:3])
    assert linear_cka(x[:3], x[:3], debiased=False) == pytest.approx(1.0)


# MMD


def mmd2_by_loops(x, y, sigma):
    def kernel(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * sigma**2))

    n, m = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * np.mean([kernel(a, b) for a in x for b in y])


def test_mmd_equals_loops(rng):
    x, y = rng.normal(size=(12, 3)), rng.normal(0.5, 2.0, (9, 3))
    pooled = np.r_[x, y]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(pooled) for b in pooled[:i]]
    assert mmd2(x, y) == pytest.approx(mmd2_by_loops(x, y, np.median(distances)))
    assert mmd2(x, y, bandwidth=0.7) == pytest.approx(mmd2_by_loops(x, y, 0.7))
    assert mmd2(y, x) == pytest.approx(mmd2(x, y))


def test_mmd_is_zero_on_average_when_the_two_samples_are_shuffled(rng):
    x, y = rng.normal(size=(30, 4)), rng.normal(1.0, 1.0, (40, 4))
    pooled, values = np.r_[x, y], []
    for _ in range(400):
        order = rng.permutation(70)
        values.append(mmd2(pooled[order[:30]], pooled[order[30:]]))
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(400)
    assert min(values) < 0
    assert mmd2(x, y) > max(values)


def test_mmd_grows_with_the_distance_and_stays_below_two(rng):
    x = rng.normal(size=(50, 2))
    values = [mmd2(x, rng.normal(shift, 1.0, (50, 2)), bandwidth=1.0) for shift in (0, 1, 2, 50)]
    assert values == sorted(values)
    assert values[-1] < 2


def test_mmd_says_what_is_wrong(rng):
    x = rng.normal(size=(5, 3))
    with pytest.raises(ValueError, match=r"same features\. Received: 3 and 2 columns"):
        mmd2(x, x[:, :2])
    with pytest.raises(ValueError, match="at least 2 rows"):
        mmd2(x, x[:1])
    with pytest.raises(ValueError, match="Received: samples most of whose rows are equal"):
        mmd2(np.ones((5, 3)), np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"bandwidth must be .* above 0\. Received: 0"):
        mmd2(x, x, bandwidth=0.0)


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


# LEEP and NCE


def leep_by_loops(theta, labels):
    n, source_classes = theta.shape
    classes = sorted(set(labels.tolist()))
    joint = {(y, z): 0.0 for y in classes for z in range(source_classes)}
    for i in range(n):
        for z in range(source_classes):
            joint[labels[i], z] += theta[i, z] / n
    marginal = [sum(joint[y, z] for y in classes) for z in range(source_classes)]
    total = 0.0
    for i in range(n):
        total += np.log(
            sum(joint[labels[i], z] / marginal[z] * theta[i, z] for z in range(source_classes))
        )
    return total / n


def test_leep_equals_loops(rng):
    theta = softmax(rng.normal(0, 2, (50, 7)), axis=1)
    labels = rng.integers(0, 3, 50)
    assert leep(theta, labels) == pytest.approx(leep_by_loops(theta, labels))
    # Rows of float32 sum to 1 only nearly.
    assert leep(theta.astype(np.float32), labels) == pytest.approx(leep(theta, labels), abs=1e-6)


def test_leep_is_at_most_0_and_0_where_the_source_tells_the_target(rng):
    for _ in range(50):
        theta = softmax(rng.normal(0, 3, (40, 5)), axis=1)
        assert leep(theta, rng.integers(0, 4, 40)) <= 0
    source = rng.integers(0, 6, 100)
    assert leep(np.eye(6)[source], source % 3) == 0
    constant = np.tile(softmax(rng.normal(size=5)), (100, 1))
    assert leep(constant, source % 3) == pytest.approx(-entropy(source % 3))
    assert leep(constant, np.zeros(100, int)) == 0
    unused = np.c_[np.eye(6)[source], np.zeros(100)]
    assert leep(unused, source % 3) == 0


def test_nce_equals_loops_and_the_chain_rule(rng):
    z, y = rng.integers(0, 5, 200), rng.integers(0, 3, 200)
    y = np.where(rng.random(200) < 0.6, z % 3, y)
    expected = 0.0
    for a in range(5):
        for b in range(3):
            both, given = np.mean((z == a) & (y == b)), np.mean(z == a)
            if both:
                expected += both * np.log(both / given)
    assert nce(z, y) == pytest.approx(expected)
    assert nce(z, y) - nce(y, z) == pytest.approx(entropy(z) - entropy(y))
    assert nce(z, z) == 0
    assert nce(z, z % 3) == 0 > nce(z % 3, z)
    assert nce(np.zeros(200, int), y) == pytest.approx(-entropy(y))
    assert -entropy(y) <= nce(z, y) <= 0
    assert nce(z * 10, y) == pytest.approx(nce(z, y))


def test_leep_and_nce_say_what_is_wrong(rng):
    theta = softmax(rng.normal(size=(6, 3)), axis=1)
    with pytest.raises(ValueError, match="sum to 1 in each row"):
        leep(theta * 2, np.zeros(6, int))
    with pytest.raises(ValueError, match="at least 0 and sum to 1"):
        leep(np.array([[1.5, -0.5]]), [0])
    with pytest.raises(ValueError, match=r"each of 6 rows\. Received: shape \[5\]"):
        leep(theta, np.zeros(5, int))
    with pytest.raises(TypeError, match=r"labels must be integers\. Received: float64"):
        leep(theta, np.zeros(6))
    with pytest.raises(ValueError, match=r"at least one row\. Received: shape \[0\]"):
        nce([], [])


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


def test_a_constant_feature_changes_neither_h_score_nor_cka(rng):
    features, labels = blobs(rng)
    more = np.c_[features, np.full(120, 3.0)]
    assert h_score(more, labels, shrink=False) == pytest.approx(
        h_score(features, labels, shrink=False)
    )
    assert linear_cka(more, features) == pytest.approx(1.0)
    assert np.isfinite(logme(more, labels))
