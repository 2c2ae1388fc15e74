"""The book's figures: one restrained style, readable without colour and on any background."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from tlhelpers.evaluation.scores import Score, reliability

if TYPE_CHECKING:
    from tlhelpers.transfer.runs import Run

# Okabe & Ito's palette, told apart by readers with any colour vision (jfly.uni-koeln.de/color).
COLOURS = {"scratch": "#6b6b6b", "frozen": "#0072b2", "tuned": "#d55e00"}
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#6b6b6b", "#e69f00", "#56b4e9")
STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "axes.prop_cycle": plt.cycler(color=CYCLE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "font.size": 10.5,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "savefig.facecolor": "white",
}


def finish(figure: Figure) -> Figure:
    """Close a figure, so that a notebook shows it once: as the cell's value.

    Args:
        figure: The figure.

    Returns:
        The same figure.
    """
    plt.close(figure)
    return figure


def colour_of(name: str, place: int = 0) -> str:
    """Return the colour of a method wherever it appears, or the cycle's for other names.

    Args:
        name: Such as ``"frozen"`` or ``"frozen, 224 px"``.
        place: Place in the cycle for other names. Defaults to 0.

    Returns:
        A hexadecimal colour.

    Example:
        >>> colour_of("frozen")
        '#0072b2'
    """
    for method, colour in COLOURS.items():
        if name.startswith(method):
            return colour
    return CYCLE[place % len(CYCLE)]


def image_grid(
    images: np.ndarray, titles: Sequence[str] | None = None, *, columns: int = 8, size: float = 1.1
) -> Figure:
    """Show images side by side.

    Args:
        images: uint8 ``[n, h, w, 3]``.
        titles: One a picture. Defaults to none.
        columns: Pictures in a row. Defaults to 8.
        size: Width of a picture in inches. Defaults to 1.1.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no images, not as many titles, or no column.

    Example:
        >>> image_grid(np.zeros((3, 8, 8, 3), np.uint8), ["a", "b", "c"]).axes[0].get_title()
        'a'
    """
    if columns < 1:
        raise ValueError(f"columns must be at least 1. Received: {columns}.")
    if not len(images) or (titles is not None and len(titles) != len(images)):
        raise ValueError(
            "A grid needs at least one image, and as many titles as images. "
            f"Received: {len(images)} images, {'no' if titles is None else len(titles)} titles."
        )
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height = size * (1.0 if titles is None else 1.28)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(columns * size, rows * height), squeeze=False
        )
        for place, axis in enumerate(axes.flat):
            axis.axis("off")
            if place < len(images):
                axis.imshow(images[place], interpolation="nearest")
                if titles is not None:
                    axis.set_title(titles[place], fontsize=8, loc="center")
    return finish(figure)


def score_figure(
    names: Sequence[str], scores: Sequence[Score], reference: float, reference_name: str
) -> Figure:
    """Draw accuracies with their 95 % intervals, one below the other.

    Args:
        names: Name of each run.
        scores: Score of each run.
        reference: Accuracy that no training takes, drawn as a dotted line.
        reference_name: What the line is called: "chance" or "majority class".

    Returns:
        The figure.
    """
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.4, 0.8 + 0.5 * len(names)))
        for place, (name, score) in enumerate(zip(names, scores, strict=True)):
            colour = colour_of(name, place)
            axis.plot([100 * score.low, 100 * score.high], [place, place], color=colour, lw=2.5)
            axis.plot(100 * score.accuracy, place, "o", color=colour, ms=8)
            above: Any = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
            mark = (100 * score.accuracy, place)
            axis.annotate(f"{score.accuracy:.1%}", mark, color=colour, **above)
        axis.axvline(100 * reference, color="#999999", ls=":", lw=1.2)
        spot = (100 * reference, len(names) - 0.45)
        side = "right" if reference > 0.6 else "left"  # of a line near the edge, the inner one
        axis.annotate(reference_name, spot, ha=side, color="#6b6b6b", fontsize=9)
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.4, -0.75)
        lowest = min([100 * reference, *(100 * score.low for score in scores)])
        axis.set_xlim(max(0, lowest - 4), 101)
        axis.set_xlabel(f"accuracy on {scores[0].n:,} images, % (bars: 95 % interval)")
        axis.grid(axis="y", visible=False)
    return finish(figure)


def worst_mistakes(run: "Run", n: int = 8, split: str = "test") -> Figure:
    """Show the images the run is most sure of and wrong about.

    Args:
        run: The run.
        n: How many, at most. Defaults to 8.
        split: ``"test"`` or ``"validation"``. Defaults to ``"test"``.

    Returns:
        The figure, each picture with what it was taken for and with which probability.

    Raises:
        ValueError: If there are no mistakes.
    """
    probabilities = run.probabilities(split)
    images = getattr(run.data, split)
    wrong = np.flatnonzero(~run.right(split))
    if not len(wrong):
        raise ValueError(
            f"The run makes no mistake on these {len(images)} images: nothing to show."
        )
    confidence = probabilities.max(axis=1)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:n]
    names = run.data.class_names
    titles = [
        f"{names[images.labels[i]]}, taken for\n{names[probabilities[i].argmax()]} at {confidence[i]:.0%}"
        for i in worst
    ]
    return image_grid(images.load(worst), titles, columns=4, size=1.55)


def reliability_diagram(run: "Run", split: str = "test") -> Figure:
    """Draw accuracy against confidence: on the diagonal, the model is as sure as it should be.

    Args:
        run: The run.
        split: ``"test"`` or ``"validation"``. Defaults to ``"test"``.

    Returns:
        The figure; the area of a point is its number of images.
    """
    measured = reliability(run.probabilities(split), getattr(run.data, split).labels)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(3.8, 3.5))
        axis.plot([0, 100], [0, 100], ":", color="#999999")
        area = 20 + 380 * measured.count / measured.count.max()
        confidence, accuracy = 100 * measured.confidence, 100 * measured.accuracy
        axis.scatter(confidence, accuracy, area, color=colour_of(run.name), alpha=0.6)
        axis.set_xlim(45 if run.data.num_classes == 2 else 0, 102)
        axis.set_ylim(0, 105)
        axis.set_xlabel("confidence, %")
        axis.set_ylabel("accuracy, %")
        axis.set_title(f"calibration error {measured.error:.3f}")
    return finish(figure)
