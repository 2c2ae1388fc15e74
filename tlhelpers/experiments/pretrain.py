"""Train ``vgg16_mini`` on the procedural source task: ``python -m tlhelpers.experiments.pretrain``.

One network, several heads: the form of each image of ``worlds.formulas``, by the last block and once
more by the fourth, and five further labels of its parts. AdamW with warm-up and a cosine, label
smoothing, flips, crops and changes of colour, at 64 and at 32 pixels by turns. Training is Keras's
``fit``; an interrupted run goes on from ``BackupAndRestore``'s last backup in the cache folder.

The shipped weights come from a loop of this module's own with the same losses, views and schedule,
but another order of random numbers. Weights made anew have other bits, as they have on any other
machine: their source accuracy is as high (``tlhelpers.experiments.source_accuracy`` compares).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from tlhelpers.experiments.model_card import write_card
from tlhelpers.files import cache_folder, writable_folder, write_atomically
from tlhelpers.models.initialisation import standardise_channels
from tlhelpers.models.vgg16_mini import OFFSET, SCALE, WEIGHTS_FILE, build_vgg16_mini
from tlhelpers.runtime import keep_freed_memory
from tlhelpers.worlds.formulas import CLASS_NAMES, HEADS, formulas

EPOCH = 100
"""Pairs of updates after which the losses are noted and a backup is written."""

SIZE = 64


class Task(NamedTuple):
    """One head: its name, the column of its labels, how many classes, and where it looks."""

    name: str
    column: int
    classes: int
    stage: str


# Surfaces are finer than forms, so their head looks one block earlier; the form's second
# head there lets the gradient reach the early layers (deep supervision).
TASKS = (
    Task("form", 0, len(CLASS_NAMES), "block5_pool"),
    Task("form_early", 0, len(CLASS_NAMES), "block4_pool"),
    *(
        Task(name, k, count, "block4_pool" if name == "texture" else "block5_pool")
        for k, (name, count) in enumerate(HEADS.items(), start=1)
    ),
)


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result of a run.

    Attributes:
        seed: Seed of data, initial weights and order. Defaults to 0.
        images: Training images drawn. Defaults to 80,000.
        held_out: Images of another seed on which source accuracy is reported. Defaults to 29,600:
            with a tenth of them two runs seem to differ by a point that isn't there.
        steps: Pairs of updates, one at 64 and one at 32 pixels: up to 100, or hundreds. Defaults
            to 10,000.
        batch: Images per update at 64 pixels; twice as many at 32.
        learning_rate: Peak of the cosine after the warm-up.
        weight_decay: Of AdamW.
        warm_up: Steps of linear warm-up.
        smoothing: Label smoothing.
        head_weight: Weight of each further head's loss beside the form's.
        relatedness: Of the formulas.
        difficulty: Of the formulas.
        bfloat16: Whether convolutions run in bfloat16.
    """

    seed: int = 0
    images: int = 80_000
    held_out: int = 29_600
    steps: int = 10_000
    batch: int = 64
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warm_up: int = 200
    smoothing: float = 0.1
    head_weight: float = 0.3
    relatedness: float = 1.0
    difficulty: float = 0.35
    bfloat16: bool = False


def build(settings: Settings) -> tuple[keras.Model, keras.Model]:
    """Build the network and, on top of it, the model with all heads, compiled.

    Args:
        settings: What to train.

    Returns:
        The network, and the model from RGB images of any size, 0 to 255, to logits by head. They
        share their layers.
    """
    keras.utils.set_random_seed(settings.seed)
    keras.config.set_dtype_policy("mixed_bfloat16" if settings.bfloat16 else "float32")
    trunk = build_vgg16_mini(SIZE, seed=settings.seed)
    keras.config.set_dtype_policy("float32")
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / SCALE, offset=-OFFSET / SCALE)(images)
    means = {}
    for layer in trunk.layers[1:]:
        x = layer(x)
        if layer.name in {task.stage for task in TASKS}:
            means[layer.name] = keras.layers.GlobalAveragePooling2D(dtype="float32")(x)
    logits = {
        task.name: keras.layers.Dense(task.classes, name=task.name)(means[task.stage])
        for task in TASKS
    }
    model = keras.Model(images, logits)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        2 * max(1, settings.steps - settings.warm_up),
        warmup_target=settings.learning_rate,
        warmup_steps=2 * settings.warm_up,
    )
    optimizer = keras.optimizers.AdamW(
        rate, weight_decay=settings.weight_decay, global_clipnorm=1.0
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(
        optimizer,
        loss={
            task.name: keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=settings.smoothing
            )
            for task in TASKS
        },
        loss_weights={
            task.name: 1.0 if task is TASKS[0] else settings.head_weight for task in TASKS
        },
        # XLA is off on purpose: on CPU it compiles for minutes and wins nothing here.
        jit_compile=False,
    )
    return trunk, model


