"""Diagrams: every word is inside the picture and no two lie on one another."""

import itertools

import matplotlib.pyplot as plt
import pytest

from tlhelpers.book import diagrams

DRAWN = (diagrams.source_and_target, diagrams.four_steps)


@pytest.mark.parametrize("draw", DRAWN)
def test_words_are_inside_and_apart(draw):
    figure = draw()
    figure.canvas.draw()
    (axis,) = figure.axes
    boxes = [text.get_window_extent() for text in axis.texts if text.get_text()]
    assert len(boxes) > 5
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


@pytest.mark.parametrize("draw", DRAWN)
def test_diagrams_fit_a_phone(draw):
    """Shrunk to 350 pixels, the smallest letters are still about nine pixels high."""
    figure = draw()
    smallest = min(text.get_size() for text in figure.axes[0].texts if text.get_text())
    assert smallest / 72 * 350 / figure.get_size_inches()[0] >= 9
    assert not plt.fignum_exists(figure.number)


def test_source_and_target_share_layers_and_not_heads():
    words = [text.get_text() for text in diagrams.source_and_target().axes[0].texts]
    layers = [word for word in words if "layers" in word]
    heads = [word for word in words if "head" in word]
    assert len(layers) == 4
    assert len(set(layers)) == 2
    assert len(set(heads)) == 2
