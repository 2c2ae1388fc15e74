"""Results on spoken digits: a network trained on five speakers, and a sixth with few recordings.

Each of the six speakers is the sixth in turn, which is what ``seed`` counts. Of a speaker's fifty
recordings of each digit, 25 are for testing; labelled ones come from the others. Settings (rate and
length of training, the stage of a frozen network) are those that are best on average for the five
*other* speakers, each as a sixth: no speaker's test recordings choose what is scored on them.
"""

import functools
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.experiments.field.trainer import Arrays, Trainer
from tlhelpers.experiments.inputs import SpokenDigits, spoken_digits
from tlhelpers.experiments.records import Settings
from tlhelpers.files import cache_folder, write_atomically
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    import keras

    from tlhelpers.data.splits import Dataset

SPEAKERS, HELD_OUT, BATCH = 6, 25, 32
LABELS = (1, 5, 20)
"""Labelled recordings per digit of the sixth speaker."""

WITHOUT = ("as it is", "random split", "all six")
"""Methods that take none of the sixth speaker's recordings, or all 25 of each digit."""

WITH = ("pixels", "random features", "imagenet", "scratch", "frozen", "tuned")
STAGES = ("block_6", "block_12", "out_relu")
RATES = (1e-3, 3e-3)
LENGTHS = {"scratch": (50, 100, 200), "tuned": (50, 100, 200)}
"""Tried for what is trained on the sixth speaker: Adam's rates, and steps of 32 recordings."""

SOURCE_RATE, SOURCE_LENGTHS = 2e-3, (400, 1000)
Outcomes = dict[str, list[str]]
"""By setting, for each speaker the answers on the test recordings, one digit each."""


def plan(seeds: int | None = None) -> Iterator[Settings]:
    """Name each result; ``labels`` are the sixth speaker's per digit, ``seed`` the speaker.

    Example:
        >>> len(list(plan())), len(list(plan(1)))
        (126, 21)
    """
    methods = [(method, HELD_OUT if method == "all six" else 0) for method in WITHOUT]
    methods += [(method, n) for n, method in product(LABELS, WITH)]
    for (method, n), seed in product(methods, range(seeds or SPEAKERS)):
        about = {"backbone": "small_convnet", "cut": None, "image_size": 32}
        yield {**about, "method": method, "labels": n, "seed": seed}


def load(settings: Settings) -> "Dataset":
    """Give the recordings of all speakers: those for labels as training, the others as test split.

    Returns:
        The data set, of pictures of 32 pixels.
    """
    return _data()


def run(settings: Settings, data: "Dataset") -> Run:
    """Give one speaker's result, at the setting that is best for the other five.

    Returns:
        The run; its config holds mean accuracy of the other speakers by setting as ``tried``.
    """
    method, n, speaker = settings["method"], settings["labels"], settings["seed"]
    started = time.perf_counter()
    outcomes = _outcomes(method, n)
    seconds = time.perf_counter() - started
    digits = spoken_digits()
    rows = _tested(digits, speaker, method)
    truth = digits.digits[rows]
    score = {
        setting: [
            float(
                np.mean(np.array(list(answers), int) == digits.digits[_tested(digits, s, method)])
            )
            for s, answers in enumerate(each)
        ]
        for setting, each in outcomes.items()
    }
    others = {
        setting: float(np.mean([one for s, one in enumerate(each) if s != speaker]))
        for setting, each in score.items()
    }
    chosen = max(others, key=lambda setting: others[setting])
    answers = np.array(list(outcomes[chosen][speaker]), int)
    shades = (255 * digits.pictures[rows]).astype(np.uint8)
    test = _split(shades, truth, "test")
    return Run(
        method,
        None,
        replace(data, test=test, validation=data.validation.take([0])),
        {},
        seconds,
        {"speaker": digits.names[speaker], "chosen": chosen, "tried": others},
        predict_split=lambda split: np.eye(10)[answers if split.name == "test" else [0]],
    )


