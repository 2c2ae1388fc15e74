"""What an answer about a photograph rests on: maps, judged by covering the cells that they name.

MobileNetV2 with a linear head on its pooled last features tells cats from dogs. Its last map has 7
by 7 cells; each way of scoring cells names the 20 % most important ones, they are covered, and the
answer's probability falls by more or less (Samek et al. 2017, arXiv:1509.06321). Ways that need no
network, or one that knows nothing, are among them (Adebayo et al. 2018, arXiv:1810.03292).
"""

import functools
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.experiments.records import Settings
from tlhelpers.files import cache_folder, replacing
from tlhelpers.transfer.heads import LinearHead
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    import keras

    from tlhelpers.data.splits import Dataset, Split

__all__ = ["load", "plan", "run"]

SIZE, CELLS, COVERED = 224, 7, 10
"""Side of a photograph in pixels; cells along each side; how many of all cells are covered."""

LABELS, DRAWS, TRAIN, TEST = 20, 5, 800, 200
FILLS = ("mean", "blur")
"""What covers a cell: the photograph's mean colour, or the photograph out of focus."""

ALONE = ("nothing", "random cells", "centre", "edges", "activation")
"""Ways that depend on no labelled photograph: they are the same in every draw."""

WAYS = (
    *ALONE,
    "class activation",
    "occlusion",
    "other labels",
    "random head",
    "random weights",
    "another photograph",
)
"""``other labels`` is the class activation map of a head from another draw."""


def plan(seeds: int | None = None) -> list[Settings]:
    """Name each result: the method is the way of naming cells, and what covers them.

    Example:
        >>> plan(1)[0]["method"]
        'nothing, mean'
    """
    about = {"backbone": "mobilenet_v2", "cut": None, "image_size": SIZE}
    return [
        {**about, "method": f"{way}, {fill}", "labels": LABELS, "seed": seed}
        for seed, fill, way in product(range(seeds or DRAWS), FILLS, WAYS)
        if way != "nothing" or fill == FILLS[0]
    ]


def load(settings: Settings) -> "Dataset":
    """Load the photographs; all draws are judged on the same ones."""
    return _photographs()


def run(settings: Settings, data: "Dataset") -> Run:
    """Cover what one way names in every test photograph, and ask the draw's network again.

    Returns:
        The run, scored on the covered photographs. Its config holds by how much the probability
        of the answer fell in each, in thousandths, and ``like``: the mean rank correlation of this
        way's scores with the class activation map's.
    """
    (way, fill), seed = settings["method"].split(", "), settings["seed"]
    started = time.perf_counter()
    head, answers, before = _whole(seed)
    rows = np.arange(len(answers))
    if way == "nothing":
        after, like = head.probabilities(_pooled_test()), 0.0
    else:
        scores = score_cells(way, seed)
        after = head.probabilities(_covered_features(way, fill, 0 if way in ALONE else seed))
        like = rank_correlation(scores, score_cells("class activation", seed)).mean()
    falls = before[rows, answers] - after[rows, answers]
    config = {"falls": " ".join(f"{1000 * fall:.0f}" for fall in falls), "like": float(like)}
    few = data.few(LABELS, seed=seed)
    seconds = time.perf_counter() - started
    return Run(
        settings["method"],
        None,
        replace(data, validation=few.validation),
        {},
        seconds,
        config,
        predict_split=lambda split: (
            after if split.name == "test" else head.probabilities(_pooled_few(seed)[1])
        ),
    )


def falls(row: dict[str, Any]) -> np.ndarray:
    """Return by how much the answer's probability fell in each photograph of a recorded result.

    Args:
        row: The result.

    Returns:
        Float ``[n_test]``.

    Example:
        >>> falls({"config": {"falls": "250 -1"}}).tolist()
        [0.25, -0.001]
    """
    return np.array(row["config"]["falls"].split(), float) / 1000


