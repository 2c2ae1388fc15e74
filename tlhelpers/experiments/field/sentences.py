"""Results on sentences of film reviews: what is learnt without labels, beside counted words.

Of 5,331 favourable and as many unfavourable sentences, 1,000 of each are for testing, 331 for
choosing and 4,000 for training. What is learnt without labels is learnt from those 8,000. Settings
are chosen at each number of labels on the validation sentences, on a draw of its own; five draws
are then scored once each.
"""

import functools
import json
import time
from collections.abc import Iterator
from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.experiments.field.trainer import Arrays, Trainer
from tlhelpers.experiments.inputs import CODES, Sentences, sentences
from tlhelpers.experiments.records import Settings
from tlhelpers.files import cache_folder, write_atomically
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    import keras
    from scipy.sparse import csr_matrix

    from tlhelpers.data.splits import Dataset

LABELS, DRAWS, CHOOSING = (20, 100, 1000, 4000), 5, 1000
"""Labels per class, and draws of them; all of the training sentences make one draw."""

METHODS = ("counted words", "word vectors", "both", "scratch", "encoder frozen", "encoder tuned")
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
RATES, LENGTHS = (1e-3, 1e-2), (30, 100, 300)
WIDTH, LONGEST, TARGETS, PRETRAINING = 64, 48, 4096, 2000
"""Numbers in a vector, words read of a sentence, words that can be guessed, and steps of guessing."""


def plan(seeds: int | None = None) -> Iterator[Settings]:
    """Name each result.

    Example:
        >>> len(list(plan())), len(list(plan(1)))
        (120, 24)
    """
    for n, method, seed in product(LABELS, METHODS, range(seeds or DRAWS)):
        linear = method in ("counted words", "word vectors", "both")
        about = {"backbone": "none" if linear else "bag_encoder", "cut": None}
        yield {**about, "image_size": 0, "method": method, "labels": n, "seed": seed}


def load(settings: Settings) -> "Dataset":
    """Give the sentences in three parts.

    Returns:
        What a record needs to know of a data set.
    """
    return _data()


def run(settings: Settings, data: "Dataset") -> Run:
    """Fit one draw at the setting that was chosen for its method and number of labels.

    Returns:
        The run; its config holds validation accuracy by setting as ``tried``.
    """
    method, n, seed = settings["method"], settings["labels"], settings["seed"]
    tried = _tried(method, n)
    chosen = max(tried, key=lambda setting: tried[setting])
    started = time.perf_counter()
    answers = dict(_answers(method, n, seed, chosen))[chosen]
    seconds = time.perf_counter() - started
    places = {"validation": slice(8000, 8662), "test": slice(8662, None)}
    config = {"chosen": chosen, "tried": tried}
    return Run(
        method,
        None,
        data,
        {},
        seconds,
        config,
        predict_split=lambda split: np.eye(2)[answers[places[split.name]]],
    )


def more(run: Run) -> dict[str, Any]:
    """Return which test sentences were right, as bits."""
    return {"right": np.packbits(run.right("test")).tobytes().hex()}


