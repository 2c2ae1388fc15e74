"""How the ten kinds of things are put together, and what they are painted with."""

from __future__ import annotations

import numpy as np

from tlhelpers.worlds.canvas import F32, Canvas, Frame, Ink, as_field, per_image, sine
from tlhelpers.worlds.draws import Draws
from tlhelpers.worlds.shapes import (
    box,
    capsule,
    circle,
    ellipse,
    harmonics,
    intersection,
    ring,
    star,
    union,
    wedge,
    without,
)
from tlhelpers.worlds.textures import colours, noise, stripes

CLASS_NAMES = ("mug", "leaf", "fish", "bird", "car", "house", "star", "tree", "boat", "mushroom")
# Two usual paints a class; neighbours in the table share paints, so colour alone misleads.
PAINTS = {
    "mug": ([0.92, 0.9, 0.85], [0.25, 0.45, 0.75]),
    "leaf": ([0.35, 0.6, 0.2], [0.85, 0.55, 0.15]),
    "fish": ([0.95, 0.5, 0.15], [0.3, 0.6, 0.8]),
    "bird": ([0.3, 0.5, 0.85], [0.85, 0.3, 0.2]),
    "car": ([0.85, 0.2, 0.2], [0.75, 0.78, 0.8]),
    "house": ([0.9, 0.85, 0.7], [0.75, 0.4, 0.3]),
    "star": ([0.97, 0.82, 0.2], [0.95, 0.55, 0.2]),
    "tree": ([0.2, 0.5, 0.2], [0.4, 0.62, 0.25]),
    "boat": ([0.6, 0.38, 0.2], [0.9, 0.9, 0.92]),
    "mushroom": ([0.85, 0.2, 0.18], [0.7, 0.5, 0.3]),
}
SURFACES = ("plain", "stripes", "grain", "dots")
USUAL_SURFACE = np.array([0, 1, 3, 2, 0, 1, 0, 2, 1, 3])
DARK = np.array([0.1, 0.09, 0.1], F32)


class Paint:
    """Colours and surface of the things in a batch: all arrays ``[n]`` or ``[n, 3]``."""

    def __init__(self, draws: Draws, labels: np.ndarray, difficulty: float):
        """Draw paints for things of these classes."""
        unusual = 0.1 + 0.5 * difficulty
        self.usual = ~draws.chance(unusual)
        table = np.array([PAINTS[name] for name in CLASS_NAMES], F32)
        first = draws.integer(2)
        random = colours(draws, 0.05, 1.0)
        jitter = np.stack([draws.around(0.12) for _ in range(3)], 1)
        main = np.where(self.usual[:, None], table[labels, first], random)
        self.main = np.clip(main + jitter, 0.03, 1)
        other = np.where(self.usual[:, None], table[labels, 1 - first], colours(draws, 0.05, 1.0))
        self.other = np.clip(other + jitter, 0.03, 1)
        self.surface = np.where(draws.chance(unusual), draws.integer(4), USUAL_SURFACE[labels])
        self.turns, self.frequency = draws.unit(), draws.uniform(1.5, 3.0)
        self.corner_u, self.corner_v = draws.unit(), draws.unit()
        self.slope_u, self.slope_v = draws.around(0.3), draws.uniform(-0.3, 0.0)

    def rows(self, index: np.ndarray) -> Paint:
        """The paints of some of the things."""
        part = object.__new__(Paint)
        part.__dict__.update({key: value[index] for key, value in self.__dict__.items()})
        return part

    def ink(self, colour: np.ndarray | None = None) -> Ink:
        """The surface, in the main colour or in another ``[n, 3]``."""
        colour = self.main if colour is None else colour

        def ink(u, v):
            bars = stripes(u, v, self.turns, self.frequency, self.corner_u, 3.0)
            grain = noise("cloud", u, v, F32(0.35), self.corner_u, self.corner_v)
            dots = noise("blobs", u, v, F32(0.07), self.corner_u, self.corner_v)
            dots = np.clip((dots - F32(0.6)) * F32(12), 0, 1)
            mask = F32(0.55) * as_field(self.surface == 1) * bars
            mask = mask + F32(0.9) * as_field(self.surface == 2) * np.clip(
                grain * 4 - F32(1.5), 0, 1
            )
            mask = mask + F32(0.9) * as_field(self.surface == 3) * dots
            shade = F32(1.0) + as_field(self.slope_u) * u + as_field(self.slope_v) * v
            second = colour * F32(0.35) + self.other * F32(0.25)
            base = colour[:, :, None, None]
            return (base + mask[:, None] * (second[:, :, None, None] - base)) * shade[:, None]

        return ink


