"""Where the time of training from scratch on a processor goes, and what might shorten it."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.pairs import describe

# Each run is a process of its own: threads, backend and precision hold for a whole process. One
# epoch and several give what is spent once (the graph is traced and optimised) and in each epoch.
JOB = """
import json, sys, time
{before}
import tlhelpers as tl
tl.setup(seed=0, tier="embedded", precision="{precision}")
{after}
few = tl.load_dataset("pets", n_train=400, n_test=50).few(int(sys.argv[1]))
def seconds(epochs):
    base = tl.load_backbone("vgg16_mini", 64, weights=None)
    started = time.perf_counter()
    tl.from_scratch(base, few, recipe=tl.recipes.Training(epochs, {batch}, 1e-3))
    return time.perf_counter() - started
print(json.dumps([seconds(1), seconds({epochs})]))
"""
USUAL = {"before": "", "after": "", "precision": "float32", "batch": 16, "backend": "tensorflow"}
VARIANTS: dict[str, dict[str, Any]] = {
    "batches of 64 in place of 16": {"batch": 64},
    "eight steps in one call": {
        "after": "import tlhelpers.transfer.training as t; t.steps_per_execution = lambda: 8"
    },
    "one thread for each operation": {
        "before": "import tensorflow as tf; tf.config.threading.set_intra_op_parallelism_threads(1)"
    },
    "mixed_bfloat16": {"precision": "mixed_bfloat16"},
    "Keras on JAX": {"backend": "jax"},
}
EPOCHS = 9


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Run the usual way and each variant in turn, and compare what an epoch takes."""
    ways = {"usual": USUAL} | {
        name: USUAL | change
        for name, change in VARIANTS.items()
        if importlib.util.find_spec(change.get("backend", "tensorflow"))
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(min(repeats, 3)):
        for name, way in ways.items():
            found[name].append(seconds_of_training(way, share))
    usual = found.pop("usual")
    for name, times in found.items():
        for what, place in (("an epoch", 1), ("what is spent once", 0)):
            yield describe(
                f"vgg16_mini at 64 px from scratch, {what}: {name}",
                [((a[place], None), (b[place], None)) for a, b in zip(times, usual, strict=True)],
                wanted=None,
            )
    shares = sorted(once / (once + EPOCHS * epoch) for once, epoch in usual)
    yield {
        "name": f"vgg16_mini at 64 px from scratch: share spent once, of {EPOCHS} epochs",
        "ratio": shares[len(shares) // 2],
        "low": shares[0],
        "high": shares[-1],
        "repeats": len(shares),
        "wanted": None,
        "notes": {"seconds an epoch": [epoch for _, epoch in usual]},
    }


def seconds_of_training(way: dict[str, Any], share: float) -> tuple[float, float]:
    """Return seconds that are spent once, and in each epoch."""
    done = subprocess.run(
        [sys.executable, "-c", JOB.format(epochs=EPOCHS, **way), str(max(5, round(share * 200)))],
        env={**os.environ, "KERAS_BACKEND": way["backend"]},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    first, several = json.loads(done.stdout.splitlines()[-1])
    # The second training finds the process warm: its graph is traced anew all the same.
    epoch = max((several - first) / (EPOCHS - 1), 1e-6)
    return max(first - epoch, 1e-6), epoch
