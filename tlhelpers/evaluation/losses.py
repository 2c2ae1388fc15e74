"""Losses and their gradients in plain NumPy float64: references to hold other code against.

Every loss takes logits, not probabilities, so that none overflows, and returns its value with its
gradient. Rows are examples. An average over examples is an average over the first axis.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CUBE_ROOT_OF_PRECISION = float(np.finfo(np.float64).eps ** (1 / 3))  # 6.06e-6


@dataclass(frozen=True)
class Loss:
    """A loss at one point.

    Attributes:
        value: The loss, in nats where it is a cross-entropy.
        gradient: Its derivative by the function's first argument, float64, of that argument's shape.
    """

    value: float
    gradient: np.ndarray


def log_softmax(logits: npt.ArrayLike) -> np.ndarray:
    """Return log-probabilities: ``z - log(sum(exp(z)))`` along the last axis.

    The largest logit is subtracted first, so that no exponential overflows (Blanchard, Higham &
    Higham 2021, doi:10.1093/imanum/draa038).

    Args:
        logits: Finite numbers ``[..., classes]``.

    Returns:
        float64 of the same shape, at most 0.

    Raises:
        ValueError: If there is no class, or a logit is not finite.

    Example:
        >>> log_softmax([1000.0, 1000.0]).round(3)
        array([-0.693, -0.693])
    """
    z = _finite("logits", logits)
    if z.ndim == 0 or z.shape[-1] == 0:
        raise ValueError(f"logits must have a last axis of classes. Received: shape {z.shape}.")
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: npt.ArrayLike) -> np.ndarray:
    """Return probabilities: ``exp(z) / sum(exp(z))`` along the last axis.

    Args:
        logits: Finite numbers ``[..., classes]``.

    Returns:
        float64 of the same shape; each row sums to 1.

    Raises:
        ValueError: If there is no class, or a logit is not finite.

    Example:
        >>> softmax([[0.0, 0.0], [-1000.0, 1000.0]])
        array([[0.5, 0.5],
               [0. , 1. ]])
    """
    return np.exp(log_softmax(logits))


def sigmoid(logits: npt.ArrayLike) -> np.ndarray:
    """Return ``1 / (1 + exp(-z))``, without overflow.

    Args:
        logits: Finite numbers of any shape.

    Returns:
        float64 of the same shape, 0 to 1.

    Raises:
        ValueError: If a logit is not finite.

    Example:
        >>> sigmoid([-1000.0, 0.0, 1000.0])
        array([0. , 0.5, 1. ])
    """
    return np.exp(-np.logaddexp(0.0, -_finite("logits", logits)))


def cross_entropy(logits: npt.ArrayLike, targets: npt.ArrayLike) -> Loss:
    """Cross-entropy of one class out of several: ``-mean_i sum_c y_ic log p_ic``, p the softmax.

    It is the negative log-likelihood an example; its gradient is ``(p - y) / n`` (Goodfellow,
    Bengio & Courville 2016, sections 5.5 and 6.2.2).

    Args:
        logits: ``[n, classes]``, n at least 1, at least 2 classes.
        targets: Integer labels ``[n]``, 0 to classes - 1, or probabilities ``[n, classes]`` whose
            rows sum to 1: one-hot or smoothed labels.

    Returns:
        The mean over examples, and its gradient by the logits.

    Raises:
        ValueError: If shapes don't fit, there is no example, or targets are out of range.
        TypeError: If labels are not integers.

    Example:
        >>> loss = cross_entropy([[2.0, 0.0], [0.0, 0.0]], [0, 1])
        >>> round(loss.value, 3), loss.gradient.round(3).tolist()
        (0.41, [[-0.06, 0.06], [0.25, -0.25]])
    """
    z = _matrix("logits", logits)
    if z.shape[1] < 2:
        raise ValueError(
            f"A softmax needs at least 2 classes: over one it is always 1. Received: shape {z.shape}. "
            "For one logit an example use binary_cross_entropy."
        )
    y = _distributions(targets, *z.shape)
    log_p = log_softmax(z)
    return Loss(-float((y * log_p).sum() / len(z)), (np.exp(log_p) - y) / len(z))


def binary_cross_entropy(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Loss:
    """Cross-entropy of yes or no: ``-mean_i [y_i log p_i + (1 - y_i) log(1 - p_i)]``, p the sigmoid.

    It is computed as ``mean_i [log(1 + exp(z_i)) - y_i z_i]``; its gradient is ``(p - y) / n``.

    Args:
        logits: ``[n]``, n at least 1.
        labels: ``[n]``, 0 to 1.

    Returns:
        The mean over examples, and its gradient by the logits.

    Raises:
        ValueError: If shapes don't fit, there is no example, or labels are outside 0 to 1.

    Example:
        >>> loss = binary_cross_entropy([0.0, 2.0], [1, 1])
        >>> round(loss.value, 3), loss.gradient.round(3).tolist()
        (0.41, [-0.25, -0.06])
    """
    return _bernoulli(_finite("logits", logits), labels, axes=1)


def multi_label_cross_entropy(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Loss:
    """Cross-entropy of several yes-or-no labels: binary ones, summed over labels.

    Keras's BinaryCrossentropy averages over labels as well: divide by their number to compare.

    Args:
        logits: ``[n, labels]``, n at least 1.
        labels: ``[n, labels]``, each 0 to 1; any number of them may be 1.

    Returns:
        The mean over examples of the sum over labels, and its gradient by the logits.

    Raises:
        ValueError: If shapes don't fit, there is no example, or labels are outside 0 to 1.

    Example:
        >>> round(multi_label_cross_entropy([[0.0, 2.0]], [[1, 1]]).value, 3)
        0.82
    """
    return _bernoulli(_finite("logits", logits), labels, axes=2)


def mean_squared_error(predictions: npt.ArrayLike, targets: npt.ArrayLike) -> Loss:
    """Mean of squared differences over all numbers: a Gaussian likelihood of fixed variance.

    Args:
        predictions: Finite numbers ``[n, ...]``, n at least 1.
        targets: Finite numbers of the same shape.

    Returns:
        The mean, and its gradient by the predictions.

    Raises:
        ValueError: If the shapes differ, or there is nothing to average.

    Example:
        >>> mean_squared_error([1.0, 3.0], [1.0, 1.0])
        Loss(value=2.0, gradient=array([0., 2.]))
    """
    got, wanted = _finite("predictions", predictions), _finite("targets", targets)
    _same_shape("predictions", got, "targets", wanted)
    difference = got - wanted
    return Loss(float(np.mean(difference**2)), 2 * difference / difference.size)


def l2_sp(parameters: npt.ArrayLike, start: npt.ArrayLike, alpha: float) -> Loss:
    """Penalty ``alpha / 2 * sum((w - start)**2)`` that holds parameters near where they started.

    With a start of 0 it is weight decay, the part for layers that the source does not have (Li,
    Grandvalet & Davoine 2018, arXiv:1802.01483, eq. 3).

    Args:
        parameters: The parameters, of any shape.
        start: Their values in the source network, of the same shape, or the number 0.
        alpha: Strength, at least 0.

    Returns:
        The penalty, and its gradient by the parameters.

    Raises:
        ValueError: If the shapes differ or alpha is negative.

    Example:
        >>> l2_sp([1.0, 2.0], [1.0, 0.0], alpha=0.5)
        Loss(value=1.0, gradient=array([0., 1.]))
    """
    w, w0 = _finite("parameters", parameters), _finite("start", start)
    if w0.shape != w.shape and w0.ndim:
        raise ValueError(
            "A penalty on the way from the start needs both of one shape: leave new layers out. "
            f"Received: parameters {w.shape}, start {w0.shape}."
        )
    if not alpha >= 0:
        raise ValueError(f"alpha must be at least 0. Received: {alpha}.")
    return Loss(float(alpha / 2 * ((w - w0) ** 2).sum()), alpha * (w - w0))


def smooth_labels(labels: npt.ArrayLike, classes: int, epsilon: float = 0.1) -> np.ndarray:
    """Mix one-hot labels with the uniform distribution: ``(1 - epsilon) y + epsilon / classes``.

    Source and default: Szegedy et al. 2016, arXiv:1512.00567, section 7.

    Args:
        labels: Integers ``[n]``, 0 to classes - 1.
        classes: Number of classes, at least 2.
        epsilon: Share of the uniform distribution, 0 to 1. Defaults to 0.1.

    Returns:
        float64 ``[n, classes]``, rows summing to 1: targets for :func:`cross_entropy`.

    Raises:
        ValueError: If a label or epsilon is out of range, or there is no example.
        TypeError: If labels are not integers.

    Example:
        >>> smooth_labels([0, 2], classes=4).round(3).tolist()
        [[0.925, 0.025, 0.025, 0.025], [0.025, 0.025, 0.925, 0.025]]
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be between 0 and 1. Received: {epsilon}.")
    count = np.shape(labels)[0] if np.ndim(labels) else 0
    if classes < 2 or count == 0 or np.ndim(labels) != 1:
        raise ValueError(
            "Smoothing needs labels [n], n at least 1, and at least 2 classes. "
            f"Received: labels of shape {np.shape(labels)}, {classes} classes."
        )
    return (1 - epsilon) * _distributions(labels, count, classes) + epsilon / classes


