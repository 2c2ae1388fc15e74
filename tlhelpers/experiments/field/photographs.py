"""Full-size results on photographs of cats and dogs: frozen, fine-tuned and from scratch.

Settings are chosen on 400 validation photographs (:mod:`~tlhelpers.experiments.field.choosing`);
each draw is scored once on the 1,000 test photographs.
"""

from typing import TYPE_CHECKING

from tlhelpers.data.augmentation import Augmentation
from tlhelpers.experiments.field import choosing
from tlhelpers.experiments.field.choosing import Arm
from tlhelpers.experiments.records import Settings

if TYPE_CHECKING:
    from tlhelpers.data.splits import Dataset

LABELS = (20, 100, 500, 1000)
"""Labels per class to train on."""

ARMS = (
    Arm("frozen", "mobilenet_v2", 224),
    Arm("frozen", "vgg16", 224),
    Arm("frozen", "vgg16", 150),
    Arm("tuned", "mobilenet_v2", 224, "block_15", (1e-4, 3e-4, 1e-3, 3e-3), 800),
    Arm("tuned", "vgg16", 150, "block5_pool", (1e-4, 3e-4, 1e-3, 3e-3), 800),
    Arm("scratch", "small_resnet", 64, None, (0.02, 0.05, 0.1), 4_000, augmentation=Augmentation()),
    Arm("scratch", "vgg16", 64, None, (1e-4, 3e-4, 1e-3), 2_000, precision="mixed_bfloat16"),
)

plan, run = choosing.plan(ARMS, LABELS), choosing.runner(ARMS)

SMALL = (Arm("frozen", "mobilenet_v2", 64),)
"""At the image size of training from scratch: how much of frozen features' lead is the size."""

plan_small, run_small = choosing.plan(SMALL, LABELS), choosing.runner(SMALL)


def load(settings: Settings) -> "Dataset":
    """Load all photographs; which of them are for validation is the same for every seed."""
    from tlhelpers.data.datasets import load_dataset

    return load_dataset("cats_dogs", tier="real")