def more(run: Run) -> dict[str, Any]:
    """Return the answers on the test recordings, one digit each."""
    return {"answers": "".join(map(str, run.probabilities("test").argmax(axis=1)))}


def rows_of(digits: SpokenDigits, speaker: int, n: int, seed: int = 0) -> np.ndarray:
    """Draw n recordings of each digit of a speaker, from those that are not for testing.

    Args:
        digits: All recordings.
        speaker: The speaker.
        n: Recordings of each digit, 25 at most; a larger n adds to the same ones.
        seed: Which draw. Defaults to 0.

    Returns:
        Row numbers.

    Example:
        >>> rows_of(spoken_digits(), 0, 2).shape  # doctest: +SKIP
        (20,)
    """
    rng = np.random.default_rng([seed, speaker])
    own = (digits.speakers == speaker) & (digits.takes < HELD_OUT)
    return np.concatenate(
        [rng.permutation(np.flatnonzero(own & (digits.digits == digit)))[:n] for digit in range(10)]
    )


def folds(digits: SpokenDigits) -> np.ndarray:
    """Return for each recording one of six folds at random, which all speakers share."""
    order = np.random.default_rng(0).permutation(len(digits.digits))
    return order % SPEAKERS


def build_network(seed: int = 0) -> "keras.Model":
    """Build the small network: three convolutions, then an average over time.

    Args:
        seed: Seed of the weights. Defaults to 0.

    Returns:
        A Keras model from ``[n, 32, 32, 1]`` to ten logits.

    Example:
        >>> build_network().count_params()
        28426
    """
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    blocks: list[Any] = []
    for width in (16, 32, 64):
        blocks += [
            layers.Conv2D(
                width, 3, padding="same", activation="relu", kernel_initializer="he_normal"
            ),
            layers.MaxPooling2D(2),
        ]
    return keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            layers.Rescaling(4, offset=-1),  # to about mean 0 and variance 1
            *blocks[:-1],
            layers.AveragePooling2D((8, 1)),  # over time alone: pitch keeps its place
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(10),
        ]
    )


def _tested(digits: SpokenDigits, speaker: int, method: str) -> np.ndarray:
    """Return the rows on which a result is scored; a fold stands for a speaker in a random split."""
    if method == "random split":
        return np.flatnonzero(folds(digits) == speaker)
    return np.flatnonzero((digits.speakers == speaker) & (digits.takes >= HELD_OUT))


@functools.lru_cache(maxsize=1)
def _data() -> "Dataset":
    """Put all recordings into a data set, once."""
    from tlhelpers.data.splits import Dataset

    digits = spoken_digits()
    shades = (255 * digits.pictures).astype(np.uint8)
    test = digits.takes >= HELD_OUT
    train = _split(shades[~test], digits.digits[~test], "train")
    return Dataset(
        "spoken_digits",
        train,
        train.take([0], name="validation"),
        _split(shades[test], digits.digits[test], "test"),
        digits.source,
    )


def _split(shades: np.ndarray, labels: np.ndarray, name: str) -> Any:
    """Make a split of grey pictures."""
    from tlhelpers.data.splits import Split

    images = np.repeat(shades[..., None], 3, axis=-1)
    return Split.from_arrays(images, labels, [str(digit) for digit in range(10)], name=name)


def _outcomes(method: str, n: int) -> Outcomes:
    """Run a method for every speaker at every setting, once; kept in the cache."""
    digits = spoken_digits()
    path = cache_folder() / "recording" / f"speech-{method}-{n}-{digits.source.digest[-12:]}.json"
    done: Outcomes = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    begun = max(map(len, done.values()), default=0)
    for speaker in range(begun, SPEAKERS):
        for setting, answers in _answers(digits, method, n, speaker):
            done.setdefault(setting, []).append("".join(map(str, answers)))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(done))
    return done


