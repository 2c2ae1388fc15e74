"""Losses and their gradients in NumPy's float64: references to hold other code against.

Every loss takes logits, not probabilities, so that none overflows, and returns its value with its
gradient. Rows are examples. An average over examples is an average over the first axis.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

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


def softmax(logits: npt.ArrayLike) -> np.ndarray:
    """Return probabilities: ``exp(z) / sum(exp(z))`` along the last axis.

    The largest logit is subtracted first, so that no exponential overflows (Blanchard, Higham &
    Higham 2021, doi:10.1093/imanum/draa038).

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
    z = _finite("logits", logits)
    if z.ndim == 0 or z.shape[-1] == 0:
        raise ValueError(f"logits must have a last axis of classes. Received: shape {z.shape}.")
    return np.exp(log_softmax(z, axis=-1))


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
    z = _finite("logits", logits)
    if z.ndim != 2 or not len(z) or z.shape[1] < 2:
        raise ValueError(
            f"logits must be [n, classes], n at least 1, at least 2 classes. Received: shape {z.shape}. "
            "For one logit an example use binary_cross_entropy."
        )
    y = _distributions(targets, *z.shape)
    log_p = log_softmax(z, axis=1)
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
    z, y = _finite("logits", logits), _finite("labels", labels)
    if z.ndim != 1 or z.shape != y.shape or not z.size:
        raise ValueError(
            "logits and labels must both be [n], n at least 1: broadcasting would pair each with all. "
            f"Received: {z.shape} and {y.shape}."
        )
    if y.min() < 0 or y.max() > 1:
        raise ValueError(f"labels must lie between 0 and 1. Received: {y.min()} to {y.max()}.")
    p = np.exp(-np.logaddexp(0.0, -z))  # the sigmoid, without overflow
    return Loss(float((np.logaddexp(0.0, z) - y * z).sum() / len(z)), (p - y) / len(z))


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
    if got.shape != wanted.shape:
        raise ValueError(
            f"Gradients can only be compared in one shape. Received: {got.shape} and {wanted.shape}."
        )
    largest = max(float(np.linalg.norm(got)), float(np.linalg.norm(wanted)))
    return float(np.linalg.norm(got - wanted)) / largest if largest else 0.0


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
            "Where several labels may hold at once, sum binary_cross_entropy over them."
        )
    return y


def _finite(name: str, values: npt.ArrayLike) -> np.ndarray:
    """Return values as float64, if all are finite."""
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite. Received: {array[~np.isfinite(array)][0]}.")
    return array
