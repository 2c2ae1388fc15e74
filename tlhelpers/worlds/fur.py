"""Fur: colours and patterns shared by both kinds of pets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tlhelpers.worlds.canvas import F32, as_field, sine
from tlhelpers.worlds.draws import Draws
from tlhelpers.worlds.textures import noise

FUR_NAMES = ("black", "grey", "blue-grey", "brown", "ginger", "cream", "white", "sand", "chocolate")
FUR_COLOURS = np.array(
    [
        [0.16, 0.15, 0.17],
        [0.55, 0.55, 0.56],
        [0.42, 0.48, 0.56],
        [0.52, 0.36, 0.23],
        [0.92, 0.56, 0.22],
        [0.96, 0.87, 0.72],
        [0.97, 0.96, 0.94],
        [0.82, 0.66, 0.42],
        [0.34, 0.22, 0.16],
    ],
    F32,
)
PATTERNS = ("plain", "stripes", "patches", "two-tone", "tuxedo", "spots")


class Fur:
    """The coat of each animal in a batch: every colour a painter of animals asks for.

    Attributes:
        name: Name of the base colour, ``[n]``.
        pattern: Name of the pattern, ``[n]``.
        light, muzzle, paw, inner, nose, whisker: Colours ``[n, 3]``.
        bib: 0 or 1, ``[n]``: whether chest and brows are light.
    """

    def __init__(self, draws: Draws):
        """Draw a coat for each animal."""
        base = draws.integer(len(FUR_NAMES))
        pattern = draws.integer(len(PATTERNS))
        self.name, self.pattern = np.array(FUR_NAMES)[base], np.array(PATTERNS)[pattern]
        jitter = np.stack([draws.around(0.07) for _ in range(3)], 1)
        self.base = np.clip(FUR_COLOURS[base] + jitter, 0.04, 1)
        brightness = self.base.mean(axis=1)
        other = FUR_COLOURS[(base + 1 + draws.integer(len(FUR_NAMES) - 1)) % len(FUR_NAMES)]
        darker = np.where(brightness[:, None] > 0.3, self.base * F32(0.52), self.base + F32(0.16))
        self.second = np.where(np.isin(pattern, (2, 5))[:, None], other, darker)
        self.light = np.clip(self.base * F32(0.25) + F32(0.74), 0, 1)
        self.stripes = (pattern == 1).astype(F32)
        self.patches = (pattern == 2).astype(F32)
        self.spots = (pattern == 5).astype(F32)
        self.blaze = np.isin(pattern, (3, 4)).astype(F32)
        self.bib = (self.blaze.astype(bool) | draws.chance(0.25)).astype(F32)
        pale = np.where(self.bib[:, None] > 0, F32(0.85), F32(0.35))
        self.muzzle = self.base + pale * (self.light - self.base)
        self.paw = np.where(self.bib[:, None] > 0, self.light, self.base * F32(0.95))
        self.inner = np.clip(self.base * F32(0.35) + np.array([0.55, 0.33, 0.33], F32), 0, 1)
        pink = draws.chance(0.6)[:, None]
        self.nose = np.where(pink, np.array([0.9, 0.5, 0.52], F32), np.array([0.15, 0.1, 0.1], F32))
        self.whisker = np.where(
            brightness[:, None] > 0.55, np.array([0.2, 0.18, 0.18], F32), np.array([1, 1, 1], F32)
        )
        self.light_u, self.light_v = draws.around(0.16), draws.uniform(-0.16, -0.02)
        self.frequency, self.phase = draws.uniform(1.7, 2.6), draws.unit()
        self.wide, self.corner = draws.uniform(0.1, 0.3), (draws.unit(), draws.unit())
        self.dark_ears = draws.chance(0.5).astype(F32)

    def rows(self, index: np.ndarray) -> Fur:
        """The coats of some of the animals."""
        part = object.__new__(Fur)
        for key, value in self.__dict__.items():
            if key == "corner":
                part.corner = (value[0][index], value[1][index])
            else:
                setattr(part, key, value[index])
        return part

    def ink(
        self,
        *,
        u0: float = 0.0,
        seed_v: float = 0.0,
        mask_at: np.ndarray | None = None,
        brow: bool = False,
        ear: bool = False,
    ) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """The coat as a function of a part's (u, v).

        Args:
            u0: Place of the part beside the head's middle, so that patches run on.
            seed_v: Place of the part above or below the head's middle.
            mask_at: Where a light blaze runs down the face, ``[n]``; None for no blaze.
            brow: Whether stripes gather on the forehead.
            ear: Whether this part may be darker as a whole.
        """

        def colour(u, v):
            p, q = u + F32(u0), v + F32(seed_v)
            blobs = noise("blobs", p, q, F32(0.055), *self.corner)
            bars = sine(
                p * F32(0.35) * as_field(self.frequency) + as_field(self.phase) + F32(0.4) * blobs
            )
            bars = sine(q * as_field(self.frequency) + F32(0.12) * bars)
            if brow:
                crown = np.clip(F32(-1.2) - F32(4.0) * v, 0, 1)
                bars = bars + crown * (sine(u * F32(2.6) + F32(0.25)) - bars)
            stripes = np.clip(F32(3.0) * bars - F32(0.3), 0, 1) * as_field(self.stripes)
            patches = np.clip((blobs - F32(0.52)) * F32(14), 0, 1) * as_field(self.patches)
            small = noise("blobs", p, q, F32(0.17), *self.corner)
            spots = np.clip((small - F32(0.68)) * F32(12), 0, 1) * as_field(self.spots)
            mask = np.maximum(np.maximum(stripes, patches), spots)
            if ear:
                mask = np.maximum(mask, as_field(self.dark_ears * F32(0.75)))
            base, second = self.base[:, :, None, None], self.second[:, :, None, None]
            ink = base + mask[:, None] * (second - base)
            if mask_at is not None:
                off = np.abs(u - as_field(mask_at)) - as_field(self.wide) * (
                    F32(1.0) + F32(1.4) * np.maximum(v, 0)
                )
                blaze = np.clip(F32(0.5) - off * F32(9.0), 0, 1) * as_field(self.blaze)
                ink += blaze[:, None] * (self.light[:, :, None, None] - ink)
            shade = F32(1.0) + as_field(self.light_u) * u + as_field(self.light_v) * v
            hairs = noise("grain", p * F32(1.0), q * F32(0.5), F32(0.09), *self.corner)
            shade += F32(0.13) * (hairs - F32(0.5))
            return ink * shade[:, None]

        return colour
