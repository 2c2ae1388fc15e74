"""The two ways to transfer, and the baseline both must beat."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.data.augmentation import Augmentation, AugmentedViews, warn_of_labels
from tlhelpers.data.splits import Dataset, Split, balanced_rows
from tlhelpers.models.backbones import (
    IMAGENET,
    Backbone,
    RecordedBackbone,
    batch_normalisation,
    check_stage,
)
from tlhelpers.models.initialisation import is_plain_chain, standardise_channels
from tlhelpers.runtime import say
from tlhelpers.transfer import recipes
from tlhelpers.transfer.features import extract_features, pool, pooled_features
from tlhelpers.transfer.heads import fit_linear_head
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    import keras

    from tlhelpers.transfer.training import Batches

CACHE_LIMIT_BYTES = 4_000_000_000
"""Maps of the frozen stages, those of views and of validation images included, that take more than
this are computed at every step instead of being kept."""

STANDARDISED_ON = 64
"""Images on which the random weights of a network without BatchNormalization are standardised."""

Arrays = Callable[[], tuple[np.ndarray, np.ndarray]]


def feature_transfer(
    base: Backbone,
    data: Dataset,
    *,
    grid: int | None = None,
    class_weight: str | None = "auto",
    seed: int = 0,
) -> Run:
    """Keep the backbone frozen, extract its features once, and fit a linear head on them.

    Args:
        base: The backbone. It is not changed.
        data: The target data.
        grid: Cells along each side over which feature maps are averaged. Defaults to
            :func:`tlhelpers.transfer.recipes.feature_grid`, and to 1 for recorded features.
        class_weight: ``"balanced"`` lets every class count the same, None every image. Defaults to
            ``"auto"``: balanced, which is said, where the largest class has more than 1.5 times the
            images of the smallest (:func:`tlhelpers.transfer.recipes.class_weights`).
        seed: Seed of the folds where the penalty is chosen by cross-validation. Defaults to 0.

    Returns:
        The run, named ``"frozen"``.

    Raises:
        ValueError: If a class has no training image, or there is no such grid or class_weight.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("pets", n_train=80).few(20)
        >>> run = feature_transfer(tl.load_backbone("vgg16_mini", data.image_size), data)
        >>> run.name, run.model.output_shape
        ('frozen', (None, 2))
    """
    import keras

    started = time.perf_counter()
    class_weight = _say_weights(data, class_weight)
    recorded = isinstance(base, RecordedBackbone)
    cells = grid
    if cells is None:
        cells = 1
        if not (recorded or data.train.pack):
            cells = recipes.feature_grid(*base.model.output_shape[2:])
    head = fit_linear_head(
        extract_features(base, data.train, grid=cells),
        data.train.labels,
        extract_features(base, data.validation, grid=cells),
        data.validation.labels,
        num_classes=data.num_classes,
        class_weight=class_weight,
        seed=seed,
    )
    model: Any = base.model  # of a recorded network, which has none, what says so
    if not recorded:
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
        "class_weight": head.class_weight,
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

    Where the recipe has a number of views, the stages that stay frozen are run once, on the images
    and on augmented views of them, and their output is kept. BatchNormalization stays in inference
    mode. Where features are large, the head's rate is divided by their spread
    (:func:`tlhelpers.transfer.recipes.head_rate`).

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
        callbacks: More Keras callbacks. Defaults to none.

    Returns:
        The run, named ``"tuned"``.

    Raises:
        ValueError: If there is no such stage, ``start`` is of another backbone, other weights,
            another image size, other classes or another method, or a callback can't work here.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("pets", n_train=80).few(5)
        >>> base = tl.load_backbone("vgg16_mini", data.image_size)
        >>> model_transfer(base, data, unfreeze_from="block5_pool").name
        'tuned'
    """
    import keras

    from tlhelpers.transfer.training import check_callbacks

    started = time.perf_counter()
    check_callbacks(callbacks, data)
    near = base.source == IMAGENET
    first = unfreeze_from or recipes.first_stage_to_tune(base.stages, near_source=near)
    check_stage(first, base.stages, base.name)
    if start is not None:
        _check_start(start, base, data)
    recipe = recipe or recipes.fine_tuning(len(data.train), len(data.validation), near_source=near)
    recipe = replace(recipe, class_weight=_say_weights(data, recipe.class_weight))
    start = start or feature_transfer(base, data, class_weight=recipe.class_weight, seed=seed)
    keras.utils.set_random_seed(seed)
    own = base.copy()
    for layer in batch_normalisation(own.model):
        # A few hundred images would spoil what millions settled. Keras then also runs the layer in
        # inference mode; calling the network with training=False would not do: Keras 3.15 passes
        # fit's training=True on to the layers all the same.
        layer.trainable = False
    rest = batches = None
    if frozen := own.stages[: own.stages.index(first)]:
        trunk = own.cut(frozen[-1])
        trunk.model.trainable = False
        if _can_be_kept(trunk, data, recipe):
            rest = own.after(frozen[-1])
            batches = _cached_batches(trunk, data, recipe, augmentation, seed)
    if batches is None:
        recipe = _new_views(recipe)
        batches = _image_batches(data, own.input_size, recipe, augmentation, seed)
    config = {
        "method": "model_transfer",
        **_about(base, data, start.grid, seed),
        **asdict(recipe),
        "augmentation": _say_changes(recipe, augmentation),
        "unfreeze_from": first,
        "frozen_stages_computed_once": rest is not None,
        "feature_spread": start.config["feature_spread"],
    }
    return _train("tuned", own, data, recipe, batches, config, callbacks, started, rest, start)