def _dark(canvas: Canvas) -> np.ndarray:
    """Near black for every image."""
    return np.broadcast_to(DARK, (canvas.n, 3))


def _mug(canvas: Canvas, draws: Draws, frame: Frame, paint: Paint) -> None:
    """A cylinder with a handle and something to drink."""
    tall, wide = draws.uniform(0.55, 0.85), draws.uniform(0.5, 0.7)
    handle = frame.at(wide, draws.around(0.15), 0.0, tall)
    canvas.paint(handle, 0.8, ring(0.5, 0.12), paint.ink(), rim=0.35)
    canvas.paint(
        frame,
        1.1,
        union(box(wide, tall, 0.15), ellipse(wide, 0.22, 0.0, tall * F32(0.9))),
        paint.ink(),
        rim=0.35,
    )
    top = frame.at(0.0, -tall)
    canvas.paint(top, 0.9, ellipse(wide, 0.2), paint.main * F32(0.8))
    drink = draws.pick(np.array([[0.25, 0.14, 0.08], [0.9, 0.85, 0.75], [0.6, 0.3, 0.1]], F32))
    canvas.paint(top, 0.9, ellipse(wide * F32(0.82), 0.13), drink)


def _leaf(canvas: Canvas, draws: Draws, frame: Frame, paint: Paint) -> None:
    """Two arcs meeting in a tip, with veins and a stalk."""
    wide = draws.uniform(0.35, 0.75)
    middle = (F32(1.0) - wide * wide) / (F32(2.0) * wide)
    blade = intersection(circle(middle + wide, middle, 0.0), circle(middle + wide, -middle, 0.0))
    canvas.paint(frame, 1.5, capsule(0.0, 0.9, 0.12, 1.4, 0.06), paint.main * F32(0.55))
    canvas.paint(frame, 1.05, blade, paint.ink(), rim=0.35)
    veins = [capsule(0.0, -0.85, 0.0, 0.95, 0.035)]
    for k in (-0.4, 0.0, 0.4):
        for way in (-1.0, 1.0):
            veins.append(capsule(0.0, k + 0.25, way * 0.8 * wide, F32(k - 0.05) + 0 * wide, 0.025))
    canvas.paint(frame, 1.0, intersection(union(*veins), blade), paint.main * F32(0.5), opacity=0.8)


def _fish(canvas: Canvas, draws: Draws, frame: Frame, paint: Paint) -> None:
    """An oval with a tail, fins and an eye."""
    tall = draws.uniform(0.36, 0.6)
    canvas.paint(
        frame.at(-1.15, 0.0, 0.25),
        0.9,
        wedge(draws.uniform(0.35, 0.6), 0.65, 0.03),
        paint.ink(paint.other),
        rim=0.3,
    )
    fin = frame.at(0.0, -tall * F32(0.7), draws.uniform(-0.12, 0.0))
    canvas.paint(fin, 0.6, wedge(0.35, 0.45, 0.03), paint.ink(paint.other), rim=0.3)
    canvas.paint(frame, 0.9, ellipse(0.85, tall), paint.ink(), rim=0.35)
    canvas.paint(frame.at(-0.05, 0.08, -0.3), 0.4, wedge(0.16, 0.34), paint.other, rim=0.3)
    canvas.paint(frame.at(0.5, -0.1), 0.2, circle(0.14), np.ones((canvas.n, 3), F32))
    canvas.paint(frame.at(0.53, -0.1), 0.2, circle(0.075), _dark(canvas))


