"""CIFAR-10, frozen, fine-tuned and from scratch, each with settings chosen alike.

Settings are chosen on 2,000 validation images (:mod:`~tlhelpers.experiments.field.choosing`); each
draw is scored once on all 10,000 test images.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from tlhelpers.experiments.field import choosing
from tlhelpers.experiments.field.choosing import Arm
from tlhelpers.experiments.records import Settings

if TYPE_CHECKING:
    from tlhelpers.data.splits import Dataset

LABELS, VALIDATION = (20, 100, 500), 2000
"""Labels per class to train on, and images to choose settings by."""

_BLOCKS = ("block3_pool", "block4_pool", None)
_RATES = (3e-4, 1e-3, 3e-3)

ARMS = (
    Arm("frozen", "mobilenet_v2", 96, cuts=("block_12", "block_15", None)),
    Arm("frozen", "vgg16", 32, cuts=_BLOCKS),
    Arm("tuned", "mobilenet_v2", 96, "block_12", _RATES, 4_000),
    Arm("tuned", "vgg16", 32, "block4_pool", _RATES, 4_000, ("block4_pool",)),
    Arm("scratch", "small_resnet", 32, None, (0.03, 0.1, 0.3), 20_000),
    Arm("frozen", "vgg16", 64, cuts=_BLOCKS),
    Arm("frozen", "mobilenet_v2", 224),
)

plan, run = choosing.plan(ARMS, LABELS), choosing.runner(ARMS)


def load(settings: Settings) -> "Dataset":
    """Load CIFAR-10; which images are for validation is the same for every seed.

    Returns:
        The data set, at 32 pixels: each arm enlarges it.
    """
    from tlhelpers.data.datasets import load_dataset
    from tlhelpers.data.splits import carve_rows

    data = load_dataset("cifar10", tier="real")
    rows = carve_rows(data.validation.labels, VALIDATION, seed=0)[1]
    return replace(data, validation=data.validation.take(rows))
