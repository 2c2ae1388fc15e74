"""What every system must do: train on drawn pictures, save, and predict the same in a new process."""

import subprocess
import sys

import pytest
from PIL import Image

import tlhelpers as tl

RELOAD = """
import sys
import tlhelpers as tl
found = tl.load_run(sys.argv[1]).predict(sys.argv[2])
print(*found["class"], *found["probability"])
"""


def test_a_model_is_trained_saved_and_loaded_anew(tmp_path):
    data = tl.load_dataset("pets", n_train=80, n_test=40)
    run = tl.feature_transfer(tl.load_backbone("vgg16_mini", 64), data)
    assert run.test.accuracy > 0.6
    (tmp_path / "photos").mkdir()
    for place, image in enumerate(data.test.images[:3]):
        Image.fromarray(image).save(tmp_path / "photos" / f"{place}.png")
    saved = run.save(tmp_path / "mine.keras")
    command = [sys.executable, "-c", RELOAD, saved, tmp_path / "photos"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *classes, a, b, c = done.stdout.split()
    expected = run.probabilities()[:3]
    assert classes == [data.class_names[answer] for answer in expected.argmax(axis=1)]
    assert [float(a), float(b), float(c)] == pytest.approx(expected.max(axis=1).tolist(), abs=1e-4)
