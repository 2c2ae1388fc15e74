"""Signed distances of simple shapes: negative inside, in the units of the frame.

Sizes may be numbers or per-image arrays ``[n]``. Formulas after Inigo Quilez,
https://iquilezles.org/articles/distfunctions2d/, with a cheap ellipse.
"""

from __future__ import annotations

import numpy as np

from tlhelpers.worlds.canvas import F32, Distance, as_field, cosine, sine


def _size(value):
    """A number as float32, or per-image values shaped for pixel fields."""
    return as_field(value) if np.ndim(value) else F32(value)


def ellipse(a, b, u0=0.0, v0=0.0) -> Distance:
    """An ellipse of half axes a and b (exact for a circle, near enough else)."""
    a, b, u0, v0 = _size(a), _size(b), _size(u0), _size(v0)
    small = np.minimum(a, b)

    def distance(u, v):
        p, q = (u - u0) * (F32(1.0) / a), (v - v0) * (F32(1.0) / b)
        return (np.sqrt(p * p + q * q) - F32(1.0)) * small

    return distance


def circle(radius, u0=0.0, v0=0.0) -> Distance:
    """A disc."""
    return ellipse(radius, radius, u0, v0)


def box(a, b, corner=0.0) -> Distance:
    """A rectangle of half sides a and b with rounded corners."""
    a, b, corner = _size(a), _size(b), _size(corner)

    def distance(u, v):
        p, q = np.abs(u) - (a - corner), np.abs(v) - (b - corner)
        outside = np.sqrt(np.maximum(p, 0) ** 2 + np.maximum(q, 0) ** 2)
        return outside + np.minimum(np.maximum(p, q), 0) - corner

    return distance


def wedge(half_base, height, corner=0.0) -> Distance:
    """An isosceles triangle with its base on v = 0 and its tip at v = -height."""
    half_base, height, corner = _size(half_base), _size(height), _size(corner)
    length = np.sqrt(half_base * half_base + height * height)
    nu, nv = height / length, -half_base / length

    def distance(u, v):
        side = np.abs(u) * nu + (v + height) * nv
        return np.maximum(side, v) - corner

    return distance


def capsule(u0, v0, u1, v1, radius, end_radius=None) -> Distance:
    """A line from (u0, v0) to (u1, v1) of some radius, tapering to ``end_radius``."""
    u0, v0, u1, v1, radius = (_size(a) for a in (u0, v0, u1, v1, radius))
    taper = F32(0.0) if end_radius is None else _size(end_radius) - radius
    du, dv = u1 - u0, v1 - v0
    inverse = F32(1.0) / (du * du + dv * dv + F32(1e-9))

    def distance(u, v):
        p, q = u - u0, v - v0
        along = np.clip((p * du + q * dv) * inverse, 0, 1)
        p, q = p - along * du, q - along * dv
        return np.sqrt(p * p + q * q) - (radius + along * taper)

    return distance


def curve(points: list, radius, end_radius=None) -> Distance:
    """A tapering polyline through ``points``, pairs of numbers or of arrays ``[n]``."""
    end_radius = radius if end_radius is None else end_radius
    steps = len(points) - 1
    pieces = []
    for k in range(steps):
        start = radius + (end_radius - radius) * F32(k / steps)
        stop = radius + (end_radius - radius) * F32((k + 1) / steps)
        (u0, v0), (u1, v1) = points[k], points[k + 1]
        pieces.append(capsule(u0, v0, u1, v1, start, stop))
    return union(*pieces)


def ring(radius, width) -> Distance:
    """A circle's line of some width."""
    radius, width = _size(radius), _size(width)
    return lambda u, v: np.abs(np.sqrt(u * u + v * v) - radius) - width


def union(*shapes: Distance) -> Distance:
    """All of several shapes."""

    def distance(u, v):
        nearest = shapes[0](u, v)
        for shape in shapes[1:]:
            nearest = np.minimum(nearest, shape(u, v))
        return nearest

    return distance


def intersection(*shapes: Distance) -> Distance:
    """What several shapes share."""

    def distance(u, v):
        farthest = shapes[0](u, v)
        for shape in shapes[1:]:
            farthest = np.maximum(farthest, shape(u, v))
        return farthest

    return distance


def without(shape: Distance, hole: Distance) -> Distance:
    """A shape with a hole cut out."""
    return lambda u, v: np.maximum(shape(u, v), -hole(u, v))


def moved(shape: Distance, u0, v0) -> Distance:
    """A shape moved to (u0, v0)."""
    u0, v0 = _size(u0), _size(v0)
    return lambda u, v: shape(u - u0, v - v0)


def harmonics(amplitudes: np.ndarray, phases: np.ndarray, first: int = 2) -> Distance:
    """A closed contour of radius 1 + sum of a_k cos(k angle + phase_k), k from ``first``.

    Args:
        amplitudes: ``[n, m]``, in units of the mean radius.
        phases: ``[n, m]``, in turns.
        first: The lowest harmonic. Defaults to 2.
    """
    weights_c = amplitudes * cosine(phases)
    weights_s = -amplitudes * sine(phases)

    def distance(u, v):
        r = np.sqrt(u * u + v * v) + F32(1e-6)
        c1, s1 = u / r, v / r
        c, s = c1, s1
        radius = np.ones_like(r)
        last = first + amplitudes.shape[1] - 1
        for k in range(1, last + 1):
            if k >= first:
                radius += as_field(weights_c[:, k - first]) * c
                radius += as_field(weights_s[:, k - first]) * s
            if k < last:
                c, s = c * c1 - s * s1, s * c1 + c * s1
        return (r - radius) * F32(0.8)

    return distance


def star(points: np.ndarray | float, inner) -> Distance:
    """A rounded star: radius swinging between ``inner`` and 1 over ``points`` tips."""
    points, inner = _size(points), _size(inner)

    def distance(u, v):
        r = np.sqrt(u * u + v * v) + F32(1e-6)
        phase = turns_of(u, v) * points
        tip = F32(2.0) * np.abs(phase - np.floor(phase) - F32(0.5))
        return (r - (inner + (F32(1.0) - inner) * tip)) * F32(0.7)

    return distance


def turns_of(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The angle of (u, v) in turns, -0.5 to 0.5, within 0.001, by a polynomial: same bits everywhere."""
    p, q = np.abs(u), np.abs(v)
    ratio = np.minimum(p, q) / (np.maximum(p, q) + F32(1e-9))
    angle = ratio * (F32(0.16845) - F32(0.04345) * ratio)
    angle = np.where(q > p, F32(0.25) - angle, angle)
    angle = np.where(u < 0, F32(0.5) - angle, angle)
    return np.where(v < 0, -angle, angle)
