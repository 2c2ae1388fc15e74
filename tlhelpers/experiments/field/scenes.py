"""Results on drawn cats and dogs, with masks and boxes: one network, three heads.

A network gives class, box and mask at once; its loss is the sum of theirs (He et al. 2017, "Mask
R-CNN"). Its encoder is ``vgg16_mini`` up to block 4: random or pre-trained, trained or frozen. Rate
and length are chosen at each number of images, on 100 validation images and a draw of its own, by
the sum of the masks' intersection over union and the boxes' average precision. Every draw is then
scored once on 400 test images.
"""

import functools
import json
import time
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.evaluation.detection import average_precision, box_iou, boxes_of, mask_iou
from tlhelpers.experiments.field.trainer import Arrays, Trainer
from tlhelpers.experiments.records import Settings
from tlhelpers.files import cache_folder, write_atomically
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    import keras

    from tlhelpers.data.splits import Dataset

SIZE, DRAWS, CHOOSING, TEST, VALIDATION = 48, 3, 1000, 400, 100
METHODS = ("scratch", "random frozen", "frozen", "tuned")
LENGTHS = {20: (150, 400), 400: (600,)}
"""Steps of 10 images that are tried, by labelled images in all."""

RATES = {"scratch": (1e-3, 3e-3), "tuned": (3e-4, 1e-3)}
"""Adam's rates that are tried; those of scratch also for what is trained on frozen maps."""

BOX_WEIGHT = 5.0
"""Of the mean distance of a box's sides in the sum of losses; DETR's (Carion et al. 2020)."""


@dataclass(frozen=True)
class Scenes:
    """Drawn pictures and what is in them.

    Attributes:
        images: uint8 ``[n, s, s, 3]``.
        labels: int64 ``[n]``: 0 for a cat, 1 for a dog.
        masks: bool ``[n, s, s]``.
        boxes: float64 ``[n, 4]``: left, top, right and bottom, 0 to 1.
    """

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray


def draw_scenes(n: int, seed: int, image_size: int = SIZE) -> Scenes:
    """Draw pictures with masks and boxes.

    Args:
        n: Number of pictures.
        seed: Seed of the world.
        image_size: Side in pixels. Defaults to 48.

    Returns:
        The pictures in which something of the animal can be seen, as good as all.

    Example:
        >>> draw_scenes(4, 0).masks.shape
        (4, 48, 48)
    """
    from tlhelpers import worlds

    world = worlds.pets(n, seed, image_size)
    masks = worlds.pet_masks(n, seed, image_size)
    seen = masks.any(axis=(1, 2))
    masks = masks[seen]
    return Scenes(world.images[seen], world.labels[seen], masks, boxes_of(masks))


def plan(seeds: int | None = None) -> list[Settings]:
    """Name each result; ``labels`` are the labelled images of both classes together.

    Example:
        >>> len(plan()), len(plan(1))
        (13, 5)
    """
    about = {"backbone": "vgg16_mini", "cut": "block4_pool", "image_size": SIZE}
    chosen = list(product((20,), METHODS, range(seeds or DRAWS)))
    chosen.append((400, "tuned", 0))  # what more labels would give
    return [{**about, "method": method, "labels": n, "seed": seed} for n, method, seed in chosen]


def load(settings: Settings) -> "Dataset":
    """Draw the pictures of all results.

    Returns:
        The data set, with the largest draw as training split.
    """
    return _data()


