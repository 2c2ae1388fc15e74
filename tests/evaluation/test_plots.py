"""Figures: each has its axes named, shows what was measured, and is not left open."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from toys import random_images, striped_data

from tlhelpers.evaluation import plots
from tlhelpers.evaluation.scores import Score, reliability
from tlhelpers.transfer.runs import Run


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

    return Run("frozen", None, striped_data(test=20), {}, 1.0, {}, None, 1, predict)


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_every_figure_can_be_drawn_and_names_its_axes():
    scores = [Score(0.7, 0.6, 0.8, 100), Score(0.9, 0.8, 0.95, 100)]
    figures = {
        "grid": plots.image_grid(random_images(5), columns=3),
        "scores": plots.score_figure(["scratch", "frozen"], scores, 0.9, "majority class"),
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


def test_a_grid_has_columns():
    with pytest.raises(ValueError, match=r"columns must be at least 1\. Received: 0\."):
        plots.image_grid(np.zeros((2, 8, 8, 3), np.uint8), columns=0)


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
