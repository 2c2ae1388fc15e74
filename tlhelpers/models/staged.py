"""LeNet-5 trained with some of its stages copied from another network, and some held still."""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tlhelpers.models.classic import LENET5_STAGES, lenet5

if TYPE_CHECKING:
    from tlhelpers.data.splits import Split

BATCH_SIZE, SOURCE_STEPS, SOURCE_RATE = 32, 800, 3e-3


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


def five(split: "Split", first: int) -> "Split":
    """Keep five digits, and number their classes from 0.

    Args:
        split: Digits in RGB form, class ``d`` the digit ``d``.
        first: The first of the five digits kept, 0 or 5.

    Returns:
        A split of five classes.

    Example:
        >>> from tlhelpers.data.splits import Split
        >>> images = np.zeros((3, 8, 8, 3), "uint8")
        >>> five(Split.from_arrays(images, np.array([1, 5, 9]), "0123456789"), 5).labels.tolist()
        [0, 4]
    """
    from tlhelpers.data.splits import Split

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


@lru_cache(maxsize=32)
def _fresh(image_size: int, seed: int) -> list[np.ndarray]:
    """Return the weights of a network that was just drawn."""
    import keras

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
