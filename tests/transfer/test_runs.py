"""Runs: scored on the right split, and saved so that they can't be fed wrongly."""

import errno
import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from toys import random_images, random_split, small_backbone, striped_data

from tlhelpers.evaluation.scores import wilson_interval
from tlhelpers.transfer.features import pooled_features
from tlhelpers.transfer.runs import Run, predict_images


@pytest.fixture(scope="module")
def run():
    base = small_backbone(cut="block1_pool")
    features = pooled_features(base)
    head = keras.layers.Dense(2, "softmax", name="head")
    model = keras.Model(features.input, head(features.outputs[0]))
    config = {"method": "none", "rate": np.float32(0.5)}
    return Run("frozen", model, striped_data(), {"loss": [1.0]}, 2.5, config, base, 1)


def test_probabilities_are_the_models_and_computed_once(run, monkeypatch):
    found = run.probabilities("validation")
    expected = np.asarray(run.model(run.data.validation.images))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    monkeypatch.setattr(keras.Model, "predict_on_batch", lambda *_: pytest.fail("computed again"))
    assert run.probabilities("validation") is found
    with pytest.raises(ValueError, match="Received: 'tests'"):
        run.probabilities("tests")


def test_scores(run):
    right = run.probabilities().argmax(axis=1) == run.data.test.labels
    np.testing.assert_array_equal(run.right(), right)
    assert run.test.accuracy == pytest.approx(right.mean())
    assert (run.test.low, run.test.high) == wilson_interval(int(right.sum()), 10)
    assert (run.test.n, run.validation.n) == (10, 6)
    assert "vgg16_mini on stripes, 2.5 s" in str(run)


def test_a_copy_with_other_data_is_scored_anew(run):
    assert run.validation.n == 6
    other = replace(run, data=replace(run.data, validation=run.data.test))
    assert other.validation == run.test
    assert run.validation.n == 6


def test_other_predictions_can_be_given(run):
    certain = replace(run, predict_split=lambda split: np.eye(2)[split.labels])
    assert certain.test.accuracy == 1


def test_saved_and_loaded(run, tmp_path):
    path = run.save(tmp_path / "new" / "cats.keras")
    images = random_images(3)
    loaded = keras.models.load_model(path)
    np.testing.assert_allclose(loaded(images), run.model(images), atol=1e-6)
    note = json.loads(path.with_name(f"{path.name}.json").read_text("utf-8"))
    assert note["classes"] == ["lying", "standing"]
    assert "32 x 32" in note["input"]["images"]
    assert note["trained_on"]["name"] == "stripes"
    assert sorted(file.name for file in path.parent.iterdir()) == ["cats.keras", "cats.keras.json"]


def test_a_failed_save_leaves_the_old_file(run, tmp_path, monkeypatch):
    path = run.save(tmp_path / "cats.keras")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert sorted(before) == ["cats.keras", "cats.keras.json"]

    def full_disk(self, file):
        file.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full_disk)
    with pytest.raises(OSError, match=r"cats.keras could not be written to .*No space left"):
        run.save(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_folder_in_the_way_leaves_nothing(run, tmp_path):
    (tmp_path / "cats.keras").mkdir()
    with pytest.raises(IsADirectoryError, match=r"cats.keras could not be written to .*folder"):
        run.save(tmp_path / "cats.keras")
    assert [path.name for path in tmp_path.rglob("*")] == ["cats.keras"]


@pytest.mark.parametrize("name", ["cats.h5", "cats", "cats.keras.zip"])
def test_other_endings_are_refused(run, tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.keras\. Received: 'cats"):
        run.save(tmp_path / name)


def test_predictions_in_batches_are_those_in_one(run, monkeypatch):
    split = random_split(11, size=40)
    whole = predict_images(run.model, split)
    np.testing.assert_allclose(whole, run.model(split.load(None, 32)), atol=1e-6)
    monkeypatch.setattr("tlhelpers.transfer.runs.inference_batch_size", lambda size: 4)
    np.testing.assert_allclose(predict_images(run.model, split), whole, atol=1e-6)
    assert predict_images(run.model, split.take([])).shape == (0, 2)
