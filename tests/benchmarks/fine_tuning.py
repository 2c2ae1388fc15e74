"""Fine-tuning with the frozen stages computed once, against plain fit, which computes them each time."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import keras

import tlhelpers as tl
from benchmarks.pairs import describe, in_turn
from benchmarks.places import empty_cache
from tlhelpers.transfer import methods

EPOCHS = 8


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Compare seconds of fine-tuning the last stage of MobileNetV2, for the recipe's epochs."""
    data = tl.load_dataset("cats_dogs", tier="real", image_size=224)
    data = replace(data, test=data.test.take(slice(None, None, 5)))
    pool = data.few(max(10, round(share * 150)), seed=0)
    base = tl.load_backbone("mobilenet_v2", 224)
    frozen = tl.feature_transfer(base, pool)
    usual = tl.recipes.fine_tuning(len(pool.train), len(pool.validation))
    recipe = replace(usual, epochs=EPOCHS, patience=None)

    def ours(views: int) -> float:
        """Compute the frozen stages once, on the images and on this many augmented views."""
        with empty_cache():
            some = replace(recipe, views=views)
            return tl.model_transfer(base, pool, start=frozen, recipe=some).test.accuracy

    def plain(views: int) -> float:
        """Let every step compute all stages."""
        limit, methods.CACHE_LIMIT_BYTES = methods.CACHE_LIMIT_BYTES, 0
        try:
            some = replace(recipe, views=views)
            return tl.model_transfer(base, pool, start=frozen, recipe=some).test.accuracy
        finally:
            methods.CACHE_LIMIT_BYTES = limit
            keras.backend.clear_session(free_memory=False)

    for views, name in ((4, "with augmented views"), (0, "without augmentation")):
        ways = {"ours": partial(ours, views), "plain": partial(plain, views)}
        times = in_turn(ways, min(repeats, 3), first=False)
        yield describe(
            f"fine-tuning the last stages {name}, against plain fit",
            list(zip(times["ours"], times["plain"], strict=True)),
            wanted=1.0,
            notes={"training images": len(pool.train), "epochs": EPOCHS, "views": views},
        )
