"""The penalty on the way from a start: against TensorFlow's gradient, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf

from tlhelpers.evaluation import losses

RNG = np.random.default_rng(0)
WEIGHTS, START = RNG.normal(0, 3, (7, 5)), RNG.normal(0, 3, (7, 5))


@pytest.mark.parametrize(("start", "alpha"), [(START, 0.3), (0, 2)], ids=["L2-SP", "weight decay"])
def test_value_and_gradient_are_those_of_tensorflow(start, alpha):
    w = tf.Variable(WEIGHTS, dtype="float64")
    with tf.GradientTape() as tape:
        value = alpha * tf.nn.l2_loss(w - start)
    loss = losses.l2_sp(WEIGHTS, start, alpha)
    assert loss.value == pytest.approx(float(value), rel=1e-12)
    np.testing.assert_allclose(loss.gradient, tape.gradient(value, w).numpy(), rtol=1e-12)


def test_float32_and_lists_are_computed_in_float64():
    weights, start = WEIGHTS.astype("float32"), START.astype("float32")
    of_float32 = losses.l2_sp(weights, start, 0.3)
    of_lists = losses.l2_sp(weights.tolist(), start.tolist(), 0.3)
    assert of_float32.gradient.dtype == np.float64
    assert of_float32.value == of_lists.value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((3, 2)), np.zeros((5, 2)), 1), "leave new layers out"),
        (([1.0], [1.0], -1), "at least 0. Received: -1"),
        (([1.0], [1.0], float("nan")), "Received: nan"),
        (([np.inf], [1.0], 1), "finite. Received: inf"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        losses.l2_sp(*arguments)
