"""Compare pre-trained networks on the source task: ``python -m tlhelpers.experiments.source_accuracy A.npz``.

The weights files hold no heads, so each network gets a new one: a softmax layer for the forms
on the averages of its last block, fitted to images that the shipped network's training did not draw.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlhelpers.data.splits import Split
from tlhelpers.experiments.pretrain import draw_source, halved
from tlhelpers.models.backbones import load_backbone
from tlhelpers.models.vgg16_mini import WEIGHTS_FILE
from tlhelpers.transfer.features import extract_features
from tlhelpers.worlds.formulas import CLASS_NAMES

SIZES = (64, 32)
FIT_SEED, TEST_SEED = 2_000_003, 3_000_017
PENALTY = 0.1
"""scikit-learn's C. Of 0.01, 0.1 and 1 the best for the shipped network (81.0, 81.1, 80.0 %)."""


def compare(paths: Sequence[Path], n: int = 29_600) -> Iterator[dict[str, Any]]:
    """Compare networks with the first of them, on the same images.

    Args:
        paths: Weights files, the one to compare with first.
        n: Images to fit on, and as many to test on. Defaults to 29,600, which leaves a standard
            error of 0.2 to 0.3 points of a difference; at least two for each of the 148 forms.

    Yields:
        For each network and size: ``weights``, ``size`` in pixels, ``accuracy`` (0 to 1),
        ``difference`` from the first network and its ``standard_error``, over the images.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file isn't the one whose digest is recorded beside it, or ``n`` is too
            small.

    Example:
        >>> next(compare([WEIGHTS_FILE], n=296))["size"]
        64
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if n < 2 * len(CLASS_NAMES):
        raise ValueError(
            f"n must be at least {2 * len(CLASS_NAMES)}, two images a form. Received: {n}."
        )
    bases = {
        size: [load_backbone("vgg16_mini", size, weights=path) for path in paths] for size in SIZES
    }
    images, labels = draw_source(n, FIT_SEED)
    test_images, test_labels = draw_source(n, TEST_SEED)
    for size in SIZES:
        if size < images.shape[1]:
            images, test_images = halved(images), halved(test_images)
        train = Split.from_arrays(images, labels[:, 0], CLASS_NAMES)
        test = Split.from_arrays(test_images, test_labels[:, 0], CLASS_NAMES)
        first = None
        for path, base in zip(paths, bases[size], strict=True):
            head = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=300))
            head.fit(extract_features(base, train), train.labels)
            right = head.predict(extract_features(base, test)) == test.labels
            first = right if first is None else first
            gain = right.astype(float) - first
            yield {
                "weights": str(path),
                "size": size,
                "accuracy": float(right.mean()),
                "difference": float(gain.mean()),
                "standard_error": float(gain.std() / np.sqrt(n)),
            }


def main(arguments: list[str] | None = None) -> None:
    """Print how each network's source accuracy differs from the shipped one's.

    Args:
        arguments: Paths of weights files, and ``--images`` with a number. Defaults to those of
            the command line.

    Example:
        >>> main(["again.npz"])  # doctest: +SKIP
        64 px: 80.9%, +0.0 points (standard error 0.0), vgg16_mini.npz
    """
    parser = argparse.ArgumentParser(
        prog="python -m tlhelpers.experiments.source_accuracy", description=__doc__
    )
    parser.add_argument("weights", type=Path, nargs="+", help=".npz files that pretrain wrote")
    parser.add_argument("--images", type=int, default=29_600, help="to fit on, and to test on")
    chosen = parser.parse_args(arguments)
    for row in compare([WEIGHTS_FILE, *chosen.weights], chosen.images):
        print(
            f"{row['size']} px: {row['accuracy']:.1%}, {100 * row['difference']:+.1f} points "
            f"(standard error {100 * row['standard_error']:.1f}), {row['weights']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
