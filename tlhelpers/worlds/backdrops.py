"""Backgrounds, light and clutter that any world can put round its things."""

from __future__ import annotations

import numpy as np

from tlhelpers.worlds.canvas import F32, Canvas, Frame, as_field, sine
from tlhelpers.worlds.draws import Draws
from tlhelpers.worlds.shapes import box, capsule, circle, curve, ellipse, union
from tlhelpers.worlds.textures import colours, mix, noise, stripes

BACKDROPS = ("room", "garden", "gradient", "pattern", "clouds", "lights")
OCCLUSIONS = ("none", "plant", "fence", "edge")


def _room(canvas: Canvas, draws: Draws, rows: np.ndarray) -> None:
    """A wall with wallpaper, a floor with boards, a picture or a window."""
    x, y = canvas.grid()
    wall = colours(draws, 0.25, 0.95)
    paper = stripes(
        x, y, draws.pick(np.array([0.0, 0.25, 0.1], F32)), draws.uniform(2, 6), draws.unit()
    )
    strength = draws.uniform(0.0, 0.16)
    canvas.pixels[:] = (wall[:, :, None, None] - (as_field(strength) * paper)[:, None]).clip(0, 1)
    frame = Frame.place(canvas.n, draws.around(0.9), draws.uniform(-0.9, -0.3))
    a, b = draws.uniform(0.2, 0.45), draws.uniform(0.2, 0.4)
    present = draws.chance(0.6).astype(F32)
    canvas.paint(
        frame, 0.8, box(a + F32(0.06), b + F32(0.06)), colours(draws, 0.1, 0.9), opacity=present
    )
    view = colours(draws, 0.4, 1.0)
    canvas.paint(
        frame,
        0.8,
        box(a, b),
        lambda u, v: mix(np.clip(v + F32(0.5), 0, 1), view, view * F32(0.6)),
        opacity=present,
    )
    horizon = draws.uniform(0.15, 0.7)
    floor = colours(draws, 0.15, 0.8) * np.array([1.0, 0.85, 0.7], F32)
    boards = stripes(x, y, draws.around(0.05), draws.uniform(1.5, 4), draws.unit(), 4.0)
    ink = mix(F32(0.25) * boards, floor, floor * F32(0.5))
    cover = np.clip((y - as_field(horizon)) / canvas.pixel, 0, 1) * np.ones_like(boards)
    canvas.blend(cover, ink)


def _garden(canvas: Canvas, draws: Draws, rows: np.ndarray) -> None:
    """Sky, hills, grass with flowers."""
    x, y = canvas.grid()
    sky = np.stack(
        [draws.uniform(0.45, 0.85), draws.uniform(0.6, 0.9), draws.uniform(0.75, 1.0)], 1
    )
    canvas.pixels[:] = mix(
        np.clip(F32(0.6) + F32(0.5) * y, 0, 1) + 0 * x, sky, sky * F32(0.4) + F32(0.6)
    )
    for depth in range(2):
        level = draws.uniform(-0.5, 0.1) + F32(0.3 * depth)
        height, phase = draws.uniform(0.05, 0.2), draws.unit()
        edge = as_field(level) + as_field(height) * sine(
            x * as_field(draws.uniform(0.3, 0.9)) + as_field(phase)
        )
        green = np.stack(
            [draws.uniform(0.2, 0.6), draws.uniform(0.45, 0.8), draws.uniform(0.15, 0.4)], 1
        )
        blades = noise("grain", x, y * F32(0.3), F32(0.4), draws.unit(), draws.unit())
        canvas.blend(
            np.clip((y - edge) / canvas.pixel, 0, 1),
            mix(blades * F32(0.35), green, green * F32(0.3)),
        )
    for _ in range(6):
        frame = Frame.place(
            canvas.n, draws.uniform(-1, 1), draws.uniform(0.1, 0.95), 0.0, draws.uniform(0.03, 0.08)
        )
        canvas.paint(frame, 1.2, circle(1.0), colours(draws, 0.4, 1.0), opacity=draws.chance(0.6))


def _gradient(canvas: Canvas, draws: Draws, rows: np.ndarray) -> None:
    """A smooth ramp between two colours, as in a studio."""
    x, y = canvas.grid()
    turns = draws.unit()
    ramp = F32(0.5) + F32(0.4) * (as_field(sine(turns)) * x + as_field(sine(turns + F32(0.25))) * y)
    canvas.pixels[:] = mix(np.clip(ramp, 0, 1), colours(draws, 0.1, 1.0), colours(draws, 0.1, 1.0))


def _pattern(canvas: Canvas, draws: Draws, rows: np.ndarray) -> None:
    """Striped, checked or dotted cloth."""
    x, y = canvas.grid()
    turns, frequency = draws.unit(), draws.uniform(1.0, 4.0)
    first = stripes(x, y, turns, frequency, draws.unit(), 5.0)
    second = stripes(x, y, turns + F32(0.25), frequency, draws.unit(), 5.0)
    crossed = as_field(draws.chance(0.6))
    checks = np.abs(first - second * crossed)
    ink = colours(draws, 0.1, 1.0)
    other = np.clip(ink + colours(draws, -0.5, 0.5), 0, 1)
    canvas.pixels[:] = mix(checks, ink, other)


