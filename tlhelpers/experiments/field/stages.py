"""Full-size results by stages: LeNet-5's stages carried from MNIST's digits 0–4 to its digits 5–9.

Every number of copied stages goes with every number of frozen ones; copies are left as they are, or
shuffled, each weight tensor for itself, so that scale stays and structure goes. All cells get
the same number of updates, and the learning rate of each is chosen among the same ones, on
validation digits and two draws of their own. A draw has its own source network, labelled digits,
new weights and order. The test digits are by other writers than all digits trained on.
"""

import base64
import functools
import time
import zlib
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tlhelpers.experiments.field.choosing import draw
from tlhelpers.experiments.field.digits import IMAGE_SIZE, grey
from tlhelpers.experiments.records import Settings
from tlhelpers.models.classic import LENET5_STAGES, lenet5
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    import keras

    from tlhelpers.data.splits import Dataset, Split

__all__ = ["load", "more", "plan", "run"]

MAPPED, OTHERS, SEEDS, CHOOSING_SEEDS = 20, (5, 100), 5, (1000, 1001)
"""Labels per class of the whole map, and those at which only KEY cells are trained; draws."""

UPDATES, BATCH, RATES = 400, 32, (1e-3, 3e-3, 1e-2, 3e-2)
WATCHED = (200, 400)
"""Updates after which a trial is scored on validation digits, to show that the length is enough."""

SOURCE_UPDATES, SOURCE_BATCH, SOURCE_RATE = 1000, 64, 1e-3


class Cell(NamedTuple):
    """How many stages are copied, how many frozen, and whether copies are shuffled."""

    copied: int
    frozen: int
    shuffled: bool = False

    @property
    def name(self) -> str:
        """The method's name in the record."""
        return f"{'shuffled' if self.shuffled else 'copied'} {self.copied}, frozen {self.frozen}"


STAGES = len(LENET5_STAGES) - 1
CELLS = (
    *(Cell(copied, frozen) for copied, frozen in product(range(STAGES + 1), repeat=2)),
    *(Cell(k, frozen, True) for k in range(1, STAGES + 1) for frozen in (0, k)),
)
"""Every pair, of which none copied and some frozen are *frozen random*; and the shuffled copies."""

KEY = (
    *(Cell(*pair) for pair in ((0, 0), (2, 2), (0, 2), (4, 4), (2, 0), (4, 0), (0, 4))),
    Cell(2, 2, True),
)


def plan(seeds: int | None = None) -> list[Settings]:
    """Name each result: the cell stands for the method.

    Returns:
        The settings of each result, the whole map first.

    Example:
        >>> len(plan(1)), plan(1)[0]["method"]
        (49, 'copied 0, frozen 0')
    """
    about = {"backbone": "lenet5", "cut": None, "image_size": IMAGE_SIZE}
    return [
        {**about, "method": cell.name, "labels": n, "seed": seed}
        for n, cells in ((MAPPED, CELLS), *((n, KEY) for n in OTHERS))
        for cell, seed in product(cells, range(seeds or SEEDS))
    ]


def load(settings: Settings) -> "Dataset":
    """Load MNIST; which digits are for validation is the same for every draw."""
    return _mnist()


@functools.lru_cache(maxsize=1)
def _mnist() -> "Dataset":
    """Load MNIST once for all results."""
    from tlhelpers.data.datasets import load_dataset

    return load_dataset("digits", tier="real", image_size=IMAGE_SIZE)


def run(settings: Settings, mnist: "Dataset") -> Run:
    """Train one cell on one draw, at the rate that suits the cell.

    Returns:
        The run; its config holds the trials as ``tried``.
    """
    started = time.perf_counter()
    cell = next(one for one in CELLS if one.name == settings["method"])
    n, seed = settings["labels"], settings["seed"]
    tried = _trials(cell, n)
    rate = max(tried, key=lambda rate: tried[rate][-1])
    few = draw(_five(5), n, seed)
    model = _start(cell, seed)
    _train(model, few.train, rate, seed, UPDATES)
    weights = model.get_weights()

    def predict(split: "Split") -> np.ndarray:
        """Apply the network as this run left it."""
        model.set_weights(weights)
        return _probabilities(model, split)

    config = {
        **cell._asdict(),
        "rate": rate,
        "updates": UPDATES,
        "batch": BATCH,
        "tried": {f"{rate:g}": scores for rate, scores in tried.items()},
        "source_validation": round(_source(seed)[1], 4),
    }
    seconds = time.perf_counter() - started
    return Run(settings["method"], None, few, {}, seconds, config, predict_split=predict)


def more(run: Run) -> dict[str, Any]:
    """Return which test digits were right, as :func:`right` reads it."""
    bits = np.packbits(run.right("test")).tobytes()
    return {"right": base64.b85encode(zlib.compress(bits, 9)).decode()}