def _answers(
    digits: SpokenDigits, method: str, n: int, speaker: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Give a setting's name and its answers on the test recordings, for each setting."""
    test = _tested(digits, speaker, method)
    if method in WITHOUT:
        others = digits.speakers != speaker
        train = np.flatnonzero(folds(digits) != speaker if method == "random split" else others)
        if method == "all six":
            train = np.concatenate([train, rows_of(digits, speaker, n)])
        for length, weights in _source(speaker, train).items():
            yield f"{length} steps", _answered(weights, digits, test)
        return
    rows = rows_of(digits, speaker, n)
    y = digits.digits[rows]
    if method in ("scratch", "tuned"):
        trainer = _trainer()
        for rate in RATES:
            start = build_network(speaker).get_weights() if method == "scratch" else _five(speaker)
            fitted = trainer.fit(
                start, digits.pictures[rows, ..., None], y, rate, LENGTHS[method], speaker
            )
            for length, weights in fitted.items():
                yield f"{rate:g}, {length} steps", _answered(weights, digits, test)
        return
    for name, features in _features(digits, method, speaker).items():
        yield name, _linear(features[rows], y, features[test])


def _features(digits: SpokenDigits, method: str, speaker: int) -> dict[str, np.ndarray]:
    """Return numbers for each recording, by setting."""
    if method == "pixels":
        return {"": digits.pictures.reshape(len(digits.pictures), -1)}
    if method == "frozen":
        return {"": _trainer().outputs(_five(speaker), digits.pictures[..., None], late=True)}
    from tlhelpers.models.backbones import load_backbone
    from tlhelpers.transfer.features import extract_features

    weights = "pretrained" if method == "imagenet" else None
    base = load_backbone("mobilenet_v2", 96, weights=weights)
    images = _split((255 * digits.pictures).astype(np.uint8), digits.digits, "train").resized(96)
    return {
        stage: extract_features(base.cut(stage), images, progress=False)
        for stage in base.stages
        if stage in STAGES
    }


def _linear(x: np.ndarray, y: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Fit a linear head, its penalty by cross-validation, and return its answers.

    With one recording of each digit nothing can be held out, and a weak penalty stands.
    """
    from sklearn.linear_model import LogisticRegression

    from tlhelpers.transfer.heads import fit_linear_head

    if len(y) == len(set(y)):
        centre, scale = x.mean(axis=0), x.std() or 1.0
        head = LogisticRegression(max_iter=1000).fit((x - centre) / scale, y)
        return head.predict((tested - centre) / scale)
    fitted = fit_linear_head(x, y, x[:0], y[:0], num_classes=10)
    return fitted.probabilities(tested).argmax(axis=1)


def _answered(weights: Arrays, digits: SpokenDigits, rows: np.ndarray) -> np.ndarray:
    """Return the most probable digit of some pictures."""
    return _trainer().outputs(weights, digits.pictures[rows, ..., None]).argmax(axis=1)


def _source(speaker: int, train: np.ndarray) -> dict[int, Arrays]:
    """Train on many speakers; weights by length."""
    digits = spoken_digits()
    start = build_network(speaker).get_weights()
    x, y = digits.pictures[train, ..., None], digits.digits[train]
    return _trainer().fit(start, x, y, SOURCE_RATE, SOURCE_LENGTHS, speaker)


@functools.lru_cache(maxsize=SPEAKERS)
def _five(speaker: int) -> Arrays:
    """Return the network that was trained longest on all speakers but one."""
    return _source(speaker, np.flatnonzero(spoken_digits().speakers != speaker))[SOURCE_LENGTHS[-1]]


@functools.lru_cache(maxsize=1)
def _trainer() -> Trainer:
    """Compile once for all results."""
    import tensorflow as tf

    return Trainer(build_network(), tf.nn.sparse_softmax_cross_entropy_with_logits, late=-3)
