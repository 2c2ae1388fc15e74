"""Noise, gratings and patterns: fields with a value per pixel, 0 to 1."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tlhelpers.worlds.canvas import F32, Canvas, as_field, cosine, per_image, sine
from tlhelpers.worlds.draws import Draws

TILE = 256


def _upsample(grid: np.ndarray) -> np.ndarray:
    """A periodic grid ``[k, k]`` interpolated to ``[TILE, TILE]``, smoothly."""
    k = len(grid)
    place = np.arange(TILE) * (k / TILE)
    low = place.astype(np.int64)
    part = (place - low).astype(F32)
    part = part * part * (F32(3.0) - F32(2.0) * part)
    high = (low + 1) % k
    rows = grid[low] + part[:, None] * (grid[high] - grid[low])
    return rows[:, low] + part[None, :] * (rows[:, high] - rows[:, low])


@lru_cache(maxsize=1)
def noise_tiles() -> dict[str, np.ndarray]:
    """Periodic noise ``[TILE * TILE]``: "cloud" (1/f), "blobs" (one scale), "grain" (white)."""
    draws = Draws("noise", 0, np.arange(2 * TILE * TILE + 32 * 32))
    values = draws.unit()
    grain = values[: TILE * TILE]
    blobs = _upsample(values[-32 * 32 :].reshape(32, 32))
    cloud = np.zeros((TILE, TILE), F32)
    start, weight = TILE * TILE, 1.0
    for k in (4, 8, 16, 32, 64, 128):
        cloud += F32(weight) * (_upsample(values[start : start + k * k].reshape(k, k)) - F32(0.5))
        start, weight = start + k * k, weight * 0.6
    cloud = np.clip(F32(0.5) + F32(0.75) * cloud, 0, 1)
    return {"cloud": cloud.ravel(), "blobs": blobs.ravel(), "grain": grain}


def noise(kind: str, u: np.ndarray, v: np.ndarray, scale, u0, v0) -> np.ndarray:
    """Noise at (u, v): ``scale`` tiles a unit, from the per-image corner (u0, v0) in tiles."""
    tile = noise_tiles()[kind]
    step = as_field(per_image(scale, len(u0)) * F32(TILE))
    column = ((u * step) + as_field(u0 * F32(TILE))).astype(np.int32) & (TILE - 1)
    row = ((v * step) + as_field(v0 * F32(TILE))).astype(np.int32) & (TILE - 1)
    return tile[row * TILE + column]


def stripes(u, v, turns, frequency, phase, sharp=2.0) -> np.ndarray:
    """Parallel stripes across direction ``turns``, ``frequency`` a unit; 0 to 1."""
    along = as_field(cosine(turns) * frequency) * u
    along = along + as_field(sine(turns) * frequency) * v + as_field(phase)
    return np.clip(F32(0.5) + F32(0.5 * sharp) * sine(along), 0, 1)


def mix(mask: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Colours ``[n, 3, h, w]`` from ``low`` ``[n, 3]`` (mask 0) to ``high`` ``[n, 3]`` (mask 1)."""
    low, high = low[:, :, None, None], high[:, :, None, None]
    return low + mask[:, None] * (high - low)


def colours(draws: Draws, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Random colours ``[n, 3]``, each channel from ``low`` to ``high``."""
    return np.stack([draws.uniform(low, high) for _ in range(3)], axis=1)


def grating_texture(canvas: Canvas, draws: Draws, kinds: np.ndarray, classes: int) -> None:
    """Fill the images with a class-specific sum of three gratings, in random colours.

    This is what a world shows where it is unrelated: the label's only evidence is the
    texture's directions and frequencies; phase, colours, turn and grain are free.
    """
    recipe = Draws("gratings", classes, np.arange(classes))
    x, y = canvas.grid()
    wobble = draws.around(0.02)
    field = np.zeros((canvas.n, canvas.size, canvas.size), F32)
    for _ in range(3):
        turns = recipe.uniform(0, 0.5)[kinds] + wobble
        frequency = recipe.uniform(0.8, 5.0)[kinds] * draws.uniform(0.93, 1.07)
        weight = recipe.uniform(0.4, 1.0)[kinds]
        wave = stripes(x, y, turns, frequency, draws.unit(), sharp=1.0)
        field += as_field(weight) * (wave - F32(0.5))
    grain = noise("grain", x, y, F32(0.3), draws.unit(), draws.unit())
    mask = np.clip(F32(0.5) + F32(0.7) * field + F32(0.15) * (grain - F32(0.5)), 0, 1)
    first = colours(draws)
    canvas.pixels[:] = mix(mask, first, np.clip(first + draws.sign()[:, None] * F32(0.6), 0, 1))
