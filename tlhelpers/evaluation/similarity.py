"""Compare representations, and score how well one suits a target without training on it.

Plain NumPy in float64. Rows are images, columns are features. Accuracy after transfer is what the
scores try to foretell: they only rank candidates, and whether they rank them well is to be measured.
"""

import numpy as np
import numpy.typing as npt

GRID, ROUNDS = 33, 4
"""LogME's search for the noise-to-signal ratio: points a round, and rounds, each 16 times finer."""


def linear_cka(x: npt.ArrayLike, y: npt.ArrayLike, *, debiased: bool = True) -> float:
    """Return the linear centred kernel alignment of two representations of the same images.

    For centred columns, CKA is ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) in Frobenius norms (Kornblith et al. 2019,
    arXiv:1905.00414). It does not change when either side is rotated, scaled by one factor or
    shifted. With few images and many features that ratio is near 1 for any two
    representations; the debiased form takes unbiased estimates of the three terms (Song et al.
    2012, JMLR 13:1393-1434) and is around 0 for unrelated ones.

    Args:
        x: Finite numbers ``[n, p]``.
        y: Finite numbers ``[n, q]``: the same n images, in the same order.
        debiased: Whether to correct for the number of images, which takes at least 4 of them.
            Defaults to True.

    Returns:
        0 (nothing shared) to 1 (same up to rotation and scale); debiased, it may be a little below 0.

    Raises:
        ValueError: If shapes don't fit, there are too few rows, or all rows of one side are equal.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 3))
        >>> round(linear_cka(x, 2 * x[:, ::-1] + 1), 3)
        1.0
    """
    a, b = _features("x", x, at_least=4 if debiased else 2), _features("y", y)
    if len(a) != len(b):
        raise ValueError(
            f"x and y must describe the same images. Received: {len(a)} and {len(b)} rows."
        )
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    of_x, of_y = _dependence(a, a, debiased), _dependence(b, b, debiased)
    if min(of_x, of_y) <= 0:
        raise ValueError(
            f"Too few images to estimate CKA without bias. Received: {len(a)} rows; "
            "add images, or pass debiased=False."
        )
    return float(_dependence(a, b, debiased) / np.sqrt(of_x * of_y))


def mmd2(x: npt.ArrayLike, y: npt.ArrayLike, *, bandwidth: float | None = None) -> float:
    """Estimate the squared maximum mean discrepancy between two samples of features.

    The unbiased estimate, which leaves each row's kernel with itself out (Gretton et al. 2012, JMLR
    13:723-773, eq. 3), with the kernel exp(-‖a - b‖² / 2σ²). It looks at features alone: labels, and
    so how hard or how noisy a task is, play no part.

    Args:
        x: Finite numbers ``[n, d]``, at least 2 rows.
        y: Finite numbers ``[m, d]``, at least 2 rows.
        bandwidth: σ, above 0, in the features' unit. Defaults to the median distance between the
            rows of both samples together (section 8 there).

    Returns:
        About 0 for samples of one distribution (it may be below), at most 2.

    Raises:
        ValueError: If shapes don't fit, there are too few rows, most of them equal, or σ is not above 0.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> mmd2(rng.normal(size=(80, 2)), rng.normal(3.0, size=(80, 2))) > 0.5
        True
    """
    from scipy.spatial.distance import pdist, squareform

    a, b = _matrix("x", x, at_least=2), _matrix("y", y, at_least=2)
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"x and y must have the same features. Received: {a.shape[1]} and {b.shape[1]} columns."
        )
    squared = pdist(np.r_[a, b], "sqeuclidean")
    sigma = float(np.sqrt(np.median(squared)) if bandwidth is None else bandwidth)
    if not (np.isfinite(sigma) and sigma > 0):
        received = "samples most of whose rows are equal" if bandwidth is None else bandwidth
        raise ValueError(f"bandwidth must be a finite number above 0. Received: {received}.")
    kernel = np.exp(squareform(squared) / (-2 * sigma**2))
    n, m = len(a), len(b)
    within_a = (kernel[:n, :n].sum() - n) / (n * (n - 1))
    within_b = (kernel[n:, n:].sum() - m) / (m * (m - 1))
    return float(within_a + within_b - 2 * kernel[:n, n:].mean())


