"""Put runs side by side: accuracy with intervals, gain over the first, cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tlhelpers.evaluation.scores import Score, paired_difference

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from tlhelpers.transfer.runs import Run


@dataclass(frozen=True)
class Comparison:
    """Runs on the same test images, compared.

    Attributes:
        runs: The runs, the baseline first.
        gains: Difference in accuracy of each run from the first, paired image by image.
        table: One row a run, as a pandas ``DataFrame``.
        figure: Accuracy with 95 % intervals, as a Matplotlib ``Figure``.
    """

    runs: "tuple[Run, ...]"
    gains: tuple[Score, ...]
    table: "pandas.DataFrame"
    figure: "Figure"

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        return self.table.to_html(border=0)

    def __repr__(self) -> str:
        """Show the table as text."""
        return self.table.to_string()


def compare(runs: "Sequence[Run]", *, split: str = "test") -> Comparison:
    """Compare runs on the same images.

    Args:
        runs: At least two runs; the first is the baseline, usually :func:`from_scratch`.
        split: ``"test"`` or ``"validation"``. Use the second while you are still choosing. Defaults
            to ``"test"``.

    Returns:
        Table and figure with 95 % intervals. A gain whose interval contains 0 may be chance.

    Raises:
        ValueError: If there are fewer than two runs, or they were scored on different images.

    Example:
        >>> compare([blank, probe, tuned]).table.index.tolist()  # doctest: +SKIP
        ['scratch', 'frozen', 'tuned']
    """
    import pandas

    from tlhelpers.evaluation.plots import score_figure

    runs = tuple(runs)
    if len(runs) < 2:
        raise ValueError(f"A comparison takes at least two runs. Received: {len(runs)}.")
    digests = {getattr(run.data, split).digest for run in runs}
    sizes = {run.data.image_size for run in runs}
    labels = {getattr(run.data, split).labels.tobytes() for run in runs}
    # The same images have other digests in another size, but never other labels.
    if len(labels) > 1 or (len(digests) > 1 and len(sizes) == 1):
        raise ValueError(
            f"Runs can only be compared on the same {split} images. Received: runs on "
            f"{', '.join(sorted({run.data.name for run in runs}))} with different {split} splits."
        )
    scores = [getattr(run, split) for run in runs]
    gains = tuple(paired_difference(runs[0].right(split), run.right(split)) for run in runs)
    table = pandas.DataFrame(
        {
            f"{split} accuracy": [f"{s.accuracy:.1%}" for s in scores],
            "95 % interval": [f"{s.low:.1%} to {s.high:.1%}" for s in scores],
            f"gain over {runs[0].name}": ["", *(_points(gain) for gain in gains[1:])],
            "trained parameters": [f"{run.config['trained_parameters']:,}" for run in runs],
            "seconds": [f"{run.seconds:.0f}" for run in runs],
        },
        index=[run.name for run in runs],
    )
    chance = 1 / runs[0].data.num_classes
    return Comparison(runs, gains, table, score_figure([r.name for r in runs], scores, chance))


def _points(gain: Score) -> str:
    """Write a gain in percentage points, with its interval."""
    low, high = 100 * gain.low, 100 * gain.high
    return f"{100 * gain.accuracy:+.1f} points ({low:+.1f} to {high:+.1f})"


def spread(accuracies: Sequence[float]) -> str:
    """Write accuracies of repeated runs as lowest ← median → highest, in percent.

    Args:
        accuracies: One accuracy a seed, 0 to 1.

    Returns:
        Such as ``"71.0 ← 74.5 → 77.0 % (3 seeds)"``, or ``"71.0 % (1 seed)"``.

    Raises:
        ValueError: If there are none.

    Example:
        >>> spread([0.71, 0.77, 0.745])
        '71.0 ← 74.5 → 77.0 % (3 seeds)'
    """
    if not len(accuracies):
        raise ValueError("A spread needs at least one accuracy. Received: none.")
    low, middle, high = (100 * f(accuracies) for f in (np.min, np.median, np.max))
    if len(accuracies) == 1:
        return f"{middle:.1f} % (1 seed)"
    return f"{low:.1f} ← {middle:.1f} → {high:.1f} % ({len(accuracies)} seeds)"
