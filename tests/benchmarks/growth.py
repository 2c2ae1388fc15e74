"""How time and memory grow from a thousand to 200,000 images."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

COUNTS = (1_000, 4_000, 20_000, 60_000, 200_000)
MOST_TRAINED = 20_000

# Each in a process of its own, since a process's peak memory never falls. What is built once, the
# network and its graph, is built on other images before the clock starts.
COMMON = """
import json, shutil, sys, time
from glob import glob
from pathlib import Path
import numpy as np
import tlhelpers as tl
from tlhelpers.runtime import peak_memory_gibibytes
folder, few, to = map(Path, sys.argv[1:])
tl.setup(seed=0)
"""
JOBS = {
    "load_folder": """
def job(photos):
    tl.load_folder(photos, image_size=32)
""",
    "extract_features": """
base = tl.load_backbone("vgg16_mini", 32, cut="block3_pool")
def job(photos):
    split = tl.Split.from_paths(
        paths := sorted(glob(f"{photos}/*/*.jpg")), np.zeros(len(paths), int), ["a"], image_size=32
    )
    tl.extract_features(base, split, progress=False)
""",
    "extraction in shards, and a head streamed over them": """
from tlhelpers.workflow.shards import extract_shards
from tlhelpers.workflow.streamed import fit_streamed
def job(photos):
    shutil.rmtree(to, ignore_errors=True)
    extract_shards(photos, to, backbone="vgg16_mini", image_size=32, cut="block3_pool")
    fit_streamed(to, epochs=2)
""",
    "train": """
from tlhelpers.workflow.train import train_folder
def job(photos):
    train_folder(photos, to / photos.name, backbone="vgg16_mini", minutes=0, formats=())
""",
}
TIMED = """
job(few)
started, worked = time.perf_counter(), time.process_time()
job(folder)
found = {"seconds": time.perf_counter() - started, "processor": time.process_time() - worked}
print(json.dumps({**found, "peak": peak_memory_gibibytes()}))
"""


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Measure every job at every count, and fit slopes."""
    counts = sorted({max(600, round(share * n)) for n in COUNTS})
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in JOBS}
    with tempfile.TemporaryDirectory() as place:
        few = draw(Path(place) / "few", 600, seed=1)
        for n in counts:
            photos = draw(Path(place) / f"{n}", n)
            for name, job in JOBS.items():
                if name != "train" or n <= max(600, round(share * MOST_TRAINED)):
                    found[name].append({"images": n, **measured(job, photos, few)})
    yield from summary(found)


def summary(found: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Make rows of what was measured of each job."""
    for name, runs in found.items():
        yield {
            "name": f"{name}: slope of processor seconds by images, both logarithmic",
            **slope(runs),
            "wanted": 1.05,
            "notes": {"runs": runs},
        }
        yield {
            "name": f"{name}: peak memory, most images over fewest",
            "ratio": runs[-1]["peak"] / runs[0]["peak"],
            "wanted": 1.1,
            "notes": {},
        }


def draw(folder: Path, n: int, seed: int = 0, size: int = 64, cells: int = 6) -> Path:
    """Write n different JPEG files of two classes, brighter above or below, out of random cells."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    ramp = np.linspace(25, -25, cells)[:, None, None]
    for row in range(n):
        label = row % 2
        grid = rng.integers(30, 226, (cells, cells, 3)) + (-ramp if label else ramp)
        path = folder / ("above", "below")[label] / f"{row:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(grid.astype(np.uint8))
        small.resize((size, size), Image.Resampling.BICUBIC).save(path, quality=80)
    return folder


def measured(job: str, photos: Path, few: Path) -> dict[str, float]:
    """Return seconds and peak GiB of a job in a new process, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-c", COMMON + job + TIMED, str(photos), str(few), f"{cache}/to"],
            env={**os.environ, "TLH_CACHE": cache},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def slope(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Fit a line to the logarithms; the spread is that of the slopes between neighbours."""
    images, seconds = (np.log([run[key] for run in runs]) for key in ("images", "processor"))
    if len(runs) < 2:
        return {"ratio": float("nan")}
    steps = np.diff(seconds) / np.diff(images)
    fitted = np.polyfit(images, seconds, 1)[0]
    return {"ratio": float(fitted), "low": float(steps.min()), "high": float(steps.max())}
