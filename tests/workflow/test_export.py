"""Exports are proven on every image, refused where they disagree, and usable without the package."""

import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from toys import small_backbone, striped_data

from tlhelpers.data.images import read_image
from tlhelpers.transfer.methods import feature_transfer
from tlhelpers.workflow import export as exports
from tlhelpers.workflow.export import ExportError, check_formats, export, missing_for

FORMATS = ["keras", "litert", "onnx", "openvino"]


@pytest.fixture(scope="module")
def run():
    return feature_transfer(small_backbone(cut="block2_pool"), striped_data(test=40))


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    place = tmp_path_factory.mktemp("results")
    run.save(place / "model.keras")
    return place


def exported(run, folder, name):
    if missing_for(name):
        pytest.skip(f"{name} needs {missing_for(name)}: pip install -e .[export]")
    rows = np.arange(40)
    test = run.data.test
    return export(run.model, name, folder, test.class_names, test, run.probabilities(), rows)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_agrees_on_every_image(run, folder, name):
    proof = exported(run, folder, name)
    assert (proof.n, proof.agree) == (40, 1.0)
    assert proof.difference < 1e-4
    assert proof.megabytes > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS[1:])
def test_each_format_alone_is_written_from_the_saved_file(run, folder, name):
    saved = SimpleNamespace(model=keras.models.load_model(folder / "model.keras", compile=False))
    saved.data, saved.probabilities = run.data, run.probabilities
    assert exported(saved, folder, name).agree == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_its_ten_lines_give_the_same_answer(run, folder, name):
    exported(run, folder, name)
    Image.fromarray(run.data.test.images[3]).save(folder / "new picture.png")
    script = folder / f"use_{name}.py"
    code = script.read_text()
    assert "tlhelpers" not in code
    blocked = "" if name == "keras" else "sys.modules['tensorflow'] = sys.modules['keras'] = None;"
    command = f"import sys, runpy; {blocked} runpy.run_path({script.name!r})"
    done = subprocess.run(
        [sys.executable, "-c", command, "new picture.png"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer, probability = done.stdout.split()
    expected = run.probabilities()[3]
    assert answer == run.data.class_names[expected.argmax()]
    assert float(probability) == pytest.approx(expected.max(), abs=2e-3)


GREY = (120, 4095)


def _cut_out(image):
    """Make a corner transparent, with black below."""
    pixels = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    pixels[:16, :16] = 0
    return Image.fromarray(pixels)


def _many_greys(image):
    """Give the image in grey of 16 bits, of which few are used."""
    return Image.fromarray(image[..., 0].astype(np.uint16) * 15 + 200)


def _camera(image):
    """Take it with a telephone held upright: large, with its orientation noted."""
    large = Image.fromarray(image).resize((800, 600), Image.Resampling.BICUBIC)
    large.getexif()[0x112] = 6
    return large


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("make", [_cut_out, _many_greys, _camera])
def test_its_lines_read_what_the_training_read(run, folder, tmp_path, make, fit):
    test = run.data.test
    rows, p = np.arange(40), run.probabilities()
    export(run.model, "keras", folder, test.class_names, test, p, rows, fit, GREY)
    path = tmp_path / f"new.{'jpg' if make is _camera else 'png'}"
    image = make(test.images[3])
    image.save(path, exif=image.getexif())
    expected = read_image(path, 32, fit=fit, grey_range=GREY)
    code = (folder / "use_keras.py").read_text().partition("names = ")[0]
    code = f"import sys; sys.argv = ['', {str(path)!r}]\n{code}"
    found = {}
    exec(code, found)
    np.testing.assert_array_equal(found["pixels"][0], expected)


def test_a_file_that_disagrees_is_an_error(run, folder):
    test, p = run.data.test, run.probabilities()
    swapped = p.copy()
    swapped[7] = swapped[7, ::-1]
    with pytest.raises(ExportError, match=r"same class for 97\.50% of 40 images"):
        export(run.model, "keras", folder, test.class_names, test, swapped, np.arange(40))
    unsure = p * 0.99 + 0.005
    with pytest.raises(ExportError, match="probabilities that differ"):
        export(run.model, "keras", folder, test.class_names, test, unsure, np.arange(40))


def test_what_cannot_be_converted_is_an_error_that_leaves_no_file(run, tmp_path, monkeypatch):
    def fail(self, *args, **kwargs):
        raise TypeError("no such operation\nand much more")

    monkeypatch.setattr(keras.Model, "export", fail)
    test = run.data.test
    with pytest.raises(ExportError, match=r"as litert and run: no such operation$"):
        export(run.model, "litert", tmp_path, test.class_names, test, run.probabilities(), [0, 1])
    assert not list(tmp_path.iterdir())


def test_formats_are_checked_before_any_work(monkeypatch):
    check_formats([])
    with pytest.raises(ValueError, match=r"litert, onnx, openvino\. Received: 'tflite'"):
        check_formats(["tflite"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "tlhelpers\[export\]"'):
        check_formats(["onnx"])
    assert exports.missing_for("litert") == ["tensorflow", "ai_edge_litert"]
