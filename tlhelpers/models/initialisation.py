"""Initial weights for training from scratch: what a deep network without BatchNorm needs."""

from typing import TYPE_CHECKING

import numpy as np

from tlhelpers.progress import counted

if TYPE_CHECKING:
    import keras

EPSILON = 1e-6


def is_plain_chain(model: "keras.Model") -> bool:
    """Tell whether a network is a chain of layers without BatchNormalization, as VGG16 is.

    Example:
        >>> from tlhelpers.models.vgg16_mini import build_vgg16_mini
        >>> is_plain_chain(build_vgg16_mini(32))
        True
    """
    import keras

    def usual(layer: keras.Layer) -> bool:
        """Tell whether a layer is of the kinds whose sums standardise_channels can compute."""
        if type(layer) is keras.layers.Conv2D:
            return layer.use_bias and layer.groups == 1 and layer.dilation_rate == (1, 1)
        return type(layer) in (keras.layers.InputLayer, keras.layers.MaxPooling2D)

    return all(usual(layer) for layer in model.layers)


def standardise_channels(model: "keras.Model", inputs: np.ndarray) -> None:
    """Rescale random weights so that each channel has mean 0 and variance 1 on some inputs.

    Without BatchNorm, a deep stack of random layers maps all images to nearly the same point, and
    training starts on a plateau it may never leave. This data-dependent initialisation (Krähenbühl
    et al. 2016, arXiv:1511.06856) removes it.

    Args:
        model: A chain of convolutions and pools; changed in place.
        inputs: Preprocessed images ``[n, s, s, 3]``; some dozens suffice.

    Raises:
        ValueError: If the model is not such a chain.

    Example:
        >>> from tlhelpers.models.vgg16_mini import build_vgg16_mini
        >>> model = build_vgg16_mini(32)
        >>> standardise_channels(model, np.random.default_rng(0).normal(size=(16, 32, 32, 3)))
    """
    import keras

    if not is_plain_chain(model):
        raise ValueError(
            "Channels can be standardised in a chain of convolutions and pools. "
            f"Received: {model.name}, which has other layers."
        )
    x = keras.ops.convert_to_tensor(np.asarray(inputs, np.float32))
    layers = model.layers[1:]
    for layer in counted(layers, len(layers), "standardising random weights", " layers"):
        if layer.weights:
            kernel, _ = layer.get_weights()
            sums = np.asarray(
                keras.ops.conv(x, kernel, strides=layer.strides, padding=layer.padding), np.float64
            )
            mean, deviation = sums.mean(axis=(0, 1, 2)), sums.std(axis=(0, 1, 2)) + EPSILON
            layer.set_weights([kernel / deviation.astype(np.float32), -mean / deviation])
        x = keras.ops.cast(layer(x), "float32")
