"""MNIST's digits to scikit-learn's, without labels of the target: another pen, other writers, 8 pixels.

A small network with BatchNormalization is trained on MNIST and judged on scikit-learn's digits.
MNIST's digits have a margin of four pixels, the target's have none: each method is run on the digits
as they are, and with the margin cropped. No strength is chosen by the target. Which test digits were
right is recorded, so that differences can be paired.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.experiments.field.remedies import more
from tlhelpers.experiments.records import Settings
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    import keras

    from tlhelpers.data.splits import Dataset, Split

__all__ = ["load", "more", "plan", "run"]

LABELS, DRAWS, SIZE, MARGIN = 100, 5, 8, 4
EPOCHS, BATCH, RATE = 10, 64, 0.003
METHODS = (
    "source only",
    "re-estimated",
    "new head",
    "means",
    "CORAL 1",
    "MMD 1",
    "adversarial 0.03",
    "adversarial 0.3",
    "self-training 0.9",
    "re-estimated and self-training 0.9",
    "target labels",
)
"""What is compared; a number is CORAL's ridge, the weight of MMD or of the reversed gradient, or the
probability from which on a network's own answer is taken for a label. CORAL and the means alone come
with a new head, so the controls are a new head on hidden units as they are, and the means."""

INPUTS = ("as they are", "cropped")

_alone: "dict[tuple[str, str, int], keras.Model]" = {}
"""The last network trained on the source alone, from which several methods start."""


def plan(seeds: int | None = None) -> list[Settings]:
    """Name each result: what the network sees and the method.

    Example:
        >>> plan(1)[0]["method"]
        'source only, as they are'
    """
    about = {"backbone": "small_cnn", "cut": None, "image_size": SIZE, "labels": LABELS}
    return [
        {**about, "method": f"{method}, {inputs}", "seed": seed}
        for seed, inputs, method in product(range(seeds or DRAWS), INPUTS, METHODS)
    ]


def load(_: Settings) -> "Dataset":
    """Load the pair: MNIST to train on, the target's unlabelled digits as validation, and its test."""
    from tlhelpers.data.datasets import load_dataset

    source = load_dataset("digits", tier="real", image_size=28, n_train=2400, n_test=600)
    target = load_dataset("digits", tier="embedded", image_size=28)
    note = f"{source.source.note}; tested on {target.source.name} ({target.source.digest})"
    return replace(
        source,
        name="mnist_to_digits",
        validation=target.train,
        test=target.test,
        source=replace(source.source, note=note),
    )


def digits(split: "Split", cropped: bool) -> np.ndarray:
    """Read grey digits of 8 pixels, 0 to 1, without MNIST's margin if that is to be cropped."""
    from tlhelpers.data.images import resize_image

    if not cropped:
        images = split.load(None, SIZE)
    else:
        inner = slice(MARGIN, -MARGIN)
        images = np.stack(
            [
                resize_image(np.ascontiguousarray(one[inner, inner]), SIZE)
                for one in split.load(None, 28)
            ]
        )
    return images[..., :1].astype("float32") / 255


def run(settings: Settings, data: "Dataset") -> Run:
    """Train on a draw of MNIST, adapt with the target's unlabelled digits.

    Returns:
        The run, judged on the target's test digits.
    """
    method, inputs = settings["method"].rsplit(", ", 1)
    started = time.perf_counter()
    x, y, unlabelled = _arrays(data, settings["seed"], inputs == "cropped")
    key = data.train.digest, inputs, settings["seed"]
    if key not in _alone:
        _alone.clear()
        _alone[key] = train(x, y, settings["seed"])
    if method == "target labels":
        model = train(unlabelled, data.validation.labels, settings["seed"])
    else:
        model = adapt(method, _alone[key], x, y, unlabelled, settings["seed"])
    return Run(
        settings["method"],
        None,
        data,
        {},
        time.perf_counter() - started,
        {"n_train": len(x), "n_unlabelled": len(unlabelled)},
        predict_split=lambda split: probabilities(model, digits(split, False)),
    )


