"""Cats and dogs: two classes that colour, pose and place say nothing about.

What tells them apart is parts: pointed against hanging ears, slit against round eyes, a
small nose with whiskers against a long muzzle with a large one, a curling tail against a
wagging one. Fur, background, light, pose and scale come from the same draws for both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from tlhelpers.worlds.animals import paint_cat, paint_dog
from tlhelpers.worlds.backdrops import (
    light_scene,
    paint_backdrop,
    paint_occlusion,
    paint_shadow,
)
from tlhelpers.worlds.canvas import F32, Canvas, Frame
from tlhelpers.worlds.draws import Draws
from tlhelpers.worlds.fur import Fur
from tlhelpers.worlds.world import Conditions, World, draw_world

CLASS_NAMES = ("cat", "dog")


def pets(
    n: int = 1000,
    seed: int = 0,
    image_size: int = 64,
    relatedness: float = 1.0,
    label_noise: float = 0.0,
    shift: str | None = None,
    difficulty: float = 0.5,
) -> World:
    """Draw cats (label 0) and dogs (label 1).

    Args:
        n: Number of images, 1 to 10,000,000. Even numbers are exactly balanced. Defaults
            to 1000.
        seed: Seed, 0 to 2**63 - 1; image i of a seed is the same for every n. Defaults to 0.
        image_size: Side in pixels, 16 to 512. Defaults to 64.
        relatedness: 0 to 1, the share of images that show an animal. The others show
            only a texture whose kind is the label, so a network trained at 0 learns
            nothing about animals. Defaults to 1.
        label_noise: 0 to 1, the share of labels replaced by the other class; the true
            ones stay in ``conditions["true_label"]``. Defaults to 0.
        shift: Another look under the same labels: None, "colour", "texture", "blur",
            "sketch" or "contrast". Defaults to None.
        difficulty: 0 to 1: how widely pose, place and scale vary, how uneven the light
            is and how often something stands in front. Defaults to 0.5.

    Returns:
        A ``World`` whose ``conditions`` hold ``scale``, ``x``, ``y``, ``turn``, ``tilt``, ``fur``,
        ``pattern``, ``ears``, ``background``, ``occlusion``, ``light``, ``related`` and ``true_label``.

    Raises:
        ValueError: If a knob is outside its range.
        TypeError: If a knob is not a number.

    Example:
        >>> from tlhelpers import worlds
        >>> world = worlds.pets(n=4, seed=0)
        >>> world.images.shape, world.labels.dtype, world.class_names
        ((4, 64, 64, 3), dtype('int64'), ('cat', 'dog'))
    """
    return draw_world(
        "pets",
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


def pet_masks(
    n: int = 1000, seed: int = 0, image_size: int = 64, difficulty: float = 0.5
) -> np.ndarray:
    """Say which pixels of :func:`pets` show the animal; what stands in front of it does not count.

    Scenes are drawn again on black and on white, with the animal and without: whatever lets no
    white through covers (Smith and Blinn 1996, "Blue Screen Matting").

    Args:
        n: Number of images, as for :func:`pets`. Defaults to 1000.
        seed: Seed. Defaults to 0.
        image_size: Side in pixels. Defaults to 64.
        difficulty: 0 to 1. Defaults to 0.5.

    Returns:
        bool ``[n, image_size, image_size]``, True where at least half of a pixel is animal.

    Raises:
        ValueError: If a knob is outside its range.
        TypeError: If a knob is not a number.

    Example:
        >>> pet_masks(n=4).shape
        (4, 64, 64)
    """

    def drawn(behind: float, animals: bool) -> np.ndarray:
        """Draw all scenes over one shade; return their red, 0 to 1."""
        scene = functools.partial(_scene, behind=behind, animals=animals)
        world = draw_world(
            "pets",
            CLASS_NAMES,
            scene,
            n=n,
            seed=seed,
            image_size=image_size,
            relatedness=1.0,
            label_noise=0.0,
            shift=None,
            difficulty=difficulty,
        )
        return world.images[..., 0] / np.float32(255)

    through = [drawn(1.0, animals) - drawn(0.0, animals) for animals in (False, True)]
    return through[0] - through[1] >= 0.5


def _scene(
    canvas: Canvas,
    draws: Draws,
    labels: np.ndarray,
    difficulty: float,
    behind: float | None = None,
    animals: bool = True,
) -> Conditions:
    """A background, an animal in front of it, something in front of that, and light.

    With one shade ``behind`` in place of a background, there is no light.
    """
    background = paint_backdrop(canvas, draws)
    size = F32(0.4) * (F32(1.0) + draws.around(0.25 + 0.35 * difficulty))
    x = draws.around(0.15 + 0.5 * difficulty)
    y = F32(-0.1) + draws.around(0.1 + 0.35 * difficulty)
    turn = draws.around(0.4 + 0.9 * difficulty).clip(-1, 1)
    tilt = draws.around(0.02 + 0.1 * difficulty)
    lean = draws.around(0.01 + 0.05 * difficulty)
    fur = Fur(draws)
    body = Frame.place(canvas.n, x, y, lean, size)
    head = body.at(0.0, 0.0, tilt)
    paint_shadow(canvas, body.at(0.0, 2.75), 1.3, 0.3, draws.uniform(0.2, 0.5))
    if behind is not None:
        canvas.pixels[:] = behind
    ears = np.empty(canvas.n, dtype="<U7")

    def paint(animal: Callable) -> Callable:
        def painter(part: Canvas, own: Draws, rows: np.ndarray) -> None:
            parts = (fur.rows(rows), body.rows(rows), head.rows(rows), turn[rows])
            ears[rows] = animal(part, own, *parts)

        return painter

    canvas.split(draws, labels if animals else labels - 2, (paint(paint_cat), paint(paint_dog)))
    occlusion = paint_occlusion(canvas, draws, 0.15 + 0.5 * difficulty)
    if behind is not None:
        return {}
    light = light_scene(canvas, draws, 0.25 + 0.9 * difficulty)
    return {
        "scale": size,
        "x": x,
        "y": y,
        "turn": turn,
        "tilt": tilt,
        "fur": fur.name,
        "pattern": fur.pattern,
        "ears": ears,
        "background": background,
        "occlusion": occlusion,
        "light": light,
    }
