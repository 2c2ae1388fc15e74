"""How good a classifier is, where it may abstain, and what would make it better."""

import math
from typing import Any

import numpy as np

from tlhelpers.evaluation.scores import Z_95, Difference, Score, paired_difference, reliability


def share(right: np.ndarray, groups: np.ndarray | None = None) -> Score:
    """Return a share of right answers, with an interval that knows which images belong together.

    Wilson's interval of as many independent images as would be as informative: their number is
    divided by the design effect, the variance with whole groups drawn over that with single images
    (Kish 1965, Survey Sampling, section 8.2), at least 1; and it is at most the square of their
    number over the sum of the groups' squared sizes, which is what equal answers within groups leave.

    Args:
        right: Booleans ``[n]``, or shares of repeats, 0 to 1.
        groups: ``int [n]``. Defaults to every image by itself.

    Returns:
        The share, with its interval over the draw of images (or groups of them); NaN, between 0
        and 1, where there are none.

    Example:
        >>> alone = share(np.repeat([True, False], [90, 10]))
        >>> both = share(np.repeat([True, False], [90, 10]), np.arange(100) // 2)
        >>> alone.low > both.low
        True
    """
    right = np.asarray(right, float)
    n = len(right)
    if not n:
        return Score(math.nan, 0.0, 1.0, 0)
    value = float(right.mean())
    z = Z_95**2 / _independent(right - value, groups)
    half = math.sqrt(value * (1 - value) * z + z**2 / 4)
    low, high = ((value + z / 2 + sign * half) / (1 + z) for sign in (-1, 1))
    return Score(value, max(0.0, low), min(1.0, high), n)


def _independent(off: np.ndarray, groups: np.ndarray | None) -> int:
    """Return how many independent images tell as much as these, which are that far off the mean."""
    if groups is None:
        return len(off)
    number = np.unique(groups, return_inverse=True)[1]
    sums, sizes = np.bincount(number, off), np.bincount(number)
    effect = max(1.0, float((sums**2).sum() / ((off**2).sum() or 1)))
    most = round(len(off) ** 2 / int((sizes**2).sum()))  # one draw says little of a large group
    return max(1, min(round(len(off) / effect), most))


def gain(before: np.ndarray, after: np.ndarray, groups: np.ndarray | None = None) -> Difference:
    """Return by how much answers became right more often, on the same images.

    The interval is that of :func:`tlhelpers.evaluation.scores.paired_difference`, of as many images
    as :func:`share` takes for independent.

    Args:
        before: Booleans ``[n]``, or shares of repeats, 0 to 1.
        after: The same.
        groups: ``int [n]``. Defaults to every image by itself.

    Returns:
        The difference, -1 to 1, with its 95 % interval over the draw of images (or groups of them).

    Example:
        >>> some, more = np.repeat([True, False], [80, 20]), np.repeat([True, False], [90, 10])
        >>> [bool(gain(some, more, by).low > 0) for by in (None, np.arange(100) // 10)]
        [True, False]
    """
    change = np.asarray(after, float) - np.asarray(before, float)
    return paired_difference(before, after, _independent(change - change.mean(), groups))


