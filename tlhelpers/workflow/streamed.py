"""A linear head on features that don't fit in memory: read shard by shard, several times over."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.data.audit import first_few
from tlhelpers.data.layout import class_name, split_of
from tlhelpers.evaluation.scores import Score, score
from tlhelpers.workflow.shards import read_shards

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class StreamedHead:
    """What :func:`fit_streamed` gives back.

    Attributes:
        model: Keras model from features ``[n, d]`` to probabilities ``[n, classes]``; scaling is
            inside.
        class_names: Name of each class, in the order of the probabilities.
        test: Accuracy on the images that were not trained on, with its 95 % interval.
        majority: Share of the commonest class among them.
        images: Images it was trained on.
    """

    model: "keras.Model"
    class_names: tuple[str, ...]
    test: Score
    majority: float
    images: int


def fit_streamed(
    folder: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    test: float = 0.1,
    epochs: int = 5,
    penalty: float = 1e-4,
) -> StreamedHead:
    """Fit a linear head to the shards of :func:`tlhelpers.workflow.shards.extract_shards`.

    The classes are the folders of the photographs, with all that is inside: ``cat/tom`` is of class
    ``cat``. Folders named like splits are no classes (``train/cat``, ``test/cat``): then it trains
    on ``train`` alone, without what is copied to ``test``, and is scored on ``test``; ``validation``
    is for other use. Where it isn't clear which folders are classes, or images lie outside of them,
    name them with ``classes``.

    Without a folder ``test``, a share is kept apart. Which images these are is decided by their
    digests, so copies stay together, and more images later don't move others. Scale and mean are
    found in a first pass (scikit-learn's ``StandardScaler``); then averaged stochastic gradient
    descent on the logistic loss goes over the shards (``SGDClassifier``; Bottou 2010,
    doi:10.1007/978-3-7908-2604-3_16). The memory needed is that of some thousand rows, and of eight
    bytes for each image in ``test``.

    Args:
        folder: The folder of the shards.
        classes: Names of the class folders to use; the rest is left out. Defaults to all there are,
            where that is clear.
        test: Share of images kept apart, above 0 and below 1, where there is no folder ``test``.
            Defaults to 0.1.
        epochs: Passes over the shards, at least 1. Defaults to 5.
        penalty: Weight of the squared norm (``alpha``). Defaults to 1e-4.

    Returns:
        The head, with its score.

    Raises:
        ValueError: If an argument is not possible, it isn't clear which folders are classes, there
            is only one, train and test have different ones, or no image falls to one of the sides.

    Example:
        >>> print(fit_streamed("features").test)  # doctest: +SKIP
        97.2% (96.9% to 97.5%, n = 20,000)
    """
    from sklearn.linear_model import SGDClassifier
    from sklearn.preprocessing import StandardScaler

    if not 0 < test < 1 or epochs < 1:
        raise ValueError(
            "A share above 0 and below 1 is kept apart, and there is at least one epoch. "
            f"Received: test={test}, epochs={epochs}."
        )
    places, held = _look(folder, classes)
    names = tuple(sorted({name for split, name in places.values() if split == "train"}))
    scaler, counts = StandardScaler(), [0, 0]
    for x, _, kept_apart in _sides(folder, places, held, test):
        counts = [counts[0] + int((~kept_apart).sum()), counts[1] + int(kept_apart.sum())]
        if (~kept_apart).any():
            scaler.partial_fit(x[~kept_apart])
    if len(names) < 2 or not all(counts):
        raise ValueError(
            "There must be two classes or more, and images to train and to test on. Received: "
            f"{len(names)} classes, {counts[0]} and {counts[1]} images in {Path(folder)}."
        )
    head = SGDClassifier(loss="log_loss", alpha=penalty, average=True, random_state=0)
    for _ in range(epochs):
        for x, y, kept_apart in _sides(folder, places, held, test):
            if not kept_apart.all():
                head.partial_fit(scaler.transform(x[~kept_apart]), y[~kept_apart], classes=names)
    model = _as_keras(head, scaler, len(names))
    predicted: list[np.ndarray] = []
    truth: list[np.ndarray] = []
    for x, y, kept_apart in _sides(folder, places, held, test):
        if kept_apart.any():
            predicted.append(np.asarray(model.predict_on_batch(x[kept_apart])).argmax(1))
            truth.append(np.searchsorted(names, y[kept_apart]))
    labels = np.concatenate(truth)
    return StreamedHead(
        model,
        names,
        score(np.concatenate(predicted), labels),
        float(np.bincount(labels).max() / len(labels)),
        counts[0],
    )


_Places = dict[str, tuple[str, str]]


def _look(
    folder: str | os.PathLike[str], classes: Sequence[str] | None
) -> tuple[_Places, np.ndarray | None]:
    """Say of each folder its split and class, and which images are in test, where it is a folder."""
    folders: set[str] = set()
    for rows in read_shards(folder):
        folders |= set(rows["folder"])
    places = _places(folders, classes)
    if not any(split == "test" for split, _ in places.values()):
        return places, None
    held = [np.empty(0, np.uint64)]
    for rows in read_shards(folder):
        test = [places[one][0] == "test" for one in rows["folder"]]
        held.append(_numbers(rows)[test])
    return places, np.unique(np.concatenate(held))


def _places(folders: set[str], classes: Sequence[str] | None) -> _Places:
    """Say of each folder its split and class, or ("", "") where it is left out.

    As in :func:`tlhelpers.data.layout.find_files`, but what lies outside is refused unless classes
    are named: there is no page that would tell of it.
    """
    parts = {one: tuple(map(class_name, PurePosixPath(one).parts)) for one in folders}
    for one, part in parts.items():  # seg_train/seg_train/cat, as archives unpack
        while len(part) > 2 and split_of(part[0]) and split_of(part[0]) == split_of(part[1]):
            part = part[1:]
        parts[one] = part
    wanted = None if classes is None else {class_name(name) for name in classes}
    tops = {part[0] for part in parts.values() if part}
    splits = {part[0]: split_of(part[0]) for part in parts.values() if len(part) > 1}
    splits = {name: split for name, split in splits.items() if split}
    if wanted is not None and wanted <= tops:
        splits = {}
    places = {}
    for one, part in parts.items():
        split = "train" if not splits else splits.get(part[0], "") if part else ""
        name = "".join(part[bool(splits) :][:1])
        inside = split and name and (wanted is None or name in wanted)
        places[one] = (split, name) if inside else ("", "")
    _check_places(places, parts, splits, wanted)
    return places


def _check_places(
    places: _Places,
    parts: dict[str, tuple[str, ...]],
    splits: dict[str, str],
    wanted: set[str] | None,
) -> None:
    """Refuse where it isn't clear what the classes are, or they differ between train and test."""
    outside = sorted(one for one, (split, _) in places.items() if not split)
    train, test = (
        {name for where, name in places.values() if where == split} for split in ("train", "test")
    )
    advice = 'Name the classes to use, as in classes=["cats", "dogs"].'
    if wanted is None and splits and "train" not in splits.values():
        raise ValueError(
            "There must be a folder of training pictures beside those named like other splits. "
            f"Received: {first_few(sorted(splits))}. {advice}"
        )
    if wanted is None and outside:
        raise ValueError(
            f"Every image must lie in a class folder{' of a split' * bool(splits)}. Received others, "
            f"in: {first_few(outside)} (. is the folder of photographs itself). {advice}"
        )
    inside = {part[1] for part in parts.values() if len(part) > 1 and not splits}
    if wanted is None and len({split_of(name) for name in inside} - {""}) > 1:
        raise ValueError(
            "Folders of splits must lie above those of classes, as in train/cats. Received, inside "
            f"the classes: {first_few(sorted(inside))}. To mix all images, name the classes with "
            "classes=."
        )
    if missing := sorted((wanted or set()) - train):
        raise ValueError(
            f"classes must name folders of images to train on. Received: {first_few(missing)}; "
            f"there are: {first_few(sorted(places))}."
        )
    if test and test != train:
        raise ValueError(
            "train and test must have the same classes. Received, in one of them only: "
            f"{first_few(sorted(test ^ train))}. Name those of both with classes=."
        )


def _numbers(rows: dict[str, np.ndarray]) -> np.ndarray:
    """Return a number for each image, the same for copies."""
    return np.frombuffer(b"".join(rows["sha256"]), ">u8").reshape(-1, 4)[:, 0].astype(np.uint64)


def _sides(
    folder: str | os.PathLike[str], places: _Places, held: np.ndarray | None, test: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Give features, classes, and which are kept apart: those whose number is small, or of test."""
    for rows in read_shards(folder):
        numbers = _numbers(rows)
        split, names = np.array([places[one] for one in rows["folder"]]).T
        if held is None:
            apart, used = numbers < test * 2**64, split == "train"
        else:
            apart = split == "test"
            copied = held[np.searchsorted(held, numbers).clip(max=len(held) - 1)] == numbers
            used = apart | ((split == "train") & ~copied)
        yield rows["features"][used], names[used], apart[used]


def _as_keras(head: Any, scaler: Any, classes: int) -> "keras.Model":
    """Put scaling and head into one model, whose answers are the head's own ``predict_proba``.

    Of two classes the first has the logit 0. Of more, each has a classifier against the rest, whose
    probabilities are brought to a sum of 1 (Zadrozny & Elkan 2002, doi:10.1145/775047.775151).
    """
    import keras

    kernel, bias = head.coef_ / scaler.scale_, head.intercept_
    bias = bias - kernel @ scaler.mean_
    if classes == 2:
        kernel, bias = np.concatenate([0 * kernel, kernel]), np.concatenate([0 * bias, bias])
    features = keras.Input((kernel.shape[1],), name="features")
    layer = keras.layers.Dense(classes, None if classes == 2 else "log_sigmoid", name="head")
    model = keras.Model(features, keras.layers.Softmax()(layer(features)))
    layer.set_weights([kernel.T.astype(np.float32), bias.astype(np.float32)])
    return model
