"""How far a score can be trusted: intervals, baselines, paired differences and calibration."""

import math
from dataclasses import dataclass

import numpy as np

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Score:
    """A share of right answers with its 95 % interval.

    The interval covers the draw of the test images only, not training: the same recipe with another
    seed or other training images may well score outside it.

    Attributes:
        accuracy: Share right, 0 to 1.
        low: Lower end of the interval.
        high: Upper end.
        n: Number of images.
    """

    accuracy: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """Write the score in percent, with its interval."""
        return f"{self.accuracy:.1%} ({self.low:.1%} to {self.high:.1%}, n = {self.n:,})"


@dataclass(frozen=True)
class Difference:
    """By how much one accuracy is above another, with its 95 % interval.

    What the interval covers depends on the function that gives it.

    Attributes:
        difference: The second accuracy less the first, -1 to 1.
        low: Lower end of the interval.
        high: Upper end.
        n: Number of images.
    """

    difference: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """Write the difference in percentage points, with its interval."""
        points, low, high = (100 * one for one in (self.difference, self.low, self.high))
        return f"{points:+.1f} points ({low:+.1f} to {high:+.1f})"


def score(predicted: np.ndarray, labels: np.ndarray) -> Score:
    """Score predicted classes.

    Args:
        predicted: Integers ``[n]``.
        labels: Integers ``[n]``.

    Returns:
        Accuracy with Wilson's interval.

    Raises:
        ValueError: If the lengths differ or are zero.

    Example:
        >>> print(score(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0])))
        75.0% (30.1% to 95.4%, n = 4)
    """
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if predicted.shape != labels.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(
            "Predicted classes and labels must be two lists of the same length, 1 or more. "
            f"Received: shapes {predicted.shape} and {labels.shape}."
        )
    right = int((predicted == labels).sum())
    low, high = wilson_interval(right, len(labels))
    return Score(right / len(labels), low, high, len(labels))


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion, which holds near 0 and 1 and for small n.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953; recommended by Brown, Cai & DasGupta
    2001, doi:10.1214/ss/1009213286. Computed by SciPy.

    Args:
        successes: Number of successes.
        n: Number of trials, at least 1.

    Returns:
        Lower and upper end, between 0 and 1.

    Raises:
        ValueError: If ``n`` is below 1 or ``successes`` is not between 0 and ``n``.

    Example:
        >>> low, high = wilson_interval(98, 100)
        >>> round(low, 3), round(high, 3)
        (0.93, 0.994)
    """
    from scipy.stats import binomtest

    if n < 1 or not 0 <= successes <= n:
        raise ValueError(
            f"A proportion needs n >= 1 and 0 <= successes <= n. Received: {successes} of {n}."
        )
    ends = binomtest(int(successes), int(n)).proportion_ci(method="wilson")
    return float(ends.low), float(ends.high)


def balanced_accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of the classes' recalls, in which a rare class counts as much as a common one.

    Classes without an image are left out (Brodersen et al. 2010, doi:10.1109/ICPR.2010.764).

    Args:
        predicted: Integers ``[n]``.
        labels: Integers ``[n]``, n at least 1.

    Returns:
        0 to 1; one over the number of classes for a constant answer.

    Example:
        >>> balanced_accuracy(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1]))
        0.5
    """
    from sklearn.metrics import recall_score

    present = np.unique(labels)
    return float(recall_score(labels, predicted, labels=present, average="macro"))


def majority_accuracy(train_labels: np.ndarray, labels: np.ndarray) -> float:
    """Score the constant answer: the most frequent class of the training labels.

    Args:
        train_labels: Integers ``[m]``, m at least 1.
        labels: Integers ``[n]`` of the images to score on, n at least 1.

    Returns:
        0 to 1. Where several classes are equally frequent, the mean over them; so chance, one over
        the number of classes, where all are.

    Example:
        >>> majority_accuracy(np.array([0, 0, 0, 1]), np.array([0] * 9 + [1]))
        0.9
        >>> majority_accuracy(np.array([0, 1]), np.array([0] * 9 + [1]))
        0.5
    """
    counts = np.bincount(train_labels)
    most_frequent = np.flatnonzero(counts == counts.max())
    return float(np.isin(labels, most_frequent).mean() / len(most_frequent))


