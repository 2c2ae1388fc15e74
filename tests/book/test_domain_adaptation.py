"""Chapter 10's methods, as its cells write them, against independent computations and Bayes' rule."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "10_domain_adaptation.ipynb"


@pytest.fixture(scope="module")
def lesson():
    """Give what the chapter's visible cells define; nothing is trained."""
    import keras
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    space = {"keras": keras, "layers": keras.layers, "np": np, "make_pipeline": make_pipeline}
    space |= {"StandardScaler": StandardScaler, "LogisticRegression": LogisticRegression}
    for cell in json.loads(CHAPTER.read_text("utf-8"))["cells"]:
        if cell["cell_type"] != "code" or {"remove-cell", "remove-input", "hide-cell"} & set(
            cell["metadata"].get("tags", [])
        ):
            continue
        for part in ast.parse("".join(cell["source"])).body:
            if isinstance(part, ast.FunctionDef | ast.ClassDef):
                exec(compile(ast.Module([part], []), CHAPTER.name, "exec"), space)
    return space


def test_coral_gives_the_source_the_targets_mean_and_covariance(lesson):
    rng = np.random.default_rng(0)
    source = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4)) + 3
    target = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 4)) - 1
    moved = lesson["coral"](source, source, target, ridge=0)
    np.testing.assert_allclose(moved.mean(axis=0), target.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(np.cov(moved.T), np.cov(target.T), atol=1e-8)
    assert np.abs(np.cov(source.T) - np.cov(target.T)).max() > 0.5


def test_a_large_ridge_leaves_coral_the_means_alone(lesson):
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(60, 3)), 2 + rng.normal(size=(50, 3))
    moved = lesson["coral"](source, source, target, ridge=1e9)
    ratio = np.sqrt(np.cov(target.T).trace() / np.cov(source.T).trace())
    expected = (source - source.mean(axis=0)) * ratio + target.mean(axis=0)
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_mmd_is_that_of_a_double_loop(lesson):
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(5, 3)), 1 + rng.normal(size=(7, 3))
    h = np.concatenate([a, b]).astype("float32")
    domain = np.repeat([[0.0], [1.0]], [5, 7], axis=0).astype("float32")
    width = np.mean([((p - q) ** 2).sum() for p in h for q in h])

    def mean_kernel(x, y):
        return np.mean([np.exp(-((p - q) ** 2).sum() / width) for p in x for q in y])

    expected = mean_kernel(a, a) + mean_kernel(b, b) - 2 * mean_kernel(a, b)
    by_image = np.asarray(lesson["mmd"](domain, h))
    assert by_image.shape == (12,)
    assert by_image.mean() == pytest.approx(expected, abs=1e-5)
    same = np.concatenate([a, a]).astype("float32")
    even = np.repeat([[0.0], [1.0]], 5, axis=0).astype("float32")
    assert np.asarray(lesson["mmd"](even, same)).mean() == pytest.approx(0, abs=1e-6)


def test_the_reversal_passes_values_and_turns_gradients(lesson):
    import tensorflow as tf

    layer = lesson["GradientReversal"](0.5)
    x, weights = tf.constant([[1.0, -2.0, 3.0]]), tf.constant([[2.0], [-1.0], [0.5]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum((layer(x) @ weights) ** 2)
    np.testing.assert_array_equal(layer(x), x)
    plain = 2 * (x @ weights) * tf.transpose(weights)  # by hand
    np.testing.assert_allclose(tape.gradient(loss, x), -0.5 * plain, rtol=1e-6)


def test_the_reversal_climbs_where_the_domain_head_descends(lesson):
    """One step of plain gradient descent: the opponent's loss falls by its weights, rises by x's."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    encoder, opponent = keras.layers.Dense(3), keras.layers.Dense(1)
    reverse = lesson["GradientReversal"](1.0)
    x, d = tf.random.normal((32, 4)), tf.cast(tf.random.uniform((32, 1)) > 0.5, "float32")
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        value = loss(d, opponent(reverse(encoder(x))))
    weights = [encoder.kernel, opponent.kernel]
    gradients = tape.gradient(value, weights)
    for weight, gradient, sign in zip(weights, gradients, (1, -1), strict=True):
        before = weight.numpy()
        weight.assign(before - 0.05 * gradient)
        change = float(loss(d, opponent(encoder(x))) - value)
        weight.assign(before)
        assert sign * change > 1e-5


def test_re_estimated_statistics_are_those_of_the_images(lesson):
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([*lesson["body"](), keras.layers.Dense(10)])
    x = np.random.default_rng(0).uniform(0.4, 0.6, (50, 8, 8, 1)).astype("float32")
    copy = lesson["re_estimated"](model, x)
    convolution, norm = copy.layers[:2]
    maps = np.asarray(convolution(x))
    np.testing.assert_allclose(norm.moving_mean, maps.mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, maps.var(axis=(0, 1, 2)), atol=1e-6)
    for ours, theirs in zip(copy.trainable_weights, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.asarray(model.layers[1].moving_mean).max() == 0


def test_correction_is_bayes_rule(lesson):
    """Two Gaussians, whose posteriors are known at any frequencies."""
    x = np.linspace(-3, 3, 41)
    density = np.stack([np.exp(-((x - m) ** 2) / 2) for m in (-1, 1)], axis=1)

    def posterior(prior):
        joint = density * prior
        return joint / joint.sum(axis=1, keepdims=True)

    old, new = np.array([0.3, 0.7]), np.array([0.9, 0.1])
    np.testing.assert_allclose(lesson["corrected"](posterior(old), old, new), posterior(new))


def test_frequencies_are_found_and_are_those_of_highest_likelihood(lesson):
    rng = np.random.default_rng(3)
    x = np.where(rng.random(4000) < 0.85, 1, -1) + rng.normal(size=4000)
    p = 1 / (1 + np.exp(-2 * x))  # balanced source, means -1 and 1
    p, old = np.stack([1 - p, p], axis=1), np.array([0.5, 0.5])
    found = lesson["frequencies"](p, old)
    assert found[1] == pytest.approx(0.85, abs=0.03)
    grid = np.linspace(0.01, 0.99, 99)
    likelihood = [np.log(p @ (np.array([1 - q, q]) / old)).sum() for q in grid]
    assert found[1] == pytest.approx(grid[int(np.argmax(likelihood))], abs=0.011)


def test_self_training_follows_where_its_first_answers_are_right(lesson):
    rng = np.random.default_rng(4)
    y = np.repeat([0, 1], 40)
    source = rng.normal(size=(80, 2)) * 0.3 + np.stack([4 * y - 2, 0 * y], axis=1)
    turned = rng.normal(size=(80, 2)) * 0.3 + np.stack([2.8 * y - 1.4, 2.8 * y - 1.4], axis=1)
    model = lesson["self_training"](source, y, turned)
    assert model.score(turned, y) == 1
    assert model.predict([[0.0, 1.5]]) == 1  # what only the target's axis tells


def test_self_training_takes_the_surer_half_of_each_class(lesson, monkeypatch):
    fitted, head = [], lesson["head"]
    monkeypatch.setitem(lesson, "head", lambda x, y: fitted.append(x) or head(x, y))
    unlabelled = np.linspace(-2, 2, 20)[:, None]
    lesson["self_training"](np.array([[-1.0], [1.0]]), np.array([0, 1]), unlabelled, rounds=1)
    added = sorted(fitted[-1][2:, 0])
    np.testing.assert_allclose(added, np.r_[unlabelled[:5, 0], unlabelled[-5:, 0]])