def _clouds(canvas: Canvas, draws: Draws, rows: np.ndarray) -> None:
    """Foliage, rock, blankets: noise between two colours."""
    x, y = canvas.grid()
    field = noise("cloud", x, y, draws.uniform(0.1, 0.4), draws.unit(), draws.unit())
    sharp = as_field(draws.uniform(1.0, 4.0))
    mask = np.clip((field - F32(0.5)) * sharp + F32(0.5), 0, 1)
    canvas.pixels[:] = mix(mask, colours(draws), colours(draws))


def _lights(canvas: Canvas, draws: Draws, rows: np.ndarray) -> None:
    """Soft discs of light out of focus."""
    _gradient(canvas, draws, rows)
    for _ in range(7):
        size = draws.uniform(0.12, 0.4)
        frame = Frame.place(canvas.n, draws.uniform(-1, 1), draws.uniform(-1, 1), 0.0, size)
        canvas.paint(
            frame,
            1.3,
            circle(1.0),
            colours(draws, 0.2, 1.0),
            opacity=draws.uniform(0.2, 0.8),
            soft=0.25,
        )


_PAINTERS = (_room, _garden, _gradient, _pattern, _clouds, _lights)


def paint_backdrop(canvas: Canvas, draws: Draws) -> np.ndarray:
    """Paint a background of a random kind on each image and return its name ``[n]``."""
    kinds = draws.integer(len(BACKDROPS))
    canvas.split(draws, kinds, _PAINTERS)
    return np.array(BACKDROPS)[kinds]


def paint_occlusion(canvas: Canvas, draws: Draws, probability: float) -> np.ndarray:
    """Put something in front of some images and return what, ``[n]``."""
    kinds = np.where(draws.chance(probability), 1 + draws.integer(3), 0)
    canvas.split(draws, kinds - 1, (_plant, _fence, _edge))
    return np.array(OCCLUSIONS)[kinds]


def _plant(canvas: Canvas, draws: Draws, rows: np.ndarray) -> None:
    """Long leaves rising from below, at one side."""
    green = np.stack(
        [draws.uniform(0.1, 0.4), draws.uniform(0.35, 0.7), draws.uniform(0.1, 0.3)], 1
    )
    side = draws.sign() * draws.uniform(0.35, 0.9)
    for k in range(4):
        x, lean = side + draws.around(0.35), draws.around(0.4)
        frame = Frame.place(canvas.n, x, 1.05)
        top = -draws.uniform(0.5, 1.2)
        blade = curve(
            [(0 * x, 0 * x), (lean * F32(0.3), top * F32(0.6)), (lean, top)], F32(0.075), F32(0.01)
        )
        canvas.paint(frame, 1.35, blade, green * F32(0.7 + 0.15 * k), rim=0.4, rim_width=0.06)


def _fence(canvas: Canvas, draws: Draws, rows: np.ndarray) -> None:
    """Two pickets and a rail."""
    wood = colours(draws, 0.35, 0.95)
    start, gap = draws.uniform(-0.9, -0.2), draws.uniform(0.75, 1.0)
    rail = Frame.place(canvas.n, 0.0, draws.uniform(0.6, 0.85))
    canvas.paint(rail, 1.1, box(1.2, 0.05), wood * F32(0.8))
    for k in range(3):
        frame = Frame.place(canvas.n, start + F32(k) * gap, 0.85)
        picket = union(box(0.07, 0.6), capsule(0.0, -0.6, 0.0, -0.63, 0.07))
        canvas.paint(frame, 0.8, picket, wood, rim=0.3, rim_width=0.05)


def _edge(canvas: Canvas, draws: Draws, rows: np.ndarray) -> None:
    """The edge of a door or a frame over one side."""
    side = draws.sign()
    frame = Frame.place(canvas.n, side * draws.uniform(0.85, 1.1), 0.0, draws.around(0.03))
    canvas.paint(frame, 1.7, box(0.3, 1.7), colours(draws, 0.1, 0.9), rim=0.35, rim_width=0.1)


def paint_shadow(canvas: Canvas, frame: Frame, a, b, strength) -> None:
    """A soft dark ellipse on the ground."""
    dark = np.zeros((canvas.n, 3), F32)
    canvas.paint(frame, 2.5, ellipse(a, b), dark, opacity=strength, soft=0.5)


def light_scene(canvas: Canvas, draws: Draws, strength: float) -> np.ndarray:
    """Light everything from one direction with a tint and some sensor noise.

    Args:
        canvas: What to light.
        draws: Where the light's direction, tint and noise come from.
        strength: 0 to 1: how uneven, tinted and noisy the light is.

    Returns:
        Brightness ``[n]`` of the light in the middle of the image.
    """
    x, y = canvas.grid()
    turns = draws.unit()
    level = F32(1.0) + draws.around(0.45 * strength) - F32(0.1 * strength)
    slope = draws.uniform(0.0, 0.6 * strength)
    ramp = as_field(level) + as_field(slope * sine(turns)) * x
    ramp = ramp + as_field(slope * sine(turns + F32(0.25))) * y
    tint = F32(1.0) + colours(draws, -0.2 * strength, 0.2 * strength)
    grain = noise("grain", x, y, canvas.size / (2 * 256.0), draws.unit(), draws.unit())
    amount = draws.uniform(0.0, 0.17 * strength)
    canvas.pixels *= ramp[:, None]
    canvas.pixels *= tint[:, :, None, None]
    canvas.pixels += (as_field(amount) * (grain - F32(0.5)))[:, None]
    return level