def h_score(features: npt.ArrayLike, labels: npt.ArrayLike, *, shrink: bool = True) -> float:
    """Score features by how much of their whitened variance lies between the classes.

    H = tr(cov(F)⁻¹ cov(E[F | y])) (Bao et al. 2019, doi:10.1109/ICIP.2019.8803726), with a
    pseudo-inverse where features depend on one another. With many features for the number of images
    the inverse is poor, and H high for any labels: shrinkage replaces cov(F) by Ledoit & Wolf's
    estimate, and takes its weight off the numerator too (Ibrahim et al. 2021, arXiv:2110.06893).

    Args:
        features: Finite numbers ``[n, d]``.
        labels: Integers ``[n]``, at least 2 classes.
        shrink: Whether to shrink the covariance. Defaults to True.

    Returns:
        0 to the number of classes less 1; more is better.

    Raises:
        ValueError: If shapes don't fit, there is one class only, all rows are equal, or, without
            shrinkage, as many independent features as rows allow any labels to be told apart.
        TypeError: If labels are not integers.

    Example:
        >>> h_score([[0.0, 1.0], [0.0, -1.0], [2.0, 1.0], [2.0, -1.0]], [0, 0, 1, 1], shrink=False)
        1.0
    """
    f = _features("features", features)
    classes, y = _classes("labels", labels, len(f))
    centred = f - f.mean(axis=0)
    left, singular = _svd(centred)
    variances, weight, floor = singular**2 / len(f), 1.0, 0.0
    if shrink:
        from sklearn.covariance import ledoit_wolf_shrinkage

        share = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
        weight, floor = 1 - share, share * float((centred**2).mean())
    elif len(singular) >= len(f) - 1:
        raise ValueError(
            "Without shrinkage there must be more images than independent features, or any labels "
            f"score {len(classes) - 1}. Received: {len(f)} rows of rank {len(singular)}; "
            "pass shrink=True."
        )
    means = np.stack([left[y == c].sum(axis=0) for c in range(len(classes))])
    between = (means**2 / np.bincount(y)[:, None]).sum(axis=0)
    return float((weight * between * variances / (weight * variances + floor)).sum())


