"""Compare how sure a classifier is with how often it is right."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, in bins of confidence; empty bins are left out.

    Attributes:
        confidence: Mean probability of the predicted class in each bin, ``[b]``.
        accuracy: Share right in each bin, ``[b]``.
        count: Images in each bin, ``[b]``.
        error: Expected calibration error, 0 to 1.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray
    error: float


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> Reliability:
    """Measure calibration with bins of equal width.

    The expected calibration error is the mean distance between confidence and accuracy, weighted by
    the images in each bin (Guo et al. 2017, arXiv:1706.04599, eq. 3).

    Args:
        probabilities: ``[n, classes]``, rows summing to 1.
        labels: Integers ``[n]``.
        bins: Bins between confidence 0 and 1. Defaults to 10.

    Returns:
        Confidence, accuracy and count of each bin, and the error.

    Raises:
        ValueError: If shapes don't fit, rows don't sum to 1, or there is no bin.

    Example:
        >>> p = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
        >>> round(reliability(p, np.array([0, 1, 1, 1])).error, 3)
        0.35
    """
    probabilities, labels = np.asarray(probabilities, float), np.asarray(labels)
    if probabilities.ndim != 2 or len(probabilities) != len(labels) or not len(labels):
        raise ValueError(
            "Calibration needs probabilities [n, classes] and labels [n], n at least 1. "
            f"Received: shapes {probabilities.shape} and {labels.shape}."
        )
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError(
            "Each row of probabilities must sum to 1. "
            f"Received: sums from {probabilities.sum(axis=1).min():.3f} to "
            f"{probabilities.sum(axis=1).max():.3f}; apply a softmax to logits first."
        )
    if bins < 1:
        raise ValueError(f"bins must be at least 1. Received: {bins}.")
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    # Bins are open below and closed above, as in the paper.
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = count > 0
    mean_confidence = np.bincount(place, confidence, bins)[filled] / count[filled]
    accuracy = np.bincount(place, right, bins)[filled] / count[filled]
    error = float((count[filled] * np.abs(mean_confidence - accuracy)).sum() / len(labels))
    return Reliability(mean_confidence, accuracy, count[filled], error)
