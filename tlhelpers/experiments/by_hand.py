"""What somebody would write instead of ``tlhelpers train``: two usual scripts, on the same network.

Each function is such a script. What it imports is part of it, and its lines are counted.
"""

import inspect
from collections.abc import Callable
from pathlib import Path


def scikit_learn(photos: Path, unseen: Path, weights: str = "imagenet") -> tuple[float, float]:
    """Fit scikit-learn's logistic regression on the features that ``model.predict`` gives.

    Args:
        photos: Class folders to learn from.
        unseen: Class folders to score on.
        weights: MobileNetV2's weights file. Defaults to Keras' own.

    Returns:
        The accuracy it estimates by five folds, and that on ``unseen``.
    """
    import keras
    import numpy as np
    from keras.applications.mobilenet_v2 import MobileNetV2, preprocess_input
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    base = MobileNetV2(include_top=False, pooling="avg", weights=weights, input_shape=(224, 224, 3))

    def features(folder):
        data = keras.utils.image_dataset_from_directory(
            folder, image_size=(224, 224), shuffle=False, verbose=False
        )
        parts = [(base.predict(preprocess_input(x), verbose=0), y) for x, y in data]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    x, y = features(photos)
    head = LogisticRegression(max_iter=1000)
    estimate = cross_val_score(head, x, y, cv=5).mean()
    head.fit(x, y)
    return float(estimate), float(head.score(*features(unseen)))


def keras_guide(photos: Path, unseen: Path, weights: str = "imagenet") -> tuple[float, float]:
    """Follow the Keras guide on transfer learning: two epochs frozen, one of all layers.

    The guide (https://keras.io/guides/transfer_learning/) has Xception, 150 pixels and 9,305
    photographs; network and size are replaced, so that the recipe alone is compared.

    Args:
        photos: Class folders to learn from, of two classes.
        unseen: Class folders to score on.
        weights: MobileNetV2's weights file. Defaults to Keras' own.

    Returns:
        The accuracy on a fifth of ``photos`` that was left out, and that on ``unseen``.
    """
    import keras
    from keras import layers

    train, validation = keras.utils.image_dataset_from_directory(
        photos, image_size=(224, 224), validation_split=0.2, subset="both", seed=0, verbose=False
    )
    test = keras.utils.image_dataset_from_directory(unseen, image_size=(224, 224), verbose=False)
    base = keras.applications.MobileNetV2(
        include_top=False, weights=weights, input_shape=(224, 224, 3)
    )
    base.trainable = False
    inputs = keras.Input((224, 224, 3))
    x = layers.RandomFlip("horizontal")(inputs)
    x = layers.RandomRotation(0.1)(x)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = base(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    model = keras.Model(inputs, layers.Dense(1)(x))
    for rate, epochs in ((1e-3, 2), (1e-5, 1)):
        model.compile(
            keras.optimizers.Adam(rate),
            keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
        )
        model.fit(train, epochs=epochs, verbose=0)
        base.trainable = True
    return model.evaluate(validation, verbose=0)[1], model.evaluate(test, verbose=0)[1]


def lines_of(script: Callable[..., object]) -> int:
    """Count the lines of a script, without its signature, its docstring and empty ones."""
    text = inspect.getsource(script)
    body = text.split('"""', 2)[2]
    return sum(bool(line.strip()) for line in body.splitlines())