def numerical_gradient(
    function: Callable[[np.ndarray], float], at: npt.ArrayLike, step: float | None = None
) -> np.ndarray:
    """Differentiate a function by central differences, ``(f(x + h) - f(x - h)) / 2h``.

    The error falls as h² until rounding, which grows as 1/h, takes over; the cube root of the
    floating-point precision balances the two (Nocedal & Wright 2006, section 8.1).

    Args:
        function: Takes an array like ``at``, gives one number.
        at: Where, of any shape.
        step: h. Defaults to 6e-6 times each number's size, where that is above 1.

    Returns:
        float64 of the shape of ``at``.

    Raises:
        ValueError: If ``step`` is not positive.

    Example:
        >>> numerical_gradient(lambda x: float((x**3).sum()), [1.0, 2.0]).round(6)
        array([ 3., 12.])
    """
    x = _finite("at", at).copy()
    if step is not None and not step > 0:
        raise ValueError(f"step must be positive. Received: {step}.")
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape):
        kept = float(x[place])
        h = step if step is not None else CUBE_ROOT_OF_PRECISION * max(1.0, abs(kept))
        x[place] = above = kept + h
        high = function(x.copy())
        x[place] = below = kept - h
        low = function(x.copy())
        x[place] = kept
        gradient[place] = (high - low) / (above - below)
    return gradient


