"""Ten kinds of drawn things at 32 pixels.

Shape, surface and colour each say something about the class and none says all: colours
come from the class's own two paints in two thirds of the images and from anywhere in the
others, surfaces likewise, and shapes bend, turn, and are partly hidden.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tlhelpers.worlds.backdrops import light_scene, paint_backdrop, paint_occlusion
from tlhelpers.worlds.canvas import F32, Canvas, Frame
from tlhelpers.worlds.draws import Draws
from tlhelpers.worlds.things import CLASS_NAMES, PAINTERS, SURFACES, Paint
from tlhelpers.worlds.world import Conditions, World, draw_world


def objects(
    n: int = 1000,
    seed: int = 0,
    image_size: int = 32,
    relatedness: float = 1.0,
    label_noise: float = 0.0,
    shift: str | None = None,
    difficulty: float = 0.5,
) -> World:
    """Draw ten kinds of things: mugs, leaves, fish, birds, cars, houses, stars, ...

    Args:
        n: Number of images, 1 to 10,000,000. Multiples of ten are exactly balanced.
            Defaults to 1000.
        seed: Seed, 0 to 2**63 - 1; image i of a seed is the same for every n. Defaults to 0.
        image_size: Side in pixels, 16 to 512. Defaults to 32.
        relatedness: 0 to 1, the share of images that show a thing. The others show
            only a texture whose kind is the label. Defaults to 1.
        label_noise: 0 to 1, the share of labels replaced by another class; the true ones
            stay in ``conditions["true_label"]``. Defaults to 0.
        shift: Another look under the same labels: None, "colour", "texture", "blur",
            "sketch" or "contrast". Defaults to None.
        difficulty: 0 to 1: how widely pose, place and scale vary, how rarely paint and
            surface are the usual ones, and how often something stands in front.
            Defaults to 0.5.

    Returns:
        A ``World`` whose ``conditions`` hold ``scale``, ``x``, ``y``, ``turns``, ``usual_paint``,
        ``surface``, ``background``, ``occlusion``, ``light``, ``related`` and ``true_label``.

    Raises:
        ValueError: If a knob is outside its range.
        TypeError: If a knob is not a number.

    Example:
        >>> from tlhelpers import worlds
        >>> worlds.objects(n=10).images.shape
        (10, 32, 32, 3)
    """
    return draw_world(
        "objects",
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


def _scene(canvas: Canvas, draws: Draws, labels: np.ndarray, difficulty: float) -> Conditions:
    """A background, a thing, something in front, and light."""
    background = paint_backdrop(canvas, draws)
    size = F32(0.58) * (F32(1.0) + draws.around(0.2 + 0.5 * difficulty))
    x, y = draws.around(0.1 + 0.6 * difficulty), draws.around(0.1 + 0.6 * difficulty)
    turns = draws.around(0.02 + 0.12 * difficulty)
    free = np.isin(labels, (1, 6))
    turns = np.where(free, turns + draws.unit(), turns)
    frame = Frame.place(canvas.n, x, y).at(0, 0, turns, size, draws.sign())
    paint = Paint(draws, labels, difficulty)

    def painter(thing: Callable) -> Callable:
        def paint_rows(part: Canvas, own: Draws, rows: np.ndarray) -> None:
            thing(part, own, frame.rows(rows), paint.rows(rows))

        return paint_rows

    things = [PAINTERS[name] for name in CLASS_NAMES]
    canvas.split(draws, labels, [painter(thing) for thing in things])
    occlusion = paint_occlusion(canvas, draws, 0.05 + 0.4 * difficulty)
    light = light_scene(canvas, draws, 0.25 + 0.9 * difficulty)
    return {
        "scale": size,
        "x": x,
        "y": y,
        "turns": turns,
        "usual_paint": paint.usual,
        "surface": np.array(SURFACES)[paint.surface],
        "background": background,
        "occlusion": occlusion,
        "light": light,
    }
