"""Train a Keras model by gradient descent, as a recipe says."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tlhelpers.data.splits import Dataset
from tlhelpers.progress import progress_bar
from tlhelpers.runtime import steps_per_execution
from tlhelpers.transfer.recipes import Training, class_weights, inference_batch_size

LoadRows = Callable[[np.ndarray, int], np.ndarray]
"""Returns the inputs of these rows in this epoch."""


class Batches(keras.utils.PyDataset):
    """Shuffled batches whose inputs are read when they are needed."""

    def __init__(self, load: LoadRows, labels: np.ndarray, batch_size: int, seed: int) -> None:
        """Draw the first epoch's order; the seed decides all of them."""
        super().__init__(workers=1, use_multiprocessing=False)
        self.load = load
        self.labels = labels
        self.batch_size = batch_size
        self.seed = seed
        self.bar: Any = None  # counts the batches that are read, while a training shows progress
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw an epoch's order, from the seed and its number.

        Keras's own ``on_epoch_end`` won't do to count epochs: Keras 3.15 also calls it once before
        the first.

        Args:
            epoch: Number of the epoch, from 0.
        """
        self.epoch = epoch
        self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self.labels))

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(len(self.labels) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return one batch of inputs and labels."""
        if self.bar is not None:
            self.bar.update(self.epoch * len(self) + index + 1 - self.bar.n)
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.load(rows, self.epoch), self.labels[rows]


