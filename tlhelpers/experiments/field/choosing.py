"""How full-size results are made alike: settings chosen on validation images, at each label count.

For every method, network and number of labels, learning rate and length are chosen once, on
validation images and a draw of its own (seed :data:`CHOOSING`), the same way on every side: first
the rate, then the length is doubled until validation accuracy no longer rises. Then each draw
trains with that choice and is scored once on the test images. Frozen features have only a penalty
to choose, by cross-validation among the draw's own labels, and the stage they are taken from.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.data.augmentation import Augmentation
from tlhelpers.experiments.field.small_resnet import train_small_resnet
from tlhelpers.experiments.records import Settings
from tlhelpers.files import cache_folder, write_atomically
from tlhelpers.transfer.recipes import Training

if TYPE_CHECKING:
    from tlhelpers.data.splits import Dataset
    from tlhelpers.transfer.runs import Run

SEEDS, CHOOSING = 3, 1000
"""Draws, and the seed of the draw on which settings are chosen."""

FLAT = 0.005
"""A doubled length must raise validation accuracy by more than this to count as better."""


@dataclass(frozen=True)
class Arm:
    """One method on one network.

    Attributes:
        method: ``"frozen"``, ``"tuned"`` or ``"scratch"``.
        backbone: The network's name; ``"small_resnet"`` has BatchNormalization and no weights.
        image_size: Width and height in pixels.
        unfreeze_from: First stage that is trained, for ``"tuned"``.
        rates: Peak learning rates that are tried.
        images: Training images seen, views counted, at the first length tried with 20 labels per
            class; with more labels up to four times as many (:func:`first_length`).
        cuts: Stages that are tried as the last, for ``"frozen"``; of one, it is taken. Defaults to
            the whole network.
        width: Channels of the small network's first convolution. Defaults to 16.
        augmentation: How the small network's views differ. Defaults to mirror images and shifts of
            up to 4 pixels, as is usual for CIFAR-10.
        precision: Keras dtype policy for ``"scratch"`` of a backbone. Defaults to ``"float32"``.
    """

    method: str
    backbone: str
    image_size: int
    unfreeze_from: str | None = None
    rates: tuple[float, ...] = ()
    images: int = 0
    cuts: tuple[str | None, ...] = (None,)
    width: int = 16
    augmentation: Augmentation | None = None
    precision: str = "float32"


DOUBLINGS = 4
"""The longest length tried is the first one doubled this often."""


def settings_of(arm: Arm) -> Settings:
    """Return what tells an arm's results from the others.

    Args:
        arm: The method and network.

    Returns:
        ``backbone``, ``cut``, ``image_size`` and ``method``.

    Example:
        >>> settings_of(Arm("frozen", "vgg16", 224))["backbone"]
        'vgg16'
    """
    return {
        "backbone": arm.backbone,
        "cut": arm.cuts[0] if len(arm.cuts) == 1 else None,
        "image_size": arm.image_size,
        "method": arm.method,
    }


def plan(arms: Sequence[Arm], labels: Sequence[int]) -> Callable[[int | None], list[Settings]]:
    """Plan each arm's results, the fewest labels first.

    Args:
        arms: The methods and networks.
        labels: Labels per class.

    Returns:
        What takes a number of draws, 3 if None, and names each result's settings.

    Example:
        >>> plan([Arm("frozen", "vgg16", 224)], (20, 100))(1)[1]["labels"]
        100
    """
    return lambda seeds: [
        {**settings_of(arm), "labels": n, "seed": seed}
        for arm in arms
        for n in labels
        for seed in range(seeds or SEEDS)
    ]


def runner(arms: Sequence[Arm]) -> "Callable[[Settings, Dataset], Run]":
    """Return what chooses an arm's settings, if they are not chosen yet, and trains.

    Args:
        arms: The methods and networks.

    Returns:
        What takes a result's settings and all images, and gives the run; its config holds the
        trials as ``tried``.
    """

    def run(settings: Settings, data: "Dataset") -> "Run":
        """Choose and train."""
        arm = next(arm for arm in arms if settings_of(arm).items() <= settings.items())
        n, seed = settings["labels"], settings["seed"]
        tried = choose(arm, data, n)
        result = train(arm, draw(data, n, seed), best(tried) if tried else None, seed)
        result.config["tried"] = tried
        return result

    return run


def draw(pool: "Dataset", n: int, seed: int, *, choosing: bool = False) -> "Dataset":
    """Draw n images per class to train on; validation and test images stay whole.

    Where n is more than the training images have, the validation images are trained on too: then
    there is only one draw, and seeds differ in weights and order. While settings are being chosen
    they are kept apart, and as many are drawn as there are.

    Args:
        pool: All images.
        n: Labels per class.
        seed: Which draw.
        choosing: Whether settings are being chosen. Defaults to False.

    Returns:
        The data set.

    Raises:
        ValueError: If some class has fewer images.
    """
    from tlhelpers.data.splits import Split, balanced_rows

    train = pool.train
    smallest = int(np.bincount(train.labels).min())
    if n > smallest and choosing:
        n = smallest
    elif n > smallest:
        train = Split.from_paths(
            [*(train.paths or ()), *(pool.validation.paths or ())],
            np.concatenate([train.labels, pool.validation.labels]),
            train.class_names,
            image_size=train.image_size,
        )
        smallest = int(np.bincount(train.labels).min())
    if n > smallest:
        raise ValueError(f"A class has {smallest} images to train on. Received: n={n}.")
    rows = balanced_rows(train.labels, n, np.random.default_rng(seed))
    return replace(pool, train=train.take(rows))


def first_length(arm: Arm, n: int) -> int:
    """Return how many training images are seen at the first length tried.

    Args:
        arm: The method and network.
        n: Labels per class.

    Returns:
        The arm's with 20 labels, twice as many with 100, four times as many with 500 and more.

    Example:
        >>> arm = Arm("tuned", "vgg16", 150, images=800)
        >>> first_length(arm, 20), first_length(arm, 1000)
        (800, 3200)
    """
    return arm.images * (1 if n < 100 else 2 if n < 500 else 4)


def next_trial(arm: Arm, n: int, tried: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Say what is tried next: each rate, half the length, then doubled lengths while that helps.

    Args:
        arm: The method and network.
        n: Labels per class.
        tried: Trials that are done: ``rate``, ``images`` and ``validation`` (accuracy, 0 to 1).

    Returns:
        The next ``rate`` and ``images``, or None if two doublings in a row did not help or the
        longest was tried; without rates, the next ``cut``, or None.

    Example:
        >>> next_trial(Arm("tuned", "vgg16", 150, rates=(1e-4, 1e-3), images=800), 20, [])
        {'rate': 0.0001, 'images': 800}
    """
    if not arm.rates:
        left = [cut for cut in arm.cuts if cut not in {trial["cut"] for trial in tried}]
        return {"cut": left[0]} if left and len(arm.cuts) > 1 else None
    start = first_length(arm, n)
    of_start = [trial for trial in tried if trial["images"] == start]
    for rate in arm.rates:
        if rate not in {trial["rate"] for trial in of_start}:
            return {"rate": rate, "images": start}
    first = best(of_start)
    lengths = {t["images"]: t["validation"] for t in tried if t["rate"] == first["rate"]}
    if start // 2 not in lengths:
        return {"rate": first["rate"], "images": start // 2}
    longest = max(lengths)
    earlier = [lengths[images] for images in sorted(lengths)]
    flat = len(earlier) > 3 and max(earlier[-2:]) <= max(earlier[:-2]) + FLAT
    if flat or longest >= start * 2**DOUBLINGS:
        return None
    return {"rate": first["rate"], "images": 2 * longest}


def best(tried: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the trial with the highest validation accuracy, of equals the one of lower loss."""
    return max(tried, key=lambda trial: (trial["validation"], -trial["loss"]))


def choose(arm: Arm, pool: "Dataset", n: int) -> list[dict[str, Any]]:
    """Run the trials that are missing, on a draw of their own; the test split is not looked at.

    They are kept in the cache: an interrupted recording goes on with them.
    """
    about = [pool.name, arm.method, arm.backbone, arm.image_size, n, pool.source.digest[-12:]]
    about += [] if arm.precision == "float32" else [arm.precision]
    name = "-".join(map(str, about)) + ".json"
    path = cache_folder() / "recording" / name
    tried = json.loads(path.read_text("utf-8")) if path.is_file() else []
    while (trial := next_trial(arm, n, tried)) is not None:
        data = draw(pool, n, CHOOSING, choosing=True)
        result = train(arm, data, trial, CHOOSING)
        probabilities = result.probabilities("validation").astype(float)
        of_truth = probabilities[np.arange(len(probabilities)), data.validation.labels]
        trial |= {
            "validation": result.validation.accuracy,
            "loss": float(-np.log(np.maximum(of_truth, 1e-7)).mean()),
            "epochs": result.config.get("epochs", 0),
            "seconds": round(result.seconds, 1),
        }
        tried.append(trial)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(tried, indent=1))
    return tried


def train(arm: Arm, data: "Dataset", trial: Mapping[str, Any] | None, seed: int) -> "Run":
    """Train once."""
    data = data.resized(arm.image_size)
    if arm.method == "frozen":
        return _frozen(arm, data, seed, trial["cut"] if trial else arm.cuts[0])
    if trial is None:
        raise ValueError(f"The arm {arm.method} of {arm.backbone} needs rates. Received: none.")
    epochs = max(1, round(trial["images"] / len(data.train)))
    if arm.method == "scratch":
        data.train.images  # noqa: B018 (kept in memory: every epoch reads them again)
    if arm.backbone == "small_resnet":
        return train_small_resnet(
            data,
            seed,
            width=arm.width,
            epochs=epochs,
            peak=trial["rate"],
            augmentation=arm.augmentation,
        )
    from tlhelpers.models.backbones import load_backbone
    from tlhelpers.transfer import methods

    recipe = Training(epochs, 16 if len(data.train) < 256 else 32, trial["rate"], dropout=0.2)
    if arm.method == "tuned":
        base = load_backbone(arm.backbone, arm.image_size, cut=arm.cuts[0])
        recipe = replace(
            recipe,
            backbone_rate=0.1,
            rate_decay=0.5,
            views=4 if len(data.train) <= 200 else 1,
        )
        return methods.model_transfer(
            base,
            data,
            start=_frozen(arm, data, seed, arm.cuts[0]),
            unfreeze_from=arm.unfreeze_from,
            recipe=recipe,
            seed=seed,
        )
    with _policy(arm.precision):
        base = load_backbone(arm.backbone, arm.image_size, weights=None)
        recipe = replace(recipe, weight_decay=0.01)
        return methods.from_scratch(base, data, recipe=recipe, seed=seed)


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Build layers by another dtype policy."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _frozen(arm: Arm, data: "Dataset", seed: int, cut: str | None) -> "Run":
    """Fit a head on frozen features; its penalty is chosen by cross-validation among the labels."""
    from tlhelpers.models.backbones import load_backbone
    from tlhelpers.transfer import methods

    base = load_backbone(arm.backbone, arm.image_size, cut=cut)
    none = replace(data, validation=data.validation.take([]))
    fitted = methods.feature_transfer(base, none, grid=1, seed=seed)
    fitted.data = data
    return fitted
