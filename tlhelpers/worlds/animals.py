"""How a cat and a dog are put together from parts."""

from __future__ import annotations

import numpy as np

from tlhelpers.worlds.canvas import F32, Canvas, Frame, Ink
from tlhelpers.worlds.draws import Draws
from tlhelpers.worlds.fur import Fur
from tlhelpers.worlds.shapes import capsule, circle, curve, ellipse, union, wedge

IRISES = np.array(
    [[0.55, 0.75, 0.25], [0.95, 0.75, 0.2], [0.35, 0.7, 0.85], [0.8, 0.5, 0.15], [0.4, 0.65, 0.4]],
    F32,
)
BROWNS = np.array([[0.25, 0.13, 0.06], [0.38, 0.2, 0.08], [0.12, 0.08, 0.06]], F32)
DARK, WHITE, PINK = (np.array(c, F32) for c in ([0.07, 0.05, 0.06], [1, 1, 1], [0.93, 0.55, 0.58]))


def _ink(colour: np.ndarray, n: int) -> np.ndarray:
    """One colour for every image."""
    return np.broadcast_to(colour, (n, 3))


def _body(canvas: Canvas, body: Frame, fur: Fur, width: np.ndarray, coat: Ink) -> None:
    """A sitting body: haunches, chest, front legs and paws."""
    trunk = union(ellipse(width, 1.0, 0.0, 1.75), ellipse(width * F32(0.72), 0.8, 0.0, 1.1))
    haunches = union(
        ellipse(0.42, 0.5, width * F32(-0.95), 2.3), ellipse(0.42, 0.5, width * F32(0.95), 2.3)
    )
    canvas.paint(body, 2.9, haunches, coat, rim=0.35)
    canvas.paint(body, 2.9, trunk, coat, rim=0.35)
    chest = body.at(0.0, 1.35)
    canvas.paint(chest, 0.8, ellipse(width * F32(0.45), 0.62), fur.light, opacity=fur.bib, soft=0.2)
    for side in (-1.0, 1.0):
        leg = body.at(F32(side) * width * F32(0.36), 2.1)
        canvas.paint(leg, 0.95, capsule(0.0, -0.3, 0.0, 0.5, 0.2), coat, rim=0.4)
        canvas.paint(leg.at(0.0, 0.6), 0.4, ellipse(0.27, 0.2), fur.paw, rim=0.35)


