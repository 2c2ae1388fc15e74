"""A world: drawn images, their labels, and the facts each was drawn from."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tlhelpers.worlds.canvas import F32, Canvas
from tlhelpers.worlds.draws import Draws, balanced_labels
from tlhelpers.worlds.shifts import SHIFTS, check_shift
from tlhelpers.worlds.textures import grating_texture

Conditions = dict[str, np.ndarray]
Scene = Callable[[Canvas, Draws, np.ndarray, float], Conditions]

# Pixels painted at once, at most. With a fifth of that, pets took a third longer: what is saved in
# the cache is lost in calls. Each thread needs about 65 MB.
CHUNK_PIXELS = 64 * 64 * 256


@dataclass(frozen=True)
class World:
    """Drawn images with labels.

    Attributes:
        images: uint8 ``[n, size, size, 3]``, RGB, 0 to 255.
        labels: int64 ``[n]``, from 0 to the number of classes - 1.
        class_names: One name per class.
        conditions: Facts per image, each an array ``[n]``: what it was drawn from (pose,
            background, ...), ``true_label`` (before label noise), and ``related`` (False
            where the image shows only a texture; see ``relatedness``).
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    conditions: Conditions

    def __len__(self) -> int:
        """Give the number of images."""
        return len(self.images)

    def __repr__(self) -> str:
        """Name what there is, without the pixels."""
        n, size = self.images.shape[:2]
        return f"World({n} images of {size} px, {len(self.class_names)} classes)"


def check_knobs(
    n: int,
    seed: int,
    image_size: int,
    relatedness: float,
    label_noise: float,
    shift: str | None,
    difficulty: float,
) -> None:
    """Raise a clear error for a knob outside its range."""
    integers = {"n": (n, 1, 10_000_000), "seed": (seed, 0, 2**63 - 1)}
    integers["image_size"] = (image_size, 16, 512)
    for name, (number, low, high) in integers.items():
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise TypeError(f"`{name}` must be an integer. Received: {number!r}.")
        if not low <= number <= high:
            raise ValueError(f"`{name}` must be from {low} to {high}. Received: {number}.")
    shares = {"relatedness": relatedness, "label_noise": label_noise, "difficulty": difficulty}
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float | np.number):
            raise TypeError(f"`{name}` must be a number from 0 to 1. Received: {share!r}.")
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"`{name}` must be from 0 to 1. Received: {share}.")
    if shift is not None:
        check_shift(shift)


def noisy_labels(
    name: str, seed: int, labels: np.ndarray, classes: int, share: float
) -> np.ndarray:
    """Labels of which about a ``share`` is replaced by one of the other classes."""
    draws = Draws(name + "/label noise", seed, np.arange(len(labels)))
    wrong = draws.chance(share)
    other = (labels + 1 + draws.integer(classes - 1)) % classes
    return np.where(wrong, other, labels).astype(np.int64)


def draw_world(
    name: str,
    class_names: tuple[str, ...],
    scene: Scene,
    *,
    n: int,
    seed: int,
    image_size: int,
    relatedness: float,
    label_noise: float,
    shift: str | None,
    difficulty: float,
) -> World:
    """Draw a world from a function that paints scenes for given labels.

    Chunks of images are painted in threads; no image depends on any other, so neither
    the number of threads nor ``n`` changes a pixel.

    Args:
        name: Name of the world, part of every random number.
        class_names: Names of the classes.
        scene: Paints a canvas for labels at a difficulty and returns facts per image.
        n: Number of images.
        seed: Seed of every draw.
        image_size: Side in pixels.
        relatedness: Share of images that show the world's own things.
        label_noise: Share of labels replaced by another class.
        shift: Name of a shift of domain, or None.
        difficulty: 0 to 1, passed to ``scene``.

    Returns:
        A ``World``.
    """
    check_knobs(n, seed, image_size, relatedness, label_noise, shift, difficulty)
    classes = len(class_names)
    images = np.empty((n, image_size, image_size, 3), np.uint8)
    true_labels = balanced_labels(name, seed, np.arange(n), classes)

    def draw_chunk(start: int) -> Conditions:
        stop = min(n, start + chunk)
        places, labels = np.arange(start, stop), true_labels[start:stop]
        draws = Draws(name, seed, places)
        canvas = Canvas.blank(stop - start, image_size)
        related = draws.chance(relatedness)
        facts = scene(canvas, draws, labels, float(difficulty))
        plain = np.flatnonzero(~related)
        if len(plain):
            part = canvas.rows(plain)
            texture_draws = Draws(name + "/texture", seed, places[plain])
            grating_texture(part, texture_draws, labels[plain], classes)
            canvas.put(plain, part)
        pixels = canvas.pixels
        if shift is not None:
            pixels = SHIFTS[shift](pixels, Draws(name + "/shift", seed, places))
        whole = np.clip(pixels * F32(255.0) + F32(0.5), 0, 255).astype(np.uint8)
        images[start:stop] = whole.transpose(0, 2, 3, 1)
        return {**facts, "related": related}

    workers = min(8, os.cpu_count() or 1)
    chunk = max(1, min(CHUNK_PIXELS // image_size**2, math.ceil(n / workers)))
    with ThreadPoolExecutor(workers) as threads:
        parts = list(threads.map(draw_chunk, range(0, n, chunk)))
    conditions = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    conditions["true_label"] = true_labels
    labels = noisy_labels(name, seed, true_labels, classes, label_noise)
    return World(images, labels, class_names, conditions)
