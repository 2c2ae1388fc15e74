"""Linear heads: the same as scikit-learn's logistic regression, with the penalty well chosen."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_info, threadpool_limits

from tlhelpers.transfer import heads
from tlhelpers.transfer.heads import fit_head, fit_linear_head
from tlhelpers.transfer.recipes import INVERSE_PENALTIES


def clouds(n, classes, distance=1.5, d=6, seed=0, scale=1.0, offset=0.0):
    """Gaussian clouds about random centres, the same centres for every seed."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, d)) * distance
    labels = np.arange(n) % classes
    return scale * (centres[labels] + rng.normal(size=(n, d))) + offset, labels


def scikit(x, y, inverse_penalty, class_weight=None):
    """What the docstring promises, with scikit-learn alone: centred, unit scale, L2."""
    centre = x.mean(axis=0)
    scale = np.linalg.norm(x - centre) / np.sqrt(len(x))
    model = LogisticRegression(C=100 * inverse_penalty, max_iter=2000, class_weight=class_weight)
    model.fit((x - centre) / scale, y)
    return lambda z: model.predict_proba((z - centre) / scale)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (300, -1000)])
def test_agrees_with_scikit_learn(classes, scale, offset):
    x, y = clouds(120, classes, scale=scale, offset=offset)
    new, new_y = clouds(60, classes, seed=1, scale=scale, offset=offset)
    head = fit_linear_head(x, y, new, new_y, num_classes=classes)
    expected = scikit(x, y, head.inverse_penalty)(new)
    # On features this far from zero, float32 leaves fewer digits.
    np.testing.assert_allclose(head.probabilities(new), expected, atol=1e-4 if offset else 1e-5)
    np.testing.assert_allclose(head.probabilities(new).sum(axis=1), 1, atol=1e-6)
    assert head.kernel.dtype == head.bias.dtype == np.float32


@pytest.mark.parametrize("held_out", [200, 0])
@pytest.mark.parametrize("classes", [2, 3])
def test_balanced_classes_agree_with_scikit_learn(held_out, classes):
    x, y = clouds(600, classes, distance=0.4)
    kept = (y > 0) | (np.arange(600) % 20 == 0)
    x, y = x[kept], y[kept]
    new, new_y = clouds(200, classes, distance=0.4, seed=1)
    given = (x, y, new[:held_out], new_y[:held_out])
    head = fit_linear_head(*given, num_classes=classes, class_weight="balanced")
    expected = scikit(x, y, head.inverse_penalty, class_weight="balanced")(new)
    np.testing.assert_allclose(head.probabilities(new), expected, atol=1e-4)
    assert head.class_weight == "balanced"
    plain = fit_linear_head(*given, num_classes=classes)
    assert plain.class_weight is None
    rare = new_y == 0
    found = [(one.probabilities(new).argmax(axis=1)[rare] == 0).mean() for one in (plain, head)]
    assert found[0] < 0.2 < 0.4 < found[1]


def test_the_penalty_of_balanced_classes_is_chosen_by_their_loss():
    x, y = clouds(300, 2, distance=0.4)
    new, new_y = clouds(300, 2, distance=0.4, seed=1)
    kept = (y > 0) | (np.arange(300) % 10 == 0)
    x, y, new, new_y = x[kept], y[kept], new[kept], new_y[kept]
    head = fit_linear_head(x, y, new, new_y, num_classes=2, class_weight="balanced")
    for c, loss in head.losses.items():
        right = scikit(x, y, c, class_weight="balanced")(new)[np.arange(len(new)), new_y]
        weights = compute_sample_weight("balanced", new_y)
        assert loss == pytest.approx(np.average(-np.log(right), weights=weights), rel=1e-2)


def test_the_layer_computes_the_same():
    x, y = clouds(60, 3)
    head = fit_linear_head(x, y, x, y, num_classes=3)
    layer = head.as_layer()
    assert layer.name == "head"
    np.testing.assert_allclose(layer(np.float32(x)), head.probabilities(x), atol=1e-6)