def parts(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Divide the sentences once: rows by part, as many of each class in each.

    Args:
        labels: 1 or 0 for each sentence.

    Returns:
        Rows of ``"train"``, ``"validation"`` and ``"test"``.

    Example:
        >>> {k: len(v) for k, v in parts(np.repeat([1, 0], 5331)).items()}
        {'train': 8000, 'validation': 662, 'test': 2000}
    """
    rng = np.random.default_rng(0)
    both = np.array([rng.permutation(np.flatnonzero(labels == c)) for c in (0, 1)])
    train, validation, test = np.split(both, [4000, 4331], axis=1)
    return {"train": train.ravel(), "validation": validation.ravel(), "test": test.ravel()}


def counts(words: "tuple[np.ndarray, ...]") -> "csr_matrix":
    """Count each code in each sentence: sparse ``[sentences, codes]``.

    Args:
        words: Codes of each sentence.
    """
    from scipy.sparse import csr_matrix

    lengths = np.cumsum([0, *map(len, words)])
    codes = np.concatenate(words).astype(np.int64)
    matrix = csr_matrix((np.ones(len(codes)), codes, lengths), (len(words), CODES))
    matrix.sum_duplicates()
    return matrix


def word_vectors(counted: "csr_matrix", width: int = WIDTH) -> np.ndarray:
    """Make vectors of words from the company they keep: a factored matrix of mutual information.

    How often two words stand in one sentence, over what chance would give, in logs, negative values
    left out, and its strongest components (Levy and Goldberg 2014, NIPS).

    Args:
        counted: Sparse counts ``[sentences, codes]``.
        width: Numbers in a vector. Defaults to 64.

    Returns:
        float64 ``[codes, width]``; 0 for codes that never occur.
    """
    from scipy.sparse.linalg import svds

    seen = (counted > 0).astype(np.float64)
    together = (seen.T @ seen).tocoo()
    apart = together.row != together.col
    row, column, pairs = together.row[apart], together.col[apart], together.data[apart]
    alone = np.bincount(row, pairs, CODES)
    information = np.log(pairs * pairs.sum() / (alone[row] * alone[column]))
    keep = information > 0
    from scipy.sparse import csr_matrix

    positive = csr_matrix((information[keep], (row[keep], column[keep])), (CODES, CODES))
    left, strength, _ = svds(positive, width, rng=np.random.default_rng(0))
    return left * np.sqrt(strength)


def tf_idf(counted: "csr_matrix", of: "csr_matrix") -> "csr_matrix":
    """Weigh counts by how rare a word is among some sentences; rows have length 1.

    Args:
        counted: Counts of all sentences.
        of: Counts of those that say how rare a word is.
    """
    from sklearn.feature_extraction.text import TfidfTransformer

    return TfidfTransformer(sublinear_tf=True).fit(of).transform(counted)


@functools.lru_cache(maxsize=1)
def _all() -> tuple[Sentences, np.ndarray, np.ndarray]:
    """Return the sentences, their rows in the order of parts, and their labels in that order."""
    read = sentences()
    rows = np.concatenate(list(parts(read.labels).values()))
    return read, rows, read.labels[rows]


@functools.lru_cache(maxsize=1)
def _data() -> Any:
    """Describe the sentences as a data set."""
    read, rows, labels = _all()

    def part(name: str, at: slice) -> Any:
        """Describe one part."""
        mine = [read.words[row].tobytes() for row in rows[at]]
        return SimpleNamespace(name=name, labels=labels[at], paths=None, digests=lambda: mine)

    return SimpleNamespace(
        train=part("train", slice(8000)),
        validation=part("validation", slice(8000, 8662)),
        test=part("test", slice(8662, None)),
        source=read.source,
    )


@functools.lru_cache(maxsize=1)
def _counted() -> "csr_matrix":
    """Count words, in the order of parts."""
    read, rows, _ = _all()
    return counts(tuple(read.words[row] for row in rows))


@functools.lru_cache(maxsize=4)
def _features(method: str) -> Any:
    """Return what a linear head sees of each sentence."""
    counted = _counted()
    if method == "counted words":
        return tf_idf(counted, counted[:8000])
    if method == "word vectors":
        mixed = tf_idf(counted, counted[:8000]) @ word_vectors(counted[:8000])
        return mixed / mixed[:8000].std()
    if method == "both":  # each of about length 1
        from scipy.sparse import csr_matrix, hstack

        vectors = _features("word vectors") / WIDTH**0.5
        return hstack([_features("counted words"), csr_matrix(vectors)], format="csr")
    found = _trainer().outputs(_encoder(), _padded(), late=True)
    return found / found[:8000].std()


@functools.lru_cache(maxsize=1)
def _padded() -> np.ndarray:
    """Return a mark, then the codes plus one of each sentence, then 0: int32 ``[n, 49]``.

    The mark keeps the mean of a sentence without words from being undefined.
    """
    read, rows, _ = _all()
    padded = np.zeros((len(rows), 1 + LONGEST), np.int32)
    padded[:, 0] = CODES + 1
    for place, row in enumerate(rows):
        codes = read.words[row][:LONGEST].astype(np.int32) + 1
        padded[place, 1 : 1 + len(codes)] = codes
    return padded


def build_encoder(outputs: int, seed: int = 0) -> "keras.Model":
    """Build the encoder: the mean of the words' vectors, and one hidden layer.

    Args:
        outputs: Numbers in the answer.
        seed: Seed of the weights. Defaults to 0.

    Returns:
        A Keras model from codes ``[n, 49]`` to logits.
    """
    import keras

    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((1 + LONGEST,), dtype="int32"),
            keras.layers.Embedding(CODES + 2, WIDTH, mask_zero=True),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(WIDTH, "relu"),
            keras.layers.Dense(outputs),
        ]
    )


def _cross_entropy(y: Any, logits: Any) -> Any:
    """Return the cross-entropy of each example."""
    import tensorflow as tf

    return tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)


@functools.lru_cache(maxsize=1)
def _trainer() -> Trainer:
    """Compile the network of two classes once."""
    return Trainer(build_encoder(2), _cross_entropy, late=-2)


@functools.lru_cache(maxsize=1)
def _encoder() -> Arrays:
    """Train the encoder without labels, to guess a word that was left out of its sentence."""
    common = np.asarray(_counted()[:8000].sum(axis=0)).ravel().argsort()[::-1][:TARGETS]
    place = np.full(CODES + 2, -1)
    place[common + 1] = np.arange(TARGETS)
    padded = _padded()[:8000]

    def left_out(rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Take one word that can be guessed out of each sentence."""
        batch = padded[rows].copy()
        can = place[batch] >= 0
        batch, can = batch[can.any(axis=1)], can[can.any(axis=1)]
        which = (can * rng.random(can.shape)).argmax(axis=1)
        truth = place[batch[np.arange(len(batch)), which]]
        batch[np.arange(len(batch)), which] = 0
        return batch, truth.astype(np.int64)

    guesser = Trainer(build_encoder(TARGETS), _cross_entropy, late=-2, batch=128)
    start = guesser.model.get_weights()
    fitted = guesser.fit(start, padded, padded, 2e-3, (PRETRAINING,), 0, left_out)
    return fitted[PRETRAINING][:-2] + build_encoder(2).get_weights()[-2:]


def _draw(n: int, seed: int) -> np.ndarray:
    """Draw n training sentences of each class; a larger n adds to the same ones."""
    labels, rng = _all()[2][:8000], np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:n] for c in (0, 1)])


