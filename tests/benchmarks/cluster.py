"""Extraction in shards on a local Ray cluster, against Ray Data as its guide to images has it."""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import tlhelpers as tl
from benchmarks.pairs import describe, in_turn

# Each in a process of its own, the start of Ray and of the workers included. Weights don't change
# the speed, so Ray Data's actor builds its network with random ones.
RAY_DATA = """
import sys
import ray
class Network:
    def __init__(self):
        import keras
        self.network = keras.applications.MobileNetV2(include_top=False, weights=None, pooling="avg")
    def __call__(self, batch):
        from keras.applications.mobilenet_v2 import preprocess_input
        images = preprocess_input(batch["image"].astype("float32"))
        return {"path": batch["path"], "features": self.network.predict_on_batch(images)}
ray.init(num_cpus=2, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
images = ray.data.read_images(sys.argv[1], size=(224, 224), mode="RGB", include_paths=True)
images.map_batches(Network, batch_size=32, concurrency=1).write_parquet(sys.argv[2])
"""
OURS = """
import sys
import tlhelpers as tl
from tlhelpers.workflow.shards import extract_shards
tl.setup(seed=0, tier="real")
extract_shards(*sys.argv[1:3], engine=sys.argv[3], shard=128, workers=2, cluster="ray")
"""


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Compare seconds from a folder of photographs to Parquet files."""
    name = "MobileNetV2 at 224 px on a local Ray cluster, {}, against Ray Data with Keras"
    if not all(map(importlib.util.find_spec, ("ray", "pyarrow", "pandas"))):
        notes = {"not measured": "Ray is not installed"}
        yield {"name": name.format("keras"), "ratio": None, "wanted": None, "notes": notes}
        return
    paths = tl.load_dataset("cats_dogs", tier="real", image_size=224).train.paths or ()
    paths = paths[: max(40, round(share * 1000))]
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        for number, path in enumerate(paths):
            shutil.copy(path, photos / f"{number}.jpg")
        ways = {"Ray Data": partial(run, RAY_DATA, photos)}
        engines = ["keras", *(["openvino"] if importlib.util.find_spec("openvino") else [])]
        ways |= {engine: partial(run, OURS, photos, engine) for engine in engines}
        times = in_turn(ways, min(repeats, 3), first=False)
    for engine in engines:
        yield describe(
            name.format(engine),
            list(zip(times[engine], times["Ray Data"], strict=True)),
            wanted=1.0,
            notes={"images": len(paths), "workers": 2},
        )


def run(script: str, photos: Path, *more: str) -> None:
    """Run a script in a new process, and write to a new folder."""
    with tempfile.TemporaryDirectory() as to:
        command = [sys.executable, "-c", script, str(photos), f"{to}/features", *more]
        subprocess.run(
            command, check=True, timeout=200, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
