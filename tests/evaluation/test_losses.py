"""Losses: against SciPy, scikit-learn, Keras and TensorFlow's gradients, and at the edges."""

import keras
import numpy as np
import pytest
import scipy.special
import sklearn.metrics
import tensorflow as tf

from tlhelpers.evaluation import losses

RNG = np.random.default_rng(0)
N, CLASSES = 7, 5
LOGITS = RNG.normal(0, 3, (N, CLASSES))
LABELS = RNG.integers(0, CLASSES, N)
ONE_HOT = np.eye(CLASSES)[LABELS]
SOFT = RNG.dirichlet(np.ones(CLASSES), N)
SEVERAL = RNG.integers(0, 2, (N, CLASSES)).astype(float)


def by_autodiff(function, at):
    """Return the value and gradient that TensorFlow finds, in float64."""
    x = tf.Variable(at, dtype="float64")
    with tf.GradientTape() as tape:
        value = function(x)
    return float(value), tape.gradient(value, x).numpy()


def mean(function, targets, **options):
    """Return the mean of one of Keras's losses over all it gives."""
    return lambda z: tf.reduce_mean(function(tf.constant(targets), z, **options))


# Each loss beside Keras's.
PAIRS = {
    "labels": (
        lambda z: losses.cross_entropy(z, LABELS),
        mean(keras.losses.sparse_categorical_crossentropy, LABELS, from_logits=True),
        LOGITS,
    ),
    "one-hot": (
        lambda z: losses.cross_entropy(z, ONE_HOT),
        mean(keras.losses.categorical_crossentropy, ONE_HOT, from_logits=True),
        LOGITS,
    ),
    "soft targets": (
        lambda z: losses.cross_entropy(z, SOFT),
        mean(keras.losses.categorical_crossentropy, SOFT, from_logits=True),
        LOGITS,
    ),
    "smoothed labels": (
        lambda z: losses.cross_entropy(z, losses.smooth_labels(LABELS, CLASSES, 0.2)),
        mean(keras.losses.categorical_crossentropy, ONE_HOT, from_logits=True, label_smoothing=0.2),
        LOGITS,
    ),
    "yes or no": (
        lambda z: losses.binary_cross_entropy(z, SEVERAL[:, 0]),
        mean(keras.losses.binary_crossentropy, SEVERAL[:, 0], from_logits=True),
        LOGITS[:, 0],
    ),
    "L2-SP": (
        lambda w: losses.l2_sp(w, SOFT, 0.3),
        lambda w: 0.3 * tf.nn.l2_loss(w - SOFT),
        LOGITS,
    ),
    "weight decay": (lambda w: losses.l2_sp(w, 0, 2), lambda w: 2 * tf.nn.l2_loss(w), LOGITS),
}


