"""Listings that a chapter shows and does not run, since offline there are no pixels: they run here."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tlhelpers.data.downloads import fetch
from tlhelpers.data.packs import load_pack

BOOK = Path(__file__).resolve().parents[2] / "book"
RUN = """
import sys

import numpy as np

images = np.load(sys.argv[1])
{listing}
np.save(sys.argv[2], features)
"""


def listing(name):
    """Find a named code block in the chapters' text."""
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            block = rf"```{{code-block}} python\n:name: {name}\n(.*?)```"
            if found := re.search(block, "".join(cell["source"]), flags=re.S):
                return found[1]
    raise LookupError(name)


@pytest.mark.mirror
@pytest.mark.slow
def test_plain_keras_gives_the_recorded_features(tmp_path):
    """Eight bits a number are off by half a step at most; Pillow and Keras add a little."""
    from tlhelpers import load_dataset

    photographs = load_dataset("cats_dogs", tier="real").test.take(range(0, 1000, 125))
    np.save(tmp_path / "images.npy", photographs.load())
    weights = fetch("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5")
    models = tmp_path / "keras" / "models"
    models.mkdir(parents=True)
    shutil.copy(weights, models / weights.name)  # where Keras looks before it downloads
    script = tmp_path / "listing.py"
    script.write_text(RUN.format(listing=listing("lst-01-features")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script, tmp_path / "images.npy", tmp_path / "features.npy"],
        env={**os.environ, "KERAS_HOME": str(tmp_path / "keras")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    features = np.load(tmp_path / "features.npy")
    pack = load_pack("cats_dogs")
    network = next(one for one in pack.networks if one.backbone == "mobilenet_v2")
    recorded = pack.features(network, "out_relu", photographs.digests())
    assert features.shape == recorded.shape
    assert np.abs(features - recorded).max() < 0.02 * recorded.max()
    closest = np.corrcoef(features, recorded)[: len(features), len(features) :].argmax(axis=1)
    assert closest.tolist() == list(range(len(features)))