def _tried(method: str, n: int) -> dict[str, float]:
    """Return validation accuracy by setting, on a draw of its own; kept in the cache."""
    digest = _all()[0].source.digest[-12:]
    path = cache_folder() / "recording" / f"sentences-{method}-{n}-{digest}.json"
    if not path.is_file():
        truth = _all()[2][8000:8662]
        found = {
            setting: float((answers[8000:8662] == truth).mean())
            for setting, answers in _answers(method, n, CHOOSING)
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(found))
    found = json.loads(path.read_text("utf-8"))
    return found


def _answers(method: str, n: int, seed: int, only: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Give a setting's name and its answers for all sentences, for each setting or only one."""
    rows, labels = _draw(n, seed), _all()[2]
    if method in ("scratch", "encoder tuned"):
        trainer, padded = _trainer(), _padded()
        start = _encoder() if method == "encoder tuned" else build_encoder(2, seed).get_weights()
        for rate in RATES:
            lengths = [x for x in LENGTHS if only in ("", f"{rate:g}, {x} steps")]
            if lengths:
                fitted = trainer.fit(start, padded[rows], labels[rows], rate, lengths, seed)
                for length, weights in fitted.items():
                    found = trainer.outputs(weights, padded).argmax(axis=1)
                    yield f"{rate:g}, {length} steps", found
        return
    from sklearn.linear_model import LogisticRegression

    features = _features(method)
    for penalty in PENALTIES:
        if only in ("", f"C {penalty:g}"):
            head = LogisticRegression(C=penalty, max_iter=300).fit(features[rows], labels[rows])
            yield f"C {penalty:g}", head.predict(features)
