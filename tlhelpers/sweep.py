"""The study's other half: targets of growing relatedness to one source, at the same size."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tlhelpers.study import LABELS, METHODS, SEEDS, SWEEP_NAME, Target, load_target, run_missing

RELATEDNESS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Share of the target's pictures that show a pet, whose parts the source's forms have too."""


def target_at(relatedness: float) -> Target:
    """Return drawn pets of 32 pixels, of which some share is replaced by gratings.

    Args:
        relatedness: Share of pictures that show a pet, 0 to 1; the label of the others is the
            direction of their stripes.

    Returns:
        The target.

    Example:
        >>> target_at(0.5).knobs["relatedness"]
        0.5
    """
    return Target("cats_dogs", "embedded", 32, {"n": 1000, "relatedness": relatedness})


def run_sweep(
    folder: str | os.PathLike[str],
    *,
    labels: Sequence[int] = LABELS,
    seeds: int = SEEDS,
) -> Iterator[dict[str, Any]]:
    """Run what is missing of the comparison at each relatedness, one seed of all at a time.

    Args:
        folder: Folder of the JSON file.
        labels: Labelled images a class, those for validation included. Defaults to 5, 20, 100
            and 500.
        seeds: Number of seeds. Defaults to 5.

    Yields:
        Each new result.

    Example:
        >>> next(run_sweep("results", labels=[5], seeds=1))["relatedness"]  # doctest: +SKIP
        1.0
    """
    from tlhelpers.backbones import load_backbone

    path = Path(folder) / f"{SWEEP_NAME}.json"
    base = load_backbone("vgg16_mini", target_at(1.0).image_size)
    for seed in range(seeds):
        # The baseline's recipe is chosen on the first target: on pets without gratings.
        for relatedness in reversed(RELATEDNESS):
            target = target_at(relatedness)
            data = load_target(target, seed)
            for n in labels:
                few = data.few(n, seed=seed)
                about = {"relatedness": relatedness}
                yield from run_missing(path, target, base, few, n, seed, METHODS, about)
