"""A linear head with OpenBLAS on one thread, as `tl.setup` leaves it, and on one a core."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from benchmarks.pairs import describe, in_turn
from tlhelpers.runtime import usable_cores

# Images, features and classes.
SIZES = ((40, 1280, 2), (1_000, 512, 10), (1_000, 1280, 2), (10_000, 1280, 10))


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Fit logistic regressions both ways in turn, and compare seconds."""
    rng = np.random.default_rng(0)
    for n, width, classes in SIZES:
        n = max(10 * classes, round(n * share))
        labels = np.arange(n) % classes
        features = rng.normal(size=(n, width)) + 0.3 * np.eye(width)[labels]

        def fit(threads: int, x: np.ndarray = features, y: np.ndarray = labels) -> None:
            """Fit as `fit_linear_head` does, with one penalty, on so many threads."""
            with threadpool_limits(threads, user_api="blas"):
                LogisticRegression(C=100, max_iter=2000).fit(x, y)

        ways = {"one": lambda: fit(1), "each": lambda: fit(usable_cores())}
        times = in_turn(ways, repeats)
        rounds = [((a, None), (b, None)) for (a, _), (b, _) in zip(*times.values(), strict=True)]
        name = f"linear head on {n:,} images, {width} features: one thread of linear algebra"
        yield describe(name, rounds, wanted=1.0, notes={"cores": usable_cores(), "images": n})
