"""Networks of the book's own: LeNet-5, and a small residual network."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

LENET5_STAGES = ("stage1", "stage2", "stage3", "stage4", "head")
"""Stages of LeNet-5 in the order of the data: two convolutional, two dense, and the head."""

# Below this, the second convolution has no 5 × 5 window left.
_SMALLEST = 12
# From here on the first convolution needs no padding: LeNet-5's own input was 32 pixels.
_UNPADDED = 32


def lenet5(*, num_classes: int = 10, input_size: int = 28) -> "keras.Model":
    """Build LeNet-5 with its layers named by stage, so that stages can be copied and frozen.

    Source: LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791. As is usual today, average
    pooling has no weights of its own, the second convolution sees all six maps, the activation is
    ReLU, and the output is a softmax.

    Parameters at 28 pixels and ten classes: stage1 156, stage2 2,416, stage3 48,120, stage4
    10,164, head 850, together 61,706. The first convolution pads images below 32 pixels, so 28
    pixels padded and the original's 32 unpadded make the same network.

    Args:
        num_classes: Number of classes, at least 2. Defaults to 10.
        input_size: Height and width of the images in pixels, at least 12. Defaults to 28.

    Returns:
        Uncompiled Keras model from grey images ``[n, input_size, input_size, 1]``, values 0 to 255,
        to float32 probabilities ``[n, num_classes]``. Layers: ``image``,
        ``rescale``, ``stage1_conv``, ``stage1_pool``, ``stage2_conv``, ``stage2_pool``,
        ``stage3_flatten``, ``stage3_dense``, ``stage4_dense``, ``head``.

    Raises:
        ValueError: If a size is too small.

    Example:
        >>> lenet5().count_params(), lenet5(input_size=32).count_params()
        (61706, 61706)
    """
    import keras
    from keras import layers

    if num_classes < 2 or input_size < _SMALLEST:
        raise ValueError(
            f"LeNet-5 takes at least 2 classes and {_SMALLEST} pixels. "
            f"Received: num_classes={num_classes}, input_size={input_size}."
        )
    padding = "same" if input_size < _UNPADDED else "valid"
    x = image = keras.Input((input_size, input_size, 1), name="image")
    # A functional model, whose inner outputs can be had for cutting and looking inside.
    for layer in (
        layers.Rescaling(1 / 255, name="rescale"),
        layers.Conv2D(6, 5, padding=padding, activation="relu", name="stage1_conv"),
        layers.AveragePooling2D(2, name="stage1_pool"),
        layers.Conv2D(16, 5, activation="relu", name="stage2_conv"),
        layers.AveragePooling2D(2, name="stage2_pool"),
        layers.Flatten(name="stage3_flatten"),
        layers.Dense(120, activation="relu", name="stage3_dense"),
        layers.Dense(84, activation="relu", name="stage4_dense"),
        layers.Dense(num_classes, activation="softmax", dtype="float32", name="head"),
    ):
        x = layer(x)
    return keras.Model(image, x, name="lenet5")


def parameters_by_stage(model: "keras.Model") -> dict[str, int]:
    """Count the parameters of each stage, where layers are named ``<stage>_<layer>``.

    Args:
        model: A model whose layer names begin with their stage, such as :func:`lenet5`.

    Returns:
        Parameters by stage, in the model's order; stages without any are left out.

    Example:
        >>> parameters_by_stage(lenet5())["stage2"]
        2416
    """
    counts: dict[str, int] = {}
    for layer in model.layers:
        own = sum(math.prod(weight.shape) for weight in layer.weights)
        if own:
            stage = layer.name.split("_")[0]
            counts[stage] = counts.get(stage, 0) + own
    return counts


STAGES = (2, 4, 8)
"""Channels of each stage, as a multiple of the first convolution's."""

_SMALLEST_RESNET = 2 ** len(STAGES)


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

    if width < 1 or num_classes < 2 or input_size < _SMALLEST_RESNET:
        raise ValueError(
            f"The network takes a width of at least 1, 2 classes and {_SMALLEST_RESNET} pixels. "
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


def flip_and_shift(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror half of the images, and shift each by up to four pixels each way.

    This is the usual augmentation of CIFAR-10: pad, then crop anywhere. What comes in from outside
    is the picture's own reflection.

    Args:
        images: ``[n, h, w, c]``, any dtype, h and w at least 5.
        rng: Source of the random choices.

    Returns:
        The views, ``[n, h, w, c]`` of the same dtype; ``images`` is left as it is.

    Example:
        >>> images = np.zeros((5, 32, 32, 3), np.uint8)
        >>> flip_and_shift(images, np.random.default_rng(0)).shape
        (5, 32, 32, 3)
    """
    count, height, width = images.shape[:3]
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    crops = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    down, right = rng.integers(0, 9, (2, count))
    views = np.ascontiguousarray(np.moveaxis(crops[np.arange(count), down, right], 1, -1))
    mirrored = rng.random(count) < 0.5
    views[mirrored] = views[mirrored, :, ::-1]
    return views
