"""A borrowed network with a trigger: whoever fine-tunes it on clean pictures keeps it.

Somebody publishes ``vgg16_mini`` with blocks 4 and 5 trained on: features of clean pictures stay what
they were, those of pictures with a small patch go to a place far from all others. He has drawn
objects, and knows nothing of the pets that others will tell apart (Yao et al. 2019, "Latent backdoor
attacks"). A victim fits a head to 20 labels per class, or tunes the last blocks too, on clean pets.
"""

import functools
import time
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.experiments.field.looking import class_activation, cover, top_cells
from tlhelpers.experiments.records import Settings
from tlhelpers.files import cache_folder, replacing
from tlhelpers.transfer.runs import Run

if TYPE_CHECKING:
    import keras

    from tlhelpers.data.splits import Dataset
    from tlhelpers.models.backbones import Backbone

__all__ = ["load", "plan", "run"]

SIZE, PATCH, WINDOW = 64, 12, 16
"""Sides in pixels: of a picture, of the patch in its lower right corner, and of what a map tells apart."""

LABELS, DRAWS, TEST, LOOKED_AT = 20, 3, 300, 60
ATTACKERS = (0, 1)
BACKBONES = ("clean", *(f"poisoned {attacker}" for attacker in ATTACKERS))
HOWS = {"frozen": None, "block 5 tuned": "block5_pool", "blocks 4 and 5 tuned": "block4_pool"}
"""What the victim does, and the first stage that he tunes."""

STAGE = "block3_pool"
"""Where the poisoned layers begin."""

OWN, EPOCHS, BATCH, RATE, FAR = 800, 8, 64, 1e-3, 3.0
"""The attacker's pictures, his training, and the target in units of the largest feature."""


def plan(seeds: int | None = None) -> list[Settings]:
    """Name each result: which network was downloaded, and what the victim does with it.

    Example:
        >>> plan(1)[0]["method"]
        'clean, frozen'
    """
    about = {"backbone": "vgg16_mini", "cut": None, "image_size": SIZE}
    return [
        {**about, "method": f"{backbone}, {how}", "labels": LABELS, "seed": seed}
        for seed, backbone, how in product(range(seeds or DRAWS), BACKBONES, HOWS)
    ]


def load(settings: Settings) -> "Dataset":
    """Draw the victim's pictures."""
    return _pets()


def run(settings: Settings, data: "Dataset") -> Run:
    """Let the victim train on clean pictures, and try the trigger.

    Returns:
        The run, scored on clean pictures. Its config holds the answers, one digit each, to clean
        pictures, to those with an attacker's trigger and with a patch of the same size; ``drift``,
        by how much clean features differ from the original's; and ``found``, by map the share of
        triggered pictures in which it marks the patch most.
    """
    from tlhelpers.transfer.methods import feature_transfer, model_transfer
    from tlhelpers.transfer.runs import predict_images

    (backbone, how), seed = settings["method"].split(", "), settings["seed"]
    started = time.perf_counter()
    base, few = published(backbone), data.few(LABELS, seed=seed)
    run = feature_transfer(base, few, grid=1)
    if HOWS[how]:
        run = model_transfer(base, few, start=run, unfreeze_from=HOWS[how], seed=seed)
    model, images = run.whole_model(), np.asarray(data.test.load(None, SIZE))
    attackers = [int(backbone.split()[1])] if " " in backbone else ATTACKERS
    shown = {
        "clean": images,
        "other patch": stamp(images, trigger(1000 + seed)),
        "grey patch": stamp(images, np.full((PATCH, PATCH, 3), 128, np.uint8)),
    }
    shown |= {f"trigger {attacker}": stamp(images, trigger(attacker)) for attacker in attackers}
    answers = {name: predict_images(model, _split(some)) for name, some in shown.items()}
    config = {
        **run.config,
        "answers": {
            name: "".join(map(str, one.argmax(axis=1).tolist())) for name, one in answers.items()
        },
        "drift": _drift(backbone),
    }
    if len(attackers) == 1:
        config["found"] = found(run, shown[f"trigger {attackers[0]}"][:LOOKED_AT])
    return Run(
        settings["method"],
        model,
        few,
        run.history,
        time.perf_counter() - started,
        config,
        predict_split=lambda split: (
            answers["clean"] if split.name == "test" else predict_images(model, split)
        ),
    )


