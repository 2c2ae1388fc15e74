"""The penalty on the way from a source network's parameters, with its gradient, in float64."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Loss:
    """A loss at one point.

    Attributes:
        value: The loss, in nats where it is a cross-entropy.
        gradient: Its derivative by the function's first argument, float64, of that argument's shape.
    """

    value: float
    gradient: np.ndarray


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


def _finite(name: str, values: npt.ArrayLike) -> np.ndarray:
    """Return values as float64, if all are finite."""
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite. Received: {array[~np.isfinite(array)][0]}.")
    return array
