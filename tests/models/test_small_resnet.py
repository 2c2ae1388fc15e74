"""The small residual network and its augmentation, against counts and shifts made by hand."""

import keras
import numpy as np
import pytest

from tlhelpers.models.classic import flip_and_shift, small_resnet


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
