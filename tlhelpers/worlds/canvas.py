"""Painting anti-aliased shapes onto a whole batch of images at once.

A shape is a signed distance (negative inside) in the coordinates of a ``Frame``; a
pixel's cover is how far it lies inside, clipped over one pixel's width. Only exactly
rounded arithmetic is used (+, -, *, /, sqrt), so pixels agree on every platform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tlhelpers.worlds.draws import Draws

F32 = np.float32
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
Ink = np.ndarray | Callable[[np.ndarray, np.ndarray], np.ndarray]
Painter = Callable[["Canvas", Draws, np.ndarray], None]


def sine(turns: np.ndarray) -> np.ndarray:
    """Sine of an angle in turns, within 0.0011, by parabolas: the same bits everywhere."""
    t = turns - np.rint(turns)
    y = F32(8.0) * t - F32(16.0) * t * np.abs(t)
    return y + F32(0.225) * (y * np.abs(y) - y)


def cosine(turns: np.ndarray) -> np.ndarray:
    """Cosine of an angle in turns; see ``sine``."""
    return sine(turns + F32(0.25))


def per_image(values: float | np.ndarray, n: int) -> np.ndarray:
    """A float32 array ``[n]`` from a number or an array ``[n]``."""
    return np.broadcast_to(np.asarray(values, F32), (n,))


def as_field(values: np.ndarray) -> np.ndarray:
    """Per-image values ``[n]`` shaped ``[n, 1, 1]``, to combine with pixel fields."""
    return np.asarray(values, F32)[:, None, None]


@dataclass(frozen=True)
class Frame:
    """A coordinate frame per image: origin, the two axes, and the length of a unit.

    The image itself reaches from -1 to 1 in x (right) and y (down). All ``[n]`` float32.
    """

    x: np.ndarray
    y: np.ndarray
    ux: np.ndarray
    uy: np.ndarray
    vx: np.ndarray
    vy: np.ndarray
    scale: np.ndarray

    @classmethod
    def place(cls, n: int, x=0.0, y=0.0, turns=0.0, scale=1.0) -> Frame:
        """A frame at (x, y), turned clockwise by ``turns``, a unit being ``scale`` long."""
        one = np.ones(n, F32)
        image = cls(0 * one, 0 * one, one, 0 * one, 0 * one, one, one)
        return image.at(x, y, turns, scale)

    def at(self, u=0.0, v=0.0, turns=0.0, scale=1.0, mirror=1.0) -> Frame:
        """A frame placed in this one; ``mirror=-1`` turns its u axis round."""
        n = len(self.x)
        u, v, turns, scale, mirror = (per_image(a, n) for a in (u, v, turns, scale, mirror))
        c, s = cosine(turns) * scale, sine(turns) * scale
        return Frame(
            self.x + u * self.ux + v * self.vx,
            self.y + u * self.uy + v * self.vy,
            mirror * (c * self.ux + s * self.vx),
            mirror * (c * self.uy + s * self.vy),
            c * self.vx - s * self.ux,
            c * self.vy - s * self.uy,
            self.scale * scale,
        )

    def rows(self, index: np.ndarray) -> Frame:
        """The frames of some of the images."""
        return Frame(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


class Canvas:
    """A batch of images being painted: ``pixels``, float32 ``[n, 3, size, size]``, 0 to 1."""

    def __init__(self, pixels: np.ndarray):
        """Paint on these pixels, in place."""
        self.pixels = pixels
        self.n, _, self.size, _ = pixels.shape
        self.pixel = F32(2.0 / self.size)

    @classmethod
    def blank(cls, n: int, size: int) -> Canvas:
        """A black canvas."""
        return cls(np.zeros((n, 3, size, size), F32))

    def rows(self, index: np.ndarray) -> Canvas:
        """A copy of some of the images; give it back with ``put``."""
        return Canvas(self.pixels[index])

    def put(self, index: np.ndarray, part: Canvas) -> None:
        """Put images painted apart back in their places."""
        self.pixels[index] = part.pixels

    def split(self, draws: Draws, kinds: np.ndarray, painters: Sequence[Painter]) -> None:
        """Let each painter paint the images of its kind, apart from the others.

        Args:
            draws: The images' draws; each painter gets its own.
            kinds: int array ``[n]``, which painter paints an image; others are left alone.
            painters: Functions of (canvas, draws, rows), rows being the images' places.
        """
        for kind, painter in enumerate(painters):
            rows = np.flatnonzero(kinds == kind)
            own = draws.rows(rows)
            if len(rows):
                part = self.rows(rows)
                painter(part, own, rows)
                self.put(rows, part)

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Image coordinates of the pixel centres: x ``[1, 1, size]`` and y ``[1, size, 1]``."""
        line = (np.arange(self.size, dtype=F32) + F32(0.5)) * self.pixel - F32(1.0)
        return line[None, None, :], line[None, :, None]

    def blend(self, cover: np.ndarray, ink: np.ndarray) -> None:
        """Blend ink ``[n, 3]`` or ``[n, 3, size, size]`` over everything by ``cover`` ``[n, h, w]``."""
        ink = ink[:, :, None, None] if ink.ndim == 2 else ink
        self.pixels += cover[:, None] * (ink - self.pixels)

    def spread(
        self, frame: Frame, ink: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """An ink laid out over the whole image ``[n, 3, size, size]``, for several parts to share."""
        line = np.broadcast_to(np.arange(self.size), (self.n, self.size))
        return ink(*self._local(frame, line, line))

    def paint(
        self,
        frame: Frame,
        reach: float,
        distance: Distance,
        ink: Ink,
        *,
        opacity: float | np.ndarray = 1.0,
        soft: float = 0.0,
        rim: float = 0.0,
        rim_width: float = 0.15,
    ) -> None:
        """Paint one shape on every image.

        Only a square window round each frame's origin is touched, which is what makes
        small parts cheap.

        Args:
            frame: Where the shape stands.
            reach: Half side of the window, in units of the frame: the shape's radius.
            distance: Signed distance of the frame's (u, v), in its units.
            ink: Colours ``[n, 3]``, a function of (u, v) giving ``[n, 3, h, w]``, or a field
                over the image ``[n, 3, size, size]`` (see ``spread``).
            opacity: 0 to 1, a number or ``[n]``. Defaults to 1.
            soft: Width of the edge in units of the frame. Defaults to 0: one pixel.
            rim: How much the ink darkens towards the edge, 0 to 1. Defaults to 0.
            rim_width: Width of that darkening, in units of the frame.
        """
        if self.n == 0:
            return
        rows, columns, at = self._window(frame, reach)
        side = rows.shape[1]
        u, v = self._local(frame, rows, columns)
        far = distance(u, v)
        width = np.maximum(self.pixel / frame.scale, F32(soft))
        cover = far * as_field(F32(-1.0) / width)
        cover += F32(0.5)
        np.clip(cover, 0, 1, out=cover)
        if np.ndim(opacity) or opacity != 1.0:
            cover *= as_field(per_image(opacity, self.n))
        if callable(ink):
            colour = ink(u, v)
        else:
            colour = ink[:, :, None, None] if ink.ndim == 2 else self._all_windows(ink, side)[at]
        if rim:
            inside = np.clip(far * F32(1.0 / rim_width) + F32(1.0), 0, 1)
            colour = colour * (F32(1.0) - F32(rim) * inside)[:, None]
        windows = self._all_windows(self.pixels, side)
        old = windows[at]
        change = colour - old
        change *= cover[:, None]
        change += old
        windows[at] = change

    def _local(self, frame: Frame, rows: np.ndarray, columns: np.ndarray):
        """The frame's u and v, ``[n, h, w]``, of some rows ``[n, h]`` and columns ``[n, w]``."""
        dx = (columns.astype(F32) + F32(0.5)) * self.pixel - F32(1.0) - frame.x[:, None]
        dy = (rows.astype(F32) + F32(0.5)) * self.pixel - F32(1.0) - frame.y[:, None]
        determinant = frame.ux * frame.vy - frame.uy * frame.vx
        a, b = frame.vy / determinant, -frame.vx / determinant
        c, d = -frame.uy / determinant, frame.ux / determinant
        u = (a[:, None] * dx)[:, None, :] + (b[:, None] * dy)[:, :, None]
        v = (c[:, None] * dx)[:, None, :] + (d[:, None] * dy)[:, :, None]
        return u, v

    def _all_windows(self, field: np.ndarray, side: int) -> np.ndarray:
        """Every square window of this side in ``[n, 3, size, size]``, as a view and not a copy."""
        if side == self.size:
            return field
        return sliding_window_view(field, (side, side), axis=(2, 3), writeable=True)

    def _window(self, frame: Frame, reach: float):
        """Rows ``[n, w]``, columns ``[n, w]`` of the windows, and their index in ``_all_windows``."""
        # The batch's largest frame sets the side, so a window that cut a shape off would cut it
        # elsewhere in another batch. At a sharp tip the edge is blurred over two pixels.
        side = int(np.ceil(2 * (reach * float(frame.scale.max()) / float(self.pixel) + 2)))
        if side >= self.size:
            line = np.broadcast_to(np.arange(self.size), (self.n, self.size))
            return line, line, slice(None)
        offsets = np.arange(side)
        starts = []
        for centre in (frame.y, frame.x):
            start = np.floor((centre + F32(1.0)) / self.pixel).astype(np.int64) - side // 2
            starts.append(np.clip(start, 0, self.size - side)[:, None] + offsets)
        rows, columns = starts
        return rows, columns, (np.arange(self.n), slice(None), rows[:, 0], columns[:, 0])
