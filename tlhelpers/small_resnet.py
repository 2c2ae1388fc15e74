"""A small residual network for small pictures: the from-scratch baseline on ten classes.

A copy of a large network without its weights is a poor baseline: nobody would train that one on few
pictures. This one was made for 32 pixels. The layout is that of the short residual networks with
which CIFAR-10 is trained fast (Page 2018, "How to train your ResNet"), at a fraction of the width.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

STAGES = (2, 4, 8)
"""Channels of each stage, as a multiple of the first convolution's."""

_SMALLEST = 2 ** len(STAGES)


def small_resnet(width: int = 16, *, num_classes: int = 10, input_size: int = 32) -> "keras.Model":
    """Build the network: one convolution, then three stages that halve the picture, then a head.

    Each stage is a pooling by 2, a convolution to twice as many channels, and a residual block of
    two convolutions (He et al. 2016, arXiv:1512.03385); BatchNormalization and ReLU follow every
    convolution. All kernels are 3 × 3.

    At 32 pixels each stage costs 23,040 · width² multiply-adds, a fifth of them in its first
    convolution: with a width of 16 there are 18 million in all, and 488,314 parameters.

    Args:
        width: Channels of the first convolution, at least 1. Defaults to 16.
        num_classes: Number of classes, at least 2. Defaults to 10.
        input_size: Height and width of the images in pixels, at least 8. Defaults to 32.

    Returns:
        Uncompiled Keras model from RGB images ``[n, input_size, input_size, 3]``, 0 to 255, to
        float32 probabilities ``[n, num_classes]``. Weights are drawn from Keras's global seed.

    Raises:
        ValueError: If a size is too small.

    Example:
        >>> small_resnet(16).count_params()
        488314
    """
    import keras
    from keras import layers

    if width < 1 or num_classes < 2 or input_size < _SMALLEST:
        raise ValueError(
            f"The network takes a width of at least 1, 2 classes and {_SMALLEST} pixels. "
            f"Received: width={width}, num_classes={num_classes}, input_size={input_size}."
        )

    def convolve(x: Any, channels: int, name: str) -> Any:
        """Add a convolution, BatchNormalization and ReLU."""
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        # Keras's 0.99 averages over more steps than a small data set allows.
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    image = keras.Input((input_size, input_size, 3), name="image")
    x = layers.Rescaling(1 / 63.75, offset=-2, name="rescale")(image)
    x = convolve(x, width, "first")
    for number, factor in enumerate(STAGES, start=1):
        name = f"stage{number}"
        # Pooling first halves the arithmetic, and was no worse on drawn objects.
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
        x = convolve(x, factor * width, name)
        inner = convolve(x, factor * width, f"{name}_a")
        inner = convolve(inner, factor * width, f"{name}_b")
        x = layers.Add(name=f"{name}_add")([x, inner])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    head = layers.Dense(num_classes, "softmax", dtype="float32", name="head")
    return keras.Model(image, head(x), name="small_resnet")


def flip_and_shift(images: np.ndarray, rng: np.random.Generator, *, most: int = 4) -> np.ndarray:
    """Mirror half of the images, and shift each by up to some pixels each way.

    This is the usual augmentation of CIFAR-10: pad, then crop anywhere. What comes in from outside
    is the picture's own reflection.

    Args:
        images: ``[n, h, w, c]``, any dtype.
        rng: Source of the random choices.
        most: Largest shift in pixels, below h and w; 0 only mirrors. Defaults to 4.

    Returns:
        The views, ``[n, h, w, c]`` of the same dtype; ``images`` is left as it is.

    Raises:
        ValueError: If the shift is negative, or as large as the images.

    Example:
        >>> images = np.zeros((5, 32, 32, 3), np.uint8)
        >>> flip_and_shift(images, np.random.default_rng(0)).shape
        (5, 32, 32, 3)
    """
    count, height, width = images.shape[:3]
    if not 0 <= most < min(height, width):
        raise ValueError(
            f"The largest shift lies between 0 and {min(height, width) - 1} pixels, so that "
            f"something of the picture is left. Received: most={most}."
        )
    around = ((0, 0), (most, most), (most, most), (0, 0))
    padded = np.pad(images, around, mode="reflect")
    crops = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    down, right = rng.integers(0, 2 * most + 1, (2, count))
    views = np.ascontiguousarray(np.moveaxis(crops[np.arange(count), down, right], 1, -1))
    mirrored = rng.random(count) < 0.5
    views[mirrored] = views[mirrored, :, ::-1]
    return views
