"""From a folder of photographs to a test score: this package, and two usual recipes."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tlhelpers as tl
from benchmarks.pairs import describe, in_turn, seconds_of
from benchmarks.places import empty_cache

EPOCHS = 10


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Compare the whole job with each recipe, and a second experiment with the guide's."""
    data = _with_fewer_tests(tl.load_dataset("cats_dogs", tier="real", image_size=224), share)
    pool = data.few(max(20, round(share * 300)), seed=0)
    base = tl.load_backbone("mobilenet_v2", 224)

    def again() -> float:
        """Fit a head on features that are there already, and score it."""
        return tl.feature_transfer(base, pool).test.accuracy

    def ours() -> float:
        """Extract into an empty cache, fit a head, score it."""
        with empty_cache():
            return again()

    again()
    # The guide's recipe takes a minute: it is run once, between the first and second experiment.
    first, usual, second = map(seconds_of, (ours, partial(frozen_base_in_fit, base, pool), again))
    for name, experiment, wanted in (
        ("whole job, against the base inside fit for ten epochs", first, 8),
        ("second experiment, against the base inside fit", second, 100),
    ):
        yield describe(name, [(experiment, usual)], wanted=wanted, notes=_images(pool))
    times = in_turn({"ours": ours, "other": partial(predict_and_regress, base, pool)}, repeats)
    yield describe(
        "whole job, against predict and logistic regression",
        list(zip(times["ours"], times["other"], strict=True)),
        wanted=1.2,
        notes=_images(pool),
    )


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


def frozen_base_in_fit(base: tl.Backbone, data: tl.Dataset) -> float:
    """Train a head with the frozen base inside fit, as Keras's transfer learning guide does."""
    images = keras.Input((224, 224, 3))
    network = base.copy().model
    network.trainable = False
    pooled = keras.layers.GlobalAveragePooling2D()(network(base.preprocess(images), training=False))
    outputs = keras.layers.Dense(2, "softmax")(keras.layers.Dropout(0.2)(pooled))
    model = keras.Model(images, outputs)
    return _fit(model, data)


def _fit(model: keras.Model, data: tl.Dataset) -> float:
    """Fit for ten epochs from decoded files, and return the test accuracy."""
    model.compile(
        keras.optimizers.Adam(1e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    batches = _batches(data.train, shuffle=True)
    model.fit(batches, validation_data=_batches(data.validation), epochs=EPOCHS, verbose=0)
    return float(model.evaluate(_batches(data.test), verbose=0)[1])


def _batches(split: tl.Split, shuffle: bool = False) -> Any:
    """Read files as keras.utils.image_dataset_from_directory does, in batches of 32."""
    import tensorflow as tf

    def read(path: Any, label: Any) -> tuple[Any, Any]:
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(image, (224, 224)), label

    paths = [str(path) for path in split.paths]
    files = tf.data.Dataset.from_tensor_slices((paths, split.labels))
    files = files.shuffle(len(paths), seed=0) if shuffle else files
    return files.map(read, tf.data.AUTOTUNE).batch(32).prefetch(tf.data.AUTOTUNE)


def predict_and_regress(base: tl.Backbone, data: tl.Dataset) -> float:
    """Read all images, take features by model.predict, and fit scikit-learn's logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = base.copy().model
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
    image = keras.utils.load_img(path, target_size=(224, 224))
    return keras.utils.img_to_array(image)
