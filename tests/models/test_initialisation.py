"""Data-dependent initialisation: unit variance in every channel, and the networks it is for."""

import keras
import numpy as np
import pytest

from tlhelpers.models.initialisation import is_plain_chain, standardise_channels
from tlhelpers.models.vgg16_mini import build_vgg16_mini


def test_each_convolution_has_mean_zero_and_variance_one():
    images = np.random.default_rng(0).normal(size=(24, 32, 32, 3)).astype("float32")
    model = build_vgg16_mini(32, seed=3)
    standardise_channels(model, images)
    for name in ("block1_conv1", "block3_conv2", "block4_conv1"):
        layer = model.get_layer(name)
        before = keras.Model(model.input, layer.input)(images)
        kernel, bias = layer.get_weights()
        sums = np.asarray(keras.ops.conv(before, kernel, padding="same")) + bias
        np.testing.assert_allclose(sums.mean(axis=(0, 1, 2)), 0, atol=1e-3)
        np.testing.assert_allclose(sums.std(axis=(0, 1, 2)), 1, rtol=1e-2)


def test_only_plain_chains():
    inputs = keras.Input((32, 32, 3))
    normed = keras.Model(inputs, keras.layers.BatchNormalization()(inputs))
    assert not is_plain_chain(normed)
    for other in ({"use_bias": False}, {"groups": 3}, {"dilation_rate": 2}):
        layer = keras.layers.Conv2D(6, 3, **other)
        assert not is_plain_chain(keras.Model(inputs, layer(inputs)))
    with pytest.raises(ValueError, match="chain of convolutions"):
        standardise_channels(normed, np.zeros((2, 32, 32, 3)))
