"""Learn from the images: the network at hand, its best stage and penalty, and fine-tuning if it helps."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.data.augmentation import Augmentation
from tlhelpers.data.downloads import DownloadError, mirror_names
from tlhelpers.files import cache_place
from tlhelpers.models.backbones import (
    ARCHITECTURES,
    IMAGENET,
    Backbone,
    RecordedBackbone,
    load_backbone,
)
from tlhelpers.transfer.features import pooled_features
from tlhelpers.transfer.heads import LinearHead, fit_head
from tlhelpers.transfer.runs import Run
from tlhelpers.workflow.choose import (
    Choice,
    Features,
    Unseen,
    choose,
    predict_unseen,
    stage_reader,
    tempered,
)
from tlhelpers.workflow.judge import (
    choose_threshold,
    error_to_aim_at,
    gain,
    share,
    soften,
    soften_unseen,
)
from tlhelpers.workflow.split import FOLDS, Pictures

if TYPE_CHECKING:
    from tlhelpers.transfer.features import Images

PREFERRED = ("efficientnet_v2_b0", "mobilenet_v2", "resnet50", "convnext_tiny", "vgg16")
"""Of the networks at hand the first is taken: by ImageNet accuracy for what a pass costs."""

DEFAULT = "mobilenet_v2"
"""The network that is fetched where none is at hand (9 MB)."""


@dataclass
class Learned:
    """What a training found, to be judged and saved.

    Attributes:
        base: The network, cut at its stage.
        head: The head that is shipped, tempered.
        features: Features of every image, by stage.
        read: Extracts them for other images.
        predict: Probabilities of rows by heads that did not see them, from their features.
        probabilities: Those of the judged rows, tempered.
        raw: The same, not tempered.
        right: Share of the repeats in which each judged row was right.
        temperature: What logits are divided by.
        threshold: Probability below which an answer is "unsure".
        choice: Stage and penalty.
        config: Settings, for the saved model's card.
        notes: What else was found, for the report.
    """

    base: Backbone
    head: LinearHead
    features: Features
    read: "Callable[[Images], Features]"
    predict: Callable[[Features, np.ndarray], np.ndarray]
    probabilities: np.ndarray
    raw: np.ndarray
    right: np.ndarray
    temperature: float
    threshold: float
    choice: Choice
    config: dict[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)


def load_network(name: str | None = None) -> Backbone:
    """Load the network that was asked for, or the best of those at hand.

    Args:
        name: A name, as for :func:`tlhelpers.load_backbone`. Defaults to choosing.

    Returns:
        The network, for images of 224 pixels (64 for ``vgg16_mini``).

    Raises:
        ValueError: If there is no such network, or the embedded tier was asked for.
        tlhelpers.data.downloads.DownloadError: If its weights can't be had.
    """
    chosen = name or next(iter(networks_at_hand()), DEFAULT)
    how = (
        "\nImageNet weights are needed, and none are at hand. With internet, `tlhelpers fetch "
        f"{ARCHITECTURES.get(chosen, ARCHITECTURES[DEFAULT]).weights}` brings them into the cache; "
        "TLH_MIRROR names a folder or URL that has them (`tlhelpers fetch --to DIR` makes one). The "
        "network that ships with the package, vgg16_mini, was made for drawings and is never taken "
        "unless --backbone names it."
    )
    size = 64 if chosen == "vgg16_mini" else 224
    try:
        base = load_backbone(chosen, size)
    except DownloadError as error:
        raise DownloadError(f"{error}{how}") from error
    except ValueError as error:
        if "downloads nothing" not in str(error):
            raise
        raise ValueError(f"{error}{how}") from error
    if isinstance(base, RecordedBackbone):
        raise ValueError(
            f"The embedded tier holds recorded features of {chosen}, not its weights; leave TLH_TIER "
            f"unset, or set it to real.{how}"
        )
    return base


def networks_at_hand() -> list[str]:
    """Name the networks whose weights are in the mirror or the cache, the best first."""
    listed = mirror_names()
    if listed is None:
        listed = frozenset(path.name for path in (cache_place() / "files").glob("*/*.h5"))
    return [name for name in PREFERRED if ARCHITECTURES[name].weights in listed]


def learn(
    base: Backbone,
    read: "Callable[[Images], Features]",
    features: Features,
    pictures: Pictures,
    wanted_error: float | None,
    seed: int,
) -> Learned:
    """Choose stage and penalty, fit the head, and predict the judged images without having seen them.

    Args:
        base: The network.
        read: Extracts the features of its stages.
        features: Those of every image.
        pictures: The images.
        wanted_error: Share of wrong answers that the threshold aims at; None for half of what
            answering everything would give.
        seed: Seed of the folds.

    Returns:
        The classifier with its predictions.
    """
    labels, groups, pool = pictures.labels, pictures.groups, pictures.pool
    choice = choose(features, labels, groups, seed, among=pool)
    own = features[choice.stage][pool]
    head = fit_head(own, labels[pool], choice.inverse_penalty, overwrite=True)
    del own  # of many images it is most of the memory
    if pictures.held_out:
        unseen = predict_unseen(
            features, labels, groups, seed, choice=choice, among=pool, repeats=1
        )
    else:  # then the pool is all images
        unseen = predict_unseen(features, labels, groups, seed)
    softer, temperature = soften_unseen(unseen.probabilities, labels[pool], unseen.head_of)
    wanted = error_to_aim_at(softer, labels[pool]) if wanted_error is None else wanted_error
    threshold = choose_threshold(softer, labels[pool], wanted)
    predict: Callable[[Features, np.ndarray], np.ndarray]
    notes: dict[str, Any] = {"wanted_error": wanted}
    if pictures.held_out:

        def predict(some: Features, rows: np.ndarray) -> np.ndarray:
            """Predict by the head that is shipped, which saw none of the judged rows."""
            return head.probabilities(some[choice.stage])

        judged = {choice.stage: features[choice.stage][pictures.judged]}
        raw = predict(judged, pictures.judged)
        right = (raw.argmax(axis=1) == labels[pictures.judged]).astype(float)
        final = soften(raw, temperature)
        notes["pool"] = share(unseen.right, groups[pool])
        if not pictures.own_test:
            every, rows = np.r_[unseen.right, right], np.r_[pool, pictures.judged]
            notes["everywhere"] = share(every, groups[rows])
    else:
        predict = _by_fold(unseen)
        raw, final, right = unseen.probabilities, softer, unseen.right
        notes["repeats"] = list(unseen.accuracies)
    config = {
        "method": "feature_transfer",
        "backbone": base.name,
        "weights": base.weights,
        "last_stage": choice.stage,
        "input_size": base.input_size,
        "grid": 1,
        "seed": seed,
        "n_train": len(pool),
        "inverse_penalty": choice.inverse_penalty,
        "chosen_on": "cross-validation",
        "class_weight": "balanced",
        "temperature": temperature,
        "feature_spread": head.feature_spread,
    }
    return Learned(
        base.cut(choice.stage),
        tempered(head, temperature),
        features,
        read,
        predict,
        final,
        raw,
        right,
        temperature,
        threshold,
        choice,
        config,
        notes,
    )


def _by_fold(unseen: Unseen) -> Callable[[Features, np.ndarray], np.ndarray]:
    """Return what predicts each row by the head that did not see it."""

    def predict(some: Features, rows: np.ndarray) -> np.ndarray:
        """Predict rows from their features."""
        found = np.empty((len(rows), unseen.probabilities.shape[1]), np.float32)
        for number, (head, stage) in enumerate(zip(unseen.heads, unseen.stages, strict=True)):
            here = unseen.head_of[rows] == number
            found[here] = head.probabilities(some[stage][here])
        return found

    return predict


def fine_tune(
    learned: Learned,
    pictures: Pictures,
    wanted_error: float | None,
    seconds: float,
    seed: int,
    augmentation: Augmentation | None = None,
) -> tuple[dict[str, Any], Learned]:
    """Fine-tune where time allows, and keep it only where validation images say so.

    Args:
        learned: What the frozen network gave.
        pictures: The images.
        wanted_error: Share of wrong answers that the threshold aims at; None for half of what
            answering everything would give.
        seconds: Time that is left.
        seed: Seed of views and order.
        augmentation: How views may differ from the images. Defaults to ``Augmentation()``.

    Returns:
        What became of it, for the report; and the classifier to ship.
    """
    import keras

    from tlhelpers.transfer import recipes
    from tlhelpers.transfer.methods import model_transfer

    data = pictures.data
    augmentation = augmentation or Augmentation()
    if not pictures.held_out:
        return {"tried": False, "why": "there are too few images to tell whether it helps"}, learned
    full = load_backbone(learned.base.name, learned.base.input_size)
    near = full.source == IMAGENET
    recipe = recipes.fine_tuning(len(data.train), len(data.validation), near_source=near)
    # The frozen stages see each image and its views once; what is trained costs about a third of a
    # pass forward, and twice that back, for every epoch.
    passes = len(data.train) * (1 + (recipe.views or 0) + 1.5 * recipe.epochs)
    expected = passes * _seconds_an_image(full) if seconds > 0 else float("inf")
    if expected > seconds:
        why = "no time was left for it"
        if seconds > 0:
            took, left = f"{expected / 60:.1f}", f"{seconds / 60:.1f}"
            why = f"it would take about {took} minutes here, and {left} were left"
        return {"tried": False, "why": f"{why} (--minutes)"}, learned
    last = full.stages[-1]
    labels, train = pictures.labels, pictures.split_of == 0
    validation = pictures.split_of == 1
    penalty = min(learned.choice.losses[last], key=learned.choice.losses[last].__getitem__)
    start_head = fit_head(learned.features[last][train], labels[train], penalty, overwrite=True)
    pooled = pooled_features(full)
    model = keras.Model(pooled.input, start_head.as_layer()(pooled.outputs[0]))
    config = {"method": "feature_transfer", "feature_spread": start_head.feature_spread}
    start = Run("frozen", model, data, {}, 0.0, config, full, 1)
    tuned = model_transfer(
        full, data, start=start, recipe=recipe, augmentation=augmentation, seed=seed
    )
    stage, inverse = learned.choice.stage, learned.choice.inverse_penalty
    frozen = fit_head(learned.features[stage][train], labels[train], inverse, overwrite=True)
    p = frozen.probabilities(learned.features[stage][validation])
    q = tuned.probabilities("validation")
    before, after = (one.argmax(axis=1) == labels[validation] for one in (p, q))
    change = gain(before, after, pictures.groups[validation])
    about = {
        "tried": True,
        "gain": change.difference,
        "low": change.low,
        "high": change.high,
        "n": change.n,
        "kept": change.low > 0,
        "seconds": tuned.seconds,
    }
    return about, _as_learned(tuned, learned, pictures, wanted_error) if change.low > 0 else learned


def _as_learned(
    tuned: Run, before: Learned, pictures: Pictures, wanted_error: float | None
) -> Learned:
    """Take a fine-tuned network in place of the frozen one, calibrated on validation images."""
    base = tuned.base
    if base is None:
        raise ValueError("A fine-tuned run has its network.")
    last = base.stages[-1]
    read = stage_reader(base, [last])
    features = read(pictures)
    kernel, bias = tuned.whole_model().get_layer("head").get_weights()
    head = LinearHead(kernel, bias, 0.0, "validation", {}, before.head.feature_spread)
    validation = np.flatnonzero(pictures.split_of == 1)
    labels = pictures.labels
    p = head.probabilities(features[last][validation])
    fold_of = pictures.groups[validation] % FOLDS
    softer, temperature = soften_unseen(p, labels[validation], fold_of)
    raw = head.probabilities(features[last][pictures.judged])
    wanted = error_to_aim_at(softer, labels[validation]) if wanted_error is None else wanted_error
    return Learned(
        base,
        tempered(head, temperature),
        features,
        read,
        lambda some, rows: head.probabilities(some[last]),
        soften(raw, temperature),
        raw,
        (raw.argmax(axis=1) == labels[pictures.judged]).astype(float),
        temperature,
        choose_threshold(softer, labels[validation], wanted),
        Choice(last, before.choice.inverse_penalty, before.choice.losses),
        {**tuned.config, "temperature": temperature},
        {**before.notes, "wanted_error": wanted},
    )


def _seconds_an_image(base: Backbone) -> float:
    """Time a pass of the whole network; nothing of it is kept."""
    images = np.zeros((64, base.input_size, base.input_size, 3), np.float32)
    base.model.predict(images[:32], batch_size=32, verbose=0)  # traced once
    begun = time.perf_counter()
    base.model.predict(images, batch_size=32, verbose=0)
    return (time.perf_counter() - begun) / len(images)
