"""The network that is pre-trained: `vgg16_mini` with a head for each label of the formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tlhelpers.vgg16_mini import OFFSET, SCALE
from tlhelpers.worlds.formulas import CLASS_NAMES, HEADS

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

        from tlhelpers.vgg16_mini import build_vgg16_mini

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