class Batches(keras.utils.PyDataset):
    """Views of drawn rows, at 64 and at 32 pixels by turns; those of a batch depend on its number."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, settings: Settings) -> None:
        """Begin with the first epoch."""
        super().__init__()
        self.images, self.labels, self.settings, self.first = images, labels, settings, 0

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return 2 * min(EPOCH, self.settings.steps)

    def __getitem__(self, place: int) -> tuple[np.ndarray, dict[str, Any], dict[str, Any]]:
        """Return images, one-hot labels by head, and weights that leave out missing labels."""
        number = self.first + place
        is_small = number % 2
        rng = np.random.default_rng([self.settings.seed, number])
        rows = rng.integers(0, len(self.images), (1 + is_small) * self.settings.batch)
        views = augmented(self.images[rows], rng)
        wanted, weights = {}, {}
        for task in TASKS:
            labels = self.labels[rows, task.column]
            present = labels >= 0
            wanted[task.name] = np.eye(task.classes, dtype=np.float32)[labels]
            # Keras divides by the batch's size, and the mean is over the labels that there are.
            weights[task.name] = np.float32(present * len(rows) / max(1, present.sum()))
        return (halved(views) if is_small else views), wanted, weights


HELD_OUT_SEED = 1_000_003


def has_fast_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16 (AMX, or AVX-512 with BF16)."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text(encoding="utf-8", errors="ignore") if info.exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


def draw_source(
    n: int, seed: int, relatedness: float = 1.0, difficulty: float = 0.35
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the source task.

    Returns:
        uint8 images ``[n, 64, 64, 3]`` and int32 labels ``[n, 6]``: the form, then one
        column per further head, -1 where an image has no such label.
    """
    world = formulas(n, seed, SIZE, relatedness, difficulty=difficulty)
    columns = [world.labels, *(world.conditions[head] for head in HEADS)]
    return world.images, np.stack(columns, axis=1).astype(np.int32)