def paint_cat(
    canvas: Canvas, draws: Draws, fur: Fur, body: Frame, head: Frame, turn: np.ndarray
) -> np.ndarray:
    """A cat: pointed ears, slit eyes, a small nose, whiskers, a long curling tail."""
    n = canvas.n
    side = draws.sign()
    coat, shift = canvas.spread(body, fur.ink()), turn * F32(0.28)
    curl, width = draws.uniform(0.4, 1.0), draws.uniform(0.68, 0.9)
    tail = [(side * a, b + 0 * side) for a, b in ((0.6, 2.5), (1.35, 2.45), (1.75, 1.95))]
    tail += [
        (side * (F32(1.75) + F32(0.1) * curl), F32(1.3) * curl),
        (side * (F32(1.5) - F32(0.1) * curl), F32(0.8) * curl),
    ]
    canvas.paint(body, 2.9, curve(tail, F32(0.17), F32(0.12)), coat, rim=0.4, rim_width=0.1)
    _body(canvas, body, fur, width, coat)

    height, base = draws.uniform(0.62, 0.92), draws.uniform(0.36, 0.46)
    folded = draws.chance(0.06)
    height = np.where(folded, F32(0.42), height)
    for way in (-1.0, 1.0):
        ear = head.at(
            F32(way * 0.6) - shift * F32(0.35), -0.5, F32(way) * draws.uniform(0.02, 0.085)
        )
        canvas.paint(
            ear, 1.1, wedge(base, height, 0.04), fur.ink(u0=way * 0.6, seed_v=-0.5), rim=0.4
        )
        canvas.paint(ear, 0.9, wedge(base * F32(0.58), height * F32(0.66)), fur.inner, soft=0.06)

    ruff = union(
        ellipse(1.0, 0.8, 0.0, 0.04), ellipse(0.5, 0.42, -0.6, 0.3), ellipse(0.5, 0.42, 0.6, 0.3)
    )
    canvas.paint(head, 1.25, ruff, fur.ink(mask_at=shift, seed_v=0.0, brow=True), rim=0.35)
    face = head.at(shift, 0.0)
    puffs = union(
        circle(0.25, -0.19, 0.42), circle(0.25, 0.19, 0.42), ellipse(0.16, 0.13, 0.0, 0.66)
    )
    canvas.paint(face, 0.9, puffs, fur.muzzle, soft=0.08)

    iris, squint = draws.pick(IRISES), draws.uniform(0.72, 1.05)
    gaze = draws.around(0.05)
    for way in (-1.0, 1.0):
        near = F32(1.0) + F32(way * 0.22) * turn
        eye = face.at(F32(way * 0.42) * near, -0.1, F32(way * 0.035))
        canvas.paint(eye, 0.4, ellipse(F32(0.26) * near, F32(0.23) * squint), _ink(DARK, n))
        canvas.paint(
            eye, 0.35, ellipse(F32(0.215) * near, F32(0.185) * squint), iris, rim=0.3, rim_width=0.1
        )
        canvas.paint(eye.at(gaze, 0.0), 0.5, ellipse(0.055, F32(0.17) * squint), _ink(DARK, n))
        canvas.paint(eye.at(-0.07, -0.07), 0.15, circle(0.05), _ink(WHITE, n))
    nose = face.at(0.0, 0.33, 0.5)
    canvas.paint(nose, 0.25, wedge(0.125, 0.13, 0.03), fur.nose)
    mouth = union(
        capsule(0.0, 0.34, 0.0, 0.46, 0.02),
        capsule(0.0, 0.46, -0.15, 0.55, 0.022),
        capsule(0.0, 0.46, 0.15, 0.55, 0.022),
    )
    canvas.paint(face, 0.7, mouth, _ink(DARK, n), opacity=0.75)
    lines = []
    for way in (-1.0, 1.0):
        for k in (-1.0, 0.0, 1.0):
            lines.append(
                capsule(way * 0.32, 0.42 + 0.07 * k, way * 1.2, 0.36 + 0.22 * k, 0.022, 0.008)
            )
    canvas.paint(face, 1.35, union(*lines), fur.whisker, opacity=0.85)
    return np.where(folded, "folded", "pointed")


