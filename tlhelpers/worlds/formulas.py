"""The source task: forms made by formulas, on which ``vgg16_mini`` is pre-trained.

Contours, fractals, blobs with parts and solids stuck together, each filled with one of
24 textures. No cat, no dog and none of the ten things is ever drawn or named.
"""

from __future__ import annotations

import numpy as np

from tlhelpers.worlds.backdrops import light_scene, paint_backdrop, paint_occlusion
from tlhelpers.worlds.canvas import F32, Canvas, Frame, Ink, as_field
from tlhelpers.worlds.draws import Draws
from tlhelpers.worlds.fractals import paint_fractal
from tlhelpers.worlds.parts import APPENDAGES, MARKS, SOLIDS, paint_assemblies, paint_creatures
from tlhelpers.worlds.shapes import box, circle, harmonics
from tlhelpers.worlds.textures import colours, grating_texture, noise, stripes
from tlhelpers.worlds.world import Conditions, World, draw_world

CONTOURS, FRACTALS, TEXTURES, HARMONICS = 32, 16, 24, 5
CREATURES = len(APPENDAGES) * len(MARKS)
ASSEMBLIES = len(SOLIDS) ** 2
CLASS_NAMES = (
    *(f"contour {k}" for k in range(CONTOURS)),
    *(f"fractal {k}" for k in range(FRACTALS)),
    *(f"blob with {a} and {m}" for a in APPENDAGES for m in MARKS),
    *(f"{a} with {b}" for a in SOLIDS for b in SOLIDS),
)
# Further labels in `conditions` and how many kinds each has; -1 where an image has none.
HEADS = {
    "texture": TEXTURES,
    "appendage": len(APPENDAGES),
    "mark": len(MARKS),
    "large": len(SOLIDS),
    "small": len(SOLIDS),
}
_STARTS = np.cumsum([0, CONTOURS, FRACTALS, CREATURES, ASSEMBLIES])


def formulas(
    n: int = 1000,
    seed: int = 0,
    image_size: int = 64,
    relatedness: float = 1.0,
    label_noise: float = 0.0,
    shift: str | None = None,
    difficulty: float = 0.5,
) -> World:
    """Draw forms made by formulas: 32 contours, 16 fractals, 64 blobs, 36 assemblies.

    Procedural pre-training after Kataoka et al. (2020), "Pre-training without Natural
    Images", https://arxiv.org/abs/2101.08515.

    Args:
        n: Number of images, 1 to 10,000,000. Multiples of 148 are exactly balanced.
            Defaults to 1000.
        seed: Seed, 0 to 2**63 - 1; image i of a seed is the same for every n. Defaults to 0.
        image_size: Side in pixels, 16 to 512. Defaults to 64.
        relatedness: 0 to 1, the share of images that show a form with parts, edges and
            light, as pets and objects have. The others show only gratings whose
            directions and frequencies are the label. Defaults to 1.
        label_noise: 0 to 1, the share of labels replaced by another class; the true ones
            stay in ``conditions["true_label"]``. Defaults to 0.
        shift: Another look under the same labels: None, "colour", "texture", "blur",
            "sketch" or "contrast". Defaults to None.
        difficulty: 0 to 1: how widely place and scale vary, how uneven the light is and
            how often something stands in front. Defaults to 0.5.

    Returns:
        A ``World`` of 148 classes whose ``conditions`` hold further labels (int64, -1 where
        there is none: ``texture``, 0 to 23, the form's surface; ``appendage`` and ``mark``, 0
        to 7, of blobs; ``large`` and ``small``, 0 to 5, of assemblies), ``scale``, ``x``, ``y``, ``turns``,
        ``background``, ``occlusion``, ``light``, ``related`` and ``true_label``.

    Raises:
        ValueError: If a knob is outside its range.
        TypeError: If a knob is not a number.

    Example:
        >>> from tlhelpers import worlds
        >>> world = worlds.formulas(n=3, image_size=32)
        >>> world.images.shape, len(world.class_names)
        ((3, 32, 32, 3), 148)
    """
    world = draw_world(
        "formulas",
        CLASS_NAMES,
        _scene,
        n=n,
        seed=seed,
        image_size=image_size,
        relatedness=relatedness,
        label_noise=label_noise,
        shift=shift,
        difficulty=difficulty,
    )
    for head in HEADS:
        labels = world.conditions[head]
        world.conditions[head] = np.where(world.conditions["related"], labels, -1)
    return world


