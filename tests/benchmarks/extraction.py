"""Features from files, against the bare forward pass of the same network on images in memory."""

import importlib.util
from collections.abc import Iterator
from typing import Any

import tlhelpers as tl
from benchmarks.pairs import compare, seconds_of
from benchmarks.places import empty_cache
from tlhelpers.transfer.engine import SMALLEST
from tlhelpers.transfer.features import pooled_features

# Network, last stage, image size, data set, images at full size. Weights don't change the speed,
# so where no mirror has a network's, random ones serve.
CASES = (
    ("mobilenet_v2", None, 224, "cats_dogs", 1000),
    ("vgg16", None, 160, "cats_dogs", 500),
    ("vgg16", "block3_pool", 32, "cifar10", 4000),
)
BATCH_SIZES = (8, 16, 32, 64, 128)
# Engine, precision, and the ratio wanted of MobileNetV2 and of VGG16.
ENGINES = (
    ("keras", "float32", 0.95, 0.95),
    ("openvino", "float32", 2.0, 1.5),
    ("openvino", "bfloat16", 4.0, 1.5),
)


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Compare each case: images a second from files to cached features, over bare forward passes."""
    for name, cut, size, dataset, n in CASES:
        n = max(64, round(share * n))
        base = tl.load_backbone(name, size, cut=cut, weights=None)
        images = tl.load_dataset(dataset, tier="real", image_size=size).train.take(slice(n))
        in_memory = images.load()
        model = pooled_features(base, 1)

        def forward(batch_size: int, count: int, model=model, in_memory=in_memory) -> None:
            """Run the network over the first images in memory."""
            for start in range(0, count, batch_size):
                model.predict_on_batch(in_memory[start : start + batch_size])

        def rate(batch_size: int, forward=forward, n=n) -> float:
            """Return images a second at one batch size, after a first run that builds the graph."""
            forward(batch_size, batch_size)
            count = max(batch_size, min(n, 256) // batch_size * batch_size)
            return count / seconds_of(lambda: forward(batch_size, count))[0]

        best = max((size for size in BATCH_SIZES if size <= n), key=rate)

        def bare(forward=forward, best=best, n=n) -> None:
            """Run the network over the same images, at its best batch size."""
            forward(best, n)

        bare()
        for engine, precision, *wanted in ENGINES:
            second = engine == "openvino"
            if second and (size < SMALLEST or not importlib.util.find_spec("openvino")):
                continue

            def extract(base=base, images=images, engine=engine, precision=precision) -> None:
                """Extract into an empty cache, the reading of files included."""
                with empty_cache():
                    tl.extract_features(
                        base, images, engine=engine, precision=precision, progress=False
                    )

            extract()
            how = f"{engine}, {precision}"
            yield compare(
                f"{name}{'' if cut is None else f' to {cut}'} at {size} px, {how}: from files",
                extract,
                bare,
                repeats=repeats,
                wanted=wanted[name == "vgg16"],
                notes={"images": n, "best batch size": best},
            )
        yield {
            "name": f"{name}{'' if cut is None else f' to {cut}'} at {size} px: reading alone",
            **reading(images, bare, repeats),
        }


def reading(images: Any, bare: Any, repeats: int) -> dict[str, Any]:
    """Compare reading and resizing the files with the bare forward passes."""
    row = compare("", lambda: images.load(None, images.image_size), bare, repeats=repeats, wanted=1)
    del row["name"]
    return row