def leep(source_probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Score a source classifier by its log expected empirical prediction of the target's labels.

    The source's probabilities θ(x)_z are taken as they are; P(y | z) is counted from them and the
    labels; LEEP is the mean of log Σ_z P(y | z) θ(x)_z (Nguyen et al. 2020, arXiv:2002.12462).

    Args:
        source_probabilities: ``[n, source classes]``, rows summing to 1: the source classifier's
            output on the target's images.
        labels: The target's labels, integers ``[n]``; one class alone scores 0.

    Returns:
        At most 0, in nats; 0 if the source's classes tell the target's for certain. Probabilities
        that are the same for all images score minus the labels' entropy.

    Raises:
        ValueError: If shapes don't fit, there are no rows, or rows are not probabilities.
        TypeError: If labels are not integers.

    Example:
        >>> leep([[1.0, 0.0], [0.0, 1.0]], [1, 0])
        0.0
    """
    theta = _matrix("source_probabilities", source_probabilities)
    if theta.min() < 0 or np.abs(theta.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError(
            "source_probabilities must be at least 0 and sum to 1 in each row. "
            f"Received: sums from {theta.sum(axis=1).min():.3g} to {theta.sum(axis=1).max():.3g}."
        )
    theta = theta / theta.sum(axis=1, keepdims=True)
    classes, y = _classes("labels", labels, len(theta), at_least=1)
    joint = np.eye(len(classes))[y].T @ theta
    # A source class of probability 0 throughout says nothing of any image.
    conditional = joint / np.maximum(joint.sum(axis=0), np.finfo(float).tiny)
    return float(min(0.0, np.log((conditional[y] * theta).sum(axis=1)).mean()))


def nce(source_labels: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return minus the conditional entropy of the target's labels given the source's.

    -H(Y | Z), counted from the labels of the same images (Tran et al. 2019, arXiv:1908.08142). It is
    :func:`leep` for a source that is sure of one class for each image. It is not symmetric:
    nce(z, y) - nce(y, z) = H(Z) - H(Y).

    Args:
        source_labels: Integers ``[n]``: labels of the source task, or the source classifier's guesses.
        labels: Integers ``[n]``: the target's labels.

    Returns:
        At most 0, in nats; 0 if the source's label tells the target's.

    Raises:
        ValueError: If the lengths differ or are 0.
        TypeError: If labels are not integers.

    Example:
        >>> round(nce([0, 0, 0, 0], [0, 0, 1, 1]), 3)
        -0.693
    """
    classes, z = _classes("source_labels", source_labels, None, at_least=1)
    return leep(np.eye(len(classes))[z], labels)


def logme(features: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Score features by the log of the maximum evidence of a linear model of the labels.

    Each class's 0-1 labels are regressed on the features with a Gaussian prior on the weights and
    Gaussian noise; both variances are those of the highest marginal likelihood, whose log is
    averaged over classes and divided by n (You et al. 2021, arXiv:2102.11005). The ratio of the
    variances is searched on a grid, the noise then has a closed form.

    Args:
        features: Finite numbers ``[n, d]``; as in the paper they are not centred.
        labels: Integers ``[n]``, at least 2 classes.

    Returns:
        Log evidence per image and class, in nats; any real number, more is better.

    Raises:
        ValueError: If shapes don't fit, there is one class only, or all rows are equal.
        TypeError: If labels are not integers.

    Example:
        >>> y = np.repeat([0, 1], 50)
        >>> signal = y[:, None] + np.random.default_rng(0).normal(0, 0.1, (100, 3))
        >>> logme(signal, y) > logme(signal, np.random.default_rng(0).permutation(y))
        True
    """
    f = _features("features", features)
    classes, y = _classes("labels", labels, len(f))
    left, singular = _svd(f)
    targets = np.eye(len(classes))[y]
    projected = (left.T @ targets) ** 2  # [r, classes]
    rest = np.maximum(0.0, np.bincount(y) - projected.sum(axis=0))
    evidences = [
        _max_evidence(singular**2, projected[:, c], rest[c], len(f)) for c in range(len(classes))
    ]
    return float(np.mean(evidences) / len(f))


def _max_evidence(squares: np.ndarray, projected: np.ndarray, rest: float, n: int) -> float:
    """Maximise the log evidence over the ratio of noise to prior precision, on ever finer grids."""
    centre, width = float(np.log(squares[0])), 30.0
    for _ in range(ROUNDS):
        logs = np.linspace(centre - width, centre + width, GRID)
        ratio = np.exp(logs)[:, None]
        misfit = rest + (projected * ratio / (ratio + squares)).sum(axis=1)
        evidence = -0.5 * n * (np.log(2 * np.pi * misfit / n) + 1)
        evidence -= 0.5 * np.log1p(squares / ratio).sum(axis=1)
        best = int(evidence.argmax())
        centre, width = float(logs[best]), width / 16
    return float(evidence[best])


def _dependence(a: np.ndarray, b: np.ndarray, debiased: bool) -> float:
    """Estimate HSIC of linear kernels, up to a factor that cancels; columns are centred."""
    n = len(a)
    # The same number either way; the smaller matrices are cheaper.
    if max(a.shape[1], b.shape[1]) > n:
        plain = float(((a @ a.T) * (b @ b.T)).sum())
    else:
        plain = float(((a.T @ b) ** 2).sum())
    if not debiased:
        return plain
    of_a, of_b = (a**2).sum(axis=1), (b**2).sum(axis=1)
    return plain - n / (n - 2) * float(of_a @ of_b) + of_a.sum() * of_b.sum() / ((n - 1) * (n - 2))


def _svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return left singular vectors and values, without those that are zero but for rounding."""
    left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    rank = int((singular > singular[0] * max(matrix.shape) * np.finfo(float).eps).sum())
    return left[:, :rank], singular[:rank]


def _matrix(name: str, values: npt.ArrayLike, at_least: int = 1) -> np.ndarray:
    """Check finite numbers in rows and columns."""
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[0] < at_least or array.shape[1] == 0:
        raise ValueError(
            f"{name} must be [rows, columns] with at least {at_least} rows; pool feature maps "
            f"first. Received: shape {list(array.shape)}."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers. Received: infinite or undefined ones.")
    return array


def _features(name: str, values: npt.ArrayLike, at_least: int = 2) -> np.ndarray:
    """Check features that differ between images."""
    array = _matrix(name, values, at_least)
    if not (array != array[0]).any():
        raise ValueError(
            f"{name} must differ between images. Received: {len(array)} equal rows; "
            "check the network's weights and its preprocessing."
        )
    return array


def _classes(
    name: str, labels: npt.ArrayLike, rows: int | None, at_least: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Check labels; return the classes that occur, and each row's place among them."""
    array = np.asarray(labels)
    if array.ndim != 1 or len(array) == 0 or rows not in (None, len(array)):
        wanted = "at least one row" if rows is None else f"{rows} rows"
        raise ValueError(
            f"{name} must be one integer for each of {wanted}. Received: shape {list(array.shape)}."
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers. Received: {array.dtype}.")
    classes, places = np.unique(array, return_inverse=True)
    if len(classes) < at_least:
        raise ValueError(
            f"{name} must hold at least {at_least} classes. Received: {len(classes)}; one class "
            "alone is no task."
        )
    return classes, places
