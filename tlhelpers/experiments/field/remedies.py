"""Full-size results on photographs: one change at a time to a fine-tuned MobileNetV2.

The base recipe trains the last stages with Adam from a fitted head; its rate and length are chosen
on validation photographs and draws of their own, at each number of labels. Each change then gets its
own best strength and length there, the same way. Only then does every draw train once with each
choice, and is scored on the test photographs; which of them were right is recorded, so that
differences can be paired.
"""

import functools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tlhelpers.data.augmentation import Augmentation, AugmentedViews
from tlhelpers.experiments.field.choosing import best
from tlhelpers.experiments.field.photographs import load
from tlhelpers.experiments.records import Settings
from tlhelpers.files import cache_folder, write_atomically
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    from tlhelpers.data.splits import Dataset, Split
    from tlhelpers.transfer.features import Images

__all__ = ["CHANGES", "load", "more", "plan", "run"]

LABELS, DRAWS, CHOOSING, BATCH, VIEWS = (20,), 5, (1000, 1001), 20, 4
TRUNK = "block_12"
"""The stage up to which the network stays as it is."""

RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
LENGTHS = {20: (20, 40, 80, 160)}
"""Peak rates, and steps by labels per class, of which the base recipe's are chosen."""


@dataclass(frozen=True)
class Recipe:
    """How one network is trained; the defaults are the base recipe.

    Attributes:
        rate: Peak learning rate.
        steps: Steps of :data:`BATCH` photographs.
        constant: Whether the rate stays at its peak; else it warms up and falls as a cosine.
        trained: How many of the stages behind the trunk are trained.
        rate_decay: Factor on the rate from one stage to the one before; the head has all of it.
        shrink: Share by which decay alone would shrink the distance to ``towards`` in all steps.
        towards: ``"zero"`` (weight decay) or ``"start"`` (L2-SP).
        dropout: Share of pooled features dropped before the head.
        smoothing: Share of the label that is spread over all classes.
        mixup: Parameter of the Beta distribution of shares; 0 for no mixing.
        views: Views that take turns with the photographs: ``""``, or a key of :data:`AUGMENTATIONS`.
        mirrored: Whether test photographs and their mirror images are averaged.
        members: Networks that are averaged, each with an order of its own.
        order: Seed of the order, beside the draw's.
        more_labels: Factor on the labels.
        image_size: Width and height in pixels.
    """

    rate: float = 0.0
    steps: int = 0
    constant: bool = False
    trained: int = 3
    rate_decay: float = 1.0
    shrink: float = 0.0
    towards: str = "zero"
    dropout: float = 0.0
    smoothing: float = 0.0
    mixup: float = 0.0
    views: str = ""
    mirrored: bool = False
    members: int = 1
    order: int = 0
    more_labels: int = 1
    image_size: int = 96


AUGMENTATIONS = {
    "mirrored": Augmentation(rotate=0, zoom=0, shift=0, brightness=0),
    "default": Augmentation(),
    "strong": Augmentation(rotate=20, zoom=0.3, shift=0.2, brightness=0.4),
}

FACTORS = (1, 3, 10, 30)
"""On the base recipe's rate: a regulariser may bear, or need, a higher one."""

CHANGES: dict[str, list[dict[str, Any]]] = {
    "base": [],
    "other order": [{"order": 1}],
    "augmentation": [{"views": kind, "rate": f} for kind in AUGMENTATIONS for f in FACTORS],
    "dropout": [{"dropout": share, "rate": f} for share in (0.2, 0.5, 0.8) for f in FACTORS],
    "label smoothing": [
        {"smoothing": share, "rate": f} for share in (0.02, 0.05, 0.1, 0.2) for f in FACTORS
    ],
    "mixup": [{"mixup": alpha, "rate": f} for alpha in (0.05, 0.1, 0.2, 0.4) for f in FACTORS],
    "weight decay": [{"shrink": s, "rate": f} for s in (0.01, 0.03, 0.1, 0.3) for f in FACTORS],
    "L2-SP": [
        {"shrink": share, "towards": "start", "rate": f}
        for share in (0.1, 0.3, 0.9, 0.99)
        for f in FACTORS
    ],
    "constant rate": [{"constant": True, "rate": factor} for factor in (0.1, 0.3, 1)],
    "rates by stage": [{"rate_decay": d, "rate": f} for d in (0.1, 0.3) for f in FACTORS],
    "fewer stages trained": [{"trained": k, "rate": f} for k in (1, 2) for f in FACTORS],
    "mirrored at test": [{"mirrored": True}],
    "three averaged": [{"members": 3}],
    "no fine-tuning": [{"trained": 0}],
    "twice the labels": [{"more_labels": 2, "rate": factor} for factor in (0.3, 1, 3)],
    "224 px without fine-tuning": [{"image_size": 224, "trained": 0}],
}
"""Strengths that are tried of each change; a ``rate`` is a factor on the base recipe's."""