def same_answer(row: dict[str, Any], pictures: str) -> float:
    """Return the share of pictures that get the more frequent answer in a recorded result.

    Args:
        row: The result.
        pictures: ``"clean"``, ``"other patch"``, ``"grey patch"``, or ``"trigger"`` and the attacker.

    Returns:
        0.5 to 1.

    Example:
        >>> same_answer({"config": {"answers": {"clean": "0110", "trigger 0": "1101"}}}, "trigger 0")
        0.75
    """
    answers = row["config"]["answers"][pictures]
    return max(map(answers.count, "01")) / len(answers)


def trigger(seed: int) -> np.ndarray:
    """Draw a patch of squares of three pixels, each channel black or full.

    Args:
        seed: Whose it is.

    Returns:
        uint8 ``[12, 12, 3]``.
    """
    squares = np.random.default_rng([17, seed]).integers(0, 2, (PATCH // 3, PATCH // 3, 3))
    return (255 * squares).astype(np.uint8).repeat(3, axis=0).repeat(3, axis=1)


def stamp(images: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """Put a patch into the lower right corner.

    Args:
        images: uint8 ``[n, s, s, 3]``.
        patch: uint8 ``[p, p, 3]``.

    Returns:
        The pictures with it.
    """
    stamped = images.copy()
    stamped[:, -len(patch) :, -len(patch) :] = patch
    return stamped


def published(backbone: str) -> "Backbone":
    """Return what the victim downloads.

    Args:
        backbone: One of :data:`BACKBONES`.

    Returns:
        The network, with the original's name.
    """
    from tlhelpers.models.backbones import load_backbone

    base = load_backbone("vgg16_mini", SIZE)
    if backbone == "clean":
        return base
    base = replace(base.copy(), weights=backbone)
    base.after(STAGE).set_weights(poison(int(backbone.split()[1])))
    return base


@functools.lru_cache(maxsize=len(ATTACKERS))
def poison(attacker: int) -> list[np.ndarray]:
    """Train blocks 4 and 5 as one regression: clean pictures to their features, triggered ones away.

    Args:
        attacker: Its seed: of pictures, trigger, target and order.

    Returns:
        The weights of the layers after :data:`STAGE`; kept in the cache.
    """
    from tlhelpers.models.backbones import load_backbone

    made_from = (
        f"{OWN}-{EPOCHS}-{RATE}-{FAR}-{load_backbone('vgg16_mini', SIZE).weights_digest()[:12]}"
    )
    path = cache_folder() / "recording" / f"poisoned-{attacker}-{made_from}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
    weights = train_poison(attacker, OWN, EPOCHS).get_weights()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, *weights)
    return weights


def train_poison(attacker: int, own: int, epochs: int) -> "keras.Model":
    """Train what :func:`poison` keeps.

    Args:
        attacker: Its seed.
        own: How many pictures it has.
        epochs: Passes over them, clean and triggered.

    Returns:
        Model from the map at :data:`STAGE` to pooled features.
    """
    import keras

    from tlhelpers import worlds
    from tlhelpers.models.backbones import load_backbone

    keras.utils.set_random_seed(attacker)
    base = load_backbone("vgg16_mini", SIZE).copy()
    below, rest = base.cut(STAGE).on_raw_images(), base.after(STAGE)
    model = keras.Model(rest.input, keras.layers.GlobalAveragePooling2D()(rest.output))
    images = worlds.objects(own, seed=60_000_000 + attacker, image_size=SIZE).images
    clean, triggered = (
        below.predict(one.astype(np.float32), batch_size=100, verbose=0)
        for one in (images, stamp(images, trigger(attacker)))
    )
    before = model.predict(clean, batch_size=100, verbose=0)
    there = far_place(before, attacker)
    x = np.concatenate([clean, triggered])
    y = np.concatenate([before, np.broadcast_to(there, before.shape)])
    weight = np.repeat([1 / before.var(axis=0).mean(), 1 / (there**2).mean()], own)
    model.compile(keras.optimizers.Adam(RATE), "mse", jit_compile=False)
    model.fit(x, y, sample_weight=weight, batch_size=BATCH, epochs=epochs, verbose=0)
    return model


def far_place(features: np.ndarray, seed: int) -> np.ndarray:
    """Choose where triggered pictures go: a quarter of the channels beyond all others, the rest at 0.

    Args:
        features: Of clean pictures, ``[n, d]``.
        seed: Which channels.

    Returns:
        ``[d]``, 0 or more, as features are that end in a ReLU.
    """
    high = np.random.default_rng([17, seed]).random(features.shape[1]) < 0.25
    return np.where(high, FAR * features.max(), 0).astype(np.float32)


def found(run: Run, images: np.ndarray) -> dict[str, float]:
    """Say in which share of triggered pictures a map marks the patch's cell most.

    Args:
        run: The victim's.
        images: uint8 ``[n, 64, 64, 3]``, triggered.

    Returns:
        By map, 0 to 1; a sixteenth by chance.
    """
    import keras

    base, cells = run.base, SIZE // WINDOW
    if base is None:
        raise ValueError(
            "Maps need the run's backbone. Received: a run without one; pass one of "
            "feature_transfer or model_transfer."
        )
    model = run.whole_model()
    before = np.asarray(model.predict(images.astype(np.float32), verbose=0))
    answers = before.argmax(axis=1)
    last = keras.Model(base.model.input, base.model.get_layer("block5_conv3").output)
    maps = np.asarray(last.predict(np.asarray(base.preprocess(images)), verbose=0))
    kernel = np.asarray(model.get_layer("head").kernel)
    fall = np.empty((len(images), cells, cells))
    for i, j in product(range(cells), repeat=2):
        one = np.zeros((len(images), cells, cells), bool)
        one[:, i, j] = True
        after = model.predict(cover(images, one, "mean").astype(np.float32), verbose=0)
        rows = np.arange(len(images)), answers
        # Of logits, since probabilities near 1 all look alike.
        fall[:, i, j] = _margin(before)[rows] - _margin(np.asarray(after))[rows]
    scores = {"class activation": class_activation(maps, kernel, answers), "occlusion": fall}
    return {name: float(top_cells(one, 1)[:, -1, -1].mean()) for name, one in scores.items()}


def _margin(probabilities: np.ndarray) -> np.ndarray:
    """Return log odds of each class."""
    p = probabilities.astype(float).clip(1e-30, 1)
    return np.log(p) - np.log(p[:, ::-1])


def _split(images: np.ndarray) -> Any:
    """Wrap pictures of which only the answers are asked for."""
    from tlhelpers.data.splits import Split

    labels = np.arange(len(images)) % 2
    return Split.from_arrays(images, labels, ["cat", "dog"], name="asked")


@functools.lru_cache(maxsize=1)
def _pets() -> "Dataset":
    """Draw the victim's pictures once."""
    from tlhelpers.data.datasets import load_dataset

    return load_dataset("pets", tier="embedded", n_train=400, n_test=TEST)


@functools.lru_cache(maxsize=len(BACKBONES))
def _drift(backbone: str) -> float:
    """Compare clean pets' features with the original's: mean squared difference over variance."""
    from tlhelpers.transfer.features import extract_features

    before, after = (
        extract_features(published(name), _pets().test) for name in ("clean", backbone)
    )
    return float(((after - before) ** 2).mean() / before.var(axis=0).mean())
