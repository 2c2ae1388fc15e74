"""How time and memory of extraction grow with the number of images, and what half precision costs."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

import tlhelpers as tl
from benchmarks.places import empty_cache
from tlhelpers.transfer.heads import fit_linear_head

COUNTS = (1_000, 5_000, 20_000, 50_000)

# In a process of its own, since a process's peak memory never falls.
EXTRACT = """
import json, sys, time
import numpy as np
import tlhelpers as tl
from tlhelpers.runtime import peak_memory_gibibytes

class Drawn:
    def __init__(self, n):
        self.n = n
    def __len__(self):
        return self.n
    def load(self, rows, size):
        return np.stack([np.random.default_rng(r).integers(0, 256, (size, size, 3), "uint8") for r in rows])
    def digests(self):
        return [i.to_bytes(32, "big") for i in range(self.n)]

n = int(sys.argv[1])
tl.setup(seed=0)
base = tl.load_backbone("vgg16_mini", 32, cut="block3_pool")
tl.extract_features(base, Drawn(512), progress=False)
started = time.perf_counter()
features = tl.extract_features(base, Drawn(n), progress=False)
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "peak": peak_memory_gibibytes(), "shape": features.shape}))
"""


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Measure growth, then the score with features in single and in half precision."""
    found = []
    for n in (max(600, round(share * n)) for n in COUNTS):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-c", EXTRACT, str(n)],
                env={**_environment(), "TLH_CACHE": folder},
                capture_output=True,
                text=True,
                check=True,
            )
        found.append({"images": n, **json.loads(done.stdout.splitlines()[-1])})
    counts = [one["images"] for one in found]
    peaks = [one["peak"] for one in found]
    # Half the images were computed by the warm-up where there are few: the slope is of the rest.
    computed = np.log([n - 512 for n in counts])
    slope = float(np.polyfit(computed, np.log([one["seconds"] for one in found]), 1)[0])
    yield {
        "name": f"peak memory of extraction, {counts[-1]:,} images over {counts[0]:,}",
        "ratio": peaks[-1] / peaks[0],
        "wanted": 1.1,
        "notes": {"runs": found},
    }
    yield {
        "name": "slope of seconds by images, both logarithmic",
        "ratio": slope,
        "wanted": 1.05,
        "notes": {},
    }
    yield half_precision()


def half_precision() -> dict[str, Any]:
    """Fit heads on features in single and half precision, of ten draws of 20 labels a class."""
    base = tl.load_backbone("vgg16_mini", 64)
    differences = []
    with empty_cache():
        for seed in range(10):
            data = tl.load_dataset("pets", n=400, test=500, seed=seed).few(20)
            scores = []
            for dtype in ("float32", "float16"):
                train, held_out, test = (
                    np.asarray(tl.extract_features(base, split, dtype=dtype), np.float32)
                    for split in (data.train, data.validation, data.test)
                )
                head = fit_linear_head(
                    train, data.train.labels, held_out, data.validation.labels, num_classes=2
                )
                guesses = head.probabilities(test).argmax(axis=1)
                scores.append(float((guesses == data.test.labels).mean()))
            differences.append(scores[1] - scores[0])
    return {
        "name": "test accuracy with features in half precision, minus single, mean of ten draws",
        "ratio": float(np.mean(differences)),
        "low": min(differences),
        "high": max(differences),
        "wanted": 0.0,
        "notes": {"test images": 500},
    }


def _environment() -> dict[str, str]:
    """Return this process's environment."""
    import os

    return dict(os.environ)
