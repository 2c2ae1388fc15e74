"""What an experiment is: a plan by networks, labels and seeds, a loader, and what runs one result."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from tlhelpers.experiments.records import Settings

if TYPE_CHECKING:
    from tlhelpers.data.splits import Dataset
    from tlhelpers.transfer.runs import Run


@dataclass(frozen=True)
class Experiment:
    """What is run, in which order, and how.

    Attributes:
        plan: Takes a number of seeds, or None for the usual one, and gives the settings of each
            result in the order of running: ``backbone``, ``cut``, ``image_size``, ``method``,
            ``labels`` (labelled images a class, those for validation included) and ``seed``.
        load: Gives the whole data set for a result's settings.
        run: Gives a result from its settings and the data set.
        more: Gives further figures of a run to record. Defaults to none.
    """

    plan: Callable[[int | None], Iterable[Settings]]
    load: "Callable[[Settings], Dataset]"
    run: "Callable[[Settings, Dataset], Run]"
    more: "Callable[[Run], dict[str, Any]] | None" = None


def grid(
    networks: Sequence[Settings], labels: Sequence[int], seeds: int
) -> Callable[[int | None], list[Settings]]:
    """Plan each network for each number of labels and seed, the fewest labels first.

    Args:
        networks: ``backbone``, ``cut``, ``image_size`` and ``method`` of each.
        labels: Numbers of labelled images a class.
        seeds: The usual number of seeds.

    Returns:
        The plan, as :class:`Experiment` takes it.

    Example:
        >>> [row["labels"] for row in grid([{"backbone": "vgg16"}], (20, 100), 5)(2)]
        [20, 20, 100, 100]
    """
    return lambda chosen: [
        {**one, "labels": n, "seed": seed}
        for n, seed, one in product(labels, range(chosen or seeds), networks)
    ]


def load_real(dataset: str) -> "Callable[[Settings], Dataset]":
    """Return what loads a published data set; the seed decides which images are for validation.

    Args:
        dataset: Name for :func:`tlhelpers.load_dataset`.

    Returns:
        The loader, as :class:`Experiment` takes it.

    Example:
        >>> load_real("digits")({"image_size": 28, "seed": 0}).num_classes  # doctest: +SKIP
        10
    """

    def load(settings: Settings) -> "Dataset":
        """Load the data set."""
        from tlhelpers.data.datasets import load_dataset

        size, seed = settings["image_size"], settings["seed"]
        return load_dataset(dataset, tier="real", image_size=size, seed=seed)

    return load
