"""The study's other half: the same target, ever less related to the source."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlhelpers.records import open_record, write_record
from tlhelpers.study import LABELS, SEEDS, SWEEP_NAME, SWEPT, TARGETS
from tlhelpers.study_cell import (
    METHODS,
    Target,
    check_methods,
    has_baseline,
    load_target,
    run_missing,
)

RELATEDNESS = (0.0, 0.25, 0.5, 0.75)
"""Share of the target's pictures that show a pet, whose parts the source's forms have too.

The study's own pets are the fifth point, at 1."""

PETS = TARGETS[SWEPT]


def target_at(relatedness: float) -> Target:
    """Return the study's drawn pets, of which some share is replaced by gratings.

    Args:
        relatedness: Share of pictures that show a pet, 0 to 1; the label of the others is the
            direction of their stripes.

    Returns:
        The target.

    Example:
        >>> target_at(0.5).knobs["relatedness"]
        0.5
    """
    return replace(PETS, knobs={**PETS.knobs, "relatedness": relatedness})


def run_sweep(
    folder: str | os.PathLike[str],
    *,
    labels: Sequence[int] = LABELS,
    seeds: int = SEEDS,
    methods: Sequence[str] = METHODS,
) -> Iterator[dict[str, Any]]:
    """Run what is missing of the comparison at each relatedness, one seed of all at a time.

    The baseline's recipe is the one chosen for the study's pets, where there is one.

    Args:
        folder: Folder of the JSON files.
        labels: Labelled images a class, those for validation included. Defaults to 5, 20, 100
            and 500.
        seeds: Number of seeds. Defaults to 5.
        methods: As for :func:`tlhelpers.study.run_study`. Defaults to the three compared there.

    Yields:
        Each new result.

    Raises:
        ValueError: If a method is unknown.

    Example:
        >>> next(run_sweep("results", labels=[5], seeds=1))["relatedness"]  # doctest: +SKIP
        0.75
    """
    from tlhelpers.backbones import load_backbone

    check_methods(methods)
    path = Path(folder) / f"{SWEEP_NAME}.json"
    record = open_record(path)
    chosen = open_record(path.with_name(f"{SWEPT}.json")).get("baseline")
    if chosen and not has_baseline(record):
        write_record({**record, "baseline": chosen}, path)
    base = load_backbone("vgg16_mini", PETS.image_size)
    for seed in range(seeds):
        # From the nearest on: without the study's record, the recipe is chosen on that one.
        for relatedness in reversed(RELATEDNESS):
            target = target_at(relatedness)
            data = load_target(target, seed)
            for n in labels:
                few = data.few(n, seed=seed)
                about = {"relatedness": relatedness}
                yield from run_missing(path, target, base, few, n, seed, methods, about)
