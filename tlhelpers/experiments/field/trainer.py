"""A small network that is trained many times, compiled once: it takes weights and gives them back."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

Arrays = list[np.ndarray]


class Trainer:
    """Trains by Adam at a constant rate, for some numbers of steps.

    Attributes:
        model: The network, whose weights are whatever was used last.
        late: The same up to its last hidden layer.
    """

    def __init__(
        self, model: "keras.Model", loss: Callable[[Any, Any], Any], late: int, batch: int = 32
    ) -> None:
        """Compile.

        Args:
            model: The network; frozen layers stay as they are.
            loss: Takes truth and outputs, and gives a loss for each example.
            late: Place of the last hidden layer among the model's layers.
            batch: Examples in a step. Defaults to 32.
        """
        import keras
        import tensorflow as tf

        self.model, self.batch = model, batch
        self.late = keras.Model(model.inputs[0], model.layers[late].output)
        self.optimiser = keras.optimizers.Adam()
        variables = model.trainable_variables
        self.optimiser.build(variables)

        @tf.function(reduce_retracing=True, jit_compile=False)
        def step(x: Any, y: Any, rate: Any) -> None:
            """Take one step."""
            with tf.GradientTape() as tape:
                value = tf.reduce_mean(loss(y, model(x, training=True)))
            self.optimiser.learning_rate.assign(rate)
            self.optimiser.apply(tape.gradient(value, variables), variables)

        self.step = step

    def fit(
        self,
        start: Arrays,
        x: np.ndarray,
        y: np.ndarray,
        rate: float,
        lengths: Sequence[int],
        seed: int,
        prepare: Callable[[np.ndarray, np.random.Generator], Any] | None = None,
    ) -> dict[int, Arrays]:
        """Train from a start, and return the weights after each of some numbers of steps.

        Args:
            start: Weights, as the model gives them.
            x: Inputs.
            y: Truth.
            rate: Learning rate.
            lengths: Numbers of steps.
            seed: Of the order, and of dropout.
            prepare: Makes a batch of inputs and truth from row numbers and a generator. Defaults to
                those rows.

        Returns:
            Weights by number of steps.
        """
        import keras

        keras.utils.set_random_seed(seed)
        rng = np.random.default_rng(seed)
        self.model.set_weights(start)
        for variable in self.optimiser.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        kept: dict[int, Arrays] = {}
        left = np.empty(0, int)
        for step in range(1, max(lengths) + 1):
            while len(left) < self.batch:
                left = np.concatenate([left, rng.permutation(len(x))])
            rows, left = left[: self.batch], left[self.batch :]
            inputs, truth = prepare(rows, rng) if prepare else (x[rows], y[rows])
            self.step(inputs, truth, np.float32(rate))
            if step in lengths:
                kept[step] = self.model.get_weights()
        return kept

    def outputs(self, weights: Arrays, x: np.ndarray, *, late: bool = False) -> np.ndarray:
        """Return what the network, or its last hidden layer, makes of inputs.

        Args:
            weights: As :meth:`fit` gives them.
            x: Inputs.
            late: Whether to return the last hidden layer's. Defaults to False.
        """
        self.model.set_weights(weights)
        model = self.late if late else self.model
        parts = [np.asarray(model(x[i : i + 250])) for i in range(0, len(x), 250)]
        return np.concatenate(parts)
