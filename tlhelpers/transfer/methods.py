"""The two ways to transfer, and the baseline both must beat."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.data.augmentation import Augmentation, AugmentedViews
from tlhelpers.data.splits import Dataset, Split
from tlhelpers.models.backbones import (
    ARCHITECTURES,
    IMAGENET,
    NETWORK_OUTPUT,
    Backbone,
    check_stage,
)
from tlhelpers.models.initialisation import is_plain_chain, standardise_channels
from tlhelpers.transfer import recipes
from tlhelpers.transfer.features import extract_features, pool, pooled_features
from tlhelpers.transfer.heads import fit_linear_head
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    import keras

# Maps of the frozen stages larger than this are recomputed at every step instead of being kept.
CACHE_LIMIT_BYTES = 2_000_000_000


def feature_transfer(
    base: Backbone, data: Dataset, *, grid: int | None = None, seed: int = 0
) -> Run:
    """Keep the backbone frozen, extract its features once, and fit a linear head on them.

    Args:
        base: The backbone. It is not changed.
        data: The target data.
        grid: Cells along each side over which feature maps are averaged. Defaults to
            :func:`tlhelpers.transfer.recipes.feature_grid`.
        seed: Seed of the folds where the penalty is chosen by cross-validation. Defaults to 0.

    Returns:
        The run, named ``"frozen"``.

    Raises:
        ValueError: If a class has no training image.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("cats_dogs", tier="embedded", n=80).few(20)
        >>> run = feature_transfer(tl.load_backbone("vgg16_mini", data.image_size), data)
        >>> run.name, run.model.output_shape
        ('frozen', (None, 2))
    """
    import keras

    started = time.perf_counter()
    cells = _grid(base, grid)
    head = fit_linear_head(
        extract_features(base, data.train, grid=cells),
        data.train.labels,
        extract_features(base, data.validation, grid=cells),
        data.validation.labels,
        n_classes=data.num_classes,
        seed=seed,
    )
    features = pooled_features(base, cells)
    model = keras.Model(features.input, head.as_layer()(features.outputs[0]), name="frozen")

    def predict(split: Split) -> np.ndarray:
        """Apply the head to the cached features of a split."""
        return head.probabilities(extract_features(base, split, grid=cells))

    config = {
        "method": "feature_transfer",
        **_about(base, data, cells, seed),
        "trained_parameters": head.kernel.size + head.bias.size,
        "inverse_penalty": head.inverse_penalty,
        "chosen_on": head.chosen_on,
        "feature_spread": head.feature_spread,
    }
    seconds = time.perf_counter() - started
    return Run("frozen", model, data, {}, seconds, config, base, cells, predict)


def model_transfer(
    base: Backbone,
    data: Dataset,
    *,
    start: Run | None = None,
    unfreeze_from: str | None = None,
    recipe: recipes.Training | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    callbacks: Sequence["keras.callbacks.Callback"] = (),
) -> Run:
    """Fine-tune: begin with a fitted head, then train the later stages too, at small rates.

    The stages that stay frozen are run once, on the images and on augmented views of them, and
    their output is kept. BatchNormalization stays in inference mode. Where features are large, the
    head's rate is divided by their spread (:func:`tlhelpers.transfer.recipes.head_rate`).

    Args:
        base: The backbone. It is not changed: a copy is tuned.
        data: The target data.
        start: A run of :func:`feature_transfer` on the same backbone, whose head to begin with.
            Defaults to a new one: with a random head, the first gradients would damage the backbone.
        unfreeze_from: First stage to train; the ones before it stay frozen. Defaults to
            :func:`tlhelpers.transfer.recipes.first_stage_to_tune`.
        recipe: How to train. Defaults to :func:`tlhelpers.transfer.recipes.fine_tuning`.
        augmentation: How views may differ from the images. Defaults to ``Augmentation()``.
        seed: Seed of views, order and dropout. Defaults to 0.
        callbacks: More Keras callbacks, such as live curves. Defaults to none.

    Returns:
        The run, named ``"tuned"``.

    Raises:
        ValueError: If there is no such stage, or ``start`` has another backbone or other classes.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("cats_dogs", tier="embedded", n=80).few(5)
        >>> base = tl.load_backbone("vgg16_mini", data.image_size)
        >>> model_transfer(base, data, unfreeze_from="block5_pool").name
        'tuned'
    """
    import keras

    from tlhelpers.transfer.training import train

    started = time.perf_counter()
    start = start or feature_transfer(base, data, seed=seed)
    if start.base.name != base.name or start.base.stages != base.stages:
        raise ValueError(
            f"start must be a run on the same backbone, {base.name} up to {base.stages[-1]}. "
            f"Received: one on {start.base.name} up to {start.base.stages[-1]}."
        )
    if start.data.class_names != data.class_names:
        raise ValueError(
            f"start must be a run with the same classes, {', '.join(data.class_names)}. Received: "
            f"one with {', '.join(start.data.class_names)}; leave start out to fit a new head."
        )
    near = ARCHITECTURES[base.name].source == IMAGENET
    recipe = recipe or recipes.fine_tuning(
        len(data.train), len(data.validation), base.input_size, near_source=near
    )
    first = unfreeze_from or recipes.first_stage_to_tune(base.stages, near_source=near)
    check_stage(first, base.stages, base.name)

    keras.utils.set_random_seed(seed)
    own = base.copy()
    _keep_batch_norm(own.model)
    frozen = own.stages[: own.stages.index(first)]
    trunk = own.cut(frozen[-1]) if frozen else None
    rest = own.after(frozen[-1]) if frozen else own.model
    kept = trunk is not None and _map_bytes(trunk) * len(data.train) <= CACHE_LIMIT_BYTES
    if trunk is not None:
        trunk.model.trainable = False

    head = keras.layers.Dense(data.num_classes, "softmax", dtype="float32", name="head")
    dropout = keras.layers.Dropout(recipe.dropout, seed=seed)
    if trunk is not None and kept:
        inputs = keras.Input(trunk.model.output_shape[1:])
        network = keras.Model(inputs, head(dropout(pool(rest(inputs), start.grid))))
        batches, validation = _cached_batches(trunk, data, recipe, augmentation, seed)
    else:
        images = keras.Input((own.input_size, own.input_size, 3))
        features = own.model(own.preprocess(images))
        network = keras.Model(images, head(dropout(pool(features, start.grid))))
        batches, validation = _image_batches(data, own.input_size, recipe, augmentation, seed)
    head.set_weights(start.model.get_layer("head").get_weights())

    spread = start.config["feature_spread"]
    factors = {**_stage_factors(own, recipe), head.kernel.path: recipes.head_rate(spread)}
    history = train(network, batches, validation, recipe, factors=factors, callbacks=callbacks)
    features = pooled_features(own, start.grid)
    model = keras.Model(features.input, head(features.outputs[0]), name="tuned")
    config = {
        "method": "model_transfer",
        **_about(base, data, start.grid, seed),
        **recipe.to_dict(),
        "unfreeze_from": first,
        "frozen_stages_computed_once": kept,
        "feature_spread": spread,
        "trained_parameters": _count(network.trainable_variables),
    }
    return Run(
        "tuned", model, data, history, time.perf_counter() - started, config, own, start.grid
    )


def from_scratch(
    base: Backbone,
    data: Dataset,
    *,
    recipe: recipes.Training | None = None,
    augmentation: Augmentation | None = None,
    grid: int | None = None,
    seed: int = 0,
    callbacks: Sequence["keras.callbacks.Callback"] = (),
) -> Run:
    """Train the same network from random weights: the baseline that transfer has to beat.

    Args:
        base: The backbone whose architecture to use. It is not changed.
        data: The target data.
        recipe: How to train. Defaults to :func:`tlhelpers.transfer.recipes.from_scratch`.
        augmentation: How views may differ from the images. Defaults to ``Augmentation()``.
        grid: Cells along each side over which feature maps are averaged before the head. Defaults
            to 1.
        seed: Seed of the weights, the order, augmentation and dropout. Defaults to 0.
        callbacks: More Keras callbacks, such as live curves. Defaults to none.

    Returns:
        The run, named ``"scratch"``.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("cats_dogs", tier="embedded", n=40)
        >>> base = tl.load_backbone("vgg16_mini", data.image_size, weights=None)
        >>> from_scratch(base, data, recipe=tl.recipes.Training(1, 16, 1e-3)).name
        'scratch'
    """
    import keras

    from tlhelpers.transfer.training import train

    started = time.perf_counter()
    recipe = recipe or recipes.from_scratch(len(data.train), len(data.validation), base.input_size)
    cells = grid or 1
    own = base.with_random_weights(seed)
    keras.utils.set_random_seed(seed)
    for layer in own.model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Keras's 0.99 and 0.999 average over more steps than a small data set allows.
            layer.momentum = 0.9
    if is_plain_chain(own.model):
        some = data.train.load(range(min(64, len(data.train))), own.input_size)
        standardise_channels(own.model, np.asarray(own.preprocess(some)))
    images = keras.Input((own.input_size, own.input_size, 3))
    head = keras.layers.Dense(data.num_classes, "softmax", dtype="float32", name="head")
    dropout = keras.layers.Dropout(recipe.dropout, seed=seed)
    network = keras.Model(images, head(dropout(pool(own.model(own.preprocess(images)), cells))))
    batches, validation = _image_batches(data, own.input_size, recipe, augmentation, seed)
    history = train(network, batches, validation, recipe, callbacks=callbacks)
    features = pooled_features(own, cells)
    model = keras.Model(features.input, head(features.outputs[0]), name="scratch")
    config = {
        "method": "from_scratch",
        **_about(base, data, cells, seed),
        **recipe.to_dict(),
        "trained_parameters": _count(network.trainable_variables),
    }
    return Run("scratch", model, data, history, time.perf_counter() - started, config, own, cells)


def _grid(base: Backbone, grid: int | None) -> int:
    """Return the grid asked for, or the recipe's."""
    size, channels = base.model.output_shape[2:]
    return grid or recipes.feature_grid(size, channels)


