"""VGG16 at a quarter of the width: thirteen convolutions small enough to ship and to train.

The layout and layer names are those of VGG16 (Simonyan and Zisserman 2015,
https://arxiv.org/abs/1409.1556); widths are 16, 32, 64, 128, 128 instead of 64 to 512,
and there is no BatchNorm, as in the original. The shipped weights were trained by
``tlhelpers.experiments.pretrain`` on ``tlhelpers.worlds.formulas``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

BLOCKS = ((16, 2), (32, 2), (64, 3), (128, 3), (128, 3))
# The network takes (image - OFFSET) / SCALE for RGB images from 0 to 255: about -2 to 2,
# so near unit variance.
OFFSET, SCALE = 127.5, 63.75
WEIGHTS_FILE = Path(__file__).parent / "weights" / "vgg16_mini.npz"


def build_vgg16_mini(input_size: int = 64, seed: int = 0) -> keras.Model:
    """Build the network with random weights (He initialisation, as it has only ReLUs).

    Args:
        input_size: Side of the square input in pixels, at least 32. Any size from there
            on works. Defaults to 64.
        seed: Seed of the initial weights. Defaults to 0.

    Returns:
        A ``keras.Model`` named "vgg16_mini" that takes *preprocessed* float32 images
        ``[b, input_size, input_size, 3]`` and gives float32
        ``[b, input_size // 32, input_size // 32, 128]``.

    Example:
        >>> build_vgg16_mini(32).output_shape
        (None, 1, 1, 128)
    """
    import keras

    # Inputs stay float32 and the layers' names stay VGG16's, so code for one fits the other.
    x = inputs = keras.Input((input_size, input_size, 3), name="input_layer")
    number = 0
    for block, (width, depth) in enumerate(BLOCKS, start=1):
        for k in range(1, depth + 1):
            number += 1
            x = keras.layers.Conv2D(
                width,
                3,
                padding="same",
                activation="relu",
                kernel_initializer=keras.initializers.HeNormal(seed=1000 * seed + number),
                name=f"block{block}_conv{k}",
            )(x)
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return keras.Model(inputs, x, name="vgg16_mini")


def read_weights(path: Path | None = None) -> dict[str, np.ndarray]:
    """Read weights by name, after checking them against the record beside them.

    Args:
        path: An .npz file with a .json of the same name beside it. Defaults to the
            shipped weights.

    Returns:
        Names such as "block1_conv1/kernel" to float32 arrays, of the whole network.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If the SHA-256 differs from the recorded one, an array is missing, foreign or
            of another shape, or a number is not finite.
    """
    path = WEIGHTS_FILE if path is None else Path(path)
    card = path.with_suffix(".json")
    missing = next((file for file in (path, card) if not file.is_file()), None)
    if missing:
        raise FileNotFoundError(
            f"Weights of vgg16_mini are an .npz file with a .json file beside it, as `python -m "
            f"tlhelpers.experiments.pretrain` makes them. Received: {path}, without {missing.name}."
        )
    recorded = json.loads(card.read_text(encoding="utf-8"))["sha256"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != recorded:
        raise ValueError(
            f"{path.name} has the SHA-256 {digest}, not the recorded {recorded}. "
            "Install the package again, or run `python -m tlhelpers.experiments.pretrain`."
        )
    with np.load(path, allow_pickle=False) as arrays:
        weights = {name: arrays[name].astype(np.float32) for name in arrays.files}
    shapes = _shapes()
    wrong = sorted(
        name
        for name in {*shapes, *weights}
        if name not in weights
        or weights[name].shape != shapes.get(name)
        or not np.isfinite(weights[name]).all()
    )
    if wrong:
        raise ValueError(
            f"{path} must hold the {len(shapes)} arrays of vgg16_mini, all finite. Received: "
            f"{len(weights)} arrays; missing, foreign, of another shape or not finite: "
            f"{', '.join(wrong[:4])}{' and more' * (len(wrong) > 4)}."
        )
    return weights


def _shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of the network."""
    shapes: dict[str, tuple[int, ...]] = {}
    before = 3
    for block, (width, depth) in enumerate(BLOCKS, start=1):
        for k in range(1, depth + 1):
            shapes[f"block{block}_conv{k}/kernel"] = (3, 3, before, width)
            shapes[f"block{block}_conv{k}/bias"] = (width,)
            before = width
    return shapes


def load_weights_into(model: keras.Model, path: Path | None = None) -> keras.Model:
    """Load pre-trained weights into every convolution of a model that has its name.

    Args:
        model: A model with some or all of the layers "block1_conv1" to "block5_conv3",
            such as one from ``build_vgg16_mini``, whole or cut.
        path: See ``read_weights``. Defaults to the shipped weights.

    Returns:
        The same model.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If the file is wrong.

    Example:
        >>> model = load_weights_into(build_vgg16_mini(64))
    """
    weights = read_weights(path)
    for layer in model.layers:
        if f"{layer.name}/kernel" in weights:
            layer.set_weights([weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]])
    return model
