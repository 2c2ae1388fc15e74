"""VGG16 and MobileNetV2 at 224 pixels on a GPU, by Keras on JAX and on TensorFlow.

python -m benchmarks.gpu jax 0.02    to try it: one backend on whatever device there is, a fiftieth of
                                     the steps, and MobileNetV2 alone on images of 32 pixels
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Multiplications and additions of a forward pass over one image of 224 pixels, of the convolutions.
OPERATIONS = {"vgg16": 2 * 15.35e9, "mobilenet_v2": 2 * 0.30e9}
PRECISIONS = ("float32", "mixed_bfloat16")
BACKENDS = ("jax", "tensorflow")
BATCH_SIZE, STEPS, IMAGES, MATRIX = 64, 20, 1_500, 8192


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Measure each backend in a process of its own; Keras has one for its whole life."""
    for backend in BACKENDS:
        if importlib.util.find_spec(backend) is None:
            reason = f"{backend} is not installed"
        elif _run(backend, "print(int(has_gpu()))")[-1] != "1":
            reason = "no GPU"
        else:
            call = f"from benchmarks.gpu import measure; measure({share}, {repeats})"
            yield from map(json.loads, _run(backend, call))
            continue
        for name in (f"{what} on {backend}" for what in names()):
            yield {
                "name": name,
                "ratio": None,
                "wanted": None,
                "notes": {"not measured": reason},
            }


def names() -> list[str]:
    """Name what is measured of each backend."""
    return [
        f"{network} at 224 px, {what}, {precision}"
        for network in OPERATIONS
        for precision in PRECISIONS
        for what in ("forward", "fine-tuning", "frozen, from files over forward")
    ]


def measure(share: float, repeats: int) -> None:
    """Print a row of JSON for each name, for the backend of this process."""
    import keras
    import numpy as np

    import tlhelpers as tl
    from benchmarks.growth import draw
    from benchmarks.places import empty_cache
    from tlhelpers.runtime import describe_device

    backend, device = keras.backend.backend(), describe_device()[0]
    pixels, batch_size, size = (224, BATCH_SIZE, MATRIX) if share == 1 else (32, 4, 256)
    square = keras.ops.ones((size, size), "bfloat16")
    product = min(
        _seconds(lambda: np.asarray(keras.ops.matmul(square, square)[0, 0]), 20) for _ in range(3)
    )
    peak = 2 * size**3 / product
    steps = max(1, round(share * STEPS))
    batch = keras.ops.zeros((batch_size, pixels, pixels, 3))
    labels = keras.ops.zeros((batch_size, 2))
    n = max(32, round(share * IMAGES))
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(draw(Path(folder) / "photos", n, size=256, cells=64).glob("*/*.jpg"))
        images = tl.Split.from_paths(paths, np.zeros(n, int), ["one"], image_size=pixels)
        reading = n / _seconds(images.load, 1)
        for network in OPERATIONS if share == 1 else ["mobilenet_v2"]:
            for precision in PRECISIONS:
                keras.config.set_dtype_policy(precision)
                base = tl.load_backbone(network, pixels, weights=None)
                pooled = keras.layers.GlobalAveragePooling2D()(base.model.output)
                outputs = keras.layers.Dense(2, dtype="float32")(pooled)
                model = keras.Model(base.model.input, outputs)
                model.compile("sgd", "mse")
                rates = {}
                for what, step in (
                    ("forward", lambda m=model: m.predict_on_batch(batch)),
                    ("fine-tuning", lambda m=model: m.train_on_batch(batch, labels)),
                ):
                    found = sorted(batch_size / _seconds(step, steps) for _ in range(repeats))
                    rates[what] = found[len(found) // 2]
                    passes = 1 if what == "forward" else 3
                    _print(
                        f"{network} at {pixels} px, {what}, {precision} on {backend}",
                        [rate * passes * OPERATIONS[network] / peak for rate in found],
                        {"images a second": rates[what], "matrix rate, bfloat16": peak},
                        device,
                    )
                found = []
                for _ in range(min(repeats, 3)):
                    with empty_cache():
                        # What is built once is built on the first images.
                        few = images.take(slice(8))
                        tl.extract_features(base, few, engine="keras", progress=False)
                        started = time.perf_counter()
                        tl.extract_features(base, images, engine="keras", progress=False)
                        found.append((n - 8) / (time.perf_counter() - started))
                found = sorted(found)
                _print(
                    f"{network} at {pixels} px, frozen, from files over forward, {precision} on {backend}",
                    [rate / rates["forward"] for rate in found],
                    {"images a second": found[len(found) // 2], "reading alone": reading},
                    device,
                )
    keras.config.set_dtype_policy("float32")


def _print(name: str, ratios: list[float], notes: dict[str, Any], device: str) -> None:
    """Print a row."""
    row = {
        "name": name,
        "ratio": ratios[len(ratios) // 2],
        "low": ratios[0],
        "high": ratios[-1],
        "repeats": len(ratios),
        "wanted": None,
        "notes": {**notes, "device": device},
    }
    print(json.dumps(row), flush=True)


def _run(backend: str, call: str, kept: bool = True) -> list[str]:
    """Run a line in a process of its own with a backend, and return the lines it prints."""
    before = "import tlhelpers as tl; from tlhelpers.runtime import has_gpu; tl.setup(seed=0); "
    done = subprocess.run(
        [sys.executable, "-c", before + call],
        env={**os.environ, "KERAS_BACKEND": backend},
        stdout=subprocess.PIPE if kept else None,
        text=True,
        check=True,
    )
    return [line for line in (done.stdout or "").splitlines() if line[:1] in "{01"]


def _seconds(action: Callable[[], Any], repeats: int) -> float:
    """Return the mean time of an action, after one that builds what it needs."""
    action()
    started = time.perf_counter()
    for _ in range(repeats):
        action()
    return (time.perf_counter() - started) / repeats


if __name__ == "__main__":
    backend, share = sys.argv[1:]
    _run(backend, f"from benchmarks.gpu import measure; measure({float(share)}, 2)", kept=False)