@pytest.mark.parametrize("name", PAIRS)
def test_value_and_gradient_are_those_of_keras(name):
    ours, theirs, at = PAIRS[name]
    value, gradient = by_autodiff(theirs, at)
    assert ours(at).value == pytest.approx(value, rel=1e-9)
    assert ours(at).gradient.shape == at.shape
    np.testing.assert_allclose(ours(at).gradient, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_gradient_is_that_of_the_value(name):
    ours, _, at = PAIRS[name]
    differences = losses.numerical_gradient(lambda x: ours(x).value, at)
    assert losses.relative_error(ours(at).gradient, differences) < 1e-7


@pytest.mark.parametrize("name", PAIRS)
def test_float32_and_lists_are_computed_in_float64(name):
    ours, _, at = PAIRS[name]
    single = at.astype("float32")
    loss = ours(single)
    assert loss.gradient.dtype == np.float64
    assert loss.value == ours(single.astype("float64")).value
    assert loss.value == ours(single.tolist()).value
    assert type(loss.value) is float


def test_probabilities_are_those_of_scipy():
    cube = RNG.normal(0, 50, (2, 3, 4))
    np.testing.assert_allclose(losses.softmax(cube), scipy.special.softmax(cube, axis=-1))
    assert losses.softmax([3.0]) == 1
    np.testing.assert_allclose(losses.softmax(LOGITS + 100), losses.softmax(LOGITS))


def test_cross_entropies_are_those_of_scikit_learn():
    assert losses.cross_entropy(LOGITS, LABELS).value == pytest.approx(
        sklearn.metrics.log_loss(LABELS, losses.softmax(LOGITS), labels=range(CLASSES))
    )
    yes = SEVERAL[:, 0].astype(int)
    assert losses.binary_cross_entropy(LOGITS[:, 0], yes).value == pytest.approx(
        sklearn.metrics.log_loss(yes, scipy.special.expit(LOGITS[:, 0]), labels=[0, 1])
    )


def test_two_classes_are_a_yes_or_no():
    # Two classes with logits (0, z) are a yes or no with logit z.
    z, yes = LOGITS[:, 0], SEVERAL[:, 0].astype(int)
    two = losses.cross_entropy(np.stack([np.zeros(N), z], axis=1), yes)
    one = losses.binary_cross_entropy(z, yes)
    assert two.value == pytest.approx(one.value)
    np.testing.assert_allclose(two.gradient[:, 1], one.gradient)


@pytest.mark.parametrize("size", [1e3, 1e6, 1e300])
def test_huge_logits_neither_overflow_nor_lose_the_gradient(size):
    """Warnings are errors in these tests, an overflow's too."""
    z = np.array([[size, 0.0, -size]])
    assert losses.cross_entropy(z, [0]).value == 0
    assert losses.cross_entropy(z, [2]).value == pytest.approx(2 * size)
    assert losses.cross_entropy(z, [2]).gradient.tolist() == [[1, 0, -1]]
    assert losses.binary_cross_entropy([size, -size], [1, 0]).value == 0
    wrong = losses.binary_cross_entropy([size, -size], [0, 1])
    assert wrong.value == pytest.approx(size)
    assert wrong.gradient.tolist() == [0.5, -0.5]


@pytest.mark.parametrize("name", ["labels", "yes or no"])
def test_a_repeated_batch_has_the_same_loss(name):
    function, target = {
        "labels": (losses.cross_entropy, LABELS),
        "yes or no": (losses.binary_cross_entropy, SEVERAL[:, 0]),
    }[name]
    at = PAIRS[name][2]
    once = function(at, target)
    twice = function(np.concatenate([at, at]), np.concatenate([target, target]))
    assert twice.value == pytest.approx(once.value)
    np.testing.assert_allclose(twice.gradient[:N], once.gradient / 2)


def test_smoothed_labels():
    smooth = losses.smooth_labels(LABELS, CLASSES)
    np.testing.assert_allclose(smooth.sum(axis=1), 1)
    assert smooth[0, LABELS[0]] == pytest.approx(0.9 + 0.1 / CLASSES)
    assert (losses.smooth_labels(LABELS, CLASSES, 0) == ONE_HOT).all()
    np.testing.assert_allclose(losses.smooth_labels(LABELS, CLASSES, 1), 1 / CLASSES)


def test_central_differences():
    x = np.array([[1.0, -2.0], [30.0, 0.0]])
    np.testing.assert_allclose(
        losses.numerical_gradient(lambda v: float((v**2).sum()), x), 2 * x, rtol=1e-8, atol=1e-9
    )
    assert losses.numerical_gradient(lambda v: float(v**2), 1e6) == pytest.approx(2e6, rel=1e-9)
    # Exact for a quadratic, whatever the step.
    rough = losses.numerical_gradient(lambda v: float((v**2).sum()), [3.0], step=0.5)
    assert rough == pytest.approx(6)
    assert losses.numerical_gradient(float, 2.0) == pytest.approx(1)
    assert losses.numerical_gradient(lambda v: 0.0, []).shape == (0,)


def test_central_differences_leave_their_argument_alone():
    x = np.array([1.0, 2.0])

    def spoils(v):
        v *= 2
        return float(v.sum())

    np.testing.assert_allclose(losses.numerical_gradient(spoils, x), 2)
    assert x.tolist() == [1, 2]


def test_relative_error():
    assert losses.relative_error([1.0, 2.0], [1.0, 2.0]) == 0
    assert losses.relative_error([0.0], [0.0]) == 0
    assert losses.relative_error([0.0], [5.0]) == 1
    assert losses.relative_error([-3.0, 4.0], [3.0, -4.0]) == 2


def test_the_comparison_catches_a_wrong_gradient():
    forgets_the_average = losses.cross_entropy(LOGITS, LABELS).gradient * N
    right = losses.numerical_gradient(lambda z: losses.cross_entropy(z, LABELS).value, LOGITS)
    assert losses.relative_error(forgets_the_average, right) == pytest.approx(1 - 1 / N)


EMPTY = np.zeros((0, 3))
REFUSED = {
    "no example": (losses.cross_entropy, (EMPTY, np.zeros(0, int)), r"n at least 1.*\(0, 3\)"),
    "no yes or no": (losses.binary_cross_entropy, ([], []), "n at least 1"),
    "nothing to smooth": (losses.smooth_labels, (np.zeros(0, int), 3), "n at least 1"),
    "no class": (losses.softmax, (np.zeros((2, 0)),), "axis of classes"),
    "one class": (losses.cross_entropy, ([[1.0]], [0]), "binary_cross_entropy"),
    "one row": (losses.cross_entropy, ([1.0, 2.0], [0]), r"\[n, classes\]"),
    "label too large": (losses.cross_entropy, ([[1.0, 2.0]], [2]), "between 0 and 1. Received: 2"),
    "label below 0": (losses.cross_entropy, ([[1.0, 2.0]], [-1]), "Received: -1 to -1"),
    "too few labels": (losses.cross_entropy, (LOGITS, LABELS[:-1]), "6 for 7 rows"),
    "rows of another size": (losses.cross_entropy, (LOGITS, SOFT[:, :-1]), r"shape \(7, 4\)"),
    "several ones": (losses.cross_entropy, ([[1.0, 2.0]], [[1, 1]]), "binary_cross_entropy over"),
    "below 0": (losses.cross_entropy, ([[1.0, 2.0]], [[-0.5, 1.5]]), "distribution"),
    "not finite": (losses.cross_entropy, ([[np.nan, 2.0]], [0]), "finite. Received: nan"),
    "infinite": (losses.softmax, ([np.inf],), "finite. Received: inf"),
    "yes beyond 1": (losses.binary_cross_entropy, ([1.0], [2]), "between 0 and 1. Received: 2.0"),
    "a column": (losses.binary_cross_entropy, ([[1.0]], [[1]]), r"be \[n\].*\(1, 1\)"),
    # Broadcasting these would average over n × n pairs.
    "column and row": (losses.binary_cross_entropy, ([1.0, 2.0], [[1], [0]]), "pair each with all"),
    "a new head": (losses.l2_sp, (np.zeros((3, 2)), np.zeros((5, 2)), 1), "leave new layers out"),
    "negative alpha": (losses.l2_sp, ([1.0], [1.0], -1), "at least 0. Received: -1"),
    "alpha not a number": (losses.l2_sp, ([1.0], [1.0], float("nan")), "Received: nan"),
    "epsilon": (losses.smooth_labels, ([0], 2, 1.5), "between 0 and 1. Received: 1.5"),
    "labels to smooth": (losses.smooth_labels, ([3], 3), "between 0 and 2"),
    "one class to smooth": (losses.smooth_labels, ([0], 1), "2 classes"),
    "step": (losses.numerical_gradient, (float, 1.0, 0.0), "positive. Received: 0.0"),
    "errors of two shapes": (losses.relative_error, ([1.0], [1.0, 2.0]), "one shape"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case):
    function, arguments, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        function(*arguments)


@pytest.mark.parametrize("labels", [[0.0, 1.0], [True, False], ["0", "1"]])
def test_labels_are_integers(labels):
    with pytest.raises(TypeError, match="Labels must be integers"):
        losses.cross_entropy(LOGITS[:2], labels)
    with pytest.raises(TypeError, match="Labels must be integers"):
        losses.smooth_labels(labels, 2)