SINGLE = (
    "other order",
    "mirrored at test",
    "three averaged",
    "no fine-tuning",
    "224 px without fine-tuning",
)
"""Changes with no strength: there is nothing to choose, and the base recipe's length stays."""


def plan(seeds: int | None = None) -> Iterator[Settings]:
    """Name each result, all changes of one draw before the next draw.

    Yields:
        The settings of a result; the change is its method.

    Example:
        >>> next(plan())["method"]
        'base'
    """
    for n, seed, change in product(LABELS, range(seeds or DRAWS), CHANGES):
        about = {"backbone": "mobilenet_v2", "cut": None, "image_size": 96, "method": change}
        yield {**about, "labels": n, "seed": seed}


def run(settings: Settings, data: "Dataset") -> Run:
    """Choose a change's strength on validation photographs, if it is not chosen yet, and train.

    Returns:
        The run; its config holds what of the recipe is no default, and the trials as ``tried``.
    """
    change, n, seed = (settings[key] for key in ("method", "labels", "seed"))
    tried, recipe = choose(change, data, n)
    started = time.perf_counter()
    trained = train(recipe, data, n, seed)
    seconds = time.perf_counter() - started
    config = {**_differences(recipe), "tried": tried}
    return Run(
        change, None, data, {}, seconds, config, predict_split=lambda split: trained[split.name]
    )


def more(run: Run) -> dict[str, Any]:
    """Return which test photographs were right, as bits, first photograph first."""
    return {"right": np.packbits(run.right("test")).tobytes().hex()}


def candidates(change: str, n: int, base: Recipe | None) -> list[Recipe]:
    """List the recipes that are tried of a change: each strength, at the base's length and twice it.

    Args:
        change: One of :data:`CHANGES`.
        n: Labels per class.
        base: The base recipe, once it is chosen.

    Returns:
        The recipes.

    Example:
        >>> len(candidates("dropout", 20, Recipe(rate=1e-3, steps=40)))
        24
    """
    if base is None:
        return [Recipe(rate=rate, steps=steps) for rate in RATES for steps in LENGTHS[n]]
    lengths = (1,) if change in SINGLE else (1, 2)
    return [
        replace(
            base, **{**how, "rate": base.rate * how.get("rate", 1), "steps": base.steps * longer}
        )
        for how in CHANGES[change]
        for longer in lengths
    ]


