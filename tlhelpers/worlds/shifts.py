"""The other domain: changes of look that leave every label as it was."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tlhelpers.worlds.canvas import F32, as_field
from tlhelpers.worlds.draws import Draws
from tlhelpers.worlds.textures import noise, stripes


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Brightness ``[n, h, w]`` of pixels ``[n, 3, h, w]``."""
    return F32(0.3) * pixels[:, 0] + F32(0.59) * pixels[:, 1] + F32(0.11) * pixels[:, 2]


def _box_blur(field: np.ndarray, radius: int) -> np.ndarray:
    """Mean over a window of 2 radius + 1 pixels along both image axes."""
    for axis in (-2, -1):
        wide = [(0, 0)] * field.ndim
        wide[axis] = (radius, radius)
        padded = np.pad(field, wide, mode="edge")
        total = np.zeros_like(field)
        for k in range(2 * radius + 1):
            total += np.take(padded, np.arange(k, k + field.shape[axis]), axis=axis)
        field = total * F32(1.0 / (2 * radius + 1))
    return field


def _colour(pixels: np.ndarray, draws: Draws) -> np.ndarray:
    """Each image's channels rotated and inverted: hues change, edges stay."""
    turned = pixels[
        np.arange(len(pixels))[:, None], (np.arange(3) + 1 + draws.integer(2)[:, None]) % 3
    ]
    return F32(0.9) - F32(0.8) * turned


def _texture(pixels: np.ndarray, draws: Draws) -> np.ndarray:
    """A woven canvas: two crossed gratings and coarse grain over everything."""
    line = (np.arange(pixels.shape[-1], dtype=F32) + F32(0.5)) * F32(2.0 / pixels.shape[-1])
    x, y = line[None, None, :], line[None, :, None]
    turns, frequency = draws.unit(), draws.uniform(4.0, 7.0)
    weave = stripes(x, y, turns, frequency, draws.unit(), 1.2)
    weave = weave * stripes(x, y, turns + F32(0.25), frequency, draws.unit(), 1.2)
    grain = noise("grain", x, y, F32(0.25), draws.unit(), draws.unit())
    return pixels * (F32(0.55) + F32(0.45) * weave + F32(0.25) * (grain - F32(0.5)))[:, None] + F32(
        0.08
    )


def _blur(pixels: np.ndarray, draws: Draws) -> np.ndarray:
    """Out of focus: two box blurs, in all about a tenth of the image wide."""
    radius = max(1, round(pixels.shape[-1] / 32))
    return _box_blur(_box_blur(pixels, radius), radius)


def _sketch(pixels: np.ndarray, draws: Draws) -> np.ndarray:
    """Pencil on paper: dark where brightness changes, nothing where it does not."""
    grey = _grey(pixels)
    right = np.abs(np.diff(grey, axis=2, append=grey[:, :, -1:]))
    down = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    stroke = np.clip(F32(4.5) * (right + down) * as_field(draws.uniform(0.8, 1.2)), 0, 1)
    paper = F32(0.95) - F32(0.85) * stroke
    return np.repeat(paper[:, None], 3, axis=1)


def _contrast(pixels: np.ndarray, draws: Draws) -> np.ndarray:
    """Fog: contrast down to a fifth to a third, brightness anywhere."""
    strength = draws.uniform(0.2, 0.35)[:, None, None, None]
    return draws.uniform(0.3, 0.7)[:, None, None, None] + strength * (pixels - F32(0.5))


SHIFTS: dict[str, Callable[[np.ndarray, Draws], np.ndarray]] = {
    "colour": _colour,
    "texture": _texture,
    "blur": _blur,
    "sketch": _sketch,
    "contrast": _contrast,
}


def check_shift(shift: str) -> None:
    """Raise a clear error for a shift there is not."""
    if shift not in SHIFTS:
        known = ", ".join(repr(name) for name in SHIFTS)
        raise ValueError(f"`shift` must be None or one of {known}. Received: {shift!r}.")


def shift_image(image: np.ndarray, shift: str, key: int) -> np.ndarray:
    """Give an image that was not drawn here another look.

    Args:
        image: uint8 ``[h, w, 3]``, RGB.
        shift: A name of ``SHIFTS``.
        key: Any integer from 0 to 2**64 - 1, of which what varies from image to image is drawn.

    Returns:
        uint8 ``[h, w, 3]``.

    Example:
        >>> shift_image(np.full((32, 32, 3), 200, np.uint8), "sketch", 0).max()
        np.uint8(242)
    """
    pixels = image.transpose(2, 0, 1)[None].astype(F32) / F32(255)
    draws = Draws("images/shift", 0, np.array([key], np.uint64))
    whole = np.clip(SHIFTS[shift](pixels, draws) * F32(255) + F32(0.5), 0, 255)
    return whole[0].transpose(1, 2, 0).astype(np.uint8)