def run(settings: Settings, data: "Dataset") -> Run:
    """Train one draw with the rate and length chosen for its method and number of images.

    Returns:
        The run; its config holds what was chosen, the trials, and the test split's mean
        intersection over union, average precision by class, and boxes hit.
    """
    method, n, seed = settings["method"], settings["labels"], settings["seed"]
    tried = _tried(method, n)
    chosen = max(tried, key=lambda trial: trial["iou"] + np.mean(trial["ap"]))
    started = time.perf_counter()
    weights = fit(method, labelled(n, seed), chosen["rate"], (chosen["steps"],), seed)
    outputs = _trainer(method).outputs(weights[chosen["steps"]], _test().images.astype(np.float32))
    seconds = time.perf_counter() - started
    config = {**{k: chosen[k] for k in ("rate", "steps")}, "tried": tried}
    of_class = _softmax(split_outputs(outputs)[0])
    return Run(
        method,
        None,
        replace(data, validation=data.validation.take([0])),
        {},
        seconds,
        {**config, **scored(outputs, _test())},
        predict_split=lambda split: of_class if split.name == "test" else of_class[:1],
    )


def scored(outputs: np.ndarray, truth: Scenes) -> dict[str, Any]:
    """Score classes, boxes and masks.

    Args:
        outputs: The network's, ``[n, 6 + s²]``.
        truth: What is in the pictures.

    Returns:
        ``iou`` (mean of the masks'), ``ap`` (at an intersection over union of 0.5, for each class),
        ``box_iou`` (mean), and ``hit`` (share of boxes with 0.5 or more).
    """
    logits, boxes, masks = split_outputs(outputs)
    overlap, share = box_iou(boxes, truth.boxes), _softmax(logits)
    found = []
    for c in (0, 1):  # each picture gives one detection of each class
        hit = (overlap >= 0.5) & (truth.labels == c)
        found.append(average_precision(share[:, c], hit, int((truth.labels == c).sum())))
    return {
        "iou": float(mask_iou(masks > 0, truth.masks).mean()),
        "ap": found,
        "box_iou": float(overlap.mean()),
        "hit": float((overlap >= 0.5).mean()),
    }


