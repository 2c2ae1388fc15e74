"""Learning curves: drawn as training goes on where somebody watches, and once where nobody does."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tlhelpers.plots import STYLE, finish

if TYPE_CHECKING:
    import keras


def learning_curves(history: Mapping[str, Sequence[float]], title: str = "") -> Figure:
    """Draw loss and accuracy of each epoch, on training and validation images.

    Args:
        history: What a run's ``history`` or Keras's ``History.history`` holds.
        title: Title of the figure. Defaults to none.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no epoch in it.

    Example:
        >>> len(learning_curves({"loss": [1.0, 0.5], "accuracy": [0.5, 0.7]}).axes)
        2
    """
    if not history.get("loss"):
        raise ValueError(
            "Curves need at least one epoch's loss. "
            f"Received: {list(history) or 'an empty history'}; a head fitted in closed form has none."
        )
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.8))
        draw_curves(axes, history)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return finish(figure)


def draw_curves(axes: Sequence[Axes], history: Mapping[str, Sequence[float]]) -> None:
    """Draw loss and accuracy into two axes.

    Args:
        axes: Two axes.
        history: Figures of each epoch, by name.
    """
    for axis, key, label in zip(
        axes, ("loss", "accuracy"), ("loss, nats", "accuracy, %"), strict=True
    ):
        factor = 1 if key == "loss" else 100
        for name, style in ((key, "-"), (f"val_{key}", "--")):
            values = [factor * value for value in history.get(name, [])]
            if values:
                epochs = range(1, len(values) + 1)
                split = "validation" if name.startswith("val_") else "training"
                axis.plot(
                    epochs, values, style, label=split, marker="." if len(values) < 40 else ""
                )
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        if axis.lines:
            axis.legend()


def live() -> bool:
    """Tell whether somebody is watching a notebook: curves are then redrawn as they grow.

    Returns:
        False outside Jupyter, and where ``TLH_LIVE=0`` (as when a whole chapter is executed).

    Example:
        >>> live()
        False
    """
    if os.environ.get("TLH_LIVE") == "0":
        return False
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return type(get_ipython()).__name__ in ("ZMQInteractiveShell", "Shell")


def live_curves(title: str = "") -> "keras.callbacks.Callback":
    """Return a Keras callback that draws curves after each epoch, or once where nobody watches.

    Args:
        title: Title of the figure. Defaults to none.

    Returns:
        A callback for ``fit``, :func:`tlhelpers.model_transfer` or :func:`tlhelpers.from_scratch`.
    """
    import keras

    class LiveCurves(keras.callbacks.Callback):
        """Collect each epoch's figures and redraw them in place."""

        def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
            """Start with no epochs."""
            self.history: dict[str, list[float]] = {}
            self.shown: Any = None

        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            """Add an epoch."""
            for name, value in (logs or {}).items():
                self.history.setdefault(name, []).append(float(value))
            if live():
                self._draw()

        def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
            """Leave the whole curve behind."""
            if not live():
                self._draw()

        def _draw(self) -> None:
            """Draw the figure, or draw it again in its place."""
            try:
                from IPython.display import display
            except ImportError:
                return
            figure = learning_curves(self.history, title)
            if self.shown is None:
                self.shown = display(figure, display_id=live())
            else:
                self.shown.update(figure)

    return LiveCurves()
