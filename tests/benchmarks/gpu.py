"""VGG16 at 224 pixels on a GPU, forward and fine-tuning, in single and in mixed precision."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

import tlhelpers as tl
from tlhelpers.runtime import describe_device, has_gpu

# Multiplications and additions of VGG16's convolutions for one image of 224 pixels.
FORWARD_OPERATIONS = 2 * 15.35e9
BATCH_SIZE, STEPS = 64, 20


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Measure images a second, and the share of the matrix rate measured in the same run."""
    names = [
        f"VGG16 at 224 px, {what}, {precision}"
        for what in ("forward", "fine-tuning")
        for precision in ("float32", "mixed_bfloat16")
    ]
    if not has_gpu():
        for name in names:
            yield {"name": name, "ratio": None, "wanted": None, "notes": {"not measured": "no GPU"}}
        return
    peak = matrix_rate()
    before = keras.config.dtype_policy()
    steps = max(2, round(share * STEPS))
    for name in names:
        keras.config.set_dtype_policy(name.rsplit(", ", 1)[1])
        model = tl.load_backbone("vgg16", 224, weights=None).model
        images = np.zeros((BATCH_SIZE, 224, 224, 3), "float32")
        if "forward" in name:
            seconds = _seconds(lambda m=model, x=images: m.predict_on_batch(x), steps)
            operations = FORWARD_OPERATIONS
        else:
            outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(model.output))
            model = keras.Model(model.input, outputs)
            model.compile("adam", "mse")
            labels = np.zeros((BATCH_SIZE, 2), "float32")
            seconds = _seconds(lambda m=model, x=images, y=labels: m.train_on_batch(x, y), steps)
            operations = 3 * FORWARD_OPERATIONS
        rate = BATCH_SIZE / seconds
        yield {
            "name": name,
            "ratio": rate * operations / peak,
            "wanted": None,
            "notes": {
                "images a second": rate,
                "matrix operations a second, bfloat16": peak,
                "device": describe_device()[0],
            },
        }
    keras.config.set_dtype_policy(before)


def matrix_rate(size: int = 8192, repeats: int = 20) -> float:
    """Return the operations a second of products of large bfloat16 matrices."""
    a = keras.ops.ones((size, size), "bfloat16")
    seconds = _seconds(lambda: np.asarray(keras.ops.matmul(a, a)[0, 0]), repeats)
    return 2 * size**3 / seconds


def _seconds(action: Callable[[], Any], repeats: int) -> float:
    """Return the mean time of an action, after one that builds what it needs."""
    action()
    started = time.perf_counter()
    for _ in range(repeats):
        action()
    return (time.perf_counter() - started) / repeats