def _bird(canvas: Canvas, draws: Draws, frame: Frame, paint: Paint) -> None:
    """A round body, a head with a beak, a wing, a tail, two legs."""
    plump = draws.uniform(0.42, 0.58)
    for k in (-0.12, 0.14):
        canvas.paint(
            frame,
            1.1,
            capsule(k, 0.4, k + 0.05, 0.95, 0.045),
            np.broadcast_to(np.array([0.8, 0.5, 0.15], F32), (canvas.n, 3)),
        )
    canvas.paint(
        frame.at(-0.55, 0.1, draws.uniform(-0.2, -0.1)),
        1.2,
        wedge(0.2, 0.75, 0.04),
        paint.ink(paint.other),
        rim=0.3,
    )
    canvas.paint(
        frame.at(0.78, -0.48, 0.25),
        0.45,
        wedge(0.15, 0.38),
        np.broadcast_to(np.array([0.95, 0.65, 0.15], F32), (canvas.n, 3)),
        rim=0.3,
    )
    canvas.paint(
        frame,
        1.1,
        union(ellipse(0.68, plump, 0.0, 0.08), circle(0.36, 0.48, -0.45)),
        paint.ink(),
        rim=0.35,
    )
    canvas.paint(
        frame.at(-0.1, 0.05, draws.uniform(0.0, 0.06)),
        0.5,
        ellipse(0.4, 0.24),
        paint.ink(paint.other),
        rim=0.4,
    )
    canvas.paint(frame.at(0.56, -0.52), 0.2, circle(0.075), _dark(canvas))


def _car(canvas: Canvas, draws: Draws, frame: Frame, paint: Paint) -> None:
    """A cabin on a body on two wheels."""
    roof, place = draws.uniform(0.38, 0.6), draws.around(0.15)
    cabin = frame.at(place, -0.3)
    canvas.paint(cabin, 0.9, box(roof, 0.36, 0.18), paint.ink(), rim=0.35)
    canvas.paint(
        cabin.at(0.0, -0.04),
        0.7,
        box(roof * F32(0.8), 0.22, 0.1),
        np.broadcast_to(np.array([0.65, 0.8, 0.9], F32), (canvas.n, 3)),
    )
    canvas.paint(cabin.at(0.0, -0.04), 0.4, box(0.05, 0.24), paint.main)
    canvas.paint(
        frame.at(0.0, 0.2), 1.1, box(1.0, draws.uniform(0.24, 0.34), 0.14), paint.ink(), rim=0.35
    )
    for k in (-0.55, 0.55):
        wheel = frame.at(k, 0.5)
        canvas.paint(wheel, 0.4, circle(0.27), _dark(canvas))
        canvas.paint(
            wheel,
            0.2,
            circle(0.11),
            np.broadcast_to(np.array([0.7, 0.7, 0.72], F32), (canvas.n, 3)),
        )
    canvas.paint(
        frame.at(0.94, 0.14),
        0.15,
        circle(0.09),
        np.broadcast_to(np.array([1, 0.95, 0.6], F32), (canvas.n, 3)),
    )


def _house(canvas: Canvas, draws: Draws, frame: Frame, paint: Paint) -> None:
    """Walls, a roof, a door and windows."""
    wide, tall = draws.uniform(0.55, 0.8), draws.uniform(0.4, 0.6)
    canvas.paint(
        frame.at(wide * F32(0.5), -0.6), 0.4, box(0.1, 0.3), paint.other * F32(0.7), rim=0.3
    )
    canvas.paint(
        frame.at(0.0, -0.1),
        1.15,
        wedge(wide + F32(0.2), draws.uniform(0.5, 0.85)),
        paint.ink(paint.other),
        rim=0.3,
    )
    canvas.paint(frame.at(0.0, tall - F32(0.1)), 1.0, box(wide, tall), paint.ink(), rim=0.25)
    door = draws.around(0.25)
    canvas.paint(
        frame.at(door, tall * F32(2) - F32(0.42)), 0.4, box(0.14, 0.3), paint.other * F32(0.5)
    )
    for way in (-1.0, 1.0):
        window = frame.at(door + F32(way * 0.36), 0.18)
        canvas.paint(
            window,
            0.25,
            box(0.13, 0.13),
            np.broadcast_to(np.array([0.75, 0.88, 0.95], F32), (canvas.n, 3)),
            rim=0.5,
            rim_width=0.06,
        )


def _star(canvas: Canvas, draws: Draws, frame: Frame, paint: Paint) -> None:
    """Five or six tips."""
    points = np.where(draws.chance(0.75), F32(5), F32(6))
    canvas.paint(frame, 1.1, star(points, draws.uniform(0.35, 0.55)), paint.ink(), rim=0.35)


