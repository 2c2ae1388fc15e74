"""Train `vgg16_mini` on the procedural source task: `python -m tlhelpers.experiments.pretrain`.

One network, six heads: the form of each image of `worlds.formulas` and five further
labels of its parts. AdamW with warm-up and a cosine, label smoothing, flips, crops and
changes of colour, at 64 and at 32 pixels by turns. An interrupted run goes on from its
last checkpoint in the cache folder.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlhelpers.experiments.model_card import write_atomically, write_card
from tlhelpers.models.vgg16_mini import OFFSET, SCALE, WEIGHTS_FILE, standardise
from tlhelpers.runtime import keep_freed_memory
from tlhelpers.worlds.formulas import CLASS_NAMES, HEADS, formulas

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
        steps: Pairs of updates, one at 64 and one at 32 pixels. Defaults to 10,000.
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


class Trainer:
    """The network with its heads, the optimiser, and one update as a compiled graph."""

    def __init__(self, settings: Settings):
        """Build everything with the settings' seed."""
        import keras
        import tensorflow as tf

        from tlhelpers.models.vgg16_mini import build_vgg16_mini

        keras.mixed_precision.set_global_policy(
            "mixed_bfloat16" if settings.bfloat16 else "float32"
        )
        keras.utils.set_random_seed(settings.seed)
        self.settings = settings
        self.trunk = build_vgg16_mini(SIZE, seed=settings.seed)
        self.heads = [keras.layers.Dense(h.classes, dtype="float32", name=h.name) for h in TASKS]
        for head in self.heads:
            head.build((None, 128))
        keras.mixed_precision.set_global_policy("float32")
        rate = keras.optimizers.schedules.CosineDecay(
            0.0,
            2 * max(1, settings.steps - settings.warm_up),
            warmup_target=settings.learning_rate,
            warmup_steps=2 * settings.warm_up,
        )
        self.optimizer = keras.optimizers.AdamW(
            rate, weight_decay=settings.weight_decay, global_clipnorm=1.0
        )
        self.optimizer.exclude_from_weight_decay(var_names=["bias"])
        self.variables = self.trunk.trainable_variables + [
            variable for head in self.heads for variable in head.trainable_variables
        ]
        self.optimizer.build(self.variables)
        # XLA is off on purpose: on CPU it compiles for minutes and wins nothing here.
        self.update = tf.function(self._update, autograph=False)
        self.predict = tf.function(self._logits, autograph=False)

    def _logits(self, images):
        """Logits of every head for uint8 images of any size."""
        import keras

        x = (keras.ops.cast(images, "float32") - OFFSET) / SCALE
        features = {}
        # Layer by layer, since the model is built for one size and trained at two.
        for layer in self.trunk.layers[1:]:
            x = layer(x)
            if layer.name in ("block4_pool", "block5_pool"):
                features[layer.name] = keras.ops.cast(keras.ops.mean(x, axis=(1, 2)), "float32")
        return [head(features[task.stage]) for head, task in zip(self.heads, TASKS, strict=True)]

    def _update(self, images, labels):
        """One AdamW step; returns the loss."""
        import keras
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = 0.0
            for task, logits in zip(TASKS, self._logits(images), strict=True):
                wanted = labels[:, task.column]
                present = keras.ops.cast(wanted >= 0, "float32")
                count = logits.shape[-1]
                target = keras.ops.one_hot(keras.ops.maximum(wanted, 0), count)
                target = target * (1 - self.settings.smoothing) + self.settings.smoothing / count
                each = -keras.ops.sum(target * keras.ops.log_softmax(logits), axis=-1)
                mean = keras.ops.sum(each * present) / (keras.ops.sum(present) + 1e-6)
                loss += mean * (1.0 if task is TASKS[0] else self.settings.head_weight)
        self.optimizer.apply(tape.gradient(loss, self.variables), self.variables)
        return loss

    def accuracies(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Share of right answers of each head on the images that have its label, if any has."""
        logits = [self.predict(images[k : k + 74]) for k in range(0, len(images), 74)]
        result = {}
        for k, task in enumerate(TASKS):
            guess = np.concatenate([np.argmax(batch[k], axis=1) for batch in logits])
            wanted = labels[:, task.column]
            if (wanted >= 0).any():
                result[task.name] = round(float((guess == wanted)[wanted >= 0].mean()), 4)
        return result

    def state(self) -> dict[str, np.ndarray]:
        """Every number that a resumed run needs."""
        everything = [*self.variables, *self.optimizer.variables]
        return {f"{k:03d}": np.asarray(variable) for k, variable in enumerate(everything)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Put a saved state back."""
        for k, variable in enumerate([*self.variables, *self.optimizer.variables]):
            variable.assign(state[f"{k:03d}"])


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
        uint8 images `[n, 64, 64, 3]` and int32 labels `[n, 6]`: the form, then one
        column per further head, -1 where an image has no such label.
    """
    world = formulas(n, seed, SIZE, relatedness, difficulty=difficulty)
    columns = [world.labels, *(world.conditions[head] for head in HEADS)]
    return world.images, np.stack(columns, axis=1).astype(np.int32)


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


def npz_bytes(arrays: dict[str, np.ndarray], compressed: bool) -> bytes:
    """An .npz file's content."""
    buffer = io.BytesIO()
    save_arrays: Callable = np.savez_compressed if compressed else np.savez
    save_arrays(buffer, **arrays)
    return buffer.getvalue()


def train(
    settings: Settings, *, minutes: float | None = None, cache: Path, every: int = 100
) -> tuple[Trainer, dict]:
    """Train, with a checkpoint every `every` steps.

    Args:
        settings: What to train. With `minutes`, its `steps` are replaced.
        minutes: Wall-clock minutes to fit the steps into, by timing the first ones.
            Defaults to None: as many steps as `settings` says.
        cache: Folder for the checkpoint.
        every: Steps between checkpoints. Defaults to 100.

    Returns:
        The trainer and a record of the run.
    """
    images, labels = draw_source(
        settings.images, settings.seed, settings.relatedness, settings.difficulty
    )
    if minutes is not None:
        settings = Settings(
            **{**asdict(settings), "steps": _steps_in(settings, minutes, images, labels)}
        )
    key = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode()).hexdigest()[:12]
    checkpoint = cache / f"pretrain-{key}.npz"
    trainer, first, seconds, history = Trainer(settings), 0, 0.0, []
    if checkpoint.exists():
        with np.load(checkpoint, allow_pickle=False) as saved:
            state = {name: saved[name] for name in saved.files}
        trainer.restore(state)
        first, seconds = int(state["step"]), float(state["seconds"])
        history = json.loads(state["history"].tobytes())
        print(f"resuming after {first} of {settings.steps} steps ({checkpoint})", flush=True)
    else:
        standardise(trainer.trunk, images[:256])
    started, losses = time.perf_counter(), []
    for step in range(first, settings.steps):
        rng = np.random.default_rng([settings.seed, step])
        loss = _step(trainer, images, labels, rng)
        losses.append(float(loss))
        if (step + 1) % every == 0 or step + 1 == settings.steps:
            spent = seconds + time.perf_counter() - started
            history.append({"step": step + 1, "loss": round(float(np.mean(losses)), 4)})
            print(
                f"step {step + 1} of {settings.steps}: loss {np.mean(losses):.3f}, {spent:.0f} s",
                flush=True,
            )
            losses = []
            state = {**trainer.state(), "step": np.array(step + 1), "seconds": np.array(spent)}
            state["history"] = np.frombuffer(json.dumps(history).encode(), np.uint8)
            write_atomically(checkpoint, npz_bytes(state, compressed=False))
    seconds += time.perf_counter() - started
    held_images, held_labels = draw_source(
        settings.held_out, settings.seed + HELD_OUT_SEED, settings.relatedness, settings.difficulty
    )
    record = {
        "settings": asdict(settings),
        "seconds": round(seconds, 1),
        "history": history,
        "source_accuracy": {
            "64 px": trainer.accuracies(held_images, held_labels),
            "32 px": trainer.accuracies(halved(held_images), held_labels),
        },
        "checkpoint": checkpoint.name,
    }
    return trainer, record


