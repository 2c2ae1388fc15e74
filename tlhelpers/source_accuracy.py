"""Compare pre-trained networks on the source task: `python -m tlhelpers.source_accuracy A.npz`.

The weights files hold no heads, so each network gets a new one: a softmax layer for the forms
on the averages of its last block, fitted to images that the shipped network's training did not draw.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlhelpers.pretrain import draw_source, halved
from tlhelpers.vgg16_mini import WEIGHTS_FILE, build_vgg16_mini, load_weights_into, preprocess

FIT_SEED, TEST_SEED = 2_000_003, 3_000_017
PENALTY = 0.1
"""scikit-learn's C. Of 0.01, 0.1 and 1 the best for the shipped network (81.0, 81.1, 80.0 %)."""

BATCH = 148


def averages(path: Path, images: np.ndarray) -> np.ndarray:
    """Average a pre-trained network's last block over each image.

    Args:
        path: Its weights, an .npz file.
        images: uint8 `[n, size, size, 3]`.

    Returns:
        float32 `[n, 128]`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it isn't the file whose digest is recorded beside it.

    Example:
        >>> averages(WEIGHTS_FILE, np.zeros((2, 32, 32, 3), "uint8")).shape
        (2, 128)
    """
    model = load_weights_into(build_vgg16_mini(images.shape[1]), path)
    parts = [
        np.asarray(model.predict_on_batch(preprocess(images[k : k + BATCH]))).mean(axis=(1, 2))
        for k in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)


def compare(paths: Sequence[Path], n: int = 29_600) -> Iterator[dict[str, Any]]:
    """Compare networks with the first of them, on the same images.

    Args:
        paths: Weights files, the one to compare with first.
        n: Images to fit on, and as many to test on. Defaults to 29,600, which leaves a standard
            error of 0.2 to 0.3 points of a difference.

    Yields:
        For each network and size: ``weights``, ``size`` in pixels, ``accuracy`` (0 to 1),
        ``difference`` from the first network and its ``standard_error``, over the images.

    Example:
        >>> next(compare([WEIGHTS_FILE], n=296))["size"]
        64
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    images, labels = draw_source(n, FIT_SEED)
    test_images, test_labels = draw_source(n, TEST_SEED)
    forms, test_forms = labels[:, 0], test_labels[:, 0]
    for resized in (np.asarray, halved):
        small, test_small = resized(images), resized(test_images)
        first = None
        for path in paths:
            head = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=300))
            head.fit(averages(path, small), forms)
            right = head.predict(averages(path, test_small)) == test_forms
            first = right if first is None else first
            gain = right.astype(float) - first
            yield {
                "weights": str(path),
                "size": small.shape[1],
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
        prog="python -m tlhelpers.source_accuracy", description=__doc__
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