def paired_difference(
    first_right: np.ndarray, second_right: np.ndarray, independent: int | None = None
) -> Difference:
    """Return by how much the second of two models is more often right on the same images.

    The interval is the adjusted Wald interval for paired proportions (Bonett & Price 2012,
    doi:10.3102/1076998611411915). Pairing matters: two models tend to fail on the same images.

    Args:
        first_right: Booleans ``[n]``, whether the first model is right; or shares of repeats.
        second_right: The same of the second, on the same images.
        independent: As how many independent images these count, where some belong together.
            Defaults to all of them.

    Returns:
        Difference in accuracy (-1 to 1) with its 95 % interval.

    Raises:
        ValueError: If the lengths differ or are zero.

    Example:
        >>> gain = paired_difference(np.array([True, False] * 50), np.array([True] * 100))
        >>> round(gain.difference, 2), gain.low > 0.3
        (0.5, True)
    """
    first, second = np.asarray(first_right, float), np.asarray(second_right, float)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(
            "A paired difference needs both models' answers to the same images. "
            f"Received: shapes {first.shape} and {second.shape}."
        )
    change, n = second - first, independent or len(first)
    gained, lost = (
        (n * float(np.maximum(sign * change, 0).mean()) + 1) / (n + 2) for sign in (1, -1)
    )
    centre = gained - lost
    half = Z_95 * math.sqrt((gained + lost - centre**2) / (n + 2))
    value = float(change.mean())
    return Difference(value, max(-1.0, centre - half), min(1.0, centre + half), len(first))


def difference_over_draws(first_right: np.ndarray, second_right: np.ndarray) -> Difference:
    """Return by how much the second of two recipes is more often right, over draws of its training.

    The 95 % interval covers both the draws and the test images: the variance of the draws' mean
    differences over the number of draws, and that of the images' mean differences over the number
    of images, by Student's t and by the normal distribution. Adding the two counts their interaction
    twice, so the interval is rather too wide than too narrow.

    Args:
        first_right: Booleans ``[d, n]``, whether the first recipe is right in each of d draws, at
            least 2, on each of n images; or how often, 0 to 1, where a draw has several runs.
        second_right: The same of the second recipe, in the same draws on the same images.

    Returns:
        Mean difference in accuracy (-1 to 1) with its interval; ``n`` is the number of images.

    Raises:
        ValueError: If shapes differ, or there are fewer than 2 draws or images.

    Example:
        >>> always, never = np.ones((5, 40), bool), np.zeros((5, 40), bool)
        >>> difference_over_draws(never, always).difference
        1.0
    """
    from scipy.stats import t

    first, second = np.asarray(first_right, float), np.asarray(second_right, float)
    if first.shape != second.shape or first.ndim != 2 or min(first.shape, default=0) < 2:
        raise ValueError(
            "A difference over draws needs both recipes' answers [draws, images], 2 draws or more, "
            f"to the same images. Received: shapes {first.shape} and {second.shape}."
        )
    difference = second - first
    draws, n = difference.shape
    by_draw = t.ppf(0.975, draws - 1) ** 2 * difference.mean(axis=1).var(ddof=1) / draws
    by_image = Z_95**2 * difference.mean(axis=0).var(ddof=1) / n
    mean, half = float(difference.mean()), math.sqrt(by_draw + by_image)
    return Difference(mean, max(-1.0, mean - half), min(1.0, mean + half), n)


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean over repeated runs and its 95 % interval by Student's t.

    Args:
        values: One figure a run, ``[k]``.

    Returns:
        Mean, lower end, upper end. The ends are NaN for one run, which says nothing of others.

    Raises:
        ValueError: If there are no values.

    Example:
        >>> mean_interval(np.array([0.5, 0.5, 0.5]))
        (0.5, 0.5, 0.5)
    """
    from scipy.stats import sem, t

    values = np.asarray(values, float)
    if not values.size:
        raise ValueError("A mean needs at least one value. Received: none.")
    mean = float(values.mean())
    half = float(t.ppf(0.975, len(values) - 1) * sem(values)) if len(values) > 1 else math.nan
    return mean, mean - half, mean + half


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, in bins of confidence; empty bins are left out.

    Attributes:
        error: Expected calibration error, 0 to 1.
        confidence: Mean probability of the predicted class in each bin, ``[b]``.
        accuracy: Share right in each bin, ``[b]``.
        count: Images in each bin, ``[b]``.
    """

    error: float
    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> Reliability:
    """Measure calibration with ten bins of equal width.

    The expected calibration error is the mean distance between confidence and accuracy, weighted by
    the images in each bin (Guo et al. 2017, arXiv:1706.04599, eq. 3).

    Args:
        probabilities: ``[n, classes]``, rows summing to 1.
        labels: Integers ``[n]``.

    Returns:
        Confidence, accuracy and count of each bin, and the error.

    Raises:
        ValueError: If shapes don't fit, or rows don't sum to 1.

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
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    # Bins are open below and closed above, as in the paper.
    bins = 10
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = count > 0
    mean_confidence = np.bincount(place, confidence, bins)[filled] / count[filled]
    accuracy = np.bincount(place, right, bins)[filled] / count[filled]
    error = float((count[filled] * np.abs(mean_confidence - accuracy)).sum() / len(labels))
    return Reliability(error, mean_confidence, accuracy, count[filled])
