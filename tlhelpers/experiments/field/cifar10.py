"""Full-size results on CIFAR-10: two frozen networks, both tuned, and a strong network from scratch.

What is cheap comes first, so a recording that stops early is useful. VGG16 is cut where its
feature map is still 4 × 4 at 32 pixels; MobileNetV2 sees the pictures enlarged to 96 pixels; the
baseline is a residual network made for 32 pixels, with the augmentation and the schedule that such
networks are given. Each seed draws its own labelled images, weights and order.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.experiments.records import (
    describe_run,
    identity,
    note_data,
    open_record,
    write_record,
)
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    from tlhelpers.data.splits import Dataset

FEW, ALL = (5, 20, 100), 5000
"""Labelled images a class, those for validation included; 5,000 are all."""

WIDTH, PEAK_RATE, WEIGHT_DECAY, WARM_UP, SMOOTHING = 24, 0.1, 5e-4, 0.2, 0.1
"""The baseline's width and training, fixed before any test image was scored."""

FULL_EPOCHS, MOST_EPOCHS, FULL_TRAIN = 20, 300, 45_000


@dataclass(frozen=True)
class Part:
    """One method on one network, for some numbers of labels.

    Attributes:
        backbone: The network's name.
        cut: Stage it ends at, or None for the whole network.
        image_size: Width and height in pixels.
        method: ``"frozen"``, ``"tuned"`` or ``"scratch"``.
        labels: Labelled images a class.
        seeds: Number of seeds.
    """

    backbone: str
    cut: str | None
    image_size: int
    method: str
    labels: tuple[int, ...]
    seeds: int


VGG16: dict[str, Any] = {"backbone": "vgg16", "cut": "block3_pool", "image_size": 32}
MOBILENET: dict[str, Any] = {"backbone": "mobilenet_v2", "cut": None, "image_size": 96}
SMALL: dict[str, Any] = {"backbone": "small_resnet", "cut": None, "image_size": 32}

PLAN = (
    Part(**VGG16, method="frozen", labels=FEW, seeds=3),
    Part(**MOBILENET, method="frozen", labels=FEW, seeds=3),
    Part(**SMALL, method="scratch", labels=FEW, seeds=1),
    Part(**VGG16, method="frozen", labels=(*FEW, 500), seeds=5),
    Part(**MOBILENET, method="frozen", labels=(*FEW, 500), seeds=5),
    Part(**SMALL, method="scratch", labels=FEW, seeds=3),
    Part(**VGG16, method="tuned", labels=FEW, seeds=3),
    Part(**MOBILENET, method="tuned", labels=FEW, seeds=3),
    Part(**VGG16, method="frozen", labels=(ALL,), seeds=1),
    Part(**SMALL, method="scratch", labels=(500, ALL), seeds=1),
    Part(**MOBILENET, method="frozen", labels=(ALL,), seeds=1),
    Part(**MOBILENET, method="tuned", labels=(500,), seeds=1),
    Part(**VGG16, method="tuned", labels=(500,), seeds=1),
    Part(**SMALL, method="scratch", labels=(500,), seeds=3),
    Part(**MOBILENET, method="tuned", labels=(500,), seeds=3),
    Part(**MOBILENET, method="tuned", labels=(ALL,), seeds=1),
    Part(**VGG16, method="tuned", labels=(500,), seeds=3),
    Part(**VGG16, method="frozen", labels=(ALL,), seeds=3),
    Part(**MOBILENET, method="frozen", labels=(ALL,), seeds=3),
    Part(**SMALL, method="scratch", labels=(ALL,), seeds=3),
    Part(**MOBILENET, method="tuned", labels=(ALL,), seeds=3),
)
"""What is compared, in the order in which it is run; a result named twice is run once."""