def accuracies(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Share of right answers of each head on the images that have its label, if any has."""
    logits = model.predict(images, batch_size=74, verbose=0)
    result = {}
    for task in TASKS:
        wanted = labels[:, task.column]
        if (wanted >= 0).any():
            right = logits[task.name].argmax(axis=1) == wanted
            result[task.name] = round(float(right[wanted >= 0].mean()), 4)
    return result


def augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip, shift by up to 6 pixels, permute channels and invert, image by image."""
    n, size = images.shape[:2]
    rows = np.arange(size) + rng.integers(-6, 7, (n, 1))
    columns = np.arange(size) + rng.integers(-6, 7, (n, 1))
    columns = np.where(rng.random((n, 1)) < 0.5, columns, size - 1 - columns)
    rows, columns = rows.clip(0, size - 1), columns.clip(0, size - 1)
    channels = np.where(
        rng.random((n, 1)) < 0.3, rng.permuted(np.tile(np.arange(3), (n, 1)), axis=1), np.arange(3)
    )
    batch = images[
        np.arange(n)[:, None, None, None],
        rows[:, :, None, None],
        columns[:, None, :, None],
        channels[:, None, None, :],
    ]
    inverted = rng.random((n, 1, 1, 1)) < 0.1
    return np.where(inverted, 255 - batch, batch)


def halved(images: np.ndarray) -> np.ndarray:
    """Images at half the size: the mean of each 2 x 2 block, uint8."""
    n, size = images.shape[:2]
    blocks = images.reshape(n, size // 2, 2, size // 2, 2, 3).astype(np.uint16)
    return ((blocks.sum(axis=(2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """A compressed .npz file's content."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def backup_folder(settings: Settings, cache: Path) -> Path:
    """Where a run with these settings keeps its backup."""
    key = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode()).hexdigest()[:12]
    return cache / f"pretrain-{key}"


def train(
    settings: Settings, cache: Path, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> tuple[keras.Model, keras.Model, dict]:
    """Train, or go on with a run of the same settings that was interrupted.

    Args:
        settings: What to train.
        cache: Folder for the backup.
        callbacks: Further callbacks for Keras's ``fit``. Defaults to none.

    Returns:
        The network, the model with all heads, and a record of the run.

    Raises:
        ValueError: If the steps are more than 100 and no hundreds.
    """
    if settings.steps < 1 or (settings.steps > EPOCH and settings.steps % EPOCH):
        raise ValueError(
            f"Steps must be 1 to {EPOCH}, or a multiple of it. Received: {settings.steps}."
        )
    images, labels = draw_source(
        settings.images, settings.seed, settings.relatedness, settings.difficulty
    )
    folder = backup_folder(settings, cache)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.jsonl"
    trunk, model = build(settings)
    standardise_channels(trunk, (images[:256] - np.float32(OFFSET)) / SCALE)
    batches = Batches(images, labels, settings)
    in_epoch = len(batches) // 2
    started = [time.perf_counter()]

    def begin(epoch: int, logs: Any) -> None:
        """Tell the batches where they are, which a resumed run is not at the first."""
        batches.first, started[0] = epoch * len(batches), time.perf_counter()

    def end(epoch: int, logs: dict[str, float]) -> None:
        """Note how far it is."""
        seconds, loss = time.perf_counter() - started[0], round(float(logs["loss"]), 4)
        row = {"step": (epoch + 1) * in_epoch, "loss": loss, "seconds": round(seconds, 1)}
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"step {row['step']} of {settings.steps}: loss {loss:.3f}", flush=True)

    model.fit(
        batches,
        epochs=settings.steps // in_epoch,
        shuffle=False,  # of batches, which Keras would draw from a generator that no backup holds
        callbacks=[
            keras.callbacks.BackupAndRestore(
                folder, double_checkpoint=True, delete_checkpoint=False
            ),
            keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end),
            *callbacks,
        ],
        verbose=0,
    )
    # A step that was run again stands there twice.
    rows = {row["step"]: row for row in map(json.loads, log.read_text("utf-8").splitlines())}
    held_images, held_labels = draw_source(
        settings.held_out, settings.seed + HELD_OUT_SEED, settings.relatedness, settings.difficulty
    )
    record = {
        "settings": asdict(settings),
        "seconds": round(sum(row.pop("seconds") for row in rows.values()), 1),
        "history": list(rows.values()),
        "source_accuracy": {
            "64 px": accuracies(model, held_images, held_labels),
            "32 px": accuracies(model, halved(held_images), held_labels),
        },
    }
    return trunk, model, record


def save(trunk: keras.Model, record: dict, path: Path = WEIGHTS_FILE) -> None:
    """Write half-precision weights, their JSON record, and the model card."""
    import tensorflow as tf

    arrays = {}
    for layer in trunk.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            arrays[f"{layer.name}/kernel"] = kernel.astype(np.float16)
            arrays[f"{layer.name}/bias"] = bias.astype(np.float16)
    content = npz_bytes(arrays)
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
    record = {
        "name": "vgg16_mini",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "parameters": int(trunk.count_params()),
        "versions": {"python": platform.python_version(), **versions},
        "processor": {"machine": platform.machine(), "cores": os.cpu_count()},
        **record,
    }
    write_atomically(path, content)
    write_atomically(path.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    write_card(path)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tlhelpers.experiments.pretrain",
        description="Train vgg16_mini on the procedural source task: 20 to 40 minutes on two cores. "
        "The same command goes on with a run that was interrupted.",
    )
    about = {
        "steps": "pairs of updates, up to 100, or hundreds",
        "images": "training images",
        "held_out": "test images",
        "seed": "of data, initial weights and order",
        "relatedness": "of the formulas to the drawn targets, 0 to 1",
    }
    for name, text in about.items():
        usual = getattr(Settings, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(
            option, type=type(usual), default=usual, help=f"{text} (default: {usual})"
        )
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--out", type=Path, default=WEIGHTS_FILE, help="the .npz file to write")
    chosen = vars(parser.parse_args(arguments))
    out, precision = chosen.pop("out"), chosen.pop("precision")
    writable_folder(out.parent, "The folder of the weights", "Name another file with --out.")
    keep_freed_memory()
    bfloat16 = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16())
    settings = Settings(**chosen, bfloat16=bfloat16)
    trunk, _, record = train(settings, cache_folder())
    save(trunk, record, out)
    shutil.rmtree(backup_folder(settings, cache_folder()))
    print(json.dumps(record["source_accuracy"], indent=1))


if __name__ == "__main__":
    main()
