"""Fractals of iterated function systems, for a batch of images at once.

Each class is a set of three contracting affine maps; the chaos game draws its attractor.
Maps are sampled by their singular values after Anderson and Farrell (2022), "Improving
Fractal Pre-training", https://arxiv.org/abs/2110.03091; the idea of pre-training on such
images is Kataoka et al. (2020), https://arxiv.org/abs/2101.08515.
"""

from __future__ import annotations

import numpy as np

from tlhelpers.worlds.canvas import F32, Canvas, Frame, cosine, sine
from tlhelpers.worlds.draws import Draws

MAPS = 3
PARTICLES = 192
STEPS = 30
SKIPPED = 8


def affine_maps(classes: int) -> np.ndarray:
    """The maps of each class: float32 ``[classes, MAPS, 6]``, rows a, b, c, d, e, f."""
    draws = Draws("fractals", 0, np.arange(classes * MAPS))
    first, second = draws.unit(), draws.unit()
    wide, narrow = draws.uniform(0.5, 0.82), draws.uniform(0.3, 0.6)
    c1, s1, c2, s2 = cosine(first), sine(first), cosine(second), sine(second)
    maps = [
        c1 * wide * c2 - s1 * narrow * s2,
        -c1 * wide * s2 - s1 * narrow * c2,
        s1 * wide * c2 + c1 * narrow * s2,
        -s1 * wide * s2 + c1 * narrow * c2,
        draws.uniform(-1, 1),
        draws.uniform(-1, 1),
    ]
    return np.stack(maps, axis=1).reshape(classes, MAPS, 6)


def attractor(kinds: np.ndarray, draws: Draws, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of each image's attractor, scaled to reach from -1 to 1.

    Args:
        kinds: int array ``[n]``, classes.
        draws: Where the jitter of the maps comes from.
        classes: Number of classes.

    Returns:
        Two float32 arrays ``[n, points]``: u and v.
    """
    n = len(kinds)
    maps = affine_maps(classes)[kinds]
    maps = maps + np.stack([draws.around(0.06) for _ in range(MAPS * 6)], 1).reshape(n, MAPS, 6)
    seeds = draws.integer(2**20)
    places = (seeds[:, None] * PARTICLES + np.arange(PARTICLES)).ravel()
    choices = Draws("chaos game", 0, places)
    u = choices.uniform(-1, 1).reshape(n, PARTICLES)
    v = choices.uniform(-1, 1).reshape(n, PARTICLES)
    image = np.arange(n)[:, None]
    us, vs = [], []
    for step in range(STEPS):
        a, b, c, d, e, f = maps[image, choices.integer(MAPS).reshape(n, PARTICLES)].transpose(
            2, 0, 1
        )
        u, v = a * u + b * v + e, c * u + d * v + f
        if step >= SKIPPED:
            us.append(u)
            vs.append(v)
    return _fitted(np.concatenate(us, 1)), _fitted(np.concatenate(vs, 1))


def _fitted(values: np.ndarray) -> np.ndarray:
    """Each row moved and scaled to reach from -1 to 1."""
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    return (values - low) * (F32(2.0) / np.maximum(high - low, F32(1e-3))) - F32(1.0)


def paint_fractal(
    canvas: Canvas, draws: Draws, frame: Frame, kinds: np.ndarray, classes: int, ink: np.ndarray
) -> None:
    """Paint each image's fractal in its frame.

    Args:
        canvas: Where to paint.
        draws: The images' draws.
        frame: Frames in which the fractals reach from -1 to 1.
        kinds: int array ``[n]``, classes of fractal.
        classes: Number of classes.
        ink: Colours ``[n, 3]``.
    """
    u, v = attractor(kinds, draws, classes)
    x = frame.x[:, None] + frame.ux[:, None] * u + frame.vx[:, None] * v
    y = frame.y[:, None] + frame.uy[:, None] * u + frame.vy[:, None] * v
    size = canvas.size
    column = ((x + F32(1.0)) / canvas.pixel).astype(np.int64)
    row = ((y + F32(1.0)) / canvas.pixel).astype(np.int64)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    inside &= (x >= -1) & (y >= -1)
    flat = (np.arange(canvas.n)[:, None] * size + row) * size + column
    counts = np.bincount(flat[inside], minlength=canvas.n * size * size).astype(F32)
    full = F32(0.6 * u.shape[1] / size**2 * 8)
    cover = np.clip(counts.reshape(canvas.n, size, size) * (F32(1.0) / full), 0, 1)
    canvas.blend(cover, ink)