def _about(base: Backbone, data: Dataset, grid: int, seed: int) -> dict[str, Any]:
    """Collect the settings that all runs share."""
    return {
        "backbone": base.name,
        "weights": base.weights,
        "last_stage": base.stages[-1],
        "input_size": base.input_size,
        "grid": grid,
        "data": data.name,
        "n_train": len(data.train),
        "n_validation": len(data.validation),
        "seed": seed,
    }


def _count(variables: Sequence["keras.Variable"]) -> int:
    """Count the numbers in some variables."""
    return int(sum(np.prod(variable.shape) for variable in variables))


def _map_bytes(trunk: Backbone) -> int:
    """Return the size of one image's feature map in half precision, in bytes."""
    return 2 * int(np.prod(trunk.model.output_shape[1:]))


def _keep_batch_norm(model: "keras.Model") -> None:
    """Freeze BatchNormalization: a few hundred images would spoil what millions settled.

    Keras then also runs it in inference mode. Calling the network with ``training=False`` would not
    do: Keras 3.15 passes fit's ``training=True`` on to the layers all the same.
    """
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def _cached_batches(
    trunk: Backbone,
    data: Dataset,
    recipe: recipes.Training,
    augmentation: Augmentation | None,
    seed: int,
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """Return batches of the frozen stages' output: the images in one epoch, a view in the next."""
    from tlhelpers.transfer.training import Batches

    maps = [extract_features(trunk, data.train, grid=None, dtype="float16")]
    if recipe.views:
        views = AugmentedViews(data.train, recipe.views, augmentation)
        every_view = extract_features(trunk, views, grid=None, dtype="float16")
        maps += [every_view[i * len(data.train) :][: len(data.train)] for i in range(recipe.views)]

    def load(rows: np.ndarray, epoch: int) -> np.ndarray:
        """Read the maps of this epoch's view."""
        return np.asarray(maps[epoch % len(maps)][rows], np.float32)

    validation = extract_features(trunk, data.validation, grid=None, dtype="float16")
    return (
        Batches(load, data.train.labels, recipe.batch_size, seed),
        (np.asarray(validation, np.float32), data.validation.labels),
    )


def _image_batches(
    data: Dataset,
    size: int,
    recipe: recipes.Training,
    augmentation: Augmentation | None,
    seed: int,
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """Return batches of images, augmented anew at each step unless the recipe has no views."""
    from tlhelpers.transfer.training import Batches

    how = augmentation or Augmentation()

    def load(rows: np.ndarray, epoch: int) -> np.ndarray:
        """Read and augment images."""
        images = data.train.load(rows, size)
        if recipe.views == 0:
            return images
        generators = [np.random.default_rng([seed, epoch, row]) for row in rows]
        return np.stack([how.apply(i, rng) for i, rng in zip(images, generators, strict=True)])

    return (
        Batches(load, data.train.labels, recipe.batch_size, seed),
        (data.validation.load(None, size), data.validation.labels),
    )


def _stage_factors(base: Backbone, recipe: recipes.Training) -> dict[str, float]:
    """Return the factor on the learning rate of each of the backbone's variables, by its path."""
    ends = [ARCHITECTURES[base.name].stages[stage] for stage in base.stages]
    factors, stage = {}, 0
    for layer in base.model.layers:
        depth_from_top = len(ends) - 1 - min(stage, len(ends) - 1)
        for variable in layer.trainable_variables:
            factors[variable.path] = recipe.backbone_rate * recipe.rate_decay**depth_from_top
        if layer.name == ends[min(stage, len(ends) - 1)] != NETWORK_OUTPUT:
            stage += 1
    return factors
