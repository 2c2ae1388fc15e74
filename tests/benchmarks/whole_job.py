"""From a folder of photographs to a test score: this package, and two usual recipes."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tlhelpers as tl
from benchmarks.pairs import describe

EPOCHS = {"two": 2, "twenty": 20}
"""Epochs of the head in Keras's transfer learning guide: in its edition for Keras 3, and before."""

Timed = tuple[float, float]


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Compare the whole job with each recipe, and a second experiment with the guide's.

    Each runs in a process of its own, so that all of them load the network and build its graph.
    """
    rounds: dict[str, list[tuple[Timed, Timed]]] = {}
    for number in range(min(repeats, 3)):
        with tempfile.TemporaryDirectory() as cache:
            ours, again = (_run("ours", share, cache) for _ in range(2))
            others = {way: _run(way, share, cache) for way in ("two", "predict")}
            # The longest is run once.
            others |= {"twenty": _run("twenty", share, cache)} if number == 0 else {}
        for way, other in others.items():
            rounds.setdefault(way, []).append((ours, other))
        rounds.setdefault("again", []).append((again, others["two"]))
    images = _images(_pool(share))
    for way, name, wanted in (
        ("two", "whole job, against the base inside fit for two epochs", None),
        ("twenty", "whole job, against the base inside fit for twenty epochs", 8),
        ("again", "second experiment, against the base inside fit for two epochs", None),
        ("predict", "whole job, against predict and logistic regression", 1.2),
    ):
        yield describe(name, rounds[way], wanted=wanted, notes=images)


def _run(way: str, share: float, cache: str) -> Timed:
    """Run one way in a new process, and return its seconds and test accuracy."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.whole_job", way, str(share)],
        env={**os.environ, "TLH_CACHE": cache},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds, accuracy = json.loads(done.stdout.splitlines()[-1])
    return seconds, accuracy


def _pool(share: float) -> tl.Dataset:
    """Draw the labelled photographs."""
    data = _with_fewer_tests(tl.load_dataset("cats_dogs", tier="real", image_size=224), share)
    return data.few(max(20, round(share * 300)), seed=0)


def ours(data: tl.Dataset) -> float:
    """Extract features, or read those that are there, fit a head, score it."""
    return tl.feature_transfer(tl.load_backbone("mobilenet_v2", 224), data).test.accuracy


def _images(data: tl.Dataset) -> dict[str, int]:
    """Count the images of a job."""
    return {
        "training images": len(data.train) + len(data.validation),
        "test images": len(data.test),
    }


def _with_fewer_tests(data: tl.Dataset, share: float) -> tl.Dataset:
    """Return the data with some of its test images, at random."""
    chosen = np.random.default_rng(0).permutation(len(data.test))
    kept = np.sort(chosen[: max(40, round(share * 300))])
    return replace(data, test=data.test.take(kept))


def frozen_base_in_fit(data: tl.Dataset, epochs: int) -> float:
    """Train a head with the frozen base inside fit, as Keras's transfer learning guide does."""
    import keras

    base = tl.load_backbone("mobilenet_v2", 224)
    images = keras.Input((224, 224, 3))
    network = base.model
    network.trainable = False
    pooled = keras.layers.GlobalAveragePooling2D()(network(base.preprocess(images), training=False))
    outputs = keras.layers.Dense(2, "softmax")(keras.layers.Dropout(0.2)(pooled))
    model = keras.Model(images, outputs)
    model.compile(
        keras.optimizers.Adam(1e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    batches = _batches(data.train, shuffle=True)
    model.fit(batches, validation_data=_batches(data.validation), epochs=epochs, verbose=0)
    return float(model.evaluate(_batches(data.test), verbose=0)[1])


def _batches(split: tl.Split, shuffle: bool = False) -> Any:
    """Read files as keras.utils.image_dataset_from_directory does; cache and batch as the guide."""
    import tensorflow as tf

    def read(path: Any, label: Any) -> tuple[Any, Any]:
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(image, (224, 224)), label

    paths = [str(path) for path in split.paths]
    files = tf.data.Dataset.from_tensor_slices((paths, split.labels))
    images = files.map(read, tf.data.AUTOTUNE).cache()
    images = images.shuffle(len(paths), seed=0) if shuffle else images
    return images.batch(32).prefetch(tf.data.AUTOTUNE)


def predict_and_regress(data: tl.Dataset) -> float:
    """Read all images, take features by model.predict, and fit scikit-learn's logistic regression."""
    import keras
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = tl.load_backbone("mobilenet_v2", 224).model
    features = []
    labels = []
    for split in (data.train, data.validation, data.test):
        labels.append(split.labels)
        images = np.stack([_read(path) for path in split.paths])
        maps = model.predict(keras.applications.mobilenet_v2.preprocess_input(images), verbose=0)
        features.append(maps.mean(axis=(1, 2)))
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    fitted.fit(np.concatenate(features[:2]), np.concatenate(labels[:2]))
    return float(fitted.score(features[2], labels[2]))


def _read(path: Path) -> np.ndarray:
    """Read one image by Keras's own function."""
    import keras

    image = keras.utils.load_img(path, target_size=(224, 224))
    return keras.utils.img_to_array(image)


WAYS: dict[str, Callable[[tl.Dataset], float]] = {
    "ours": ours,
    "predict": predict_and_regress,
    **{name: partial(frozen_base_in_fit, epochs=number) for name, number in EPOCHS.items()},
}


def main() -> None:
    """Run one way, and print its seconds and accuracy; the clock starts when images are listed."""
    way, share = sys.argv[1:]
    tl.setup(seed=0, tier="real")
    pool = _pool(float(share))
    started = time.perf_counter()
    accuracy = WAYS[way](pool)
    print(json.dumps([time.perf_counter() - started, accuracy]))


if __name__ == "__main__":
    main()
