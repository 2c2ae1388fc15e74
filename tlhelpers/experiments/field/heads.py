"""Full-size results on the head: VGG16's last map pooled or flattened, under a linear or dense head.

VGG16 stays frozen. The linear head's penalty is chosen by cross-validation among a draw's own
labels. The dense head is the usual one, 256 units and dropout before the classes; its rate, dropout
and length are chosen at each label count on 400 validation photographs and a draw of its own. Each
draw is then scored once on the 1,000 test photographs.
"""

import functools
import json
import time
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.experiments.field.choosing import CHOOSING, draw
from tlhelpers.experiments.field.photographs import load
from tlhelpers.experiments.records import Settings
from tlhelpers.files import cache_folder, write_atomically
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    import keras

    from tlhelpers.data.splits import Dataset, Split
    from tlhelpers.models.backbones import Backbone

__all__ = ["load", "plan", "run"]

LABELS, SEEDS, IMAGE_SIZE = (20, 100), 5, 224
HEADS = ("pooled linear", "flat linear", "pooled dense", "flat dense")
UNITS, BATCH, EPOCHS = 256, 16, 32
RATES, DROPOUTS = (1e-5, 1e-4, 1e-3), (0.0, 0.5)
"""What is tried for a dense head, each for all epochs; the trial and epoch of lowest validation loss
count."""


def plan(seeds: int | None = None) -> list[Settings]:
    """Name each result: the head stands for the method.

    Example:
        >>> plan(1)[0]["method"], len(plan())
        ('pooled linear', 40)
    """
    about = {"backbone": "vgg16", "cut": None, "image_size": IMAGE_SIZE}
    return [
        {**about, "method": head, "labels": n, "seed": seed}
        for n, head, seed in product(LABELS, HEADS, range(seeds or SEEDS))
    ]


def run(settings: Settings, data: "Dataset") -> Run:
    """Fit one head on one draw.

    Returns:
        The run; a dense head's config holds the trials as ``tried``.
    """
    from tlhelpers.transfer.heads import fit_linear_head

    started = time.perf_counter()
    place, kind = settings["method"].split()
    few = draw(data, settings["labels"], settings["seed"])
    x, y = _features(few.train, place), few.train.labels
    config: dict[str, Any] = {"n_train": len(x), "features": x.shape[1]}
    if kind == "linear":
        none = few.validation.take([])
        fitted = fit_linear_head(x, y, x[:0], none.labels, num_classes=2, seed=settings["seed"])
        predict = fitted.probabilities
        config["inverse_penalty"] = fitted.inverse_penalty
        config["trained_parameters"] = fitted.kernel.size + fitted.bias.size
    else:
        tried = _trials(data, place, settings["labels"])
        chosen = min(tried, key=lambda trial: trial["loss"])
        model, centre, scale = _dense(x, y, chosen, chosen["epochs"], settings["seed"])[:3]
        config |= {"tried": tried, "trained_parameters": model.count_params()}

        def predict(features: np.ndarray) -> np.ndarray:
            """Apply the dense head."""
            return np.asarray(model.predict((features - centre) / scale, verbose=0))

    return Run(
        settings["method"],
        None,
        few,
        {},
        time.perf_counter() - started,
        config,
        predict_split=lambda split: predict(_features(split, place)),
    )


def _dense(
    x: np.ndarray,
    y: np.ndarray,
    trial: dict[str, Any],
    epochs: int,
    seed: int,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
) -> "tuple[keras.Model, np.ndarray, float, dict[str, list[float]]]":
    """Train a dense head on features that one factor brings to unit scale; return the factor too."""
    import keras

    keras.utils.set_random_seed(seed)
    centre, scale = x.mean(axis=0), float(x.std()) or 1.0
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Dense(UNITS, "relu"),
            keras.layers.Dropout(trial["dropout"]),
            keras.layers.Dense(2, "softmax"),
        ]
    )
    adam = keras.optimizers.Adam(trial["rate"])
    model.compile(adam, "sparse_categorical_crossentropy", metrics=["accuracy"])
    if validation:
        validation = (validation[0] - centre) / scale, validation[1]
    fitted = model.fit(
        (x - centre) / scale,
        y,
        batch_size=BATCH,
        epochs=epochs,
        validation_data=validation,
        verbose=0,
    )
    return model, centre, scale, fitted.history


def _trials(data: "Dataset", place: str, n: int) -> list[dict[str, Any]]:
    """Try every rate and dropout on a draw of their own, once; the test split is not looked at."""
    path = cache_folder() / "recording" / f"heads-{place}-{n}-{data.source.digest[-12:]}.json"
    tried: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.is_file() else []
    few = draw(data, n, CHOOSING, choosing=True)
    x, validation = _features(few.train, place), _features(few.validation, place)
    for rate, dropout in list(product(RATES, DROPOUTS))[len(tried) :]:
        trial: dict[str, Any] = {"rate": rate, "dropout": dropout}
        held_out = (validation, few.validation.labels)
        history = _dense(x, few.train.labels, trial, EPOCHS, CHOOSING, held_out)[3]
        lowest = int(np.argmin(history["val_loss"]))
        trial |= {
            "epochs": lowest + 1,
            "validation": history["val_accuracy"][lowest],
            "loss": history["val_loss"][lowest],
            "by_epoch": [round(value, 4) for value in history["val_accuracy"]],
        }
        tried.append(trial)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(tried, indent=1))
    return tried


def _features(split: "Split", place: str) -> np.ndarray:
    """Return the last map of each photograph, with its places side by side or averaged."""
    from tlhelpers.transfer.features import extract_features

    base = _base()
    side = base.model.output_shape[1]
    flat = extract_features(base, split, grid=side)
    return flat if place == "flat" else flat.reshape(len(flat), side**2, -1).mean(axis=1)


@functools.lru_cache(maxsize=1)
def _base() -> "Backbone":
    """Load VGG16 once for all results."""
    from tlhelpers.models.backbones import load_backbone

    return load_backbone("vgg16", IMAGE_SIZE)