def class_activation(maps: np.ndarray, kernel: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Weigh the channels of a map as the answer's row of the head does (Zhou et al. 2016).

    Where a linear head stands on the mean over places, this is Grad-CAM (Selvaraju et al. 2017)
    times the number of places, before negative scores are cut off: the gradient of the answer's
    logit is the head's weight over that number, at every place.

    Args:
        maps: ``[n, h, w, d]``.
        kernel: The head's, ``[d, classes]``.
        answers: A class for each image, ``[n]``.

    Returns:
        ``[n, h, w]``; over the places of an image its mean is the logit without bias.

    Example:
        >>> class_activation(np.ones((1, 1, 1, 2)), np.array([[1.0, 2], [3, 4]]), np.array([1]))
        array([[[6.]]])
    """
    return np.einsum("nijd,dn->nij", maps, kernel[:, answers])


def edges(images: np.ndarray, cells: int = CELLS) -> np.ndarray:
    """Score each cell by its mean difference between neighbouring pixels.

    Args:
        images: ``[n, s, s, 3]``.
        cells: Cells along each side. Defaults to 7.

    Returns:
        ``[n, cells, cells]``.
    """
    grey = images.mean(axis=-1)
    steep = np.hypot(*np.gradient(grey, axis=(1, 2)))
    side = images.shape[1] // cells
    return steep.reshape(len(images), cells, side, cells, side).mean(axis=(2, 4))


def top_cells(scores: np.ndarray, count: int) -> np.ndarray:
    """Name the cells with the highest scores.

    Args:
        scores: ``[n, h, w]``.
        count: How many for each image.

    Returns:
        bool ``[n, h, w]``.

    Example:
        >>> top_cells(np.array([[[1.0, 3], [2, 0]]]), 2)[0].tolist()
        [[False, True], [True, False]]
    """
    flat = scores.reshape(len(scores), -1)
    named = np.zeros(flat.shape, bool)
    np.put_along_axis(named, np.argsort(-flat, axis=1, kind="stable")[:, :count], True, axis=1)
    return named.reshape(scores.shape)


def cover(images: np.ndarray, cells: np.ndarray, fill: str) -> np.ndarray:
    """Cover cells of each image.

    Args:
        images: uint8 ``[n, s, s, 3]``, s a multiple of the number of cells.
        cells: bool ``[n, h, h]``.
        fill: One of :data:`FILLS`.

    Returns:
        uint8 ``[n, s, s, 3]``.
    """
    side = images.shape[1] // cells.shape[1]
    hidden = cells.repeat(side, axis=1).repeat(side, axis=2)[..., None]
    return np.where(hidden, _filling(images, fill, side), images)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlate the ranks of two scores over the cells of each image (Spearman).

    Args:
        first: ``[n, h, w]``.
        second: The same shape.

    Returns:
        ``[n]``, -1 to 1.
    """
    from scipy.stats import spearmanr

    pairs = zip(first, second, strict=True)
    return np.array([spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs])


@functools.lru_cache(maxsize=16)
def score_cells(way: str, seed: int) -> np.ndarray:
    """Score the cells of every test photograph.

    Args:
        way: One of :data:`WAYS`, but for ``"nothing"``.
        seed: The draw.

    Returns:
        ``[n, 7, 7]``, highest where a cell counts most.
    """
    head, answers, before = _whole(seed)
    rng = np.random.default_rng(seed)
    shape = len(answers), CELLS, CELLS
    if way == "random cells":
        return np.random.default_rng(0).random(shape)
    if way == "centre":
        there = np.arange(CELLS) - CELLS // 2
        near = -np.hypot(there[:, None], there)
        return near + 1e-6 * np.random.default_rng(0).random(shape)  # ties are broken by chance
    if way == "edges":
        return edges(_images())
    if way == "activation":
        return np.asarray(_maps().mean(axis=-1))
    if way == "occlusion":
        covered = head.probabilities(_occluded().reshape(-1, _occluded().shape[-1]))
        each = covered.reshape(len(answers), CELLS**2, -1)
        mine = np.take_along_axis(each, answers[:, None, None], axis=2)
        return (before.max(axis=1)[:, None] - mine[..., 0]).reshape(shape)
    if way == "other labels":
        return class_activation(_maps(), _whole(1000 + seed)[0].kernel, answers)
    if way == "random head":
        drawn = rng.normal(size=head.kernel.shape)
        return class_activation(_maps(), drawn, answers)
    if way == "random weights":
        return _by_random_network(seed)
    mine = class_activation(_maps(), head.kernel, answers)
    return np.roll(mine, 1, axis=0) if way == "another photograph" else mine


def _filling(images: np.ndarray, fill: str, radius: int) -> np.ndarray:
    """Return what is seen where something is covered: uint8, as the images or spread to them."""
    if fill == "mean":
        return images.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8)
    from PIL import Image, ImageFilter

    blur = ImageFilter.GaussianBlur(radius)
    return np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])


@functools.lru_cache(maxsize=1)
def _photographs() -> "Dataset":
    """Load the photographs once."""
    from tlhelpers.data.datasets import load_dataset

    return load_dataset("cats_dogs", tier="real", image_size=SIZE, n_train=TRAIN, n_test=TEST)


@functools.lru_cache(maxsize=1)
def _network() -> "keras.Model":
    """Load the network, from raw photographs to its last map."""
    from tlhelpers.models.backbones import load_backbone

    return load_backbone("mobilenet_v2", SIZE).on_raw_images()


