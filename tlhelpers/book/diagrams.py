"""Diagrams of the first chapter, drawn so that they can be read on a phone and in Colab alike."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tlhelpers.evaluation.plots import STYLE, finish

# Narrow enough that letters stay legible when a phone shrinks the figure to its width.
WIDTH = 4.9
INK, FAINT = "#222222", "#6b6b6b"
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#6b6b6b"
PALE = {BLUE: "#e3f0f8", ORANGE: "#fbe9df", GREEN: "#e0f3ed", GREY: "#f1f1f1"}


def source_and_target() -> Figure:
    """Draw two networks that share their layers and differ in photographs and head.

    Domain and task are named as by Pan & Yang 2010, doi:10.1109/TKDE.2009.191.

    Returns:
        The figure.

    Example:
        >>> len(source_and_target().axes)
        1
    """
    figure, axis = _canvas(10, 9.9)
    left, right, width = 0.1, 5.7, 4.2
    for x, title, labels in ((left, "Source", "many labels"), (right, "Target", "few labels")):
        axis.text(x + width / 2, 9.62, title, ha="center", va="center", weight="bold", size=12)
        axis.text(x + width / 2, 9.16, labels, ha="center", va="center", size=10, color=FAINT)
    rows = (
        (7.0, ORANGE, "source head\n1,000 classes", GREEN, "target head\ncat or dog"),
        (4.9, BLUE, "later layers\nparts, textures", BLUE, "later layers\nparts, textures"),
        (2.8, BLUE, "early layers\nedges, colours", BLUE, "early layers\nedges, colours"),
        (0.7, GREY, "photographs\nof ImageNet", GREY, "photographs of\ncats and dogs"),
    )
    for y, colour, text, other, other_text in rows:
        _box(axis, left, y, width, 1.3, text, colour)
        _box(axis, right, y, width, 1.3, other_text, other)
        if y > 1:
            for x in (left, right):
                _arrow(axis, (x + width / 2, y - 0.75), (x + width / 2, y - 0.06), GREY)
    for y in (5.55, 3.45):
        _arrow(axis, (left + width + 0.1, y), (right - 0.1, y), BLUE, width=2.2)
    axis.text(5, 4.52, "copied", ha="center", va="center", size=10, color=BLUE)
    axis.text(5, 7.65, "not\ncopied", ha="center", va="center", size=10, color=FAINT)
    for x, letter in ((left, "S"), (right, "T")):
        task = rf"task $\{{\mathcal{{Y}}_{letter},\,P(Y_{letter}|X_{letter})\}}$"
        domain = rf"domain $\{{\mathcal{{X}}_{letter},\,P(X_{letter})\}}$"
        for y, text in ((8.6, task), (0.4, domain)):
            axis.text(x + width / 2, y, text, ha="center", va="center", size=9.5, color=INK)
    return finish(figure)


def four_steps() -> Figure:
    """Draw the four steps of a transfer, with the way back from the last one.

    Returns:
        The figure.

    Example:
        >>> four_steps().axes[0].texts[0].get_text()
        '1  Select a base'
    """
    steps = (
        ("1  Select a base", "a source that has to do with the target,\nand its own preprocessing"),
        ("2  Adapt it", "take off the source's head, put on one\nfor the target's classes"),
        ("3  Train", "the new head first; then, if it pays,\nsome of the base"),
        ("4  Evaluate", "choose on validation data, test once,\nbeside a run from scratch"),
    )
    figure, axis = _canvas(10, 9.3)
    width, height, gap = 8.2, 1.75, 0.6
    middles = []
    for place, (title, text) in enumerate(steps):
        y = 9.2 - (place + 1) * height - place * gap
        _box(axis, 0.1, y, width, height, "", GREEN if place == 3 else BLUE)
        axis.text(0.45, y + height - 0.42, title, va="center", weight="bold", size=11, color=INK)
        axis.text(0.45, y + 0.6, text, va="center", size=10, color=INK, linespacing=1.25)
        middles.append(y + height / 2)
        if place:
            top = y + height
            _arrow(axis, (0.1 + width / 2, top + gap - 0.04), (0.1 + width / 2, top + 0.06), GREY)
    back = 9.0
    axis.plot([8.4, back, back], [middles[3], middles[3], middles[1]], color=ORANGE, lw=1.6)
    _arrow(axis, (back, middles[1]), (8.4, middles[1]), ORANGE)
    axis.text(
        9.45,
        (middles[1] + middles[3]) / 2,
        "not good enough: adapt again",
        rotation=270,
        ha="center",
        va="center",
        size=10,
        color=ORANGE,
    )
    return finish(figure)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Make an empty drawing area whose units are equal on both axes."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, WIDTH * height / width))
    axis.set_xlim(0, width)
    axis.set_ylim(0, height)
    axis.axis("off")
    return figure, axis


def _box(
    axis: Axes, x: float, y: float, width: float, height: float, text: str, colour: str
) -> None:
    """Draw a box with rounded corners and centred text."""
    pad = 0.12
    axis.add_patch(
        FancyBboxPatch(
            (x + pad, y + pad),
            width - 2 * pad,
            height - 2 * pad,
            boxstyle=f"round,pad={pad},rounding_size=0.2",
            facecolor=PALE[colour],
            edgecolor=colour,
            linewidth=1.3,
        )
    )
    if text:
        axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=10, color=INK)


def _arrow(
    axis: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    width: float = 1.5,
) -> None:
    """Draw a straight arrow."""
    style = {"arrowstyle": "-|>", "color": colour, "lw": width, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", xy=end, xytext=start, arrowprops=style)