def right(row: dict[str, Any]) -> np.ndarray:
    """Return which test digits were right in a recorded result.

    Args:
        row: The result.

    Returns:
        Booleans ``[n_test]``, first digit first.

    Example:
        >>> bits = base64.b85encode(zlib.compress(bytes([0b10100000]))).decode()
        >>> right({"right": bits, "n_test": 3}).tolist()
        [True, False, True]
    """
    bits = np.frombuffer(zlib.decompress(base64.b85decode(row["right"])), np.uint8)
    return np.unpackbits(bits)[: row["n_test"]].astype(bool)


@functools.lru_cache(maxsize=1)
def _trials(cell: Cell, n: int) -> dict[float, list[float]]:
    """Give for each rate the mean validation accuracy of the choosing draws after WATCHED updates."""
    target = _five(5)
    tried: dict[float, list[float]] = {}
    for rate in RATES:
        by_draw = []
        for seed in CHOOSING_SEEDS:
            few, model = draw(target, n, seed), _start(cell, seed)
            by_draw.append(_train(model, few.train, rate, seed, UPDATES, few.validation))
        tried[rate] = [round(float(score), 4) for score in np.mean(by_draw, axis=0)]
    return tried


@functools.lru_cache(maxsize=2)
def _five(first: int) -> "Dataset":
    """Keep five of MNIST's digits, the classes numbered from 0."""
    from tlhelpers.data.splits import Split

    def kept(split: "Split") -> "Split":
        """Keep them in one split."""
        rows = (split.labels >= first) & (split.labels < first + 5)
        names = split.class_names[first : first + 5]
        images, labels = split.images[rows], split.labels[rows] - first
        return Split.from_arrays(images, labels, names, name=split.name)

    mnist = _mnist()
    train, validation, test = map(kept, (mnist.train, mnist.validation, mnist.test))
    return replace(mnist, train=train, validation=validation, test=test)


@functools.lru_cache(maxsize=STAGES + 1)
def _network(frozen: int) -> "keras.Model":
    """Compile LeNet-5 with its first stages frozen, once for all results."""
    import keras

    model = lenet5(num_classes=5)
    for layer in model.layers:
        layer.trainable = LENET5_STAGES.index(_stage(layer.name)) >= frozen
    model.compile(
        keras.optimizers.Adam(),
        "sparse_categorical_crossentropy",
        steps_per_execution=25,
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _stage(layer: str) -> str:
    """Return the stage of a layer; the input and its scaling go with the first."""
    stage = layer.split("_")[0]
    return stage if stage in LENET5_STAGES else LENET5_STAGES[0]


@functools.lru_cache(maxsize=8)
def _fresh(seed: int) -> list[np.ndarray]:
    """Return the weights of a network that was just drawn."""
    import keras

    keras.utils.set_random_seed(seed)
    return lenet5(num_classes=5).get_weights()


@functools.lru_cache(maxsize=8)
def _source(seed: int) -> tuple[list[np.ndarray], float]:
    """Train a draw's source network on the digits 0 to 4; return its validation accuracy too."""
    digits, model = _five(0), _network(0)
    model.set_weights(_fresh(seed + 500))
    scores = _train(
        model, digits.train, SOURCE_RATE, seed, SOURCE_UPDATES, digits.validation, SOURCE_BATCH
    )
    return model.get_weights(), scores[-1]


def _start(cell: Cell, seed: int) -> "keras.Model":
    """Put a cell's weights before training into its network."""
    source, rng = _source(seed)[0], np.random.default_rng(seed)
    weights = list(_fresh(seed))
    for place in range(2 * cell.copied):  # each stage has a kernel and a bias
        copy = source[place]
        weights[place] = (
            rng.permutation(copy.ravel()).reshape(copy.shape) if cell.shuffled else copy
        )
    model = _network(cell.frozen)
    model.set_weights(weights)
    return model


def _train(
    model: "keras.Model",
    split: "Split",
    rate: float,
    seed: int,
    updates: int,
    watched: "Split | None" = None,
    batch: int = BATCH,
) -> list[float]:
    """Take equal batches, pass after pass in a new order; return accuracies on what is watched."""
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    model.optimizer.learning_rate = rate
    x, y = grey(split), split.labels
    rng, scores = np.random.default_rng(seed), []
    passes = -(-updates * batch // len(y))
    rows = np.concatenate([rng.permutation(len(y)) for _ in range(passes)])[: updates * batch]
    ends = WATCHED if watched is not None and updates == UPDATES else (updates,)
    for begin, end in zip((0, *ends), ends, strict=False):
        part = rows[begin * batch : end * batch]
        model.fit(x[part], y[part], batch_size=batch, shuffle=False, verbose=0)
        if watched is not None:
            guessed = _probabilities(model, watched).argmax(axis=1)
            scores.append(float((guessed == watched.labels).mean()))
    return scores


def _probabilities(model: "keras.Model", split: "Split") -> np.ndarray:
    """Return the probabilities of a split's digits."""
    return np.asarray(model.predict(grey(split), batch_size=500, verbose=0))
