"""The small VGG16: names and shapes of the original, weights that are the recorded ones."""

import hashlib
import itertools
import json
import shutil

import keras
import numpy as np
import pytest

from tlhelpers.models.vgg16_mini import (
    WEIGHTS_FILE,
    build_vgg16_mini,
    load_weights_into,
    read_weights,
)


def test_layer_names_are_those_of_vgg16():
    original = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    small = build_vgg16_mini(32)
    assert [a.name for a in small.layers[1:]] == [a.name for a in original.layers[1:]]
    for ours, theirs in zip(small.layers[1:], original.layers[1:], strict=True):
        assert type(ours) is type(theirs)
        assert ours.output.shape[1:3] == theirs.output.shape[1:3]
        assert 4 * ours.output.shape[-1] == theirs.output.shape[-1]


def test_parameters_are_counted_by_hand():
    widths = [3, 16, 16, 32, 32, 64, 64, 64, 128, 128, 128, 128, 128, 128]
    expected = sum(9 * a * b + b for a, b in itertools.pairwise(widths))
    assert build_vgg16_mini(32).count_params() == expected


@pytest.mark.parametrize("size", [32, 50, 64])
def test_output_shapes(size):
    model = build_vgg16_mini(size)
    assert model.output_shape == (None, size // 32, size // 32, 128)
    assert model(np.zeros((2, size, size, 3), np.float32)).shape == (2, size // 32, size // 32, 128)


def test_signals_keep_their_size_through_thirteen_layers():
    images = np.random.default_rng(0).normal(size=(8, 64, 64, 3)).astype(np.float32)
    model = build_vgg16_mini(64)
    shallow = keras.Model(model.input, model.get_layer("block1_conv1").output)(images)
    ratio = np.asarray(model(images)).std() / np.asarray(shallow).std()
    assert 0.1 < ratio < 10


def test_seed_decides_initial_weights():
    a, b, c = (build_vgg16_mini(32, seed=seed).get_weights()[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_shipped_weights_are_small_finite_and_the_recorded_ones():
    card = json.loads(WEIGHTS_FILE.with_suffix(".json").read_text(encoding="utf-8"))
    content = WEIGHTS_FILE.read_bytes()
    assert len(content) <= 3_000_000
    assert hashlib.sha256(content).hexdigest() == card["sha256"]
    with np.load(WEIGHTS_FILE, allow_pickle=False) as arrays:
        assert {arrays[name].dtype for name in arrays.files} == {np.dtype(np.float16)}
    weights = read_weights()
    assert len(weights) == 26
    assert all(np.isfinite(values).all() for values in weights.values())
    assert sum(values.size for values in weights.values()) == build_vgg16_mini(32).count_params()


def test_weights_load_by_name_into_whole_and_cut_models():
    weights = read_weights()
    model = load_weights_into(build_vgg16_mini(64))
    for layer in model.layers:
        if layer.weights:
            np.testing.assert_array_equal(layer.get_weights()[0], weights[f"{layer.name}/kernel"])
    whole = build_vgg16_mini(64)
    cut = load_weights_into(keras.Model(whole.input, whole.get_layer("block3_pool").output))
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    middle = keras.Model(model.input, model.get_layer("block3_pool").output)
    np.testing.assert_allclose(cut(images), middle(images), atol=1e-5)


def test_a_changed_file_is_refused(tmp_path):
    path = tmp_path / "w.npz"
    shutil.copy(WEIGHTS_FILE, path)
    shutil.copy(WEIGHTS_FILE.with_suffix(".json"), path.with_suffix(".json"))
    assert len(read_weights(path)) == 26
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"not the recorded"):
        read_weights(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tlhelpers\.experiments\.pretrain"):
        read_weights(tmp_path / "none.npz")
