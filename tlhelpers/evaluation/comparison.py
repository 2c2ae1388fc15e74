"""Put runs side by side: accuracy with intervals, gain over the first, cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.evaluation.scores import (
    Difference,
    balanced_accuracy,
    majority_accuracy,
    paired_difference,
)

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from tlhelpers.transfer.runs import Run

UNEVEN = 1.5
"""Above this ratio of the largest class to the smallest, accuracy alone misleads."""

THUMBNAIL, ALIKE, AT_MOST = 16, 4, 10
"""Pixels a side, and how far two images may differ on average and at most, in levels of 0 to 255.

Drawn in another size, the images of the book's worlds differ by 1 to 2.5 from themselves (at most by
5), and by 28 or more from any other.
"""


@dataclass(frozen=True)
class Comparison:
    """Runs on the same test images, compared.

    Attributes:
        runs: The runs, the baseline first.
        gains: Difference in accuracy of each run from the first, paired image by image.
        table: One row a run, as a pandas ``DataFrame``; with balanced accuracy where the largest
            class has more than 1.5 times the images of the smallest.
        figure: Accuracy with 95 % intervals, as a Matplotlib ``Figure``.
        reference: Accuracy of the constant answer, the most frequent class of the training labels;
            chance where all are equally frequent. It is the dotted line of the figure.
    """

    runs: tuple["Run", ...]
    gains: tuple[Difference, ...]
    table: "pandas.DataFrame"
    figure: "Figure"
    reference: float

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        return self.table.to_html(border=0)

    def __repr__(self) -> str:
        """Show the table as text."""
        return self.table.to_string()


def compare(runs: Sequence["Run"], *, split: str = "test") -> Comparison:
    """Compare runs on the same images.

    Args:
        runs: At least two runs; the first is the baseline, usually :func:`from_scratch`.
        split: ``"test"`` or ``"validation"``. Use the second while you are still choosing. Defaults
            to ``"test"``.

    Returns:
        Table and figure with 95 % intervals. A gain whose interval contains 0 may be chance.

    Raises:
        TypeError: If one of them is no run.
        ValueError: If there are fewer than two runs, they were scored on different images, or there
            is no such split.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("pets", n_train=80).few(20)
        >>> base = tl.load_backbone("vgg16_mini", data.image_size)
        >>> runs = [tl.feature_transfer(one, data) for one in (base.cut("block1_pool"), base)]
        >>> compare(runs).table.columns.tolist()[:3]
        ['test accuracy', '95 % interval', 'gain over frozen']
    """
    import pandas

    from tlhelpers.evaluation.plots import score_figure

    if split not in ("test", "validation"):
        raise ValueError(f"split is 'test' or 'validation'. Received: {split!r}.")
    runs = tuple(runs)
    if len(runs) < 2:
        raise ValueError(f"A comparison takes at least two runs. Received: {len(runs)}.")
    for run in runs:
        if not all(hasattr(run, name) for name in ("data", "right", "probabilities", split)):
            raise TypeError(
                "A comparison takes runs, such as feature_transfer gives. "
                f"Received: {type(run).__name__}."
            )
    first = getattr(runs[0].data, split)
    for run in runs[1:]:
        if not _same_images(first, getattr(run.data, split)):
            raise ValueError(
                f"Runs can only be compared on the same {split} images. Received: {runs[0].name!r} "
                f"on {runs[0].data.name} and {run.name!r} on {run.data.name}, whose {split} splits "
                "differ."
            )
    scores = [getattr(run, split) for run in runs]
    gains = tuple(paired_difference(runs[0].right(split), run.right(split)) for run in runs)
    columns = {
        f"{split} accuracy": [f"{s.accuracy:.1%}" for s in scores],
        "95 % interval": [f"{s.low:.1%} to {s.high:.1%}" for s in scores],
        f"gain over {runs[0].name}": ["", *(str(gain) for gain in gains[1:])],
        "trained parameters": [f"{run.config['trained_parameters']:,}" for run in runs],
        "seconds": [f"{run.seconds:.0f}" for run in runs],
    }
    table = pandas.DataFrame(columns, index=[run.name for run in runs])
    if _is_uneven(first.labels):
        answers = [run.probabilities(split).argmax(axis=1) for run in runs]
        balanced = [f"{balanced_accuracy(one, first.labels):.1%}" for one in answers]
        table.insert(2, "balanced accuracy", balanced)
    # Runs may have been trained on different labels: the constant answer that is hardest to beat.
    reference = max(majority_accuracy(run.data.train.labels, first.labels) for run in runs)
    named = "chance" if np.isclose(reference, 1 / runs[0].data.num_classes) else "majority class"
    figure = score_figure([run.name for run in runs], scores, reference, named)
    return Comparison(runs, gains, table, figure, reference)


def _same_images(one: Any, other: Any) -> bool:
    """Tell whether two splits hold the same images and labels in the same order, in any size."""
    if not np.array_equal(one.labels, other.labels):
        return False
    if one.digests() == other.digests():
        return True
    if one.image_size == other.image_size:
        return False
    # Images drawn in two sizes share no digest; shrunk to a few pixels they are nearly equal.
    pair = (split.load(image_size=THUMBNAIL).astype(float) for split in (one, other))
    apart = np.abs(np.subtract(*pair)).mean(axis=(1, 2, 3))
    return bool(apart.mean() <= ALIKE and apart.max() <= AT_MOST)


def _is_uneven(labels: np.ndarray) -> bool:
    """Tell whether the classes that occur differ much in number."""
    _, counts = np.unique(labels, return_counts=True)
    return bool(counts.max() > UNEVEN * counts.min())