def choose(change: str, data: "Dataset", n: int) -> tuple[list[dict[str, Any]], Recipe]:
    """Run a change's trials that are missing, and take the best; no test photograph is looked at.

    They are kept in the cache: an interrupted recording goes on with them.

    Args:
        change: One of :data:`CHANGES`.
        data: All photographs.
        n: Labels per class.

    Returns:
        The trials (none where there is nothing to choose), and the best recipe.
    """
    base = None if change == "base" else choose("base", data, n)[1]
    recipes = candidates(change, n, base)
    if len(recipes) == 1:
        return [], recipes[0]
    name = f"remedies-{change.replace(' ', '_')}-{n}-{data.source.digest[-12:]}.json"
    path = cache_folder() / "recording" / name
    known = json.loads(path.read_text("utf-8")) if path.is_file() else []
    tried: list[Any] = []
    for recipe in recipes:
        if done := [one for one in known if _settings(one) == _differences(recipe)]:
            tried.append(done[0])
            continue
        truth = data.validation.labels
        each = [train(recipe, data, n, seed, ("validation",))["validation"] for seed in CHOOSING]
        of_truth = np.concatenate([p[np.arange(len(truth)), truth] for p in each])
        accuracy = float(np.mean([(p.argmax(axis=1) == truth).mean() for p in each]))
        loss = float(-np.log(np.maximum(of_truth, 1e-7)).mean())
        tried.append({**_differences(recipe), "validation": accuracy, "loss": loss})
        known.append(tried[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(known, indent=1))
    return tried, recipes[tried.index(best(tried))]


def _settings(trial: dict[str, Any]) -> dict[str, Any]:
    """Return a trial without its results."""
    return {key: value for key, value in trial.items() if key not in ("validation", "loss")}


def _differences(recipe: Recipe) -> dict[str, Any]:
    """Return what of a recipe is not a default."""
    defaults = asdict(Recipe())
    return {key: value for key, value in asdict(recipe).items() if value != defaults[key]}


def draw(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw n rows of each class; a larger n adds to the same rows.

    Args:
        labels: Integers ``[m]``.
        n: Rows of each class.
        seed: Which draw.

    Returns:
        Row numbers.

    Example:
        >>> set(draw(np.arange(20) % 2, 2, 0)) < set(draw(np.arange(20) % 2, 4, 0))
        True
    """
    rng = np.random.default_rng(seed)
    of_class = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    return np.concatenate([rows[:n] for rows in of_class])


def train(
    recipe: Recipe,
    data: "Dataset",
    n: int,
    seed: int,
    splits: Sequence[str] = ("validation", "test"),
) -> dict[str, np.ndarray]:
    """Train by a recipe on one draw, and return probabilities.

    Args:
        recipe: The recipe.
        data: All photographs.
        n: Labels per class.
        seed: Which draw.
        splits: Which splits are predicted. Defaults to validation and test.

    Returns:
        float32 ``[m, classes]`` by the name of the split.
    """
    network = _network(recipe.image_size)
    few = data.train.take(draw(data.train.labels, n * recipe.more_labels, seed))
    maps = [network.maps(few)]
    if recipe.views:
        views = AugmentedViews(few, VIEWS, AUGMENTATIONS[recipe.views])
        maps += np.split(network.maps(views), VIEWS)
    shown: dict[str, list[Images]] = {name: [getattr(data, name)] for name in splits}
    if recipe.mirrored:
        shown = {name: [*shown[name], Mirrored(getattr(data, name))] for name in splits}
    sums: dict[str, list[np.ndarray]] = {name: [] for name in splits}
    for member in range(recipe.members):
        _fit(network, recipe, maps, few.labels, data.num_classes, seed, recipe.order + member)
        for name in splits:
            sums[name] += [network.probabilities(network.maps(images)) for images in shown[name]]
    return {name: np.mean(each, axis=0) for name, each in sums.items()}


class Mirrored:
    """A split's images, left and right exchanged, as images features can be extracted from."""

    def __init__(self, split: "Split") -> None:
        """Keep the split."""
        self.split = split

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.split)

    def load(self, rows: Sequence[int] | np.ndarray, image_size: int) -> np.ndarray:
        """Return uint8 images ``[k, image_size, image_size, 3]``."""
        return self.split.load(rows, image_size)[:, :, ::-1]

    def digests(self) -> list[bytes]:
        """Return digests that are not those of the images."""
        return [digest[::-1] for digest in self.split.digests()]


class Network(NamedTuple):
    """A trunk that stays as it is, and what comes after it, compiled once for all recipes."""

    maps: "Callable[[Images], np.ndarray]"
    probabilities: Callable[[np.ndarray], np.ndarray]
    step: Callable[..., Any]
    variables: list[Any]
    optimiser: Any
    start: list[np.ndarray]
    stage_of: list[int]
    features: Callable[[np.ndarray], np.ndarray]


@functools.lru_cache(maxsize=2)
def _network(image_size: int) -> Network:
    """Build and compile; stages are counted from the head, which is 0."""
    import keras
    import tensorflow as tf

    from tlhelpers.models.backbones import batch_normalisation, load_backbone
    from tlhelpers.transfer.features import extract_features

    base = load_backbone("mobilenet_v2", image_size)
    for layer in batch_normalisation(base.model):
        layer.trainable = False
    ends, stage, stage_of_path = list(base.stage_layers.values()), 0, {}
    for layer in base.model.layers:
        for variable in layer.trainable_variables:
            stage_of_path[variable.path] = len(ends) - stage
        stage = min(stage + (layer.name == ends[stage]), len(ends) - 1)
    cut, late = base.cut(TRUNK), base.after(TRUNK)
    inputs = keras.Input(late.input_shape[1:])
    pooled = keras.layers.GlobalAveragePooling2D()(late(inputs))
    features = keras.Model(inputs, pooled)
    head = keras.layers.Dense(2)
    head.build((None, pooled.shape[-1]))
    variables = [*late.trainable_variables, *head.trainable_variables]
    optimiser = keras.optimizers.Adam()
    optimiser.build(variables)

    @tf.function(jit_compile=False, reduce_retracing=True)
    def step(x, y, keep, rate, factors, decay, towards):
        """Take one step of Adam, scaled by each variable's factor, and decay apart from it."""
        with tf.GradientTape() as tape:
            logits = head(features(x, training=False) * keep)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(y, logits))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), 1.0)
        before = [tf.identity(variable.value) for variable in variables]
        optimiser.learning_rate.assign(rate)
        optimiser.apply(gradients, variables)
        for i, (variable, old) in enumerate(zip(variables, before)):  # noqa: B905
            pull = decay * rate * (old - towards[i])
            variable.assign(old + factors[i] * (variable.value - old - pull))

    @tf.function(jit_compile=False, reduce_retracing=True)
    def predict(x):
        """Return probabilities."""
        return tf.nn.softmax(head(features(x, training=False)))

    def in_batches(function: Callable[[Any], Any], maps: np.ndarray) -> np.ndarray:
        """Apply a function to 100 maps at a time."""
        parts = [np.float32(maps[i : i + 100]) for i in range(0, len(maps), 100)]
        return np.concatenate([np.asarray(function(part)) for part in parts])

    def maps(images: "Images") -> np.ndarray:
        """Return the trunk's maps, computed once."""
        return extract_features(cut, images, grid="map", dtype="float16", progress=False)

    by_path = [stage_of_path[variable.path] for variable in late.trainable_variables]
    return Network(
        maps,
        functools.partial(in_batches, predict),
        step,
        variables,
        optimiser,
        [np.array(variable.numpy()) for variable in variables],
        [*by_path, 0, 0],
        functools.partial(in_batches, features),
    )


