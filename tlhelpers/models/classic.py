"""Networks that the chapters build themselves: LeNet-5, AlexNet, and a small residual network."""

import math
from collections.abc import Sequence
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


def mlp(
    hidden: Sequence[int] = (128,),
    *,
    num_classes: int = 10,
    input_size: int = 28,
    channels: int = 1,
    activation: str = "relu",
) -> "keras.Model":
    """Build a multilayer perceptron: flattened pixels, dense layers, softmax.

    A dense layer from m to n numbers has (m + 1) · n parameters. At 28 pixels, grey, one hidden
    layer of 128 units and ten classes make 785 · 128 + 129 · 10 = 101,770.

    Args:
        hidden: Units of each hidden layer, each at least 1; none makes a linear classifier.
            Defaults to one layer of 128.
        num_classes: Number of classes, at least 2. Defaults to 10.
        input_size: Height and width of the images in pixels, at least 1. Defaults to 28.
        channels: 1 for grey, 3 for RGB. Defaults to 1.
        activation: Activation of the hidden layers. Defaults to ``"relu"``.

    Returns:
        Uncompiled Keras model from ``[n, input_size, input_size, channels]``, values 0 to 255, to
        float32 probabilities ``[n, num_classes]``. Layers: ``image``,
        ``rescale``, ``flatten``, ``hidden1``, ``hidden2``, …, ``head``.

    Raises:
        ValueError: If a size is too small.

    Example:
        >>> mlp().count_params()
        101770
    """
    import keras
    from keras import layers

    if any(units < 1 for units in hidden):
        raise ValueError(f"A hidden layer has at least 1 unit. Received: {list(hidden)}.")
    _check_sizes(num_classes, input_size, channels, smallest=1)
    return _chain(
        "mlp",
        keras.Input((input_size, input_size, channels), name="image"),
        [
            layers.Rescaling(1 / 255, name="rescale"),
            layers.Flatten(name="flatten"),
            *(
                layers.Dense(units, activation=activation, name=f"hidden{place}")
                for place, units in enumerate(hidden, start=1)
            ),
            layers.Dense(num_classes, activation="softmax", dtype="float32", name="head"),
        ],
    )


def lenet5(
    *,
    num_classes: int = 10,
    input_size: int = 28,
    channels: int = 1,
    activation: str = "relu",
) -> "keras.Model":
    """Build LeNet-5 with its layers named by stage, so that stages can be copied and frozen.

    Source: LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791. As is usual today, average
    pooling has no weights of its own, the second convolution sees all six maps, and the output is
    a softmax; the original's activation is had with ``activation="tanh"``.

    Parameters at 28 pixels, grey, ten classes: stage1 156, stage2 2,416, stage3 48,120, stage4
    10,164, head 850, together 61,706. The first convolution pads images below 32 pixels, so 28
    pixels padded and the original's 32 unpadded make the same network.

    Args:
        num_classes: Number of classes, at least 2. Defaults to 10.
        input_size: Height and width of the images in pixels, at least 12. Defaults to 28.
        channels: 1 for grey, 3 for RGB. Defaults to 1.
        activation: Activation of the convolutions and the hidden layers. Defaults to ``"relu"``.

    Returns:
        Uncompiled Keras model from ``[n, input_size, input_size, channels]``, values 0 to 255, to
        float32 probabilities ``[n, num_classes]``. Layers: ``image``,
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

    _check_sizes(num_classes, input_size, channels, smallest=_SMALLEST)
    padding = "same" if input_size < _UNPADDED else "valid"
    return _chain(
        "lenet5",
        keras.Input((input_size, input_size, channels), name="image"),
        [
            layers.Rescaling(1 / 255, name="rescale"),
            layers.Conv2D(6, 5, padding=padding, activation=activation, name="stage1_conv"),
            layers.AveragePooling2D(2, name="stage1_pool"),
            layers.Conv2D(16, 5, activation=activation, name="stage2_conv"),
            layers.AveragePooling2D(2, name="stage2_pool"),
            layers.Flatten(name="stage3_flatten"),
            layers.Dense(120, activation=activation, name="stage3_dense"),
            layers.Dense(84, activation=activation, name="stage4_dense"),
            layers.Dense(num_classes, activation="softmax", dtype="float32", name="head"),
        ],
    )


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


def _chain(name: str, image: Any, layers: Sequence["keras.Layer"]) -> "keras.Model":
    """Make a functional model, whose inner outputs can be had for cutting and looking inside."""
    import keras

    x = image
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x, name=name)


def _check_sizes(num_classes: int, input_size: int, channels: int, *, smallest: int) -> None:
    """Check what both networks need."""
    if num_classes < 2:
        raise ValueError(f"A classifier has at least 2 classes. Received: {num_classes}.")
    if channels not in (1, 3):
        raise ValueError(f"Images have 1 channel (grey) or 3 (RGB). Received: {channels}.")
    if input_size < smallest:
        raise ValueError(
            f"This network needs images of at least {smallest} pixels. Received: {input_size}; "
            "give the data in a larger image_size."
        )


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
