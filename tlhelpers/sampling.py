"""Draw rows from labelled data, each class in its proportion, the same rows for the same seed."""

import numpy as np


def carve_rows(
    labels: np.ndarray, size: int, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Divide rows in two at random, each class in the same proportion.

    Every class gives at least one row when ``size`` allows it.

    Args:
        labels: ``int [n]``, 0 or more.
        size: Rows to carve off, shared out among the classes by their counts.
        seed: Which draw.
        groups: ``int [n]``: rows of one group (such as copies of one photograph) stay
            together, so class counts may miss their share slightly. Defaults to every
            row by itself.

    Returns:
        ``(kept, carved)``: sorted row numbers.

    Raises:
        ValueError: If size is not between 0 and n.

    Example:
        >>> labels = np.array([0] * 8 + [1] * 4)
        >>> kept, carved = carve_rows(labels, 3, seed=0)
        >>> np.bincount(labels[carved]).tolist()
        [2, 1]
    """
    labels = np.asarray(labels)
    if not 0 <= size <= len(labels):
        raise ValueError(f"size must lie between 0 and {len(labels)}. Received: {size}.")
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    rng = np.random.default_rng(seed)
    is_carved = np.zeros(len(labels), bool)
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    decided: set[int] = set()
    for label, share in enumerate(_shares(np.bincount(labels), size)):
        of_class = labels == label
        taken = np.count_nonzero(is_carved & of_class)
        for group in rng.permutation(np.unique(groups[of_class])).tolist():
            if group in decided:
                continue
            decided.add(group)
            rows = members[group]
            count = np.count_nonzero(of_class[rows])
            if taken + count <= share:
                taken += count
                is_carved[rows] = True
    return np.flatnonzero(~is_carved), np.flatnonzero(is_carved)


def balanced_rows(labels: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n rows of each class, or all of a class that has fewer.

    Generators of the same seed draw nested rows: those for a smaller n are among those
    for a larger one.

    Args:
        labels: ``int [k]``.
        n: Rows a class.
        rng: The generator to draw with.

    Returns:
        Sorted row numbers.

    Example:
        >>> balanced_rows(np.array([0, 0, 0, 1]), 1, np.random.default_rng(0)).size
        2
    """
    drawn = [rng.permutation(np.flatnonzero(labels == label))[:n] for label in np.unique(labels)]
    return np.sort(np.concatenate(drawn)) if drawn else np.empty(0, int)


def _shares(counts: np.ndarray, size: int) -> np.ndarray:
    """Share out a total in proportion to counts, at least one each where it suffices."""
    present = counts > 0
    if not present.any():
        return np.zeros_like(counts)
    exact = counts * size / counts.sum()
    shares = np.floor(exact).astype(int)
    if size >= present.sum():
        shares = np.maximum(shares, present)
    while shares.sum() > size:
        shares[np.argmax(np.where(shares > 1, shares - exact, -np.inf))] -= 1
    while shares.sum() < size:
        shares[np.argmax(np.where(shares < counts, exact - shares, -np.inf))] += 1
    return shares
