"""LeNet-5: parameters counted by hand, names, input contract, seeds."""

import keras
import numpy as np
import pytest

from tlhelpers.models.classic import LENET5_STAGES, lenet5, parameters_by_stage


def dense(inputs, units):
    return inputs * units + units


def conv(channels, filters, side=5):
    return side * side * channels * filters + filters


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda: lenet5(num_classes=5), 61_706 - 5 * 85),
        (
            lambda: lenet5(input_size=12),
            conv(1, 6) + conv(6, 16) + dense(16, 120) + dense(120, 84) + dense(84, 10),
        ),
    ],
)
def test_parameters_are_those_counted_by_hand(model, expected):
    assert model().count_params() == expected


def test_lenet5_is_the_papers():
    expected = {
        "stage1": conv(1, 6),
        "stage2": conv(6, 16),
        "stage3": dense(400, 120),
        "stage4": dense(120, 84),
        "head": dense(84, 10),
    }
    for size in (28, 32):
        model = lenet5(input_size=size)
        assert parameters_by_stage(model) == expected
        assert model.get_layer("stage1_conv").output.shape[1:] == (28, 28, 6)
        assert model.get_layer("stage2_pool").output.shape[1:] == (5, 5, 16)
    assert sum(expected.values()) == 61_706
    assert tuple(expected) == LENET5_STAGES


def test_layers_are_named_by_stage():
    names = [layer.name for layer in lenet5().layers]
    assert names == [
        "image",
        "rescale",
        "stage1_conv",
        "stage1_pool",
        "stage2_conv",
        "stage2_pool",
        "stage3_flatten",
        "stage3_dense",
        "stage4_dense",
        "head",
    ]


def test_raw_pixels_become_probabilities():
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
    probabilities = np.asarray(lenet5(num_classes=7).predict(images, verbose=0))
    assert probabilities.shape == (3, 7)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.max(axis=1) < 0.9).all()


def test_pixels_are_divided_once():
    model = lenet5()
    inner = keras.Model(model.input, model.get_layer("rescale").output)
    white = np.full((1, 28, 28, 1), 255, np.uint8)
    np.testing.assert_allclose(np.asarray(inner(white)), 1)


def test_the_global_seed_decides_the_weights():
    drawn = []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(seed)
        drawn.append(np.concatenate([w.ravel() for w in lenet5().get_weights()]))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_saved_and_loaded_without_this_package(tmp_path):
    model = lenet5()
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    images = np.arange(784, dtype=np.float32).reshape(1, 28, 28, 1) % 256
    np.testing.assert_array_equal(np.asarray(model(images)), np.asarray(loaded(images)))


@pytest.mark.parametrize("wrong", [{"num_classes": 1}, {"input_size": 8}])
def test_wrong_sizes(wrong):
    with pytest.raises(ValueError, match=r"at least 2 classes and 12 pixels\. Received: num_cl"):
        lenet5(**wrong)


@pytest.mark.slow
def test_it_learns():
    images = np.zeros((40, 12, 12, 1), np.uint8)
    labels = np.arange(40) % 2
    images[labels == 1, :, 6:] = 255
    keras.utils.set_random_seed(0)
    model = lenet5(input_size=12, num_classes=2)
    model.compile(
        keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", jit_compile=False
    )
    losses = model.fit(images, labels, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
