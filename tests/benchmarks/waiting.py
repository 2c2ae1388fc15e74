"""Keras's `fit` with and without tf.data's autotuning, for whose thread each epoch's end may wait."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.pairs import describe

# Each runs in a process of its own: what setup() changes holds for a whole process.
SCRIPT = """
import os, sys, time
cores, steps, tuned = (int(word) for word in sys.argv[1:])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
import numpy as np
import tlhelpers as tl
from tlhelpers import runtime
if tuned:
    runtime.leave_pipelines_untuned = lambda: None
tl.setup(seed=0, tier="embedded")
import keras
from keras import layers
x = np.random.default_rng(0).normal(size=(32 * steps, 32, 32, 16)).astype("float32")
y = np.arange(len(x)) % 2
model = keras.Sequential([
    layers.Conv2D(32, 3), layers.Conv2D(32, 3), layers.GlobalAveragePooling2D(), layers.Dense(2)
])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(x, y, verbose=0)
started = time.perf_counter()
model.fit(x, y, epochs=20, verbose=0)
print(time.perf_counter() - started)
"""
CASES = {"on one core": (1, 1), "on two cores": (2, 1), "two of them at once on two cores": (2, 2)}
STEPS = (3, 16)


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Run `fit` both ways in turn, and compare seconds."""
    for name, (cores, at_once) in CASES.items():
        for steps in STEPS:
            rounds = []
            for _ in range(repeats):
                ours, other = (seconds(cores, at_once, steps, tuned) for tuned in (0, 1))
                rounds.append(((ours, None), (other, None)))
            title = f"fit, 20 epochs of {steps} steps, {name}: pipelines untuned"
            yield describe(title, rounds, wanted=None)


def seconds(cores: int, at_once: int, steps: int, tuned: int) -> float:
    """Return the seconds of `fit`, on average over the processes that run at once."""
    command = [sys.executable, "-c", SCRIPT, str(cores), str(steps), str(tuned)]
    running = [
        subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, text=True)
        for _ in range(at_once)
    ]
    printed = [one.communicate()[0] for one in running]
    for one in running:
        if one.returncode:
            raise subprocess.CalledProcessError(one.returncode, one.args)
    found = [float(text.split()[-1]) for text in printed]
    return sum(found) / len(found)