class Surface:
    """The surfaces of a batch of forms: one of 24 textures, colours, and shading."""

    def __init__(self, draws: Draws):
        """Draw a surface for each form."""
        self.texture = draws.integer(TEXTURES)
        self.first = colours(draws, 0.05, 1.0)
        strength = draws.uniform(0.35, 0.75)[:, None]
        away = np.where(self.first.mean(axis=1, keepdims=True) > 0.5, F32(-1), F32(1))
        self.second = np.clip(self.first + away * strength + colours(draws, -0.25, 0.25), 0, 1)
        self.turns, self.phase = draws.unit(), draws.unit()
        self.other_phase, self.jitter = draws.unit(), draws.uniform(0.9, 1.1)
        self.slope_u, self.slope_v = draws.around(0.35), draws.around(0.35)
        self.strength = draws.uniform(0.4, 1.0)

    def rows(self, index: np.ndarray) -> Surface:
        """The surfaces of some of the forms."""
        part = object.__new__(Surface)
        part.__dict__.update({key: value[index] for key, value in self.__dict__.items()})
        return part

    def ink(self) -> Ink:
        """The surface as a function of the form's (u, v)."""
        pattern, fineness, sharp = self.texture % 4, self.texture // 4 % 3, self.texture // 12
        scale = np.array([0.9, 1.6, 2.8], F32)[fineness] * self.jitter
        hard = as_field(np.array([1.0, 6.0], F32)[sharp])

        def ink(u, v):
            wave = stripes(u, v, self.turns, scale, self.phase, 1.0) - F32(0.5)
            cross = stripes(u, v, self.turns + F32(0.25), scale, self.other_phase, 1.0) - F32(0.5)
            blobs = noise("blobs", u, v, scale * F32(0.045), self.phase, self.other_phase) - F32(
                0.5
            )
            cloud = noise("cloud", u, v, scale * F32(0.12), self.phase, self.other_phase) - F32(0.5)
            value = np.where(as_field(pattern) == 0, wave, F32(4.0) * wave * cross)
            value = np.where(as_field(pattern) == 2, blobs, value)
            value = np.where(as_field(pattern) == 3, cloud, value)
            mask = np.clip(F32(0.5) + value * hard, 0, 1) * as_field(self.strength)
            shade = F32(1.0) + as_field(self.slope_u) * u + as_field(self.slope_v) * v
            first, second = self.first[:, :, None, None], self.second[:, :, None, None]
            return (first + mask[:, None] * (second - first)) * shade[:, None]

        return ink


def _scene(canvas: Canvas, draws: Draws, labels: np.ndarray, difficulty: float) -> Conditions:
    """A background, clutter, a form, something in front, and light."""
    background = paint_backdrop(canvas, draws)
    woven = np.where(draws.chance(0.3), 0, -1)
    canvas.split(
        draws, woven, [lambda part, own, rows: grating_texture(part, own, own.integer(60), 60)]
    )
    for _ in range(2):
        frame = Frame.place(
            canvas.n,
            draws.uniform(-1, 1),
            draws.uniform(-1, 1),
            draws.unit(),
            draws.uniform(0.05, 0.25),
        )
        shape = box(1.0, draws.uniform(0.3, 1.0)), circle(1.0)
        canvas.paint(frame, 1.4, shape[0], colours(draws), opacity=draws.chance(0.4), rim=0.2)
    size = F32(0.58) * (F32(1.0) + draws.around(0.2 + 0.5 * difficulty))
    x, y = draws.around(0.1 + 0.6 * difficulty), draws.around(0.1 + 0.6 * difficulty)
    turns = draws.around(0.04 + 0.12 * difficulty)
    frame = Frame.place(canvas.n, x, y).at(0, 0, turns, size)
    surface = Surface(draws)
    family = np.searchsorted(_STARTS, labels, side="right") - 1
    kinds = labels - _STARTS[family]
    recipe = Draws("contours", 0, np.arange(CONTOURS))
    amplitudes = np.stack([recipe.around(0.38 - 0.04 * k) for k in range(HARMONICS)], 1)
    phases = np.stack([recipe.unit() for _ in range(HARMONICS)], 1)
    second = colours(draws, 0.05, 1.0)

    def contour(part: Canvas, own: Draws, rows: np.ndarray) -> None:
        bend = np.stack([own.around(0.05) for _ in range(HARMONICS)], 1)
        shape = harmonics(amplitudes[kinds[rows]] + bend, phases[kinds[rows]])
        part.paint(frame.rows(rows), 2.2, shape, surface.rows(rows).ink(), rim=0.3)

    def fractal(part: Canvas, own: Draws, rows: np.ndarray) -> None:
        place = frame.rows(rows).at(0, 0, 0, 1.5)
        paint_fractal(part, own, place, kinds[rows], FRACTALS, second[rows])

    def creature(part: Canvas, own: Draws, rows: np.ndarray) -> None:
        paint_creatures(part, own, frame.rows(rows), kinds[rows], surface.rows(rows).ink())

    def assembly(part: Canvas, own: Draws, rows: np.ndarray) -> None:
        whole = surface.rows(rows)
        place = frame.rows(rows).at(0, 0, own.unit() * own.chance(0.5), 1.2)
        paint_assemblies(
            part, own, place, kinds[rows], lambda some: whole.rows(some).ink(), second[rows]
        )

    canvas.split(draws, family, (contour, fractal, creature, assembly))
    occlusion = paint_occlusion(canvas, draws, 0.05 + 0.3 * difficulty)
    light = light_scene(canvas, draws, 0.25 + 0.9 * difficulty)
    return {
        "texture": np.where(family == 1, -1, surface.texture),
        "appendage": np.where(family == 2, kinds // len(MARKS), -1),
        "mark": np.where(family == 2, kinds % len(MARKS), -1),
        "large": np.where(family == 3, kinds // len(SOLIDS), -1),
        "small": np.where(family == 3, kinds % len(SOLIDS), -1),
        "scale": size,
        "x": x,
        "y": y,
        "turns": turns,
        "background": background,
        "occlusion": occlusion,
        "light": light,
    }