def _step(trainer: Trainer, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator):
    """One update at 64 pixels and one at 32."""
    batch = trainer.settings.batch
    rows = rng.integers(0, len(images), 3 * batch)
    large, small = rows[:batch], rows[batch:]
    loss = trainer.update(augmented(images[large], rng), labels[large])
    trainer.update(halved(augmented(images[small], rng)), labels[small])
    return loss


def _steps_in(settings: Settings, minutes: float, images: np.ndarray, labels: np.ndarray) -> int:
    """How many steps fit into some minutes on this machine."""
    trainer, rng = Trainer(settings), np.random.default_rng(0)
    _step(trainer, images, labels, rng)
    started = time.perf_counter()
    for _ in range(20):
        _step(trainer, images, labels, rng)
    return max(1, int(60 * minutes / ((time.perf_counter() - started) / 20)))


def save(trainer: Trainer, record: dict, path: Path = WEIGHTS_FILE) -> None:
    """Write half-precision weights, their JSON record, and the model card."""
    import keras
    import tensorflow as tf

    arrays = {}
    for layer in trainer.trunk.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            arrays[f"{layer.name}/kernel"] = kernel.astype(np.float16)
            arrays[f"{layer.name}/bias"] = bias.astype(np.float16)
    content = npz_bytes(arrays, compressed=True)
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
    record = {
        "name": "vgg16_mini",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "parameters": int(trainer.trunk.count_params()),
        "versions": {"python": platform.python_version(), **versions},
        "processor": {"machine": platform.machine(), "cores": os.cpu_count()},
        **record,
    }
    write_atomically(path, content)
    write_atomically(path.with_suffix(".json"), (json.dumps(record, indent=1) + "\n").encode())
    write_card(path)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tlhelpers.experiments.pretrain", description=__doc__
    )
    parser.add_argument("--minutes", type=float, help="fit the steps into this many minutes")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="pairs of updates")
    parser.add_argument("--images", type=int, default=Settings.images, help="training images")
    parser.add_argument("--held-out", type=int, default=Settings.held_out, help="test images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--relatedness", type=float, default=1.0)
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--out", type=Path, default=WEIGHTS_FILE, help="the .npz file to write")
    parser.add_argument("--cache", type=Path, help="folder of checkpoints")
    chosen = parser.parse_args(arguments)
    keep_freed_memory()
    if chosen.cache is None:
        from tlhelpers.runtime import cache_folder

        chosen.cache = cache_folder()
    bfloat16 = chosen.precision == "bfloat16" or (
        chosen.precision == "auto" and has_fast_bfloat16()
    )
    settings = Settings(
        seed=chosen.seed,
        images=chosen.images,
        held_out=chosen.held_out,
        steps=chosen.steps,
        relatedness=chosen.relatedness,
        bfloat16=bfloat16,
    )
    trainer, record = train(settings, minutes=chosen.minutes, cache=chosen.cache)
    save(trainer, record, chosen.out)
    print(json.dumps(record["source_accuracy"], indent=1))


if __name__ == "__main__":
    main()