def test_the_penalty_is_chosen_on_validation():
    x, y = clouds(30, 2, distance=0.3)
    new, new_y = clouds(400, 2, distance=0.3, seed=1)
    head = fit_linear_head(x, y, new, new_y, num_classes=2)
    assert head.chosen_on == "validation"
    assert set(head.losses) == set(INVERSE_PENALTIES)
    losses = {}
    for c in INVERSE_PENALTIES:
        right = scikit(x, y, c)(new)[np.arange(400), new_y]
        losses[c] = -np.log(right).mean()
        assert head.losses[c] == pytest.approx(losses[c], rel=1e-2)
    assert head.inverse_penalty == min(losses, key=losses.get)
    # Little data about weak features: fitting them freely is what has to lose.
    assert head.inverse_penalty < max(INVERSE_PENALTIES)


def test_the_penalty_is_chosen_by_cross_validation():
    x, y = clouds(40, 2, distance=0.5)
    few, few_y = clouds(19, 2, seed=1)
    head = fit_linear_head(x, y, few, few_y, num_classes=2, seed=4)
    assert head.chosen_on == "cross-validation"
    centre, scale = x.mean(axis=0), np.linalg.norm(x - x.mean(axis=0)) / np.sqrt(len(x))
    z, losses = (x - centre) / scale, {}
    for c in INVERSE_PENALTIES:
        folds = StratifiedKFold(5, shuffle=True, random_state=4).split(z, y)
        losses[c] = np.mean(
            [
                -np.log(
                    LogisticRegression(C=100 * c, max_iter=5000)
                    .fit(z[kept], y[kept])
                    .predict_proba(z[held])[np.arange(len(held)), y[held]]
                ).mean()
                for kept, held in folds
            ]
        )
        assert head.losses[c] == pytest.approx(losses[c], rel=1e-2)
    assert head.inverse_penalty == min(losses, key=losses.get)


def test_validation_images_do_not_train():
    x, y = clouds(50, 2)
    a, b = (
        fit_linear_head(x, y, *clouds(m, 2, seed=seed), num_classes=2)
        for m, seed in ((10, 1), (4, 2))
    )
    np.testing.assert_array_equal(a.kernel, b.kernel)


def test_one_or_two_labels_a_class():
    for n in (3, 6):
        x, y = clouds(n, 3, distance=3)
        head = fit_linear_head(x, y, x[:0], y[:0], num_classes=3)
        assert (head.probabilities(x).argmax(axis=1) == y).all()
    assert np.isfinite(head.kernel).all()


def test_features_without_any_difference():
    head = fit_linear_head(np.ones((8, 4)), np.arange(8) % 2, np.ones((0, 4)), [], num_classes=2)
    np.testing.assert_allclose(head.probabilities(np.ones((2, 4))), 0.5, atol=1e-3)


def test_a_class_without_images():
    x, y = clouds(10, 2)
    with pytest.raises(ValueError, match=r"at least one training image. Received: none of class 2"):
        fit_linear_head(x, y, x, y, num_classes=3)


def test_many_images_choose_the_same_by_a_shorter_path(monkeypatch):
    x, y = clouds(400, 3, distance=0.6)
    validation = clouds(300, 3, distance=0.6, seed=1)
    separate = fit_linear_head(x, y, *validation, num_classes=3)
    monkeypatch.setattr(heads, "MANY", 400)
    path = fit_linear_head(x, y, *validation, num_classes=3)
    assert path.inverse_penalty == separate.inverse_penalty
    np.testing.assert_allclose(path.probabilities(x), separate.probabilities(x), atol=5e-3)
    assert len(separate.losses) == len(INVERSE_PENALTIES) > len(path.losses)
    for penalty, loss in path.losses.items():
        assert loss == pytest.approx(separate.losses[penalty], abs=1e-3)


def test_a_fit_takes_one_thread_of_openblas(monkeypatch):
    seen = []
    real = LogisticRegression.fit

    def fit(self, *rest):
        seen.extend(
            lib["num_threads"] for lib in threadpool_info() if lib["internal_api"] == "openblas"
        )
        return real(self, *rest)

    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setattr(LogisticRegression, "fit", fit)
    x, y = np.eye(4), np.array([0, 0, 1, 1])
    with threadpool_limits(3, user_api="blas"):
        before = [one for one in threadpool_info() if one["internal_api"] == "openblas"]
        fit_head(x, y, 1.0)
        after = [one for one in threadpool_info() if one["internal_api"] == "openblas"]
    if not before:
        pytest.skip("NumPy was built with another library for linear algebra.")
    assert set(seen) == {1}
    assert before == after
