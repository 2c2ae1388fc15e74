"""Strange inputs: pictures of nothing that was trained on, told by their distance from what was."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlhelpers.files import replacing

NEIGHBOURS = 5
"""Which nearest training image the distance is measured to."""

KEPT = 2_000
"""Training images that are kept to measure distances to, at most."""

OWN_SHARE = 0.01
"""Share of the folder's own images that may be taken for strange."""


@dataclass(frozen=True)
class Familiar:
    """Directions of training features; far from all of them is strange.

    The distance to the fifth nearest, between features brought to unit length, as proposed by Sun
    et al. 2022 (arXiv:2204.06507).

    Attributes:
        directions: float16 ``[m, d]``, of unit length.
        limit: Distance above which an image is called unknown.
    """

    directions: np.ndarray
    limit: float

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return how far each image is from what was trained on.

        Args:
            features: ``[n, d]``.

        Returns:
            ``[n]``, 0 to 2: one minus the cosine.
        """
        kept = self.directions.astype(np.float32)
        parts = [
            _nearest(part, kept) for part in np.array_split(features, 1 + len(features) // 512)
        ]
        return np.concatenate(parts)

    def save(self, path: Path) -> str:
        """Write it to an ``.npz`` file, and return the file's SHA-256."""
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, directions=self.directions, limit=np.float64(self.limit))
        return hashlib.sha256(path.read_bytes()).hexdigest()

    @classmethod
    def load(cls, path: Path, digest: str) -> "Familiar":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it has another digest.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing, which tells what the model does not know.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ValueError(
                f"{path} must be the file that was saved with the model. Received: another one."
            )
        with np.load(path) as held:
            return cls(held["directions"], float(held["limit"]))


def learn_familiar(features: np.ndarray, groups: np.ndarray, seed: int = 0) -> Familiar:
    """Keep training features, and set the limit so that one own image in a hundred is beyond it.

    Each image's distance is measured to images of other groups, so that a copy doesn't vouch for it.

    Args:
        features: ``[n, d]`` of the training images.
        groups: ``int [n]``.
        seed: Which images are kept of more than 2,000. Defaults to 0.

    Returns:
        What is familiar.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> known = learn_familiar(rng.normal(1, 0.1, (50, 8)), np.arange(50))
        >>> bool(known.distances(-np.ones((1, 8)))[0] > known.limit)
        True
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(features))[:KEPT])
    kept = _unit(features[rows])
    own = np.empty(len(rows))
    for start in range(0, len(rows), 512):
        here = slice(start, start + 512)
        alike = kept[here] @ kept.T
        alike[groups[rows[here]][:, None] == groups[rows][None]] = -1
        own[here] = 1 - _fifth(alike)
    limit = float(np.quantile(own, 1 - OWN_SHARE))
    return Familiar(kept.astype(np.float16), limit)


def auroc(own: np.ndarray, strange: np.ndarray) -> float:
    """Return how often a stranger is further away than an own image: 1 always, 0.5 by chance."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([0, 1], [len(own), len(strange)])
    return float(roc_auc_score(truth, np.r_[own, strange]))


def _unit(features: np.ndarray) -> np.ndarray:
    """Bring features to unit length."""
    x = np.asarray(features, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _nearest(features: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the distance to the fifth nearest direction."""
    return 1 - _fifth(_unit(features) @ kept.T)


def _fifth(alike: np.ndarray) -> np.ndarray:
    """Return the fifth largest of each row."""
    place = min(NEIGHBOURS, alike.shape[1])
    return -np.partition(-alike, place - 1, axis=1)[:, place - 1]
