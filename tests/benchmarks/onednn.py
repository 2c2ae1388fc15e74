"""Training and extraction with oneDNN's operations, which `tl.setup` turns on, and without them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.pairs import describe

# Each runs in a process of its own: TensorFlow reads the setting when it is imported. The first
# call of each builds the graph and is not timed. Weights don't change the speed.
COMMON = """
import sys, time
import tlhelpers as tl
tl.setup(seed=0, tier="embedded")
share = float(sys.argv[1])
"""
VGG16_MINI = """
few = tl.load_dataset("pets", n_train=100, n_test=50).few(max(5, round(40 * share)))
def job():
    base = tl.load_backbone("vgg16_mini", 64, weights=None)
    tl.from_scratch(base, few, recipe=tl.recipes.Training(8, 16, 1e-3))
"""
SMALL_RESNET = """
from tlhelpers.experiments.field.small_resnet import train_small_resnet
few = tl.load_dataset("objects", image_size=32, n_train=1500, n_test=50).few(max(5, round(100 * share)))
def job():
    train_small_resnet(few, width=16, epochs=2)
"""
EXTRACTION = """
import numpy as np
from tlhelpers.transfer.features import pooled_features
model = pooled_features(tl.load_backbone({name!r}, {size}, weights=None), 1)
images = tl.worlds.pets(max(32, round({n} * share) // 32 * 32), image_size={size}).images
def job():
    for start in range(0, len(images), 32):
        model.predict_on_batch(images[start:start + 32])
"""
TIMED = """
job()
started = time.perf_counter()
job()
print(time.perf_counter() - started)
"""
JOBS = {
    "vgg16_mini at 64 px, eight epochs from scratch": VGG16_MINI,
    "small_resnet at 32 px, two epochs from scratch": SMALL_RESNET,
    "mobilenet_v2 at 224 px, the forward pass": EXTRACTION.format(
        name="mobilenet_v2", size=224, n=256
    ),
    "vgg16 at 150 px, the forward pass": EXTRACTION.format(name="vgg16", size=150, n=128),
}


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Run each job both ways in turn, and compare seconds."""
    for name, job in JOBS.items():
        rounds = [
            tuple((seconds_of_job(job, share, chosen), None) for chosen in ("1", "0"))
            for _ in range(repeats)
        ]
        yield describe(f"{name}: oneDNN", rounds, wanted=1.0)


def seconds_of_job(job: str, share: float, chosen: str) -> float:
    """Return the seconds a job takes in a new process with oneDNN on ("1") or off ("0")."""
    done = subprocess.run(
        [sys.executable, "-c", COMMON + job + TIMED, str(share)],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": chosen},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(done.stdout.split()[-1])
