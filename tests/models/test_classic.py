"""Classic networks, against parameters, shapes and shifts counted by hand."""

import keras
import numpy as np
import pytest

from tlhelpers.models.classic import (
    LENET5_STAGES,
    flip_and_shift,
    lenet5,
    parameters_by_stage,
    small_resnet,
)


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


def parameters(width, classes):
    """Count 3 × 3 kernels, four numbers a channel of each normalisation, and the head."""
    pairs = [(3, width)]
    before = width
    for factor in (2, 4, 8):
        channels = factor * width
        pairs += [(before, channels), (channels, channels), (channels, channels)]
        before = channels
    return sum(9 * m * n + 4 * n for m, n in pairs) + (before + 1) * classes


@pytest.mark.parametrize(("width", "classes"), [(16, 10), (3, 4)])
def test_its_parameters(width, classes):
    assert small_resnet(width, num_classes=classes).count_params() == parameters(width, classes)


def test_multiply_adds_are_what_the_docstring_says():
    model = small_resnet(16)
    convolutions = [layer for layer in model.layers if layer.name.endswith("_conv")]
    total = sum(np.prod(c.kernel.shape) * np.prod(c.output.shape[1:3]) for c in convolutions)
    assert len(convolutions) == 10
    assert total == 27 * 16 * 1024 + 3 * 23_040 * 16**2
    assert round(total / 1e6) == 18


def test_it_gives_probabilities_of_raw_images():
    model = small_resnet(2, num_classes=3, input_size=16)
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype("uint8")
    probabilities = np.asarray(model(images))
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert model.get_layer("stage3_add").output.shape[1:] == (2, 2, 16)


def test_a_stage_adds_its_block_to_what_enters_it():
    model = small_resnet(2, input_size=8)
    gamma, *rest = model.get_layer("stage1_b_norm").get_weights()
    model.get_layer("stage1_b_norm").set_weights([0 * gamma, *rest])
    inner = keras.Model(
        model.input, [model.get_layer(f"stage1_{part}").output for part in ("relu", "add")]
    )
    entered, added = inner(np.full((1, 8, 8, 3), 200, "uint8"))
    assert np.allclose(entered, added)


@pytest.mark.parametrize(
    "sizes", [{"width": 0}, {"width": 2, "num_classes": 1}, {"width": 2, "input_size": 7}]
)
def test_sizes_that_do_not_work(sizes):
    with pytest.raises(ValueError, match="Received: width="):
        small_resnet(**sizes)


class TestFlipAndShift:
    images = np.random.default_rng(1).integers(0, 256, (40, 9, 10, 3)).astype("uint8")

    def test_every_view_is_a_crop_of_the_padded_picture_or_its_mirror_image(self):
        before = self.images.copy()
        views = flip_and_shift(self.images, np.random.default_rng(0))
        assert np.array_equal(self.images, before)
        assert views.shape == self.images.shape
        assert views.dtype == np.uint8
        found = set()
        for image, view in zip(self.images, views, strict=True):
            padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
            fits = [
                (down, right, flip)
                for down in range(9)
                for right in range(9)
                for flip in (False, True)
                if np.array_equal(
                    padded[down : down + 9, right : right + 10][:, :: -1 if flip else 1], view
                )
            ]
            assert len(fits) == 1
            found.add(fits[0])
        assert {flip for *_, flip in found} == {False, True}
        assert {down for down, _, _ in found} == {right for _, right, _ in found} == set(range(9))

    def test_the_same_seed_gives_the_same_views(self):
        first, second = (flip_and_shift(self.images, np.random.default_rng(5)) for _ in range(2))
        assert np.array_equal(first, second)