def from_scratch(
    base: Backbone,
    data: Dataset,
    *,
    recipe: recipes.Training | None = None,
    augmentation: Augmentation | None = None,
    grid: int = 1,
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
        callbacks: More Keras callbacks. Defaults to none.

    Returns:
        The run, named ``"scratch"``.

    Raises:
        ValueError: If a callback can't work here.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("pets", n_train=40)
        >>> base = tl.load_backbone("vgg16_mini", data.image_size, weights=None)
        >>> from_scratch(base, data, recipe=tl.recipes.Training(1, 16, 1e-3)).name
        'scratch'
    """
    import keras

    from tlhelpers.transfer.training import check_callbacks

    started = time.perf_counter()
    check_callbacks(callbacks, data)
    recipe = _new_views(recipe or recipes.from_scratch(len(data.train)))
    recipe = replace(recipe, class_weight=_say_weights(data, recipe.class_weight))
    own = base.with_random_weights(seed)
    keras.utils.set_random_seed(seed)
    for layer in batch_normalisation(own.model):
        # Keras's 0.99 and 0.999 average over more steps than a small data set allows.
        layer.momentum = 0.9
    if is_plain_chain(own.model):
        # Rows of every class: in folders, the first ones are all of one.
        rng = np.random.default_rng(seed)
        rows = balanced_rows(data.train.labels, -(-STANDARDISED_ON // data.num_classes), rng)
        some = data.train.load(np.sort(rng.permutation(rows)[:STANDARDISED_ON]), own.input_size)
        standardise_channels(own.model, np.asarray(own.preprocess(some)))
    batches = _image_batches(data, own.input_size, recipe, augmentation, seed)
    config = {
        "method": "from_scratch",
        **_about(own, data, grid, seed),
        **asdict(recipe),
        "augmentation": _say_changes(recipe, augmentation),
    }
    return _train("scratch", own, data, recipe, batches, config, callbacks, started)


def _say_weights(data: Dataset, choice: str | None) -> str | None:
    """Return "balanced" or None, and say so where that was left to the data."""
    counts = np.bincount(data.train.labels, minlength=data.num_classes).tolist()
    chosen = "balanced" if recipes.class_weights(counts, choice) else None
    if chosen != choice and chosen:
        say(
            f"{data.name}: training images are uneven ({max(counts):,} of the largest class, "
            f"{min(filter(None, counts)):,} of the smallest), so every class counts the same "
            '(class_weight="balanced"; None lets every image count the same).'
        )
    return chosen


def _train(
    name: str,
    own: Backbone,
    data: Dataset,
    recipe: recipes.Training,
    batches: tuple["Batches", Arrays],
    config: dict[str, Any],
    callbacks: Sequence["keras.callbacks.Callback"],
    started: float,
    rest: "keras.Model | None" = None,
    start: Run | None = None,
) -> Run:
    """Put a head on a backbone, or on the rest of one whose first maps are given, and train it."""
    import keras

    from tlhelpers.transfer.training import train

    head = keras.layers.Dense(data.num_classes, "softmax", dtype="float32", name="head")
    dropout = keras.layers.Dropout(recipe.dropout, seed=config["seed"])
    if rest is None:
        inputs = keras.Input((own.input_size, own.input_size, 3))
        maps = own.model(own.preprocess(inputs))
    else:
        inputs = keras.Input(rest.input_shape[1:])
        maps = rest(inputs)
    network = keras.Model(inputs, head(dropout(pool(maps, config["grid"]))))
    features = pooled_features(own, config["grid"])
    model = keras.Model(features.input, head(features.outputs[0]), name=name)
    factors = None
    if start is not None:
        head.set_weights(start.whole_model().get_layer("head").get_weights())
        head_rate = recipes.head_rate(config["feature_spread"])
        factors = {**_stage_factors(own, recipe), head.kernel.path: head_rate}
    history = train(network, *batches, recipe, factors=factors, callbacks=callbacks, whole=model)
    config["trained_parameters"] = int(sum(np.prod(v.shape) for v in network.trainable_variables))
    seconds = time.perf_counter() - started
    return Run(name, model, data, history, seconds, config, own, config["grid"])


def _check_start(start: Run, base: Backbone, data: Dataset) -> None:
    """Raise an error unless a run's head was fitted to this backbone and these classes."""
    method = start.config.get("method")
    if start.base is None or method not in ("feature_transfer", "model_transfer"):
        raise ValueError(
            f"start must be a run of feature_transfer, or of model_transfer. Received: {method}."
        )
    mine, theirs = (
        {
            "backbone": f"{one.name} up to {one.stages[-1]}",
            "stages": ", ".join(one.stages),
            "layers": one.architecture[:16] or one.name,
            "image size": f"{one.input_size} pixels",
            "preprocessing": one.preprocessing_key(),
            "weights": f"{one.weights}, SHA-256 {one.weights_digest()[:16]}",
            "classes": ", ".join(names),
        }
        for one, names in ((base, data.class_names), (start.base, start.data.class_names))
    )
    for what, wanted in mine.items():
        if theirs[what] != wanted:
            raise ValueError(
                f"start must be a run with the same {what}, {wanted}. Received: one with "
                f"{theirs[what]}; leave start out to fit a new head."
            )


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
        "precision": _precision(base),
        "seed": seed,
    }


