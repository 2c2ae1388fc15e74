"""Training, and drawing pictures after it, with and without `tl.setup`'s memory settings."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.pairs import describe

# Each runs in a process of its own: what the C library is told holds for a whole process.
TRAINING = """
import sys, time
import tlhelpers as tl
from tlhelpers.runtime import peak_memory_gibibytes
from tlhelpers.experiments.field.small_resnet import train_small_resnet
tl.setup(seed=0, tier="embedded")
data = tl.load_dataset("objects", image_size=32, n_train=2000)
few = data.few(int(sys.argv[1]))
train_small_resnet(few, width=16, epochs=1)
started = time.perf_counter()
train_small_resnet(few, width=16, epochs=4)
print(time.perf_counter() - started, peak_memory_gibibytes())
"""
# What the C library does with freed memory depends on what the process did before.
DRAWING = """
import sys, time
import tlhelpers as tl
from tlhelpers.runtime import peak_memory_gibibytes
tl.setup(seed=0, tier="embedded")
tl.from_scratch(tl.load_backbone("vgg16_mini", 64), tl.load_dataset("pets").few(10))
started = time.perf_counter()
tl.worlds.pets(10 * int(sys.argv[1]), seed=1)
print(time.perf_counter() - started, peak_memory_gibibytes())
"""
SCRIPTS = {
    "small_resnet, four epochs from scratch: memory kept": TRAINING,
    "drawing pets after a training: memory kept": DRAWING,
}
GLIBCS_OWN = {"GLIBC_TUNABLES": ""}  # nothing, which setup takes for a user's choice


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Run each script both ways in turn, and compare seconds; peak memory stands in the notes."""
    for name, script in SCRIPTS.items():
        rounds, peaks = [], []
        for _ in range(repeats):
            (ours, peak), (other, usual) = (
                measured(script, share, own) for own in ({}, GLIBCS_OWN)
            )
            rounds.append(((ours, None), (other, None)))
            peaks.append((peak, usual))
        notes = {"peak GiB": [max(column) for column in zip(*peaks, strict=True)]}
        yield describe(name, rounds, wanted=1.2, notes=notes)


def measured(script: str, share: float, variables: dict[str, str]) -> tuple[float, float]:
    """Return the seconds and peak GiB that a script prints, run in a new process."""
    command = [sys.executable, "-c", script, str(max(5, round(100 * share)))]
    done = subprocess.run(
        command, env={**os.environ, **variables}, check=True, capture_output=True, text=True
    )
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), float(peak)