def relative_error(gradient: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Tell how far a gradient is off: ``|g - r| / max(|g|, |r|)``, in Euclidean norms.

    Args:
        gradient: The gradient to judge, of any shape.
        reference: What it should be, of the same shape.

    Returns:
        0 where they agree; about 1e-9 where central differences and a right formula do; 1 where
        one of them is 0; at most 2, where they point in opposite directions.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> relative_error([2.0, 0.0], [1.0, 0.0])
        0.5
    """
    got, wanted = np.asarray(gradient, float), np.asarray(reference, float)
    _same_shape("gradient", got, "reference", wanted)
    largest = max(float(np.linalg.norm(got)), float(np.linalg.norm(wanted)))
    return float(np.linalg.norm(got - wanted)) / largest if largest else 0.0


def check_gradient(function: Callable[[np.ndarray], Loss], at: npt.ArrayLike) -> float:
    """Compare the gradient a loss returns with central differences of its value.

    Args:
        function: A loss of one array, such as ``lambda z: cross_entropy(z, labels)``.
        at: Where to compare, of any shape.

    Returns:
        The :func:`relative_error`.

    Example:
        >>> check_gradient(lambda z: cross_entropy(z, [1]), [[0.5, -1.0, 2.0]]) < 1e-8
        True
    """
    x = _finite("at", at)
    return relative_error(function(x).gradient, numerical_gradient(lambda v: function(v).value, x))


def _bernoulli(z: np.ndarray, labels: npt.ArrayLike, axes: int) -> Loss:
    """Sum binary cross-entropies over all but the first axis, and average over that."""
    y = _finite("labels", labels)
    _same_shape("logits", z, "labels", y)
    if z.ndim != axes:
        wanted = "[n]" if axes == 1 else "[n, labels]"
        other = "multi_label_cross_entropy" if axes == 1 else "binary_cross_entropy"
        raise ValueError(
            f"logits must have the shape {wanted}. Received: {z.shape}; see also {other}."
        )
    if y.min() < 0 or y.max() > 1:
        raise ValueError(f"labels must lie between 0 and 1. Received: {y.min()} to {y.max()}.")
    losses = np.logaddexp(0.0, z) - y * z
    return Loss(float(losses.sum() / len(z)), (sigmoid(z) - y) / len(z))


def _distributions(targets: npt.ArrayLike, n: int, classes: int) -> np.ndarray:
    """Return targets as rows of probabilities, from labels or from such rows."""
    y = np.asarray(targets)
    if y.ndim == 1:
        if y.dtype.kind not in "iu":
            raise TypeError(f"Labels must be integers. Received: {y.dtype}.")
        if len(y) != n:
            raise ValueError(f"There must be one label a row. Received: {len(y)} for {n} rows.")
        if y.min() < 0 or y.max() >= classes:
            raise ValueError(
                f"Labels must lie between 0 and {classes - 1}. Received: {y.min()} to {y.max()}."
            )
        return np.eye(classes)[y]
    y = _finite("targets", y)
    if y.shape != (n, classes):
        raise ValueError(
            f"Targets must be labels [{n}] or rows [{n}, {classes}]. Received: shape {y.shape}."
        )
    if y.min() < 0 or not np.allclose(y.sum(axis=1), 1, rtol=0, atol=1e-6):
        raise ValueError(
            "Each row of targets must be a distribution: at least 0, and 1 in all. "
            f"Received: sums from {y.sum(axis=1).min():.3f} to {y.sum(axis=1).max():.3f}. "
            "Where several labels may hold at once, use multi_label_cross_entropy."
        )
    return y


def _matrix(name: str, values: npt.ArrayLike) -> np.ndarray:
    """Return a finite float64 matrix with at least one row."""
    array = _finite(name, values)
    if array.ndim != 2 or not len(array):
        raise ValueError(
            f"{name} must be [n, classes], n at least 1. Received: shape {array.shape}."
        )
    return array


def _finite(name: str, values: npt.ArrayLike) -> np.ndarray:
    """Return values as float64, if all are finite."""
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite. Received: {array[~np.isfinite(array)][0]}.")
    return array


def _same_shape(name: str, one: np.ndarray, other_name: str, other: np.ndarray) -> None:
    """Refuse arrays of different shapes (broadcasting would give a wrong average) or empty ones."""
    if one.shape != other.shape or not one.size:
        raise ValueError(
            f"{name} and {other_name} must have one shape and at least one number. "
            f"Received: {one.shape} and {other.shape}."
        )
