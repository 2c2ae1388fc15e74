"""Learning curves: drawn as they grow where somebody watches, and once where nobody does."""

import sys
from types import ModuleType, SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tlhelpers.evaluation import plots

HISTORY = {
    "loss": [1.0, 0.5, 0.4],
    "accuracy": [0.5, 0.7, 0.8],
    "val_loss": [1.1, 0.9, 0.8],
    "val_accuracy": [0.4, 0.6, 0.7],
}


def test_learning_curves():
    loss, accuracy = plots.learning_curves(HISTORY).axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss, nats", "accuracy, %")
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), [40, 60, 70])
    assert list(loss.lines[0].get_xdata()) == [1, 2, 3]
    without = {"loss": [1.0], "accuracy": [0.5]}
    assert [len(axis.lines) for axis in plots.learning_curves(without).axes] == [1, 1]
    with pytest.raises(ValueError, match="an empty history; a head fitted in closed form"):
        plots.learning_curves({})

    assert len(plots.learning_curves({"loss": [1.0]}).axes[1].lines) == 0
    assert plt.get_fignums() == []


class ZMQInteractiveShell:
    """What a notebook's kernel is called."""


class Display:
    """Stands in for IPython's display, and keeps what is shown."""

    def __init__(self):
        self.shown, self.updated = [], []

    def __call__(self, figure, display_id=None):
        self.shown.append(figure)
        return SimpleNamespace(update=self.updated.append) if display_id else None


@pytest.fixture
def display(monkeypatch):
    display = Display()
    monkeypatch.delenv("TLH_LIVE", raising=False)
    monkeypatch.setattr("IPython.display.display", display)
    return display


def train(callback, epochs=3):
    callback.on_train_begin()
    for epoch in range(epochs):
        callback.on_epoch_end(epoch, {name: values[epoch] for name, values in HISTORY.items()})
    callback.on_train_end()


class TestLive:
    def test_not_in_a_test(self):
        assert plots.live() is False

    def test_in_a_kernel_unless_told_otherwise(self, monkeypatch, display):
        monkeypatch.setattr("IPython.get_ipython", ZMQInteractiveShell)
        assert plots.live() is True
        monkeypatch.setenv("TLH_LIVE", "0")
        assert plots.live() is False

    def test_without_ipython(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "IPython", None)
        monkeypatch.setitem(sys.modules, "IPython.display", None)
        assert plots.live() is False
        train(plots.live_curves())

    def test_a_module_that_is_not_ipython(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
        assert plots.live() is False

    def test_curves_grow_in_place_where_somebody_watches(self, monkeypatch, display):
        monkeypatch.setattr("IPython.get_ipython", ZMQInteractiveShell)
        train(plots.live_curves("Tuning"))
        assert len(display.shown) == 1
        assert len(display.updated) == 2
        drawn = [
            figure.axes[0].lines[0].get_xdata() for figure in [*display.shown, *display.updated]
        ]
        assert [len(epochs) for epochs in drawn] == [1, 2, 3]

    def test_one_picture_at_the_end_where_nobody_does(self, monkeypatch, display):
        train(plots.live_curves())
        assert len(display.shown) == 1
        assert not display.updated
        assert len(display.shown[0].axes[0].lines[0].get_xdata()) == 3

    def test_a_callback_can_be_used_twice(self, monkeypatch, display):
        callback = plots.live_curves()
        train(callback)
        train(callback, epochs=2)
        assert len(display.shown) == 2
        assert len(display.shown[1].axes[0].lines[0].get_xdata()) == 2
