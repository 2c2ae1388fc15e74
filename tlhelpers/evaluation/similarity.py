"""Score how well features suit a target without training on it.

Plain NumPy in float64. Rows are images, columns are features. The scores try to predict accuracy
after transfer: they only rank candidates, and whether they rank them well is to be measured.
"""

import numpy as np
import numpy.typing as npt

GRID, ROUNDS = 33, 4
"""LogME's search for the noise-to-signal ratio: points a round, and rounds, each 16 times finer."""


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


def _svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return left singular vectors and values, without those that are zero but for rounding."""
    left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    rank = int((singular > singular[0] * max(matrix.shape) * np.finfo(float).eps).sum())
    return left[:, :rank], singular[:rank]


def _features(name: str, values: npt.ArrayLike) -> np.ndarray:
    """Check finite numbers in rows and columns that differ between images."""
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] == 0:
        raise ValueError(
            f"{name} must be [rows, columns] with at least 2 rows; pool feature maps "
            f"first. Received: shape {list(array.shape)}."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers. Received: infinite or undefined ones.")
    if not (array != array[0]).any():
        raise ValueError(
            f"{name} must differ between images. Received: {len(array)} equal rows; "
            "check the network's weights and its preprocessing."
        )
    return array


def _classes(name: str, labels: npt.ArrayLike, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Check labels; return the classes that occur, and each row's place among them."""
    array = np.asarray(labels)
    if array.shape != (rows,):
        raise ValueError(
            f"{name} must be one integer for each of {rows} rows. "
            f"Received: shape {list(array.shape)}."
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers. Received: {array.dtype}.")
    classes, places = np.unique(array, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{name} must hold at least 2 classes. Received: {len(classes)}; one class "
            "alone is no task."
        )
    return classes, places
