"""What every system must do: train on drawn pictures, save, and predict the same in a new process."""

import subprocess
import sys

import numpy as np

import tlhelpers as tl

RELOAD = """
import sys
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
np.save(sys.argv[3], model(np.load(sys.argv[2])))
"""


def test_a_model_is_trained_saved_and_loaded_anew(tmp_path):
    data = tl.load_dataset("cats_dogs", tier="embedded", n=80, test=40)
    run = tl.feature_transfer(tl.load_backbone("vgg16_mini", 64), data)
    assert run.test.accuracy > 0.6
    images = data.test.images[:8]
    np.save(tmp_path / "images.npy", images)
    saved, given = run.save(tmp_path / "mine.keras"), tmp_path / "given.npy"
    command = [sys.executable, "-c", RELOAD, saved, tmp_path / "images.npy", given]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(given), run.probabilities()[:8], atol=1e-4)
