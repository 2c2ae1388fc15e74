"""Random numbers that belong to an image, not to a stream.

Every number is a hash of (world, seed, image, draw), so image 7 of seed 0 is the same
image in a world of ten and in a world of ten thousand, on any platform.
"""

from __future__ import annotations

import zlib

import numpy as np

_STEP = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64, on uint64 arrays (overflow is meant)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Draws:
    """Seeded draws for a batch of images, one value per image and call.

    The generator is SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable
    pseudorandom number generators") used as a counter-based hash.

    Args:
        world: Name of the world; two worlds of one seed share no numbers.
        seed: Any integer from 0 to 2**63 - 1.
        images: int array ``[n]``, the images' places in the world.

    Example:
        >>> draws = Draws("pets", 0, np.arange(3))
        >>> draws.uniform(0.0, 2.0).shape
        (3,)
    """

    def __init__(self, world: str, seed: int, images: np.ndarray):
        """Key each image; see the class."""
        self.images = np.asarray(images, np.uint64)
        world_key = _mix(np.array([zlib.crc32(world.encode())], np.uint64))
        seed_key = _mix(np.array([seed], np.uint64) + world_key)
        self._keys = _mix(seed_key + self.images * _STEP)
        self._count = 0

    def __len__(self) -> int:
        """Give the number of images."""
        return len(self._keys)

    def rows(self, index: np.ndarray) -> Draws:
        """Draws of their own, apart from those that follow here, for some of the images."""
        part = object.__new__(Draws)
        part.images = self.images[index]
        part._keys = self._bits()[index]
        part._count = 0
        return part

    def _bits(self) -> np.ndarray:
        """64 fresh bits per image."""
        self._count += 1
        return _mix(self._keys + np.array([self._count], np.uint64) * _STEP)

    def unit(self) -> np.ndarray:
        """One float32 in [0, 1) per image, ``[n]``; 24 bits, so exact in float32."""
        return (self._bits() >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)

    def uniform(self, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
        """One float32 from ``low`` to ``high`` per image, ``[n]``."""
        low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
        return low + (high - low) * self.unit()

    def around(self, spread: float) -> np.ndarray:
        """One float32 from -spread to spread per image, denser in the middle, ``[n]``."""
        return np.float32(spread) * (self.unit() + self.unit() - np.float32(1.0))

    def chance(self, probability: float | np.ndarray) -> np.ndarray:
        """One bool per image, true with ``probability``, ``[n]``."""
        return self.unit() < np.asarray(probability, np.float32)

    def sign(self) -> np.ndarray:
        """-1 or 1 per image, float32 ``[n]``."""
        return np.where(self.chance(0.5), np.float32(1.0), np.float32(-1.0))

    def integer(self, count: int) -> np.ndarray:
        """One int64 from 0 to count - 1 per image, ``[n]``."""
        return (self.unit() * np.float32(count)).astype(np.int64).clip(0, count - 1)

    def pick(self, table: np.ndarray) -> np.ndarray:
        """One row of ``table`` per image."""
        return table[self.integer(len(table))]


def balanced_labels(world: str, seed: int, images: np.ndarray, classes: int) -> np.ndarray:
    """Labels such that every whole block of ``classes`` images holds each class once.

    Args:
        world: Name of the world.
        seed: Seed of the world.
        images: int array ``[n]``, places in the world.
        classes: Number of classes.

    Returns:
        int64 array ``[n]`` of labels from 0 to ``classes`` - 1.
    """
    images = np.asarray(images, np.int64)
    blocks, block_of_image = np.unique(images // classes, return_inverse=True)
    draws = Draws(world + "/labels", seed, blocks)
    keys = np.stack([draws.unit() for _ in range(classes)], axis=1)
    order = np.argsort(keys, axis=1, kind="stable")
    return order[block_of_image, images % classes].astype(np.int64)
