"""Full-size results by stages: LeNet-5's stages carried to other digits, and to another look.

Two targets of five classes each, with few labels. *Other digits*: MNIST's 5 to 9, from stages
trained on MNIST's 0 to 4. *Other look*: scikit-learn's 5 to 9, from stages trained on MNIST's 5 to
9. From random weights and from copied stages the same number of settings is tried, and the one
with the lowest loss on the draw's own validation digits is scored, once, on all test digits.
"""

import os
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.experiments.field.digits import grey
from tlhelpers.experiments.records import describe_run, note_data, open_record, write_record
from tlhelpers.models.staged import BATCH_SIZE, Digits, Loop, five, learn, make_loop, train_source
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
    from tlhelpers.data.datasets import load_dataset
    from tlhelpers.data.splits import Dataset

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
