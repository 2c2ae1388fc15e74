"""The controlled study: from scratch, frozen and fine-tuned, by labels and target.

`make study` runs what is missing and records every result as soon as it is there; an
interrupted study resumes. The network is always `vgg16_mini`, whose source task is drawn by
formulas: what it gives on photographs is part of the question.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhelpers.augmentation import Augmentation
from tlhelpers.records import load_record, open_record
from tlhelpers.study_cell import (
    METHODS,
    Target,
    check_methods,
    load_target,
    missing,
    run_missing,
)

if TYPE_CHECKING:
    import pandas

LABELS = (5, 20, 100, 500)
SEEDS = 5

TARGETS = {
    "pets": Target("cats_dogs", "embedded", 64, {"n": 1000}),
    "objects": Target("cifar10", "embedded", 32, {"n": 4000}),
    "cifar10": Target("cifar10", "real", 32),
    # A mirrored digit is another sign, or none.
    "mnist": Target("digits", "real", 32, augmentation=Augmentation(flip=False)),
    "photographs": Target("cats_dogs", "real", 64),
}
SWEEP_NAME, SWEPT = "relatedness", "pets"
"""The sweep's record, and the target whose relatedness it turns."""


def run_study(
    folder: str | os.PathLike[str],
    *,
    targets: Sequence[str] | None = None,
    labels: Sequence[int] = LABELS,
    seeds: int = SEEDS,
    methods: Sequence[str] = METHODS,
) -> Iterator[dict[str, Any]]:
    """Run what is missing of the comparison on each target, one seed of all targets at a time.

    The baseline's learning rate, length and augmentation are chosen first, for each target, on
    validation images with 100 labels a class and a seed that no result uses.

    Args:
        folder: Folder of the JSON files, one a target.
        targets: Names of :data:`TARGETS`. Defaults to all.
        labels: Labelled images a class, those for validation included. Defaults to 5, 20, 100
            and 500.
        seeds: Number of seeds; each draws its own images, weights and order. Defaults to 5.
        methods: Of ``"scratch"``, ``"frozen"``, ``"tuned"``, ``"matched"``, which fine-tunes for
            as long as the baseline, and ``"longer"``, which trains from scratch for twice as
            long. Defaults to the first three.

    Yields:
        Each new result.

    Raises:
        ValueError: If a target or a method is unknown.

    Example:
        >>> rows = run_study("results", targets=["pets"], labels=[5], seeds=1)
        >>> next(rows)["method"]  # doctest: +SKIP
        'scratch'
    """
    chosen = list(targets or TARGETS)
    unknown = sorted(set(chosen) - set(TARGETS))
    if unknown:
        raise ValueError(
            f"A target is one of {', '.join(TARGETS)}. Received: {', '.join(unknown)}."
        )
    check_methods(methods)
    for seed in range(seeds):
        for name in chosen:
            yield from _run_target(name, TARGETS[name], Path(folder), labels, seed, methods)


def table(
    folder: str | os.PathLike[str] | None = None, *, methods: Sequence[str] = METHODS
) -> "pandas.DataFrame":
    """Read the results of the study.

    Args:
        folder: Folder of the JSON files. Defaults to the book's ``_data/study``.
        methods: Methods to read. Defaults to the three that are compared everywhere; add
            ``"matched"`` for fine-tuning as long as the baseline, or ``"longer"`` for a baseline
            of twice the epochs, where they were recorded.

    Returns:
        One row a result: ``target``, ``relatedness`` (of the target to the source: 1 for drawn
        targets, less where the sweep turned the knob, NaN for real data), ``labels``, ``method``,
        ``seed``, ``test`` (accuracy, 0 to 1), ``n_test`` and ``seconds``.

    Raises:
        FileNotFoundError: If nothing has been recorded.

    Example:
        >>> table()["method"].unique().tolist()  # doctest: +SKIP
        ['scratch', 'frozen', 'tuned']
    """
    import pandas

    parts = []
    for name in (*TARGETS, SWEEP_NAME):
        try:
            record = load_record(name, "study", folder)
        except FileNotFoundError:
            continue
        rows = pandas.DataFrame(record["results"])
        rows["target"] = SWEPT if name == SWEEP_NAME else name
        if name != SWEEP_NAME:
            drawn = TARGETS[name].tier == "embedded"
            rows["relatedness"] = 1.0 if drawn else float("nan")
        parts.append(rows)
    if not parts:
        load_record(next(iter(TARGETS)), "study", folder)  # raises, and says where it looked
    columns = ["target", "relatedness", "labels", "method", "seed", "test", "n_test", "seconds"]
    rows = pandas.concat(parts)
    return rows.loc[rows["method"].isin(methods), columns].reset_index(drop=True)


def _run_target(
    name: str,
    target: Target,
    folder: Path,
    labels: Sequence[int],
    seed: int,
    methods: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """Run what is missing of one target and seed."""
    from tlhelpers.backbones import load_backbone

    path = folder / f"{name}.json"
    if not missing(open_record(path), labels, seed, methods, {}):
        return
    base = load_backbone("vgg16_mini", target.image_size)
    data = load_target(target, seed)
    for n in labels:
        yield from run_missing(path, target, base, data.few(n, seed=seed), n, seed, methods, {})