def paint_dog(
    canvas: Canvas, draws: Draws, fur: Fur, body: Frame, head: Frame, turn: np.ndarray
) -> np.ndarray:
    """A dog: hanging, folded or pricked ears, round eyes, a long muzzle, a large nose."""
    n = canvas.n
    side = draws.sign()
    coat, shift = canvas.spread(body, fur.ink()), turn * F32(0.3)
    width, wag = draws.uniform(0.78, 1.0), draws.uniform(0.0, 0.9)
    tail = [
        (side * F32(0.7), F32(2.2) + 0 * wag),
        (side * F32(1.3), F32(2.0) - F32(0.4) * wag),
        (side * F32(1.5), F32(1.7) - wag),
    ]
    canvas.paint(body, 2.7, curve(tail, F32(0.2), F32(0.08)), coat, rim=0.4, rim_width=0.1)
    _body(canvas, body, fur, width, coat)

    kind = np.array([0, 0, 0, 0, 1, 2])[draws.integer(6)]
    pricked = np.flatnonzero(kind == 1)
    spread = draws.rows(pricked)  # even if none is: what is drawn next must not depend on it
    if len(pricked):
        part = canvas.rows(pricked)
        for way in (-1.0, 1.0):
            ear = head.rows(pricked).at(
                F32(way * 0.5) - shift[pricked] * F32(0.35),
                -0.6,
                F32(way) * spread.uniform(0.02, 0.06),
            )
            dark = fur.rows(pricked)
            canvas_ink = dark.ink(u0=way * 0.5, seed_v=-0.6)
            part.paint(ear, 1.1, wedge(0.3, 0.72, 0.07), canvas_ink, rim=0.4)
            part.paint(ear, 0.9, wedge(0.15, 0.45), dark.inner, soft=0.06)
        canvas.put(pricked, part)

    jaw = draws.uniform(0.36, 0.5)
    skull = union(ellipse(0.84, 0.78, 0.0, -0.12), ellipse(0.66, 0.62, 0.0, 0.4))
    canvas.paint(head, 1.2, skull, fur.ink(mask_at=shift, seed_v=0.0), rim=0.35)
    face = head.at(shift, 0.0)
    long = F32(0.1) * np.abs(turn)
    snout = face.at(shift * F32(0.6), F32(0.42) + long)
    tongue = draws.chance(0.55).astype(F32)
    canvas.paint(
        snout,
        1.1,
        capsule(0.04, 0.3, 0.06, draws.uniform(0.5, 0.72), 0.17),
        _ink(PINK, n),
        opacity=tongue,
        rim=0.3,
    )
    canvas.paint(snout, 0.75, ellipse(jaw, 0.4), fur.muzzle, rim=0.3)

    hang, open_ = draws.uniform(0.75, 1.15), draws.uniform(-0.02, 0.07)
    hanging = np.where(kind == 0, F32(1.0), F32(0.0))
    fold = np.where(kind == 2, F32(1.0), F32(0.0))
    dark_ear = fur.ink(seed_v=-0.4, ear=True)
    for way in (-1.0, 1.0):
        root = head.at(F32(way * 0.7) - shift * F32(0.4), -0.62)
        ear = root.at(0.0, 0.0, F32(-way) * (F32(0.03) + open_))
        flap = union(ellipse(0.29, hang * F32(0.6), 0.0, hang * F32(0.5)), circle(0.24, 0.0, 0.05))
        canvas.paint(ear, 1.35, flap, dark_ear, opacity=hanging, rim=0.45)
        tip = root.at(0.0, -0.08, F32(0.5 - way * 0.1))
        canvas.paint(tip, 0.9, wedge(0.36, 0.62, 0.06), dark_ear, opacity=fold, rim=0.45)

    iris, round_ = draws.pick(BROWNS), draws.uniform(0.15, 0.19)
    for way in (-1.0, 1.0):
        near = F32(1.0) + F32(way * 0.2) * turn
        eye = face.at(F32(way * 0.36) * near, -0.16)
        canvas.paint(eye, 0.35, circle(round_ * F32(1.22)), _ink(WHITE * F32(0.9), n), opacity=0.55)
        canvas.paint(eye, 0.3, circle(round_), iris)
        canvas.paint(eye, 0.2, circle(round_ * F32(0.6)), _ink(DARK, n))
        canvas.paint(eye.at(-0.05, -0.06), 0.12, circle(0.05), _ink(WHITE, n))
        brow = eye.at(F32(way * 0.02), -0.3, F32(way * 0.04))
        canvas.paint(
            brow, 0.25, ellipse(0.13, 0.065), fur.light, opacity=F32(0.7) * fur.bib, soft=0.06
        )
    mouth = union(
        capsule(0.0, 0.0, 0.0, 0.12, 0.025),
        capsule(0.0, 0.12, -0.24, 0.24, 0.028),
        capsule(0.0, 0.12, 0.24, 0.24, 0.028),
    )
    canvas.paint(snout, 0.5, mouth, _ink(DARK, n), opacity=0.8)
    nose = snout.at(0.0, -0.17)
    canvas.paint(nose, 0.4, ellipse(0.23, 0.16), _ink(DARK, n))
    canvas.paint(nose.at(-0.06, -0.05), 0.15, ellipse(0.07, 0.035), _ink(WHITE, n), opacity=0.7)
    return np.array(["hanging", "pricked", "folded"])[kind]
