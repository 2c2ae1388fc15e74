"""Which frozen stage and which penalty: chosen by cross-validation that keeps groups whole."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tlhelpers.models.backbones import Backbone
from tlhelpers.transfer.features import Images, extract_features
from tlhelpers.transfer.heads import LinearHead, fit_head
from tlhelpers.transfer.recipes import INVERSE_PENALTIES
from tlhelpers.workflow.split import FOLDS, REPEATS, UndividedError, folds

STAGES_TRIED = 3
"""Stages a head is tried on: the last ones, where what a network knows is most like labels."""

ENOUGH_TO_CHOOSE = 4_000
"""Images that stage and penalty are chosen on, about; the head is fitted on all."""

FIXED_PENALTY = 1.0
"""``C`` where none can be chosen: on recorded features of 5 to 20 photographs a class, it gives
nearly the least cross-entropy, for easy and for hard classes. It is scikit-learn's default, too."""

Features = Mapping[str, np.ndarray]
"""Features ``[n, d]`` of every image, by the name of the stage."""


@dataclass(frozen=True)
class Choice:
    """A stage and a penalty.

    Attributes:
        stage: Name of the stage.
        inverse_penalty: scikit-learn's ``C``.
        losses: Cross-validated cross-entropy (nats, classes weighted alike) by stage and ``C``.
    """

    stage: str
    inverse_penalty: float
    losses: dict[str, dict[float, float]]


@dataclass(frozen=True)
class Unseen:
    """Probabilities of each image by a head that was fitted without it and without its group.

    Attributes:
        probabilities: ``[n, classes]``; the mean over the repeats.
        right: ``[n]``: in which share of the repeats the most probable class was the given one.
        accuracies: Share right in each repeat.
        heads: The heads of the last repeat.
        stages: The stage of each of them.
        head_of: ``int [n]``: which of them did not see the image.
    """

    probabilities: np.ndarray
    right: np.ndarray
    accuracies: tuple[float, ...]
    heads: tuple[LinearHead, ...]
    stages: tuple[str, ...]
    head_of: np.ndarray


def stage_reader(base: Backbone, names: Sequence[str]) -> Callable[[Images], Features]:
    """Return what extracts the pooled features of several stages of a network in one pass.

    Args:
        base: The network.
        names: The stages.

    Returns:
        A function from images to float32 ``[n, channels]`` of each stage.
    """
    import keras

    maps = [base.model.get_layer(base.stage_layers[name]).output for name in names]
    pooled = [keras.layers.GlobalAveragePooling2D(keepdims=True)(one) for one in maps]
    joined = keras.layers.Concatenate()(pooled) if len(pooled) > 1 else pooled[0]
    several = Backbone.from_model(
        keras.Model(base.model.inputs[0], joined),
        base.preprocessing,
        name=f"{base.name}_{'_'.join(names)}",
    )
    # Keras numbers its layers through a process: what is stored is filed under the network's own name.
    several = replace(several, architecture=f"{base.architecture} at {', '.join(names)}")
    ends = np.cumsum([one.shape[-1] for one in maps])[:-1]

    def read(images: Images) -> Features:
        """Extract, or read what was extracted before."""
        features = extract_features(several, images)
        return dict(zip(names, np.split(features, ends, axis=1), strict=True))

    return read


def choose(
    features: Features,
    labels: np.ndarray,
    groups: np.ndarray,
    seed: int,
    most: int = FOLDS,
    among: np.ndarray | None = None,
) -> Choice:
    """Choose the stage and the penalty with the lowest cross-validated cross-entropy.

    Args:
        features: Features ``[n, d]`` by stage.
        labels: Integers ``[n]``.
        groups: ``int [n]``: what stays in one fold.
        seed: Which folds.
        most: Folds, at most. Defaults to 5.
        among: Rows to choose on. Defaults to all.

    Returns:
        The choice. Classes count alike in it, as they do in the head. Penalties are tried from the
        strongest on, until the loss rises.
    """
    among = np.arange(len(labels)) if among is None else among
    rows = among[_some(labels[among], groups[among], seed)]
    labels, groups = labels[rows], groups[rows]
    weights = 1 / np.bincount(labels)[labels]
    pairs = list(folds(labels, groups, seed, most))
    losses: dict[str, dict[float, float]] = {}
    for stage, values in features.items():
        x = values[rows]
        losses[stage] = {}
        for penalty in INVERSE_PENALTIES:
            loss = np.zeros(len(labels))
            for fit, held in pairs:
                head = fit_head(x[fit], labels[fit], penalty, overwrite=True)
                p = head.probabilities(x[held])
                loss[held] = -np.log(np.maximum(p[np.arange(len(held)), labels[held]], 1e-12))
            losses[stage][penalty] = float((loss * weights).sum() / weights.sum())
            # From the strongest to the weakest, which take longest: none once the loss has risen.
            if losses[stage][penalty] > min(losses[stage].values()):
                break
    stage = min(losses, key=lambda name: min(losses[name].values()))
    return Choice(stage, min(losses[stage], key=losses[stage].__getitem__), losses)


