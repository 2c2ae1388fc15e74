"""Full-size results on MNIST: two networks and two baselines, recorded by ``tlhelpers record``.

Each seed carves its own 5,000 validation digits from the 60,000 training digits, draws its own
weights and order, and keeps the epoch with the best validation accuracy. The 10,000 test digits
are scored once a run, after that choice.
"""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tlhelpers.experiments.records import Settings
from tlhelpers.models.classic import lenet5
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    import keras

    from tlhelpers.data.splits import Dataset, Split

SEEDS = 5
ALL = 6000
"""Labelled digits a class, those for validation included: all of MNIST's, which is nearly balanced."""
EPOCHS, BATCH_SIZE, PEAK_RATE = 15, 128, 3e-3
"""Fixed before any test digit was scored; the rate falls to 0 as a cosine."""

NEIGHBOURS = (1, 3, 5)
"""Numbers of neighbours from which the baseline's is chosen on validation digits."""

INVERSE_PENALTY = 0.1
IMAGE_SIZE = 28


class Fitted(NamedTuple):
    """What training gives: a predictor, the figures of each epoch, and the settings used."""

    predict: "Callable[[Split], np.ndarray]"
    history: dict[str, list[float]]
    config: dict[str, Any]


def grey(split: "Split") -> np.ndarray:
    """Return a split's digits with one channel in place of three equal ones.

    Args:
        split: Grey images in RGB form.

    Returns:
        uint8 ``[n, s, s, 1]``, 0 to 255.

    Example:
        >>> from tlhelpers.data.splits import Split
        >>> grey(Split.from_arrays(np.zeros((2, 8, 8, 3), "uint8"), np.array([0, 1]), "ab")).shape
        (2, 8, 8, 1)
    """
    return np.ascontiguousarray(split.images[..., :1])


def mlp(*, num_classes: int = 10, input_size: int = 28) -> "keras.Model":
    """Build a multilayer perceptron: flattened pixels, 128 hidden units, softmax.

    A dense layer from m to n numbers has (m + 1) · n parameters: at 28 pixels, grey, and ten
    classes 785 · 128 + 129 · 10 = 101,770.

    Args:
        num_classes: Number of classes. Defaults to 10.
        input_size: Height and width of the images in pixels. Defaults to 28.

    Returns:
        Uncompiled Keras model from grey images ``[n, input_size, input_size, 1]``, values 0 to 255,
        to float32 probabilities ``[n, num_classes]``.

    Example:
        >>> mlp().count_params()
        101770
    """
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((input_size, input_size, 1), name="image"),
            layers.Rescaling(1 / 255, name="rescale"),
            layers.Flatten(name="flatten"),
            layers.Dense(128, activation="relu", name="hidden1"),
            layers.Dense(num_classes, activation="softmax", dtype="float32", name="head"),
        ],
        name="mlp",
    )


def train_network(name: str, data: "Dataset", seed: int, epochs: int = EPOCHS) -> Fitted:
    """Train a network by Adam with a falling learning rate; keep the best epoch on validation.

    Args:
        name: ``"mlp"`` or ``"lenet5"``.
        data: Grey images in RGB form.
        seed: Seed of weights and order.
        epochs: Passes over the training images. Defaults to 15.

    Returns:
        The predictor, the figures of each epoch, and the settings.
    """
    import keras

    keras.utils.set_random_seed(seed)
    build = {"mlp": mlp, "lenet5": lenet5}[name]
    model = build(input_size=data.image_size, num_classes=data.num_classes)
    steps = epochs * -(-len(data.train) // BATCH_SIZE)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(PEAK_RATE, steps)),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = model.fit(
        grey(data.train),
        data.train.labels,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation_data=(grey(data.validation), data.validation.labels),
        validation_batch_size=500,
        # All epochs are run, since the falling rate is planned for them; the best one is kept.
        callbacks=[
            keras.callbacks.EarlyStopping(
                "val_accuracy", mode="max", patience=epochs, restore_best_weights=True
            )
        ],
        verbose=0,
    ).history
    config = {
        "optimiser": "Adam, cosine decay to 0",
        "peak_learning_rate": PEAK_RATE,
        "batch_size": BATCH_SIZE,
        "epochs": epochs,
        "epoch_kept": int(np.argmax(history["val_accuracy"])) + 1,
        "trained_parameters": model.count_params(),
        "augmentation": None,
    }
    figures = {key: [float(value) for value in values] for key, values in history.items()}
    return Fitted(
        lambda split: np.asarray(model.predict(grey(split), batch_size=500, verbose=0)),
        figures,
        config,
    )


def fit_linear(name: str, data: "Dataset", seed: int) -> Fitted:
    """Fit multinomial logistic regression to the pixels.

    Args:
        name: Ignored; all fitters take it.
        data: Grey images in RGB form.
        seed: Ignored: the optimum is one.

    Returns:
        The predictor, no history, and the settings.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=200)
    model.fit(_pixels(data.train), data.train.labels)
    config = {"inverse_penalty": INVERSE_PENALTY, "trained_parameters": model.coef_.size + 10}
    return Fitted(lambda split: model.predict_proba(_pixels(split)), {}, config)


def fit_neighbours(name: str, data: "Dataset", seed: int) -> Fitted:
    """Keep all training digits, and let the nearest ones vote; how many is chosen on validation.

    Args:
        name: Ignored; all fitters take it.
        data: Grey images in RGB form.
        seed: Ignored: nothing is random.

    Returns:
        The predictor, no history, and the settings.
    """
    from sklearn.neighbors import KNeighborsClassifier

    pixels, labels = _pixels(data.train), data.train.labels
    models = {k: KNeighborsClassifier(k, algorithm="brute").fit(pixels, labels) for k in NEIGHBOURS}
    scores = {
        k: model.score(_pixels(data.validation), data.validation.labels)
        for k, model in models.items()
    }
    best = max(scores, key=lambda k: scores[k])
    config = {"neighbours": best, "trained_parameters": 0}
    return Fitted(lambda split: models[best].predict_proba(_pixels(split)), {}, config)


BASELINES = {"logistic regression": fit_linear, "nearest neighbours": fit_neighbours}
NETWORKS = {"mlp": train_network, "lenet5": train_network, **BASELINES}
"""What is compared, with the function that fits it."""


def plan(seeds: int | None = None) -> Iterator[Settings]:
    """Name each result: every network with each seed, and once the baselines, which aren't random.

    Example:
        >>> sum(settings["backbone"] == "lenet5" for settings in plan())
        5
    """
    for seed in range(seeds or SEEDS):
        for name in NETWORKS:
            if seed == 0 or name not in BASELINES:
                method = "pixels" if name in BASELINES else "scratch"
                about = {"backbone": name, "cut": None, "image_size": IMAGE_SIZE, "method": method}
                yield {**about, "labels": ALL, "seed": seed}


def run(settings: Settings, data: "Dataset") -> Run:
    """Fit one network or baseline to all labels."""
    started = time.perf_counter()
    name = settings["backbone"]
    fitted = NETWORKS[name](name, data, settings["seed"])
    seconds = time.perf_counter() - started
    return Run(
        name, None, data, fitted.history, seconds, fitted.config, predict_split=fitted.predict
    )


def history(run: Run) -> dict[str, Any]:
    """Return the figures of each epoch, to be recorded with the result."""
    figures = run.history.items()
    return {"history": {key: [round(value, 5) for value in values] for key, values in figures}}


def _pixels(split: "Split") -> np.ndarray:
    """Return flattened grey pixels, float32 ``[n, s²]``, 0 to 1."""
    return grey(split).reshape(len(split), -1).astype(np.float32) / 255
