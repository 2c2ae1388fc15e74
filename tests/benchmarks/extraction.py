"""Features from files by each engine, over the bare forward pass of Keras on images in memory."""

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tlhelpers as tl
from benchmarks.pairs import describe, in_turn, seconds_of
from benchmarks.places import empty_cache
from tlhelpers.transfer.engine import SMALLEST, Precision, forward_pass
from tlhelpers.transfer.features import pooled_features

# Network, last stage, image size, data set, images at full size. Weights don't change the speed,
# so where no mirror has a network's, random ones serve.
CASES = (
    ("mobilenet_v2", None, 224, "cats_dogs", 512),
    ("vgg16", None, 160, "cats_dogs", 128),
    ("vgg16", "block3_pool", 32, "cifar10", 1024),
)
BATCH_SIZES = (8, 32, 128)
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
# The ratio wanted of MobileNetV2 and of VGG16.
WANTED = {"keras": (0.95, 0.95), "float32": (2.0, 1.5), "bfloat16": (4.0, 1.5)}


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Compare each case: all ways in turn, so that each shares its round with the bare pass."""
    for name, cut, size, dataset, n in CASES:
        n = max(64, round(share * n))
        base = tl.load_backbone(name, size, cut=cut, weights=None)
        images = tl.load_dataset(dataset, tier="real", image_size=size).train.take(slice(n))
        in_memory = images.load()
        forward = partial(run_bare, pooled_features(base), in_memory)
        best = max((one for one in BATCH_SIZES if one <= n), key=partial(rate, forward, n))
        ways: dict[str, Callable[[], Any]] = {
            "bare": partial(forward, best, n),
            "keras: from files": partial(extract, base, images, "keras", "float32"),
            "reading alone": partial(images.load, None, size),
        }
        if importlib.util.find_spec("openvino") and size >= SMALLEST:
            for precision in PRECISIONS:
                ways[f"openvino, {precision}: from files"] = partial(
                    extract, base, images, "openvino", precision
                )
                bare = forward_pass(pooled_features(base), "openvino", precision)
                ways[f"openvino, {precision}: in memory"] = partial(bare, in_memory)
                plain = PlainOpenVINO(base, images, precision)
                ways[f"plain OpenVINO, {precision}: from files"] = plain
        times = in_turn(ways, min(repeats, 3) if name == "vgg16" else repeats)
        where = f"{name}{'' if cut is None else f' to {cut}'} at {size} px"
        notes = {"images": n, "best batch size of the bare pass": best}
        for way in list(ways)[1:]:
            key = "keras" if way.startswith("keras") else way.split(":")[0].split(", ")[-1]
            theirs = "from files" not in way or way.startswith("plain")
            wanted = None if theirs or key not in WANTED else WANTED[key][name == "vgg16"]
            yield describe(
                f"{where}, {way}",
                list(zip(times[way], times["bare"], strict=True)),
                wanted=wanted,
                notes=notes,
            )
        for precision in PRECISIONS:
            ours, theirs = (
                times.get(f"{way}, {precision}: from files")
                for way in ("openvino", "plain OpenVINO")
            )
            if ours is None or theirs is None:
                continue
            yield describe(
                f"{where}, openvino, {precision}, against plain OpenVINO: from files",
                list(zip(ours, theirs, strict=True)),
                wanted=1.0,
                notes=notes,
            )


def run_bare(model: keras.Model, in_memory: np.ndarray, batch_size: int, count: int) -> None:
    """Run a network over the first images in memory."""
    for start in range(0, count, batch_size):
        model.predict_on_batch(in_memory[start : start + batch_size])


def rate(forward: Callable[[int, int], None], n: int, batch_size: int) -> float:
    """Return images a second at one batch size, after a first run that builds the graph."""
    forward(batch_size, batch_size)
    count = max(batch_size, min(n, 128) // batch_size * batch_size)
    return count / seconds_of(lambda: forward(batch_size, count))[0]


def extract(base: tl.Backbone, images: tl.Split, engine: str, precision: str) -> None:
    """Extract into an empty cache, the reading of files included."""
    with empty_cache():
        tl.extract_features(base, images, engine=engine, precision=precision, progress=False)


class PlainOpenVINO:
    """OpenVINO as its own first example has it: read, compile once, call with a batch; then save.

    The precision is named, since by itself OpenVINO takes bfloat16 where the processor has it.
    """

    def __init__(self, base: tl.Backbone, images: tl.Split, precision: Precision) -> None:
        import openvino

        self.paths, self.size = images.paths or (), base.input_size
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.xml"
            pooled_features(base).export(str(path), format="openvino", verbose=False)
            hint = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32"}
            self.network = openvino.Core().compile_model(str(path), "CPU", hint)

    def __call__(self) -> None:
        """Read by Keras's own function, 32 images at a time."""
        found = []
        for start in range(0, len(self.paths), 32):
            batch = [
                keras.utils.img_to_array(keras.utils.load_img(path, target_size=(self.size,) * 2))
                for path in self.paths[start : start + 32]
            ]
            found.append(self.network(np.stack(batch))[0])
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / "features.npy", np.concatenate(found))
