"""Forms made of parts: blobs with appendages and marks, and solids stuck together.

They share with animals and things the vocabulary of parts (a pointed or hanging
protrusion, a disc with a slit, a box beside a ring), never the plan: how many parts, and
where they sit, is random.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tlhelpers.worlds.canvas import F32, Canvas, Frame, Ink, cosine, sine
from tlhelpers.worlds.draws import Draws
from tlhelpers.worlds.shapes import (
    box,
    capsule,
    circle,
    curve,
    ellipse,
    harmonics,
    intersection,
    ring,
    union,
    wedge,
)
from tlhelpers.worlds.textures import colours

APPENDAGES = ("point", "spike", "flap", "knob", "antenna", "curl", "fold", "leg")
MARKS = ("disc", "slit", "ring", "bars", "chip", "fan", "patch", "dots")
SOLIDS = ("box", "wedge", "disc", "ring", "half-disc", "cross")


def _appendage(
    kind: int, draws: Draws, canvas: Canvas, frame: Frame, ink: Ink, other: np.ndarray
) -> None:
    """Paint one appendage; its frame's v axis points inwards, its origin is on the rim."""
    size = draws.uniform(0.8, 1.25)
    frame = frame.at(0, 0, draws.around(0.05), size)
    if kind == 0:
        canvas.paint(
            frame,
            1.1,
            wedge(draws.uniform(0.3, 0.45), draws.uniform(0.5, 0.85), 0.04),
            ink,
            rim=0.4,
        )
        canvas.paint(frame, 0.8, wedge(0.2, 0.45), other, opacity=draws.chance(0.5), soft=0.05)
    elif kind == 1:
        canvas.paint(
            frame, 2.0, wedge(draws.uniform(0.12, 0.2), draws.uniform(0.9, 1.2), 0.02), ink, rim=0.3
        )
    elif kind == 2:
        hang = draws.uniform(0.5, 0.75)
        bend = frame.at(0, 0, draws.sign() * draws.uniform(0.2, 0.42))
        canvas.paint(bend, 1.5, ellipse(0.28, hang, 0.0, -hang), ink, rim=0.45)
    elif kind == 3:
        canvas.paint(frame, 0.9, circle(draws.uniform(0.25, 0.42), 0.0, -0.25), ink, rim=0.4)
    elif kind == 4:
        canvas.paint(frame, 1.3, capsule(0.0, 0.0, 0.0, -0.85, 0.04), ink)
        canvas.paint(frame, 1.3, circle(0.16, 0.0, -0.95), other, rim=0.4)
    elif kind == 5:
        way = draws.sign()
        points = [(F32(0) * way, F32(0.1) + 0 * way), (F32(0.35) * way, F32(-0.5) + 0 * way)]
        points += [(F32(0.1) * way, F32(-1.0) + 0 * way), (F32(-0.3) * way, F32(-0.9) + 0 * way)]
        canvas.paint(frame, 1.4, curve(points, F32(0.15), F32(0.07)), ink, rim=0.4)
    elif kind == 6:
        canvas.paint(frame, 0.9, wedge(0.4, 0.5, 0.04), ink, rim=0.4)
        tip = frame.at(0.0, -0.5, F32(0.5) + draws.around(0.12))
        canvas.paint(tip, 0.6, wedge(0.3, 0.45, 0.03), other, rim=0.4)
    else:
        canvas.paint(frame, 1.2, capsule(0.0, 0.1, 0.0, -0.6, 0.17), ink, rim=0.4)
        canvas.paint(frame, 1.2, ellipse(0.26, 0.16, 0.0, -0.75), other, rim=0.4)


def _mark(
    kind: int, draws: Draws, canvas: Canvas, frame: Frame, dark: np.ndarray, pale: np.ndarray
) -> None:
    """Paint one mark on a body, about 0.3 units wide."""
    frame = frame.at(0, 0, draws.around(0.06), draws.uniform(0.8, 1.3))
    if kind == 0:
        canvas.paint(frame, 0.35, circle(0.2), dark, rim=0.3)
        canvas.paint(frame.at(-0.07, -0.07), 0.15, circle(0.06), np.ones_like(dark))
    elif kind == 1:
        canvas.paint(frame, 0.35, ellipse(0.26, 0.21), pale, rim=0.5, rim_width=0.08)
        canvas.paint(frame, 0.3, ellipse(0.055, 0.18), dark)
    elif kind == 2:
        canvas.paint(frame, 0.4, ring(0.22, 0.055), dark)
    elif kind == 3:
        bars = [capsule(-0.3, v, 0.3, v, 0.05) for v in (-0.22, 0.0, 0.22)]
        canvas.paint(frame, 0.5, union(*bars), dark, opacity=0.9)
    elif kind == 4:
        canvas.paint(frame.at(0, 0, 0.5), 0.4, wedge(0.22, 0.24, 0.03), dark, rim=0.3)
    elif kind == 5:
        fan = [capsule(0.0, 0.0, 0.6, v, 0.03, 0.012) for v in (-0.25, 0.0, 0.25)]
        fan += [capsule(0.0, 0.0, -0.6, v, 0.03, 0.012) for v in (-0.25, 0.0, 0.25)]
        canvas.paint(frame, 0.75, union(*fan), dark, opacity=0.9)
    elif kind == 6:
        canvas.paint(frame, 0.55, ellipse(0.45, 0.35), pale, rim=0.35)
        canvas.paint(frame.at(0.0, -0.14), 0.3, ellipse(0.2, 0.13), dark)
    else:
        spots = [
            circle(0.08, u, v) for u, v in ((-0.2, -0.1), (0.18, -0.16), (0.0, 0.16), (0.28, 0.14))
        ]
        canvas.paint(frame, 0.5, union(*spots), dark)