def run(
    folder: str | os.PathLike[str],
    *,
    networks: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    labels: Sequence[int] | None = None,
    seeds: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Run what is missing of the experiment on CIFAR-10, and record each result as it is there.

    Results already in the file are not run again, so an interrupted recording resumes.

    Args:
        folder: Folder of ``cifar10.json``.
        networks: Names of the plan's networks. Defaults to all.
        methods: Only these of ``"frozen"``, ``"tuned"`` and ``"scratch"``. Defaults to all.
        labels: Only these of the plan's numbers of labels a class. Defaults to all.
        seeds: Largest number of seeds. Defaults to the plan's, 1 to 5.

    Yields:
        Each new result.

    Raises:
        ValueError: If the plan has no such network, method or number of labels, or the record was
            made from other data.

    Example:
        >>> next(run("results", networks=["vgg16"], seeds=1))["labels"]  # doctest: +SKIP
        5
    """
    from tlhelpers.data.datasets import load_dataset

    chosen: dict[str, tuple[Any, set[Any]]] = {
        "network": (networks, {part.backbone for part in PLAN}),
        "method": (methods, {part.method for part in PLAN}),
        "number of labels": (labels, {n for part in PLAN for n in part.labels}),
    }
    for what, (wanted, known) in chosen.items():
        if unknown := [one for one in wanted or () if one not in known]:
            among = ", ".join(map(str, sorted(known)))
            raise ValueError(f"A {what} of cifar10 is one of {among}. Received: {unknown[0]!r}.")
    path = Path(folder) / "cifar10.json"
    record = open_record(path)
    done = {identity(row) for row in record["results"]}
    for part in PLAN:
        if part.backbone not in (networks or [part.backbone]):
            continue
        if part.method not in (methods or [part.method]):
            continue
        for settings in _settings(part, seeds):
            n, seed = settings["labels"], settings["seed"]
            if identity(settings) in done or n not in (labels or [n]):
                continue
            data = load_dataset("cifar10", tier="real", image_size=part.image_size, seed=seed)
            note_data(record, data)
            run = _run(part, data.few(n, seed=seed), seed)
            row = describe_run(run, settings, record)
            record["results"].append(row)
            done.add(identity(row))
            write_record(record, path)
            yield row


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
    data: "Dataset", seed: int = 0, *, width: int = WIDTH, epochs: int | None = None
) -> Run:
    """Train the baseline from random weights; the last epoch's weights are kept.

    SGD with Nesterov's momentum, a rate that warms up and then falls to 0 as a cosine, weight
    decay, label smoothing, mirror images and shifts: nothing here is chosen on the data.

    Args:
        data: The data set, in any image size from 8 pixels.
        seed: Seed of weights, order and views. Defaults to 0.
        width: Channels of the first convolution. Defaults to 24.
        epochs: Passes over the training images. Defaults to :func:`scratch_epochs`.

    Returns:
        The run, named ``"scratch"``.

    Example:
        >>> train_small_resnet(data.few(20)).test.accuracy  # doctest: +SKIP
        0.41
    """
    import keras

    from tlhelpers.models.classic import flip_and_shift, small_resnet
    from tlhelpers.runtime import jit_compile
    from tlhelpers.transfer.training import Batches, warm_up_then_cosine

    started = time.perf_counter()
    n = len(data.train)
    epochs = epochs or scratch_epochs(n)
    batch_size = 128 if n >= 4000 else 32
    peak = PEAK_RATE * math.sqrt(batch_size / 128)
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
        jit_compile=jit_compile(),
    )

    def load(rows: np.ndarray, epoch: int) -> np.ndarray:
        """Draw new views, in an order that depends on nothing but the seed and the epoch."""
        rng = np.random.default_rng([seed, epoch, int(rows[0])])
        return flip_and_shift(data.train.load(rows), rng)

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
        "augmentation": "mirror images, shifts of up to 4 pixels",
        "n_train": n,
        "n_validation": len(data.validation),
        "trained_parameters": sum(math.prod(v.shape) for v in model.trainable_variables),
    }
    figures = {key: [float(value) for value in values] for key, values in history.items()}
    none: Any = None  # there is no backbone
    return Run("scratch", model, data, figures, time.perf_counter() - started, config, none, 1)


def _settings(part: Part, seeds: int | None) -> Iterator[dict[str, Any]]:
    """Name each result of a part, one seed of all numbers of labels at a time."""
    settings = {key: value for key, value in asdict(part).items() if key not in ("labels", "seeds")}
    for seed in range(part.seeds if seeds is None else min(seeds, part.seeds)):
        for labels in part.labels:
            yield {**settings, "labels": labels, "seed": seed}


def _run(part: Part, data: "Dataset", seed: int) -> Run:
    """Run one method on one network."""
    if part.method == "scratch":
        return train_small_resnet(data, seed)
    from tlhelpers.models.backbones import load_backbone
    from tlhelpers.transfer import methods

    base = load_backbone(part.backbone, part.image_size, cut=part.cut)
    method: Callable[..., Run] = (
        methods.feature_transfer if part.method == "frozen" else methods.model_transfer
    )
    return method(base, data, seed=seed)
