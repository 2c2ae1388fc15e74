"""Full-size results by stages: LeNet-5's stages carried to other digits, and to another look.

Two targets of five classes each, with few labels. *Other digits*: MNIST's 5 to 9, from stages
trained on MNIST's 0 to 4. *Other look*: scikit-learn's 5 to 9, from stages trained on MNIST's 5 to
9. From random weights and from copied stages the same number of settings is tried, and the one
with the lowest loss on the draw's own validation digits is scored, once, on all test digits.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tlhelpers.field_digits import grey
from tlhelpers.records import describe_run, note_data, open_record, write_record
from tlhelpers.runs import Run

if TYPE_CHECKING:
    from tlhelpers.splits import Dataset, Split

LABELS, SEEDS = (5, 10, 20, 50), 5
IMAGE_SIZE, BATCH_SIZE, STEPS, SOURCE_STEPS, SOURCE_RATE = 28, 32, 120, 800, 3e-3
TARGETS = {"MNIST 0–4 to 5–9": "real", "MNIST 5–9 to scans 5–9": "embedded"}
"""Each target, and the tier of the data set ``digits`` that it is drawn from."""

CANDIDATES = {
    "scratch": tuple((0, 0, rate) for rate in (1e-3, 2e-3, 4e-3, 8e-3)),
    "stages": tuple((*plan, rate) for plan in ((2, 2), (4, 0)) for rate in (1e-3, 4e-3)),
}
"""What is tried on validation digits: stages copied, stages frozen, learning rate."""


class Digits(NamedTuple):
    """Grey digits of five classes: float32 ``[n, s, s, 1]``, 0 to 255, and labels 0 to 4."""

    images: np.ndarray
    labels: np.ndarray


class Loop(NamedTuple):
    """A compiled training loop for one network; starts, masks and data are its arguments."""

    model: Any
    optimiser: Any
    stage_of: list[int]
    train: Callable[..., Any]
    predict: Callable[[np.ndarray], Any]


def run(
    folder: str | os.PathLike[str],
    *,
    networks: Sequence[str] | None = None,
    seeds: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Run what is missing of the experiment, and record each result as soon as it is there.

    Results already in the file are not run again, so an interrupted recording resumes.

    Args:
        folder: Folder of ``stages.json``.
        networks: Names of :data:`TARGETS`. Defaults to both.
        seeds: Number of seeds; each draws its own labels, weights and order. Defaults to 5.

    Yields:
        Each new result.

    Raises:
        ValueError: If a target is unknown, or the record was made from other data.
    """
    from tlhelpers.datasets import load_dataset
    from tlhelpers.splits import Dataset

    for name in networks or ():
        if name not in TARGETS:
            raise ValueError(f"A target is one of {', '.join(TARGETS)}. Received: {name!r}.")
    path = Path(folder) / "stages.json"
    record = open_record(path)
    key = ("backbone", "method", "labels", "seed")
    done = {tuple(row[part] for part in key) for row in record["results"]}
    mnist = load_dataset("digits", tier="real", image_size=IMAGE_SIZE)
    note_data(record, mnist)
    loop = make_loop(IMAGE_SIZE)
    for seed in range(SEEDS if seeds is None else seeds):
        for target in networks or TARGETS:
            todo = [
                (n, method)
                for n, method in product(LABELS, CANDIDATES)
                if (target, method, n, seed) not in done
            ]
            if not todo:
                continue
            source = five(mnist.train, 0 if target.startswith("MNIST 0–4") else 5)
            stages = train_source(loop, _digits(source), seed)
            data = load_dataset("digits", tier=TARGETS[target], image_size=IMAGE_SIZE)
            train, validation, test = (
                five(split, 5) for split in (data.train, data.validation, data.test)
            )
            data = Dataset(data.name, train, validation, test, data.source)
            for n, method in todo:
                run = _run(loop, stages, method, data.few(n, seed=seed), seed)
                chosen = {"backbone": target, "method": method, "labels": n, "seed": seed}
                settings = {**chosen, "cut": None, "image_size": IMAGE_SIZE}
                row = describe_run(run, settings, record)
                record["results"].append(row)
                write_record(record, path)
                yield row


def five(split: "Split", first: int) -> "Split":
    """Keep five digits, and number their classes from 0.

    Args:
        split: Digits in RGB form, class ``d`` the digit ``d``.
        first: The first of the five digits kept, 0 or 5.

    Returns:
        A split of five classes.

    Example:
        >>> from tlhelpers.splits import Split
        >>> images = np.zeros((3, 8, 8, 3), "uint8")
        >>> five(Split.from_arrays(images, np.array([1, 5, 9]), "0123456789"), 5).labels.tolist()
        [0, 4]
    """
    from tlhelpers.splits import Split

    rows = (split.labels >= first) & (split.labels < first + 5)
    names = split.class_names[first : first + 5]
    return Split.from_arrays(split.images[rows], split.labels[rows] - first, names, name=split.name)


