"""Figures: each has its axes named, shows what was measured, and is not left open."""

import sys
from types import ModuleType, SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from toys import random_images, striped_data

from tlhelpers.evaluation import plots
from tlhelpers.evaluation.scores import Score, reliability
from tlhelpers.transfer.runs import Run

HISTORY = {
    "loss": [1.0, 0.5, 0.4],
    "accuracy": [0.5, 0.7, 0.8],
    "val_loss": [1.1, 0.9, 0.8],
    "val_accuracy": [0.4, 0.6, 0.7],
}


@pytest.fixture(autouse=True)
def none_left_open():
    plt.close("all")
    yield
    assert plt.get_fignums() == []


def made_up(wrong=3):
    """A run that is surer of its first mistake than of the next."""

    def predict(split):
        sure = np.linspace(0.95, 0.6, len(split))
        labels = split.labels.copy()
        labels[:wrong] = 1 - labels[:wrong]
        probabilities = np.empty((len(split), 2))
        probabilities[np.arange(len(split)), labels] = sure
        probabilities[np.arange(len(split)), 1 - labels] = 1 - sure
        return probabilities

    return Run("frozen", None, striped_data(test=20), HISTORY, 1.0, {}, None, 1, predict)


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_every_figure_can_be_drawn_and_names_its_axes():
    scores = [Score(0.7, 0.6, 0.8, 100), Score(0.9, 0.8, 0.95, 100)]
    figures = {
        "grid": plots.image_grid(random_images(5), columns=3),
        "scores": plots.score_figure(["scratch", "frozen"], scores, 0.9, "majority class"),
        "curves": plots.learning_curves(HISTORY, "Tuning"),
        "mistakes": plots.worst_mistakes(made_up()),
        "reliability": plots.reliability_diagram(made_up()),
    }
    for name, figure in figures.items():
        assert isinstance(figure, Figure), name
        figure.canvas.draw()
        for axis in figure.axes:
            if axis.axison:
                assert axis.get_xlabel(), name
                assert axis.get_ylabel() or axis.get_yticklabels()[0].get_text(), name


def test_colours_follow_the_method():
    assert plots.colour_of("frozen") == plots.colour_of("frozen, 224 px", 5)
    methods = {plots.colour_of(name) for name in ("scratch", "frozen", "tuned")}
    assert len(methods) == 3
    assert plots.colour_of("another", 1) == plots.CYCLE[1]
    assert plots.colour_of("another", len(plots.CYCLE)) == plots.CYCLE[0]


def test_image_grid():
    images = random_images(5)
    figure = plots.image_grid(images, list("abcde"), columns=3)
    assert len(figure.axes) == 6
    assert [axis.get_title() for axis in figure.axes] == [*"abcde", ""]
    np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), images[4])
    with pytest.raises(ValueError, match="5 images, 2 titles"):
        plots.image_grid(images, ["a", "b"])
    with pytest.raises(ValueError, match="0 images, no titles"):
        plots.image_grid(images[:0])


def test_scores_show_intervals_and_the_reference():
    scores = [Score(0.7, 0.6, 0.8, 1000), Score(0.9, 0.85, 0.95, 1000)]
    (axis,) = plots.score_figure(["scratch", "tuned"], scores, 0.5, "chance").axes
    lines = [line.get_xdata() for line in axis.lines]
    assert any(np.allclose(line, [60, 80]) for line in lines)
    assert any(np.allclose(line, [85, 95]) for line in lines)
    assert any(np.allclose(line, [50, 50]) for line in lines)
    assert {"70.0%", "90.0%", "chance"} <= set(texts(axis))
    assert "1,000 images" in axis.get_xlabel()


def test_the_reference_is_named_inside_the_figure():
    scores = [Score(0.97, 0.95, 0.99, 300)] * 2
    figure = plots.score_figure(["scratch", "tuned"], scores, 0.95, "majority class")
    figure.canvas.draw()
    (name,) = [text for text in figure.axes[0].texts if text.get_text() == "majority class"]
    assert name.get_window_extent().x1 <= figure.axes[0].bbox.x1


def test_worst_mistakes_come_first():
    run = made_up(wrong=3)
    figure = plots.worst_mistakes(run, n=2)
    titles = [axis.get_title(loc="center") for axis in figure.axes]
    assert titles[0] == "lying, taken for\nstanding at 95%"
    assert len(figure.axes) == 2
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), run.data.test.images[0])
    with pytest.raises(ValueError, match="no mistake on these 20 images"):
        plots.worst_mistakes(made_up(wrong=0))


def test_reliability_diagram():
    run = made_up()
    measured = reliability(run.probabilities(), run.data.test.labels)
    (axis,) = plots.reliability_diagram(run).axes
    shown = np.asarray(axis.collections[0].get_offsets())
    np.testing.assert_allclose(shown[:, 0], 100 * measured.confidence)
    np.testing.assert_allclose(shown[:, 1], 100 * measured.accuracy)
    assert f"{measured.error:.3f}" in axis.get_title(loc="left")


# Learning curves: drawn as they grow where somebody watches, and once where nobody does


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