def adapt(
    method: str,
    alone: "keras.Model",
    x: np.ndarray,
    y: np.ndarray,
    unlabelled: np.ndarray,
    seed: int,
) -> "keras.Model":
    """Adapt by one method.

    Args:
        method: One of :data:`METHODS` that takes no label of the target.
        alone: The network that was trained on the source alone; it stays as it is.
        x: Labelled digits of the source, float ``[n, 8, 8, 1]``.
        y: Their labels.
        unlabelled: Digits of the target.
        seed: Of weights and order.

    Returns:
        Model from digits to logits.
    """
    how, _, strength = method.rpartition(" ")
    if method == "source only":
        return alone
    if how in ("MMD", "adversarial"):
        return train(x, y, seed, unlabelled, how, float(strength))
    if method in MOVES:
        return aligned(alone, x, y, unlabelled, MOVES[method])
    start = re_estimated(alone, unlabelled) if method.startswith("re-estimated") else alone
    if not how.endswith("self-training"):
        return start
    p = probabilities(start, unlabelled)
    sure = p.max(axis=1) > float(strength)
    images = np.concatenate([x, unlabelled[sure]])
    return train(images, np.concatenate([y, p.argmax(axis=1)[sure]]), seed)


def _arrays(data: "Dataset", seed: int, cropped: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the labelled digits of the source, and take the target's unlabelled ones."""
    from tlhelpers.data.splits import balanced_rows

    rows = balanced_rows(data.train.labels, LABELS, np.random.default_rng(seed))
    few = data.train.take(rows)
    return digits(few, cropped), few.labels, digits(data.validation, False)


def probabilities(model: "keras.Model", images: np.ndarray) -> np.ndarray:
    """Return the softmax of a model's logits."""
    from scipy.special import softmax

    return np.asarray(softmax(model.predict(images, verbose=0), axis=1))


def body() -> "list[keras.Layer]":
    """List the layers up to the last hidden one."""
    from keras import layers

    parts = []
    for filters in (16, 32):
        parts.append(layers.Conv2D(filters, 3, padding="same", use_bias=False))
        parts += [layers.BatchNormalization(momentum=0.9), layers.ReLU(), layers.MaxPooling2D()]
    return [*parts, layers.Flatten(), layers.Dense(64, "relu")]


def train(
    x: np.ndarray,
    y: np.ndarray,
    seed: int,
    unlabelled: np.ndarray | None = None,
    how: str = "",
    strength: float = 0.0,
) -> "keras.Model":
    """Train the network on labelled digits, and where there are unlabelled ones, align with them.

    Args:
        x: Labelled digits, float ``[n, 8, 8, 1]``.
        y: Their labels.
        seed: Of weights and order.
        unlabelled: Digits of the target. Defaults to none.
        how: ``"MMD"`` or ``"adversarial"``. Defaults to neither.
        strength: Weight of MMD, or of the reversed gradient. Defaults to 0.

    Returns:
        Model from digits to logits.
    """
    import keras

    keras.utils.set_random_seed(seed)
    images = keras.Input((SIZE, SIZE, 1))
    hidden = keras.Sequential(body())(images)
    logits = keras.layers.Dense(10)(hidden)
    outputs, weights = [logits], [1.0]
    losses: list[Any] = [
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    ]
    labels = [y]
    if unlabelled is not None:
        x = np.concatenate([x, unlabelled])
        labels = [
            np.concatenate([y, np.full(len(unlabelled), -1)]),
            np.repeat([[0.0], [1.0]], [len(y), len(unlabelled)], axis=0),
        ]
        if how == "MMD":
            outputs, losses, weights = [logits, hidden], [*losses, mmd], [1.0, strength]
        else:
            # The value passes unchanged; of the gradient, minus the strength.
            turned = (1 + strength) * keras.ops.stop_gradient(hidden) - strength * hidden
            opponent = [keras.layers.Dense(64, "relu"), keras.layers.Dense(1)]
            outputs = [logits, keras.Sequential(opponent)(turned)]
            losses, weights = [*losses, keras.losses.BinaryCrossentropy(from_logits=True)], [1, 1]
    model = keras.Model(images, outputs)
    optimizer = keras.optimizers.Adam(RATE)
    model.compile(optimizer, losses, weights, jit_compile=False)
    batch = BATCH if unlabelled is None else 2 * BATCH
    model.fit(x, labels, batch_size=batch, epochs=EPOCHS, verbose=0)
    return keras.Model(images, logits)


def mmd(domain: "keras.KerasTensor", hidden: "keras.KerasTensor") -> "keras.KerasTensor":
    """Return the squared MMD between two domains (Gretton et al. 2012), by image of a batch.

    Args:
        domain: 0 for the source and 1 for the target, ``[n, 1]``.
        hidden: Features ``[n, d]``.

    Returns:
        ``[n]``, whose mean is the biased estimate, with a Gaussian kernel of the mean squared distance.
    """
    from keras import ops

    weights = domain / ops.sum(domain) - (1 - domain) / ops.sum(1 - domain)
    squares = ops.sum((hidden[:, None] - hidden[None]) ** 2, axis=-1)
    kernel = ops.exp(-squares / ops.stop_gradient(ops.mean(squares)))
    weighted = weights * kernel * ops.transpose(weights)
    return ops.sum(weighted, axis=1) * ops.sum(ops.ones_like(domain))


def re_estimated(model: "keras.Model", x: np.ndarray) -> "keras.Model":
    """Replace the statistics of all BatchNormalization layers by those of some images.

    Args:
        model: Any model; it stays as it is.
        x: The images, in one batch.

    Returns:
        A copy with the same trained weights.
    """
    import keras

    from tlhelpers.models.backbones import batch_normalisation

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in batch_normalisation(copy):
        layer.momentum = 0.0
    copy(x, training=True)
    return copy


def aligned(
    model: "keras.Model", x: np.ndarray, y: np.ndarray, unlabelled: np.ndarray, move: "Move"
) -> "keras.Model":
    """Fit the head anew, to hidden units of the source that were moved towards the target's.

    Args:
        model: The network that was trained on the source; it stays as it is.
        x: Labelled digits of the source.
        y: Their labels.
        unlabelled: Digits of the target.
        move: From hidden units of the source and of the target to the source's, moved.

    Returns:
        The network with another last layer.
    """
    import keras
    from sklearn.linear_model import LogisticRegression

    hidden = keras.Model(model.input, model.layers[-2].output)
    source, target = (np.asarray(hidden.predict(one, verbose=0)) for one in (x, unlabelled))
    fitted = LogisticRegression(C=0.1, max_iter=1000).fit(move(source, target), y)
    head = keras.layers.Dense(10)
    logits = head(hidden.output)
    head.set_weights([fitted.coef_.T, fitted.intercept_])
    return keras.Model(model.input, logits)


def coral(source: np.ndarray, target: np.ndarray, ridge: float) -> np.ndarray:
    """Give features of the source the target's mean and covariance (Sun et al. 2016).

    Args:
        source: ``[n, d]``.
        target: ``[m, d]``.
        ridge: Added to both covariances, in units of their mean variance.

    Returns:
        The source's features, moved.
    """
    from scipy.linalg import fractional_matrix_power

    roots = []
    for features, power in ((source, -0.5), (target, 0.5)):
        covariance = np.cov(features.T)
        covariance += ridge * np.diag(covariance).mean() * np.eye(len(covariance))
        roots.append(fractional_matrix_power(covariance, power).real)
    return (source - source.mean(axis=0)) @ roots[0] @ roots[1] + target.mean(axis=0)


Move = Callable[[np.ndarray, np.ndarray], np.ndarray]
MOVES: dict[str, Move] = {
    "new head": lambda source, target: source,
    "means": lambda source, target: source - source.mean(axis=0) + target.mean(axis=0),
    "CORAL 1": partial(coral, ridge=1.0),
}
"""How hidden units of the source are moved before a new head is fitted to them."""