def paint_creatures(
    canvas: Canvas, draws: Draws, frame: Frame, kinds: np.ndarray, ink: Ink
) -> None:
    """Paint blobs with one to five appendages of a kind and one to four marks of a kind.

    Args:
        canvas: Where to paint, ``n`` images.
        draws: The images' draws.
        frame: Frames in which a body has about radius 1.
        kinds: int array ``[n]``, 8 * appendage + mark.
        ink: Ink of the bodies.
    """
    main, other = colours(draws, 0.05, 1.0), colours(draws, 0.05, 1.0)
    dark = np.where(
        draws.chance(0.75)[:, None], colours(draws, 0.0, 0.25), colours(draws, 0.75, 1.0)
    )
    pale = colours(draws, 0.45, 1.0)
    squash = draws.uniform(0.75, 1.0)
    amplitudes = np.stack([draws.around(0.1) for _ in range(3)], 1)
    blob = harmonics(amplitudes, np.stack([draws.unit() for _ in range(3)], 1))
    start, count = draws.unit(), draws.integer(5)
    spread = draws.uniform(0.12, 0.25)

    def appendages(front: float):
        for k in range(5):
            turns = start + F32(k) * spread + draws.around(0.02)
            rim = frame.at(sine(turns) * F32(0.85), -cosine(turns) * squash * F32(0.85), turns)
            shown = np.where((count >= k) & (draws.chance(0.5) == (front > 0)), kinds // 8, -1)
            painters = [
                lambda part, own, rows, a=a, rim=rim: _appendage(
                    a, own, part, rim.rows(rows), main[rows], other[rows]
                )
                for a in range(len(APPENDAGES))
            ]
            canvas.split(draws, shown, painters)

    appendages(0.0)
    canvas.paint(
        frame, 1.45, lambda u, v: blob(u, v * (F32(1.0) / squash[:, None, None])), ink, rim=0.35
    )
    appendages(1.0)
    marks = draws.integer(3) + 1
    u, v = draws.around(0.35), draws.around(0.4)
    gap = draws.uniform(0.3, 0.45)
    for k, (a, b) in enumerate(((-1, 0), (1, 0), (0, 1.2), (0, -1.3))):
        place = frame.at(u + F32(a) * gap, v + F32(b) * gap)
        shown = np.where((marks >= k) & (k != 3) | (marks == 2) & (k == 3), kinds % 8, -1)
        painters = [
            lambda part, own, rows, m=m, place=place: _mark(
                m, own, part, place.rows(rows), dark[rows], pale[rows]
            )
            for m in range(len(MARKS))
        ]
        canvas.split(draws, shown, painters)


def _solid(kind: int, draws: Draws):
    """The distance of a solid of about radius 1, its proportions drawn."""
    a, b = draws.uniform(0.6, 1.0), draws.uniform(0.45, 0.9)
    if kind == 0:
        return box(a, b, draws.uniform(0.0, 0.2))
    if kind == 1:
        tall = wedge(a, b + F32(0.6), 0.03)
        return lambda u, v: tall(u, v - F32(0.5))
    if kind == 2:
        return ellipse(a, b)
    if kind == 3:
        return ring(a * F32(0.8), b * F32(0.25))
    if kind == 4:
        disc = ellipse(a, b + F32(0.1))
        return intersection(disc, lambda u, v: v - F32(0.15))
    bar = draws.uniform(0.15, 0.3)
    return union(box(a, bar), box(bar, a))


def paint_assemblies(
    canvas: Canvas,
    draws: Draws,
    frame: Frame,
    kinds: np.ndarray,
    ink: Callable[[np.ndarray], Ink],
    second: np.ndarray,
) -> None:
    """Paint a large solid with one to three small ones stuck to it in random places.

    Args:
        canvas: Where to paint, ``n`` images.
        draws: The images' draws.
        frame: Frames in which the large solid has about radius 0.8.
        kinds: int array ``[n]``, 6 * large + small.
        ink: A function giving the ink of some rows: the large solid's surface.
        second: Colours ``[n, 3]`` of the small ones.
    """
    count, start, behind = draws.integer(3), draws.unit(), draws.chance(0.5)

    def small(back: bool):
        for k in range(3):
            turns = start + F32(k) * draws.uniform(0.2, 0.4)
            far, size = draws.uniform(0.3, 1.1), draws.uniform(0.22, 0.5)
            place = frame.at(sine(turns) * far, cosine(turns) * far, draws.around(0.5), size)
            shown = np.where((count >= k) & (behind == back), kinds % 6, -1)
            painters = [
                lambda part, own, rows, s=s, place=place: part.paint(
                    place.rows(rows), 1.35, _solid(s, own), second[rows], rim=0.35, rim_width=0.3
                )
                for s in range(len(SOLIDS))
            ]
            canvas.split(draws, shown, painters)

    small(True)
    painters = [
        lambda part, own, rows, s=s: part.paint(
            frame.rows(rows).at(0, 0, 0, 0.85), 1.35, _solid(s, own), ink(rows), rim=0.3
        )
        for s in range(len(SOLIDS))
    ]
    canvas.split(draws, kinds // 6, painters)
    small(False)