def _precision(base: Backbone) -> str | None:
    """Name the dtype policies of a network's layers; None where only its features are at hand."""
    if isinstance(base, RecordedBackbone):
        return None
    return ", ".join(sorted({one.dtype_policy.name for one in base.model.layers if one.weights}))


def _say_changes(
    recipe: recipes.Training, augmentation: Augmentation | None
) -> dict[str, Any] | None:
    """Return how views differ from the images, or None where there are no views."""
    return None if recipe.views == 0 else asdict(augmentation or Augmentation())


def _new_views(recipe: recipes.Training) -> recipes.Training:
    """Return the recipe as it is carried out where no maps are kept: every view is a new one."""
    return replace(recipe, views=None) if recipe.views else recipe


def _can_be_kept(trunk: Backbone, data: Dataset, recipe: recipes.Training) -> bool:
    """Tell whether the maps of all views are few enough; views new at every step never are."""
    if recipe.views is None:
        return False
    maps = (1 + recipe.views) * len(data.train) + len(data.validation)
    return 2 * maps * int(np.prod(trunk.model.output_shape[1:])) <= CACHE_LIMIT_BYTES


def _cached_batches(
    trunk: Backbone,
    data: Dataset,
    recipe: recipes.Training,
    augmentation: Augmentation | None,
    seed: int,
) -> tuple["Batches", Arrays]:
    """Return batches of the frozen stages' output: the images in one epoch, a view in the next."""
    from tlhelpers.transfer.training import Batches

    n = len(data.train)
    maps = [extract_features(trunk, data.train, grid="map", dtype="float16")]
    if recipe.views:
        views = AugmentedViews(data.train, recipe.views, augmentation, seed)
        every_view = extract_features(trunk, views, grid="map", dtype="float16")
        maps += [every_view[i * n :][:n] for i in range(recipe.views)]

    def load(rows: np.ndarray, epoch: int) -> np.ndarray:
        """Read the maps of this epoch's view."""
        return np.asarray(maps[epoch % len(maps)][rows], np.float32)

    def validation() -> tuple[np.ndarray, np.ndarray]:
        """Give the maps of the validation images."""
        kept = extract_features(trunk, data.validation, grid="map", dtype="float16")
        return np.asarray(kept, np.float32), data.validation.labels

    return Batches(load, data.train.labels, recipe.batch_size, seed), validation


def _image_batches(
    data: Dataset,
    size: int,
    recipe: recipes.Training,
    augmentation: Augmentation | None,
    seed: int,
) -> tuple["Batches", Arrays]:
    """Return batches of images, augmented anew at each step unless the recipe has no views."""
    from tlhelpers.transfer.training import Batches

    how = augmentation or Augmentation()
    if recipe.views != 0:
        warn_of_labels(data.class_names, how)

    def load(rows: np.ndarray, epoch: int) -> np.ndarray:
        """Read and augment images."""
        images = data.train.load(rows, size)
        if recipe.views == 0:
            return images
        generators = [np.random.default_rng([seed, epoch, row]) for row in rows]
        return np.stack([how.apply(i, rng) for i, rng in zip(images, generators, strict=True)])

    return (
        Batches(load, data.train.labels, recipe.batch_size, seed),
        lambda: (data.validation.load(None, size), data.validation.labels),
    )


def _stage_factors(base: Backbone, recipe: recipes.Training) -> dict[str, float]:
    """Return the factor on the learning rate of each of the backbone's variables, by its path."""
    ends = list(base.stage_layers.values())
    factors, stage = {}, 0
    for layer in base.model.layers:
        depth_from_top = len(ends) - 1 - stage
        for variable in layer.trainable_variables:
            factors[variable.path] = recipe.backbone_rate * recipe.rate_decay**depth_from_top
        stage = min(stage + (layer.name == ends[stage]), len(ends) - 1)
    return factors