def balanced(right: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> Score:
    """Return the mean over the classes of the share that is right.

    The ends come from those of each class, as if classes were drawn one by one (Zou & Donner 2008,
    doi:10.1002/sim.3095).

    Args:
        right: Booleans ``[n]``, or shares of repeats, 0 to 1.
        labels: Integers ``[n]``.
        groups: ``int [n]``. Defaults to every image by itself.

    Returns:
        The mean, with its interval.

    Example:
        >>> print(balanced(np.array([1, 1, 1, 0]), np.array([0, 0, 0, 1])))
        50.0% (21.9% to 89.7%, n = 4)
    """
    of_class = [labels == label for label in np.unique(labels)]
    shares = [share(right[own], None if groups is None else groups[own]) for own in of_class]
    value = float(np.mean([one.accuracy for one in shares]))
    below = math.hypot(*(one.accuracy - one.low for one in shares)) / len(shares)
    above = math.hypot(*(one.high - one.accuracy for one in shares)) / len(shares)
    return Score(value, value - below, value + above, len(labels))


def by_class(
    predicted: np.ndarray, labels: np.ndarray, names: tuple[str, ...], groups: np.ndarray
) -> list[dict]:
    """Return precision and recall of each class, with intervals that know what belongs together.

    Args:
        predicted: Integers ``[n]``.
        labels: Integers ``[n]``.
        names: Names of the classes.
        groups: ``int [n]``.

    Returns:
        For each class its name, number of images, ``precision`` and ``recall``.
    """
    right, rows = predicted == labels, []
    for label, name in enumerate(names):
        called, there = predicted == label, labels == label
        precision, recall = (share(right[some], groups[some]) for some in (called, there))
        rows.append({"class": name, "n": recall.n, "precision": precision, "recall": recall})
    return rows


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature that makes probabilities fit the labels best.

    One number divides all logits, chosen by cross-entropy (Guo et al. 2017, arXiv:1706.04599). The
    most probable class stays the same. One more image, as sure as these are, is taken to be answered
    wrongly: else a folder without mistakes would make the model sure of everything.

    Args:
        probabilities: ``[n, classes]``, of images the classifier was not fitted on.
        labels: Integers ``[n]``.

    Returns:
        Between 0.05 and 20; above 1 where the classifier was too sure of itself.

    Example:
        >>> sure = np.tile([0.99, 0.01], (100, 1))
        >>> fit_temperature(sure, np.repeat([0, 1], [80, 20])) > 2
        True
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        """Return the cross-entropy at a temperature."""
        p = soften(probabilities, math.exp(log_temperature))
        wrong = np.log(np.maximum(1 - p.max(axis=1), 1e-12)).mean()
        return float(-np.log(np.maximum(p[rows, labels], 1e-12)).sum() - wrong) / (len(labels) + 1)

    limit = math.log(20)
    return math.exp(minimize_scalar(loss, bounds=(-limit, limit), method="bounded").x)


def gap_by_chance(probabilities: np.ndarray) -> float:
    """Return the mean gap between confidence and accuracy of probabilities that are true.

    With few images accuracies in a bin scatter, so that the gap is above 0 (Bröcker & Smith 2007,
    doi:10.1175/WAF993.1).

    Args:
        probabilities: ``[n, classes]``, from which labels are drawn 50 times.

    Returns:
        0 to 1.

    Example:
        >>> gap_by_chance(np.tile([0.8, 0.2], (25, 1))) > gap_by_chance(np.tile([0.8, 0.2], (2500, 1)))
        True
    """
    rng, ends = np.random.default_rng(0), np.cumsum(probabilities, axis=1)
    drawn = (
        np.minimum((rng.random((len(ends), 1)) > ends).sum(axis=1), ends.shape[1] - 1)
        for _ in range(50)
    )
    return float(np.mean([reliability(probabilities, labels).error for labels in drawn]))


def soften(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities ``[n, classes]`` as they are with their logits divided by a temperature."""
    from scipy.special import softmax

    return softmax(np.log(np.maximum(probabilities, 1e-12)) / temperature, axis=1)


def soften_unseen(
    probabilities: np.ndarray, labels: np.ndarray, fold_of: np.ndarray
) -> tuple[np.ndarray, float]:
    """Soften each image's probabilities by a temperature fitted on the other folds.

    Args:
        probabilities: ``[n, classes]``.
        labels: Integers ``[n]``.
        fold_of: ``int [n]``.

    Returns:
        The probabilities, and the temperature fitted on all.
    """
    softer = np.empty_like(probabilities)
    for fold in np.unique(fold_of):
        here = fold_of == fold
        temperature = fit_temperature(probabilities[~here], labels[~here])
        softer[here] = soften(probabilities[here], temperature)
    return softer, fit_temperature(probabilities, labels)


def error_to_aim_at(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return half the error rate there would be if everything were answered."""
    return float((probabilities.argmax(axis=1) != labels).mean()) / 2


def choose_threshold(probabilities: np.ndarray, labels: np.ndarray, wanted: float) -> float:
    """Find the least probability from which on answers are wrong no more often than wanted.

    Args:
        probabilities: ``[n, classes]``, of images the classifier was not fitted on.
        labels: Integers ``[n]``.
        wanted: Share of wrong answers among those given, 0 to 1.

    Returns:
        The threshold; 0 where none is needed, and just under 1 where none suffices.

    Example:
        >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.55, 0.45]])
        >>> choose_threshold(p, np.array([0, 0, 0, 1]), wanted=0.1)
        0.6
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(probabilities.argmax(axis=1)[order] != labels[order])
    last = np.r_[np.diff(confidence[order]) != 0, True]  # of several alike, all are answered
    fits = np.flatnonzero((wrong <= wanted * np.arange(1, len(labels) + 1)) & last)
    if not len(fits):
        return 0.999
    return 0.0 if fits[-1] == len(labels) - 1 else float(confidence[order][fits[-1]])


def coverage_curve(probabilities: np.ndarray, right: np.ndarray) -> list[tuple[float, float]]:
    """Return how many are right among the surest: (share answered, share right), at 50 steps."""
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    n = len(order)
    counts = np.unique(np.maximum(1, np.linspace(0.3 * n, n, 50).round().astype(int)))
    hits = np.cumsum(np.asarray(right, float)[order])
    return [(float(count / n), float(hits[count - 1] / count)) for count in counts]


def doubtful_labels(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the rows whose given label is not the most probable, the least probable label first.

    Args:
        probabilities: ``[n, classes]``, of images the classifier was not fitted on.
        labels: Integers ``[n]``, the given labels.

    Returns:
        Row numbers.

    Example:
        >>> doubtful_labels(np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([0, 0])).tolist()
        [1]
    """
    rows = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return rows[np.argsort(probabilities[rows, labels[rows]], kind="stable")]


def as_plain(value: Any) -> Any:
    """Return what JSON can hold: shares as lists, NumPy's numbers as Python's, NaN as None."""
    if isinstance(value, Score):
        accuracy = as_plain(value.accuracy)
        return {"value": accuracy, "low": value.low, "high": value.high, "n": value.n}
    if isinstance(value, dict):
        return {str(key): as_plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return as_plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
