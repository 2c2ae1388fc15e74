"""Listings that a chapter shows and does not run, since offline there are no pixels: they run here."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tlhelpers.data.downloads import fetch
from tlhelpers.data.packs import load_pack

MOBILENET = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
VGG16 = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
BOOK = Path(__file__).resolve().parents[2] / "book"
CASES = [  # the listing, its network and weights, and how many stages it gives
    ("lst-01-features", "mobilenet_v2", MOBILENET, 1),
    ("lst-04-stages", "vgg16", VGG16, 5),
    ("lst-05-features", "vgg16", VGG16, 1),
]
RUN = """
import json, sys
import numpy as np
images = np.load(sys.argv[1])
for name, code in json.loads(sys.argv[2]).items():
    names = {"images": images.copy()}
    exec(code, names)
    features = names["features"]
    np.savez(f"{name}.npz", *(features if isinstance(features, list) else [features]))
"""


def listing(name):
    """Find a named code block in the chapters' text."""
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            block = rf"```{{code-block}} python\n:name: {name}\n(.*?)```"
            if found := re.search(block, "".join(cell["source"]), flags=re.S):
                return found[1]
    raise LookupError(name)


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """Eight photographs, and the folder of what the listings make of them, each on its own."""
    from tlhelpers import load_dataset

    folder = tmp_path_factory.mktemp("listings")
    photographs = load_dataset("cats_dogs", tier="real").test.take(range(0, 1000, 125))
    np.save(folder / "images.npy", photographs.load())
    codes = {
        name: listing(name).replace('weights="imagenet"', f"weights={str(fetch(weights))!r}")
        for name, _, weights, _ in CASES
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, "images.npy", json.dumps(codes)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return photographs, folder


@pytest.mark.mirror
@pytest.mark.slow
@pytest.mark.parametrize(("name", "backbone", "weights", "last"), CASES)
def test_plain_keras_gives_the_recorded_features(listed, name, backbone, weights, last):
    """Rounding is off by half a step, 1.6 % of a channel's range at most; Pillow adds a little."""
    photographs, folder = listed
    pack = load_pack("cats_dogs")
    network = next(
        one
        for one in pack.networks
        if (one.backbone, one.weights) == (backbone, "pretrained")
        and "0.00392" not in one.preprocessing
    )
    with np.load(folder / f"{name}.npz") as stored:
        outputs = list(stored.values())
    assert len(outputs) == last
    for stage, features in zip(network.stages[-last:], outputs, strict=True):
        recorded = pack.features(network, stage, photographs.digests())
        assert features.shape == recorded.shape
        spread = np.ptp(pack.features(network, stage, pack.digests()), axis=0)
        assert (np.abs(features - recorded) <= 0.025 * spread + 1e-3).all()
        closest = np.corrcoef(features, recorded)[: len(features), len(features) :].argmax(axis=1)
        assert closest.tolist() == list(range(len(features)))
