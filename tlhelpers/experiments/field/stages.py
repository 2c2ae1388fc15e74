"""Full-size results by stages: LeNet-5's stages carried to other digits, and to another look.

Two targets of five classes each, with few labels. *Other digits*: MNIST's 5 to 9, from stages
trained on MNIST's 0 to 4. *Other look*: scikit-learn's 5 to 9, from stages trained on MNIST's 5 to
9. From random weights and from copied stages the same number of settings is tried, and the one
with the lowest loss on the draw's own validation digits is scored, once, on all test digits.
"""

import functools
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from tlhelpers.experiments.field.digits import grey
from tlhelpers.experiments.records import Settings
from tlhelpers.models.staged import (
    BATCH_SIZE,
    Digits,
    Loop,
    five,
    learn,
    make_loop,
    train_source,
)
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    from tlhelpers.data.splits import Dataset, Split

LABELS, SEEDS = (5, 10, 20, 50), 5
IMAGE_SIZE, STEPS = 28, 120
TARGETS = {"MNIST 0–4 to 5–9": "real", "MNIST 5–9 to scans 5–9": "embedded"}
"""Each target, and the tier of the data set ``digits`` that it is drawn from."""

CANDIDATES = {
    "scratch": tuple((0, 0, rate) for rate in (1e-3, 2e-3, 4e-3, 8e-3)),
    "stages": tuple((*plan, rate) for plan in ((2, 2), (4, 0)) for rate in (1e-3, 4e-3)),
}
"""What is tried on validation digits: stages copied, stages frozen, learning rate."""


def plan(seeds: int | None = None) -> Iterator[Settings]:
    """Name each result, one seed of all at a time.

    Args:
        seeds: Number of seeds; each draws its own labels, weights and order. Defaults to 5.

    Yields:
        The settings of a result; the target stands for the network.

    Example:
        >>> len(list(plan(1)))
        16
    """
    for seed, target, n, method in product(range(seeds or SEEDS), TARGETS, LABELS, CANDIDATES):
        about = {"backbone": target, "cut": None, "image_size": IMAGE_SIZE, "method": method}
        yield {**about, "labels": n, "seed": seed}


def load(settings: Settings) -> "Dataset":
    """Load MNIST, from which all stages are copied."""
    return _load("real")


def run(settings: Settings, mnist: "Dataset") -> Run:
    """Try a method's candidates, keep the one with the lowest validation loss, and score it.

    Args:
        settings: Of :func:`plan`.
        mnist: All of MNIST.

    Returns:
        The run.
    """
    target, method, seed = (settings[key] for key in ("backbone", "method", "seed"))
    loop, stages = _loop(), _stages(target, seed)
    draw = _last_five(_load(TARGETS[target])).few(settings["labels"], seed=seed)
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
    best = {"copied": copied, "frozen": frozen, "learning_rate": rate, "validation_loss": loss}
    config = {**best, "candidates": len(tried), "steps": STEPS, "batch_size": BATCH_SIZE}
    return Run(
        method, None, draw, {}, seconds, config, predict_split=lambda split: predictions[split.name]
    )


@functools.lru_cache(maxsize=2)
def _load(tier: str) -> "Dataset":
    """Load a tier's digits, once for all results."""
    from tlhelpers.data.datasets import load_dataset

    return load_dataset("digits", tier=tier, image_size=IMAGE_SIZE)


@functools.lru_cache(maxsize=1)
def _loop() -> Loop:
    """Compile the training loop, once for all results."""
    return make_loop(IMAGE_SIZE)


@functools.lru_cache(maxsize=1)
def _stages(target: str, seed: int) -> list[np.ndarray]:
    """Train the stages that a target's runs of one seed copy, once for all of them."""
    source = five(_load("real").train, 0 if target.startswith("MNIST 0–4") else 5)
    return train_source(_loop(), _digits(source), seed)


def _last_five(data: "Dataset") -> "Dataset":
    """Keep the digits 5 to 9."""
    parts = (five(split, 5) for split in (data.train, data.validation, data.test))
    train, validation, test = parts
    return replace(data, train=train, validation=validation, test=test)


def _digits(split: "Split") -> Digits:
    """Return a split of five classes as arrays."""
    return Digits(grey(split).astype("float32"), split.labels.astype("int32"))