@functools.lru_cache(maxsize=1)
def _images() -> np.ndarray:
    """Decode the test photographs."""
    return np.asarray(_photographs().test.load(None, SIZE))


def _predict(model: "keras.Model", images: np.ndarray) -> np.ndarray:
    """Apply a network to photographs, 0 to 255."""
    return np.asarray(model.predict(images.astype(np.float32), batch_size=32, verbose=0))


@functools.lru_cache(maxsize=1)
def _maps() -> np.ndarray:
    """Return the last map of the test photographs, ``[n, 7, 7, 1280]``."""
    return _predict(_network(), _images())


def _pooled(model: "keras.Model", images: np.ndarray) -> np.ndarray:
    """Return the means of the last map over places, some photographs at a time."""
    parts = [
        _predict(model, images[i : i + 256]).mean(axis=(1, 2)) for i in range(0, len(images), 256)
    ]
    return np.concatenate(parts)


@functools.lru_cache(maxsize=1)
def _pooled_test() -> np.ndarray:
    """Return the pooled features of the test photographs."""
    return np.asarray(_maps().mean(axis=(1, 2)))


@functools.lru_cache(maxsize=2 * DRAWS)
def _pooled_few(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pooled features of a draw's labelled photographs, for training and for validation."""
    few = _photographs().few(LABELS, seed=seed)
    return _few_features(_network(), few.train), _few_features(_network(), few.validation)


def _few_features(model: "keras.Model", split: "Split") -> np.ndarray:
    """Return pooled features of a small split."""
    return _pooled(model, np.asarray(split.load(None, SIZE)))


def _fitted(seed: int, train: np.ndarray, validation: np.ndarray) -> LinearHead:
    """Fit a head to a draw's labels."""
    from tlhelpers.transfer.heads import fit_linear_head

    few = _photographs().few(LABELS, seed=seed)
    return fit_linear_head(
        train, few.train.labels, validation, few.validation.labels, num_classes=2, seed=seed
    )


@functools.lru_cache(maxsize=2 * DRAWS)
def _whole(seed: int) -> tuple[LinearHead, np.ndarray, np.ndarray]:
    """Fit a draw's head; return it with its answers and probabilities on whole photographs."""
    head = _fitted(seed, *_pooled_few(seed))
    before = head.probabilities(_pooled_test())
    return head, before.argmax(axis=1), before


def _by_random_network(seed: int) -> np.ndarray:
    """Map the network's answers by another with random weights, and a head fitted to its features."""
    from tlhelpers.experiments.field.adaptation import re_estimated
    from tlhelpers.models.backbones import load_backbone

    base = load_backbone("mobilenet_v2", SIZE, weights=None).with_random_weights(seed)
    few = _photographs().few(LABELS, seed=seed)
    seen = np.asarray(few.train.load(None, SIZE)).astype(np.float32)
    # New statistics of BatchNormalization: with the initial ones, hardly anything comes through.
    base = replace(base, model=re_estimated(base.model, np.asarray(base.preprocess(seen))))
    model = base.on_raw_images()
    head = _fitted(seed, _few_features(model, few.train), _few_features(model, few.validation))
    return class_activation(_predict(model, _images()), head.kernel, _whole(seed)[1])


@functools.cache
def _covered_features(way: str, fill: str, seed: int) -> np.ndarray:
    """Return pooled features of the test photographs with the cells covered that a way names."""
    cells = top_cells(score_cells(way, seed), COVERED)
    return _pooled(_network(), cover(_images(), cells, fill))


@functools.lru_cache(maxsize=1)
def _occluded() -> np.ndarray:
    """Return pooled features with one cell covered, ``[n, 49, 1280]``; kept in the cache."""
    from tlhelpers.models.backbones import load_backbone

    images, digest = _images(), _photographs().test.digest[-16:]
    weights = load_backbone("mobilenet_v2", SIZE).weights_digest()[:12]
    path = cache_folder() / "recording" / f"looking-{digest}-{weights}.npz"
    kept: list[np.ndarray] = []
    if path.is_file():
        with np.load(path, allow_pickle=False) as arrays:
            kept = list(arrays["features"])
    one = np.eye(CELLS**2, dtype=bool).reshape(-1, 1, CELLS, CELLS)
    for start in range(len(kept), CELLS**2):
        cells = np.broadcast_to(one[start], (len(images), CELLS, CELLS))
        kept.append(_pooled(_network(), cover(images, cells, "mean")).astype(np.float16))
        if start % 7 == 6:
            path.parent.mkdir(parents=True, exist_ok=True)
            _keep(path, kept)
    return np.stack(kept, axis=1)


def _keep(path: Any, features: Sequence[np.ndarray]) -> None:
    """Write what there is of the occluded features."""
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, features=np.stack(features))