def split_outputs(outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Part a network's outputs.

    Args:
        outputs: ``[n, 6 + s²]``.

    Returns:
        Logits of the classes ``[n, 2]``, boxes ``[n, 4]`` and logits of the mask ``[n, s, s]``.
    """
    side = round((outputs.shape[1] - 6) ** 0.5)
    return outputs[:, :2], outputs[:, 2:6], outputs[:, 6:].reshape(-1, side, side)


def build_network(method: str, seed: int = 0) -> "keras.Model":
    """Build encoder and heads; the outputs stand side by side.

    Args:
        method: One of :data:`METHODS`.
        seed: Seed of what is random. Defaults to 0.

    Returns:
        A Keras model from raw images to ``[n, 6 + s²]``: two logits of class, the box, and the
        logits of the mask.
    """
    import keras

    from tlhelpers.models.vgg16_mini import OFFSET, SCALE, build_vgg16_mini, load_weights_into

    layers = keras.layers
    encoder = build_vgg16_mini(SIZE, seed)
    if method in ("frozen", "tuned"):
        load_weights_into(encoder)
    keras.utils.set_random_seed(seed)
    maps = [encoder.get_layer(f"block{k}_pool").output for k in (4, 3, 2, 1)]
    encoder = keras.Model(encoder.inputs, maps, name="encoder")
    encoder.trainable = "frozen" not in method
    images = keras.Input((SIZE, SIZE, 3))
    last, *earlier = encoder(layers.Rescaling(1 / SCALE, offset=-OFFSET / SCALE)(images))
    x = layers.Dense(64, "relu")(layers.Flatten()(last))
    box = layers.Dense(4, "sigmoid")(x)
    x, logits = last, layers.Dense(2)(x)
    for width, skip in zip((32, 32, 16), earlier, strict=True):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.Concatenate()([layers.UpSampling2D(2)(x), skip])
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    mask = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(1, 3, padding="same")(x))
    outputs = layers.Concatenate()([logits, box, layers.Flatten()(mask)])
    return keras.Model(images, outputs)


def labelled(n: int, seed: int) -> Scenes:
    """Draw labelled pictures; every seed has its own.

    Args:
        n: Number of pictures.
        seed: Which draw.

    Returns:
        The pictures.
    """
    return draw_scenes(n, 100 + seed)


def fit(
    method: str, scenes: Scenes, rate: float, lengths: tuple[int, ...], seed: int
) -> dict[int, Arrays]:
    """Train one network.

    Args:
        method: One of :data:`METHODS`.
        scenes: The labelled pictures.
        rate: Adam's rate.
        lengths: Numbers of steps after which weights are kept.
        seed: Of weights and order.

    Returns:
        Weights by number of steps.
    """
    start = build_network(method, seed).get_weights()
    images = scenes.images.astype(np.float32)
    return _trainer(method).fit(start, images, _side_by_side(scenes), rate, lengths, seed)


def _side_by_side(scenes: Scenes) -> np.ndarray:
    """Return class, box and mask of each picture: float32 ``[n, 5 + s²]``."""
    parts = scenes.labels[:, None], scenes.boxes, scenes.masks.reshape(len(scenes.masks), -1)
    return np.concatenate(parts, axis=1).astype(np.float32)


def _loss(truth: Any, outputs: Any) -> Any:
    """Add the losses of class, box and mask."""
    import tensorflow as tf

    label, box, mask = tf.cast(truth[:, 0], tf.int32), truth[:, 1:5], truth[:, 5:]
    of_class = tf.nn.sparse_softmax_cross_entropy_with_logits(label, outputs[:, :2])
    of_box = tf.reduce_mean(tf.abs(box - outputs[:, 2:6]), axis=1)
    of_mask = tf.nn.sigmoid_cross_entropy_with_logits(mask, outputs[:, 6:])
    return of_class + BOX_WEIGHT * of_box + tf.reduce_mean(of_mask, axis=1)


@functools.lru_cache(maxsize=2)
def _compiled(frozen: bool) -> Trainer:
    """Compile once for frozen encoders and once for trained ones."""
    return Trainer(build_network("frozen" if frozen else "tuned"), _loss, late=-1, batch=10)


def _trainer(method: str) -> Trainer:
    """Return what trains a method's networks."""
    return _compiled("frozen" in method)


@functools.lru_cache(maxsize=1)
def _test() -> Scenes:
    """Draw the test pictures."""
    return draw_scenes(TEST, 1)


@functools.lru_cache(maxsize=1)
def _data() -> "Dataset":
    """Describe the pictures as a data set."""
    from tlhelpers.data.splits import Dataset, Source, Split

    parts = {"train": labelled(400, 0), "validation": draw_scenes(VALIDATION, 2), "test": _test()}
    splits = {
        name: Split.from_arrays(one.images, one.labels, ["cat", "dog"], name=name)
        for name, one in parts.items()
    }
    digest = splits["test"].digest
    source = Source("drawn cats and dogs", "tlhelpers.worlds.pets", digest, "MIT")
    return Dataset("scenes", splits["train"], splits["validation"], splits["test"], source)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities."""
    from scipy.special import softmax

    return softmax(logits, axis=1)


def _tried(method: str, n: int) -> list[dict[str, Any]]:
    """Return the trials of rates and lengths on validation pictures; kept in the cache."""
    path = cache_folder() / "recording" / f"scenes-{method}-{n}.json"
    if not path.is_file():
        import tensorflow as tf

        validation, tried = draw_scenes(VALIDATION, 2), []
        truth = _side_by_side(validation)
        for rate in RATES["tuned" if method == "tuned" else "scratch"]:
            fitted = fit(method, labelled(n, CHOOSING), rate, LENGTHS[n], CHOOSING)
            for steps, weights in fitted.items():
                outputs = _trainer(method).outputs(weights, validation.images.astype(np.float32))
                loss = float(np.mean(_loss(tf.constant(truth), tf.constant(outputs))))
                scores = scored(outputs, validation)
                tried.append({"rate": rate, "steps": steps, "loss": loss, **scores})
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(tried, indent=1))
    trials: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return trials