def _tree(canvas: Canvas, draws: Draws, frame: Frame, paint: Paint) -> None:
    """A trunk under a round crown or under three tiers."""
    bark = np.broadcast_to(np.array([0.4, 0.26, 0.15], F32), (canvas.n, 3))
    canvas.paint(frame, 1.15, capsule(0.0, 0.2, 0.0, 1.0, 0.14, 0.18), bark, rim=0.3)
    conifer = draws.chance(0.4)
    swing = np.stack([draws.around(0.16) for _ in range(5)], 1)
    crown = harmonics(swing, np.stack([draws.unit() for _ in range(5)], 1), first=4)
    wide = draws.uniform(0.55, 0.75)
    canvas.paint(
        frame.at(0.0, -0.3, 0.0, wide), 1.4, crown, paint.ink(), opacity=~conifer, rim=0.35
    )
    for k in range(3):
        tier = frame.at(0.0, 0.45 - 0.4 * k)
        canvas.paint(
            tier,
            0.9,
            wedge(wide * F32(1.05 - 0.22 * k), 0.68),
            paint.ink(),
            opacity=conifer,
            rim=0.35,
        )


def _boat(canvas: Canvas, draws: Draws, frame: Frame, paint: Paint) -> None:
    """A hull, a mast and two sails, on a wave of water."""
    wide = draws.uniform(0.65, 0.95)
    canvas.paint(frame, 1.15, capsule(0.0, 0.4, 0.0, -1.0, 0.045), paint.main * F32(0.5))
    sail, height = paint.ink(paint.other), draws.uniform(0.9, 1.3)
    halves = wedge(wide * F32(0.8), height)
    right = without(halves, box(0.06, 2.0))
    canvas.paint(frame.at(0.0, 0.25), 1.35, intersection(right, lambda u, v: -u), sail, rim=0.2)
    canvas.paint(
        frame.at(0.0, 0.25),
        1.35,
        intersection(right, lambda u, v: u),
        paint.other * F32(0.75),
        opacity=draws.chance(0.7),
        rim=0.2,
    )
    hull = intersection(ellipse(wide, 0.55), lambda u, v: F32(-1.0) * v)
    canvas.paint(frame.at(0.0, 0.4), 1.0, hull, paint.ink(), rim=0.3)
    height = per_image(0.78, canvas.n)
    phase = draws.unit()
    sea = np.broadcast_to(np.array([0.2, 0.45, 0.7], F32), (canvas.n, 3))
    canvas.paint(
        frame, 1.6, lambda u, v: np.abs(v - as_field(height) - F32(0.06) * sine(u + as_field(phase))) + np.maximum(np.abs(u) - F32(1.1), 0) - F32(0.09),
        sea, opacity=draws.chance(0.7),
    )  # fmt: skip


def _mushroom(canvas: Canvas, draws: Draws, frame: Frame, paint: Paint) -> None:
    """A cap, often dotted, on a stalk."""
    stalk = np.broadcast_to(np.array([0.93, 0.88, 0.78], F32), (canvas.n, 3))
    canvas.paint(
        frame, 1.2, capsule(0.0, 0.0, 0.0, 0.75, draws.uniform(0.16, 0.26), 0.3), stalk, rim=0.3
    )
    tall = draws.uniform(0.6, 0.95)
    dome = intersection(ellipse(draws.uniform(0.75, 1.0), tall), lambda u, v: v - F32(0.12))
    canvas.paint(frame.at(0.0, 0.0), 1.1, dome, paint.ink(), rim=0.35)
    dotted = draws.chance(0.7)
    for u, v, r in (
        (-0.45, -0.2, 0.13),
        (0.0, -0.42, 0.15),
        (0.42, -0.15, 0.12),
        (0.08, -0.05, 0.1),
    ):
        spot = frame.at(F32(u) + draws.around(0.08), F32(v) + draws.around(0.06))
        canvas.paint(spot, 0.2, circle(r), stalk, opacity=dotted)


PAINTERS = {
    "mug": _mug,
    "leaf": _leaf,
    "fish": _fish,
    "bird": _bird,
    "car": _car,
    "house": _house,
    "star": _star,
    "tree": _tree,
    "boat": _boat,
    "mushroom": _mushroom,
}