@keras.saving.register_keras_serializable("tlhelpers")
class LayerwiseAdamW(keras.optimizers.AdamW):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) with a factor on each variable's rate.

    Discriminative learning rates (Howard & Ruder 2018, arXiv:1801.06146): earlier stages, whose
    features are more general, are changed less.
    """

    def __init__(self, *args: Any, factors: Mapping[str, float] | None = None, **kwargs: Any):
        """Keep the factors by a variable's path, 1 for the rest; other arguments are AdamW's."""
        super().__init__(*args, **kwargs)
        self.factors = dict(factors or {})

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the moments, and put the factors into the order of the variables."""
        super().build(variables)
        self._factor_of_index = [self.factors.get(variable.path, 1.0) for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Decay one variable and move it along its gradient, both at its own rate."""
        rate = learning_rate * self._factor_of_index[self._get_variable_index(variable)]
        if self.weight_decay and self._use_weight_decay(variable):
            decay = keras.ops.cast(rate * self.weight_decay, variable.dtype)
            self.assign_sub(variable, variable * decay)
        super().update_step(gradient, variable, rate)

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Leave decay to update_step: Keras would decay every variable at the whole rate."""

    def _clip_gradients(self, grads: list[Any]) -> list[Any]:
        """Clip by the norm of the whole batch's gradient where several devices share a batch.

        Each device has its own part's; Keras 3.15 would clip that, before the sum.
        """
        if keras.backend.backend() != "tensorflow" or self.global_clipnorm is None:
            return super()._clip_gradients(grads)
        import tensorflow as tf

        if not tf.distribute.has_strategy() or tf.distribute.in_cross_replica_context():
            return super()._clip_gradients(grads)
        shared = tf.distribute.get_replica_context().all_reduce("SUM", grads)
        norm = tf.linalg.global_norm(shared)
        return [g * self.global_clipnorm / tf.maximum(norm, self.global_clipnorm) for g in grads]

    def get_config(self) -> dict[str, Any]:
        """Return AdamW's settings and the factors."""
        return {**super().get_config(), "factors": self.factors}


def warm_up_then_cosine(peak: float, steps: int, warmup: float) -> Any:
    """Return a learning rate that rises for a share of the steps and then falls to 0 as a cosine.

    Source: Goyal et al. 2017, arXiv:1706.02677 (warm-up); Loshchilov & Hutter 2017,
    arXiv:1608.03983 (cosine).

    Args:
        peak: Highest learning rate.
        steps: Steps of the whole training.
        warmup: Share of them over which the rate rises, 0 to 1.

    Returns:
        A Keras learning-rate schedule.

    Example:
        >>> schedule = warm_up_then_cosine(0.1, steps=100, warmup=0.1)
        >>> round(float(schedule(10)), 3), round(float(schedule(100)), 3)
        (0.1, 0.0)
    """
    rising = max(1, round(steps * warmup))
    return keras.optimizers.schedules.CosineDecay(
        peak / rising, max(1, steps - rising), warmup_target=peak, warmup_steps=rising
    )


def check_callbacks(callbacks: Sequence[keras.callbacks.Callback], data: Dataset) -> None:
    """Refuse by name the callbacks that can't do their work in :func:`train`.

    Args:
        callbacks: Keras callbacks.
        data: The data to be trained on.

    Raises:
        ValueError: If there is such a callback.
    """
    for callback in callbacks:
        name, reason = type(callback).__name__, ""
        if isinstance(
            callback,
            (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler),
        ):
            reason = (
                "it sets the learning rate, which the recipe's schedule sets at every step; pass a "
                "recipe with another learning_rate, warmup or number of epochs"
            )
        elif isinstance(callback, keras.callbacks.SwapEMAWeights):
            reason = "it needs an optimiser that averages weights, which this training has not"
        elif not len(data.validation) and _watches_validation(callback):
            reason = f"it watches {callback.monitor}, and there are no validation images"
        if reason:
            raise ValueError(f"{name} can't work here: {reason}. Received: a {name}.")


def _watches_validation(callback: keras.callbacks.Callback) -> bool:
    """Tell whether a callback decides by the validation data's loss or metric."""
    decides = getattr(callback, "save_best_only", True)
    return decides and str(getattr(callback, "monitor", "")).startswith("val_")


def train(
    model: keras.Model,
    batches: Batches,
    validation: Callable[[], tuple[np.ndarray, np.ndarray]] | None,
    recipe: Training,
    *,
    factors: Mapping[str, float] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    whole: keras.Model | None = None,
) -> dict[str, list[float]]:
    """Train a classifier.

    Where the recipe has patience, the weights of the epoch with the lowest validation loss are kept;
    elsewhere the last epoch's.

    Args:
        model: Keras model from inputs to probabilities ``[n, num_classes]``; changed in place.
        batches: Training inputs and integer labels.
        validation: Gives the inputs and labels to watch, or None. It is called only where the
            recipe or a callback watches them.
        recipe: How to train.
        factors: Factor on the learning rate by a variable's path. Defaults to 1 for all.
        callbacks: More Keras callbacks. Defaults to none.
        whole: The model that a ``ModelCheckpoint`` saves, where it is not the one trained but has
            its layers. Defaults to ``model``.

    Returns:
        Loss and accuracy of each epoch, by name; ``val_`` before those of the validation data.
    """
    steps = recipe.epochs * len(batches)
    model.compile(
        LayerwiseAdamW(
            warm_up_then_cosine(recipe.learning_rate, steps, recipe.warmup),
            weight_decay=recipe.weight_decay,
            global_clipnorm=1.0,
            factors=factors,
        ),
        "sparse_categorical_crossentropy",
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        steps_per_execution=steps_per_execution(),
    )
    # All variables exist before the first step, the metric's too: Keras makes those left out while
    # it traces that step, and TensorFlow then traces it again, which takes seconds a run.
    model.optimizer.build(model.trainable_variables)
    stopping = []
    if validation is not None and recipe.patience is not None:
        stopping = [
            keras.callbacks.EarlyStopping(
                "val_loss", patience=recipe.patience, restore_best_weights=True
            )
        ]

    def begin(logs: Any) -> None:
        """Let checkpoints be of the whole network, not of one that takes maps."""
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.ModelCheckpoint):
                callback.set_model(whole or model)

    counter = keras.callbacks.LambdaCallback(
        on_train_begin=begin, on_epoch_begin=lambda epoch, logs: batches.start_epoch(epoch)
    )
    # Looked at only where it decides something: with small data it would take a third of the time.
    watched = validation is not None and any(map(_watches_validation, [*stopping, *callbacks]))
    weights = class_weights(
        np.bincount(batches.labels, minlength=model.output_shape[-1]).tolist(), recipe.class_weight
    )
    held_out: tuple[np.ndarray, ...] | None = None
    if validation is not None and watched:
        inputs, labels = validation()
        held_out = (inputs, labels)
        if weights is not None:  # Keras leaves the validation loss unweighted, to stop by another
            held_out += (np.array([weights[label] for label in labels.tolist()], np.float32),)
    with progress_bar(steps, "training", " batches") as batches.bar:
        history = model.fit(
            batches,
            epochs=recipe.epochs,
            shuffle=False,  # they are shuffled, by the seed; Keras would draw another order of batches
            class_weight=weights,
            validation_data=held_out,
            validation_batch_size=min(256, inference_batch_size(model.input_shape[1])),
            callbacks=[counter, *stopping, *callbacks],
            verbose=0,
        )
    return {name: [float(value) for value in values] for name, values in history.history.items()}
