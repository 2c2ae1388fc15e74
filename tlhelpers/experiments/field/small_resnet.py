"""A strong network from random weights, made for small images: the baseline of full-size results."""

import math
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    from tlhelpers.data.augmentation import Augmentation
    from tlhelpers.data.splits import Dataset

WIDTH, PEAK_RATE, WEIGHT_DECAY, WARM_UP, SMOOTHING = 24, 0.1, 5e-4, 0.2, 0.1
"""The baseline's width and training, fixed before any test image was scored."""

FULL_EPOCHS, MOST_EPOCHS, FULL_TRAIN = 20, 300, 45_000


def scratch_epochs(n_train: int) -> int:
    """Choose the baseline's epochs: more on fewer images, as the square root of their number.

    Args:
        n_train: Training images, at least 1.

    Returns:
        20 for all 45,000, and 300 at most.

    Raises:
        ValueError: If there is nothing to train on.

    Example:
        >>> scratch_epochs(45_000), scratch_epochs(900), scratch_epochs(40)
        (20, 141, 300)
    """
    if n_train < 1:
        raise ValueError(f"Training needs at least one image. Received: {n_train}.")
    return min(MOST_EPOCHS, round(FULL_EPOCHS * math.sqrt(FULL_TRAIN / n_train)))


def train_small_resnet(
    data: "Dataset",
    seed: int = 0,
    *,
    width: int = WIDTH,
    epochs: int | None = None,
    peak: float | None = None,
    augmentation: "Augmentation | None" = None,
) -> Run:
    """Train the baseline from random weights; the last epoch's weights are kept.

    SGD with Nesterov's momentum, a rate that warms up and then falls to 0 as a cosine, weight
    decay, label smoothing, mirror images and shifts: nothing here is chosen on the data.

    Args:
        data: The data set, in any image size from 8 pixels.
        seed: Seed of weights, order and views. Defaults to 0.
        width: Channels of the first convolution. Defaults to 24.
        epochs: Passes over the training images. Defaults to :func:`scratch_epochs`.
        peak: Highest learning rate for batches of 128, scaled for smaller ones as the square root
            of their size. Defaults to :data:`PEAK_RATE`.
        augmentation: How views may differ from the images. Defaults to mirror images and shifts of
            up to 4 pixels, as is usual for CIFAR-10.

    Returns:
        The run, named ``"scratch"``.

    Example:
        >>> train_small_resnet(data.few(20)).test.accuracy  # doctest: +SKIP
        0.41
    """
    import keras

    from tlhelpers.models.classic import flip_and_shift, small_resnet
    from tlhelpers.transfer.training import Batches, warm_up_then_cosine

    started = time.perf_counter()
    n = len(data.train)
    epochs = epochs or scratch_epochs(n)
    batch_size = 128 if n >= 4000 else 32
    peak = (peak or PEAK_RATE) * math.sqrt(batch_size / 128)
    keras.utils.set_random_seed(seed)
    model = small_resnet(width, num_classes=data.num_classes, input_size=data.image_size)
    steps = epochs * math.ceil(n / batch_size)
    model.compile(
        keras.optimizers.SGD(
            warm_up_then_cosine(peak, steps, WARM_UP),
            momentum=0.9,
            nesterov=True,
            weight_decay=WEIGHT_DECAY,
        ),
        keras.losses.CategoricalCrossentropy(label_smoothing=SMOOTHING),
        metrics=["accuracy"],
    )

    def load(rows: np.ndarray, epoch: int) -> np.ndarray:
        """Draw new views, in an order that depends on nothing but the seed and the epoch."""
        rng = np.random.default_rng([seed, epoch, int(rows[0])])
        images = data.train.load(rows)
        if augmentation is None:
            return flip_and_shift(images, rng)
        return np.stack([augmentation.apply(image, rng) for image in images])

    one_hot = np.eye(data.num_classes, dtype=np.float32)[data.train.labels]
    batches = Batches(load, one_hot, batch_size, seed)
    counter = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: batches.start_epoch(epoch)
    )
    history = model.fit(batches, epochs=epochs, callbacks=[counter], verbose=0).history
    config = {
        "method": "from_scratch",
        "optimiser": "SGD, Nesterov, warm-up, cosine decay to 0",
        "width": width,
        "peak_learning_rate": peak,
        "weight_decay": WEIGHT_DECAY,
        "label_smoothing": SMOOTHING,
        "batch_size": batch_size,
        "epochs": epochs,
        "augmentation": (
            asdict(augmentation) if augmentation else "mirror images, shifts of up to 4 pixels"
        ),
        "precision": keras.config.dtype_policy().name,
        "n_train": n,
        "n_validation": len(data.validation),
        "trained_parameters": sum(math.prod(v.shape) for v in model.trainable_variables),
    }
    figures = {key: [float(value) for value in values] for key, values in history.items()}
    return Run("scratch", model, data, figures, time.perf_counter() - started, config)
