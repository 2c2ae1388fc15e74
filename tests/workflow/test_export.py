"""Exports are proven on every image, refused where they disagree, and usable without the package."""

import importlib.util
import json
import subprocess
import sys
import zipfile
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
def test_its_lines_give_the_same_answer_from_any_folder(run, folder, name, tmp_path):
    exported(run, folder, name)
    Image.fromarray(run.data.test.images[3]).save(tmp_path / "new picture.png")
    script = folder / f"use_{name}.py"
    code = script.read_text()
    assert "tlhelpers" not in code
    assert len(code.splitlines()) <= 25
    blocked = "" if name == "keras" else "sys.modules['tensorflow'] = sys.modules['keras'] = None;"
    command = f"import sys, runpy; {blocked} runpy.run_path({str(script)!r})"
    expected = run.probabilities()[3]
    card = folder / "model.keras.json"
    for threshold, wanted in ((1.0, "unsure"), (0.0, run.data.class_names[expected.argmax()])):
        card.write_text(json.dumps(json.loads(card.read_text()) | {"threshold": threshold}))
        done = subprocess.run(
            [sys.executable, "-c", command, "new picture.png"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        answer, probability = done.stdout.split()
        assert answer == wanted
        assert float(probability) == pytest.approx(expected.max(), abs=2e-3)


def test_the_files_name_the_classes_where_their_formats_can(run, folder):
    for name in ("litert", "onnx"):
        exported(run, folder, name)
    labels = zipfile.ZipFile(folder / "model.tflite").read("labels.txt").decode()
    assert labels.splitlines() == list(run.data.class_names)
    session = pytest.importorskip("onnxruntime").InferenceSession(folder / "model.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == labels.split()


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
    code = (folder / "use_keras.py").read_text().partition("here = ")[0]
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


def shifted(p, by):
    """Give what a runtime gives whose probabilities differ by so much."""
    return lambda path: lambda images: np.resize(p + np.array([by, -by]), (len(images), 2))


def test_a_near_tie_is_no_fault_of_the_file_and_is_told(run, folder, monkeypatch):
    p = np.array([[0.4999997, 0.5000003]] + [[0.9, 0.1]] * 3, np.float32)
    monkeypatch.setattr(exports, "AT_ONCE", 4)
    monkeypatch.setitem(exports._RUNNERS, "keras", shifted(p, 4e-7))
    test = run.data.test
    proof = export(run.model, "keras", folder, test.class_names, test, p, np.arange(4))
    assert proof.agree == 0.75
    assert proof.difference == pytest.approx(4e-7, rel=0.2)
    for wrong in (2e-3, np.nan):  # as close to a tie, and further than arithmetic explains
        monkeypatch.setitem(exports._RUNNERS, "keras", shifted(p, wrong))
        with pytest.raises(ExportError, match=r"model\.keras must give what the model gives"):
            export(run.model, "keras", folder, test.class_names, test, p, np.arange(4))


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_what_is_not_proven_is_not_left(run, tmp_path, monkeypatch, name):
    def write(model, format, path, *rest):
        path.write_bytes(b"a model")
        if format == "openvino":
            path.with_suffix(".bin").write_bytes(b"its weights")

    def broken(path):
        raise ImportError("DLL load failed")

    test, p = run.data.test, run.probabilities()[:4]
    (tmp_path / "model.keras").write_bytes(b"is ours")
    monkeypatch.setattr(exports, "_write", write)
    monkeypatch.setattr(exports, "AT_ONCE", 4)
    for runner, says in ((broken, "and run: DLL load failed"), (shifted(p, 0.1), "must give")):
        monkeypatch.setitem(exports._RUNNERS, name, runner)
        with pytest.raises(ExportError, match=says):
            export(run.model, name, tmp_path, test.class_names, test, p, np.arange(4))
        assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


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