def _fit(
    network: Network,
    recipe: Recipe,
    maps: list[np.ndarray],
    labels: np.ndarray,
    classes: int,
    seed: int,
    order: int,
) -> None:
    """Bring the network to its start, and train it."""
    from tlhelpers.transfer.heads import fit_linear_head

    rng = np.random.default_rng([seed, order])
    start = list(network.start)
    _assign(network, start)
    pooled = network.features(maps[0])
    fitted = fit_linear_head(pooled, labels, pooled[:0], labels[:0], num_classes=classes)
    start[-2:] = [fitted.kernel, fitted.bias]
    _assign(network, start)
    for variable in network.optimiser.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    if recipe.trained == 0:
        return
    factors = [
        np.float32((stage <= recipe.trained) * recipe.rate_decay ** max(0, stage))
        for stage in network.stage_of
    ]
    shape = [
        1 if recipe.constant else _warm_up_cosine(i, recipe.steps) for i in range(recipe.steps)
    ]
    decay = -math.log(1 - recipe.shrink) / (recipe.rate * sum(shape)) if recipe.shrink else 0.0
    at = start if recipe.towards == "start" else [0 * one for one in start]
    towards = [np.float32(one) for one in at]
    soft = np.eye(classes)[labels] * (1 - recipe.smoothing) + recipe.smoothing / classes
    epoch, left = -1, np.empty(0, int)
    for share_of_peak in shape:
        if len(left) < BATCH:
            epoch, left = epoch + 1, rng.permutation(len(labels))
        rows, left = left[:BATCH], left[BATCH:]
        x = np.asarray(maps[epoch % len(maps)][rows], np.float32)
        y = np.asarray(soft[rows], np.float32)
        if recipe.mixup:
            x, y = _mixed(x, y, recipe.mixup, rng)
        kept = rng.random((BATCH, start[-2].shape[0])) >= recipe.dropout
        keep = np.float32(kept / (1 - recipe.dropout))
        rate = np.float32(recipe.rate * share_of_peak)
        network.step(x, y, keep, rate, factors, np.float32(decay), towards)


def _assign(network: Network, values: Sequence[np.ndarray]) -> None:
    """Give the variables their values."""
    for variable, value in zip(network.variables, values, strict=True):
        variable.assign(np.float32(value))


def _warm_up_cosine(step: int, steps: int) -> float:
    """Return the share of the peak rate: a tenth of the steps up, then down as a cosine."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def _mixed(
    x: np.ndarray, y: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Blend maps and labels in pairs (Zhang et al. 2018, arXiv:1710.09412)."""
    share = rng.beta(alpha, alpha, (len(x), 1)).astype(np.float32)
    other = rng.permutation(len(x))
    shares = share[..., None, None]
    return shares * x + (1 - shares) * x[other], share * y + (1 - share) * y[other]