def make_loop(image_size: int) -> Loop:
    """Compile training of LeNet-5 with a mask over its stages: θ ← θ − η · m ⊙ ∇L, by Adam.

    Args:
        image_size: Height and width in pixels.

    Returns:
        The loop. ``train`` takes images, labels, rows of each batch ``int32 [steps, batch]`` and a
        mask ``float32 [5]``, 0 for frozen stages.

    Example:
        >>> make_loop(16).stage_of
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    """
    import keras
    import tensorflow as tf

    from tlhelpers.networks import LENET5_STAGES, lenet5

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # half precision would need loss scaling
    model = lenet5(num_classes=5, input_size=image_size)
    keras.config.set_dtype_policy(policy)
    variables = model.trainable_variables
    stage_of = [LENET5_STAGES.index(v.path.split("/")[0].split("_")[0]) for v in variables]
    optimiser = keras.optimizers.Adam()
    optimiser.build(variables)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy()
    images_like = tf.TensorSpec((None, image_size, image_size, 1))
    integers = [tf.TensorSpec(shape, tf.int32) for shape in ((None,), (None, None))]

    @tf.function(input_signature=[images_like, *integers, tf.TensorSpec((5,))], jit_compile=False)
    def train(images, labels, batches, mask):
        """Take one step for each row of batches."""
        for rows in batches:
            with tf.GradientTape() as tape:
                probabilities = model(tf.gather(images, rows), training=True)
                loss = cross_entropy(tf.gather(labels, rows), probabilities)
            gradients = tape.gradient(loss, variables)
            optimiser.apply([mask[s] * g for s, g in zip(stage_of, gradients)], variables)  # noqa: B905

    predict = tf.function(model, input_signature=[images_like], jit_compile=False)
    return Loop(model, optimiser, stage_of, train, predict)


def learn(
    loop: Loop,
    data: Digits,
    watched: Digits,
    source: list[np.ndarray] | None,
    plan: tuple[int, int, float],
    seed: int,
    steps: int,
) -> tuple[float, list[np.ndarray]]:
    """Train from copied stages with some of them frozen.

    Args:
        loop: The compiled loop.
        data: Digits to train on.
        watched: Digits whose loss is watched, eight times in all.
        source: Weights to copy stages from, or None.
        plan: Stages copied, stages frozen, learning rate.
        seed: Seed of the other stages' weights and of the order.
        steps: Number of steps, a multiple of 8.

    Returns:
        The lowest loss on the watched digits, in nats, and the weights that had it.
    """
    copied, frozen, rate = plan
    new = _fresh(loop.model.input_shape[1], seed)
    loop.model.set_weights(
        [
            old if stage < copied else drawn
            for stage, old, drawn in zip(loop.stage_of, source or new, new, strict=True)
        ]
    )
    for variable in loop.optimiser.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    loop.optimiser.learning_rate = rate
    mask = (np.arange(5) >= frozen).astype("float32")
    kept: tuple[float, list[np.ndarray]] = (np.inf, [])
    for part in np.split(_batches(len(data.labels), steps, seed), 8):
        loop.train(data.images, data.labels, part, mask)
        loss = _loss(np.asarray(loop.predict(watched.images)), watched.labels)
        if loss < kept[0]:
            kept = (loss, loop.model.get_weights())
    return kept


def train_source(
    loop: Loop, source: Digits, seed: int, steps: int = SOURCE_STEPS
) -> list[np.ndarray]:
    """Train the source network, watched on the last of its digits, at most a thousand.

    Args:
        loop: The compiled loop.
        source: The source's digits.
        seed: Seed of weights and order.
        steps: Number of steps, a multiple of 8. Defaults to 800.

    Returns:
        The network's weights.
    """
    rest = len(source.labels) - min(1000, len(source.labels) // 5)
    train, watched = (
        Digits(*(part[rows] for part in source)) for rows in (slice(rest), slice(rest, None))
    )
    return learn(loop, train, watched, None, (0, 0, SOURCE_RATE), seed, steps)[1]


def _run(loop: Loop, stages: list[np.ndarray], method: str, draw: "Dataset", seed: int) -> Run:
    """Try a method's candidates, keep the one with the lowest validation loss, and score it."""
    started = time.perf_counter()
    train, validation = _digits(draw.train), _digits(draw.validation)
    tried = [
        (*learn(loop, train, validation, stages, plan, seed, STEPS), plan)
        for plan in CANDIDATES[method]
    ]
    loss, weights, (copied, frozen, rate) = min(tried, key=lambda one: one[0])
    seconds = time.perf_counter() - started
    loop.model.set_weights(weights)
    predictions = {
        split.name: np.asarray(loop.predict(_digits(split).images))
        for split in (draw.validation, draw.test)
    }
    plan = {"copied": copied, "frozen": frozen, "learning_rate": rate, "validation_loss": loss}
    config = {**plan, "candidates": len(tried), "steps": STEPS, "batch_size": BATCH_SIZE}
    none: Any = None  # there is no backbone, and the predictions stand in for the model
    return Run(
        method, none, draw, {}, seconds, config, none, 1, lambda split: predictions[split.name]
    )


def _digits(split: "Split") -> Digits:
    """Return a split of five classes as arrays."""
    return Digits(grey(split).astype("float32"), split.labels.astype("int32"))


@lru_cache(maxsize=32)
def _fresh(image_size: int, seed: int) -> list[np.ndarray]:
    """Return the weights of a network that was just drawn."""
    import keras

    from tlhelpers.networks import lenet5

    keras.utils.set_random_seed(seed)
    return lenet5(num_classes=5, input_size=image_size).get_weights()


def _batches(n: int, steps: int, seed: int) -> np.ndarray:
    """Return the rows of each batch: epoch after epoch in a new order, cut into equal batches."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.permutation(n) for _ in range(-(-steps * BATCH_SIZE // n))])
    return rows[: steps * BATCH_SIZE].reshape(steps, BATCH_SIZE).astype("int32")


def _loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the cross-entropy in nats."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_truth, 1e-7)).mean())