def _some(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Return the rows of random groups, up to what suffices to choose on, and of every class."""
    if len(labels) <= ENOUGH_TO_CHOOSE:
        return np.arange(len(labels))
    numbers, number, counts = np.unique(groups, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(numbers))
    taken = np.zeros(len(numbers), bool)
    taken[order[np.cumsum(counts[order]) <= ENOUGH_TO_CHOOSE]] = True
    keep, place, classes = taken[number], np.argsort(order), np.unique(labels)
    most = max(1, ENOUGH_TO_CHOOSE // (FOLDS * len(classes)))
    for label in classes:
        own = np.flatnonzero(labels == label)
        if len(own) <= 100:
            keep[own] = True
        # Of each class enough groups to divide, and of large groups a part.
        for group in np.unique(place[number[own]])[:FOLDS]:
            keep[rng.permutation(own[place[number[own]] == group])[:most]] = True
    return np.flatnonzero(keep)


def predict_unseen(
    features: Features,
    labels: np.ndarray,
    groups: np.ndarray,
    seed: int,
    *,
    choice: Choice | None = None,
    among: np.ndarray | None = None,
    usable: np.ndarray | None = None,
    repeats: int = REPEATS,
) -> Unseen:
    """Predict each image by heads that saw neither it nor its group.

    Args:
        features: Features ``[n, d]`` by stage.
        labels: Integers ``[n]``.
        groups: ``int [n]``: what stays in one fold.
        seed: Which folds.
        choice: Stage and penalty. Defaults to choosing them in each fold anew, on its own training
            images, as a score needs it. Where those can't be divided again, since all they have of
            some class is one group, the last stage is taken and :data:`FIXED_PENALTY`: a choice on
            all images would have seen those to predict.
        among: Rows to predict, and to fit on. Defaults to all.
        usable: Booleans ``[n]``: what heads may be fitted on. Defaults to all.
        repeats: Divisions into folds. Defaults to 3.

    Returns:
        The predictions, of the rows ``among`` in their order.
    """
    among = np.arange(len(labels)) if among is None else among
    labels, groups = labels[among], groups[among]
    total = np.zeros((len(labels), labels.max() + 1))
    right = np.zeros(len(labels))
    accuracies: list[float] = []
    head_of = np.zeros(len(labels), int)
    for repeat in range(repeats):
        heads, stages = [], []
        hits = np.zeros(len(labels))
        for number, (fit, held) in enumerate(folds(labels, groups, seed + repeat)):
            fit = fit if usable is None else fit[usable[among[fit]]]
            rows, own = among[fit], labels[fit]
            made = choice or _choose_or_fix(
                {name: x[rows] for name, x in features.items()}, own, groups[fit], seed
            )
            x = features[made.stage]
            head = fit_head(x[rows], own, made.inverse_penalty, overwrite=True)
            p = head.probabilities(x[among[held]])
            total[held] += p
            hits[held] = p.argmax(axis=1) == labels[held]
            head_of[held] = number
            heads.append(head)
            stages.append(made.stage)
        right += hits
        accuracies.append(float(hits.mean()))
    return Unseen(
        total / repeats,
        right / repeats,
        tuple(accuracies),
        tuple(heads),
        tuple(stages),
        head_of,
    )


def _choose_or_fix(features: Features, labels: np.ndarray, groups: np.ndarray, seed: int) -> Choice:
    """Choose on what a fold has to fit on, or take what is fixed where that can't be divided."""
    try:
        return choose(features, labels, groups, seed, 3)
    except UndividedError:
        return Choice(list(features)[-1], FIXED_PENALTY, {})


def tempered(head: LinearHead, temperature: float) -> LinearHead:
    """Return a head whose logits are divided by a temperature; its classes stay the same."""
    return replace(head, kernel=head.kernel / temperature, bias=head.bias / temperature)
