"""The controlled study: from scratch, frozen and fine-tuned, by labels and target.

``make study`` runs what is missing and records every result as soon as it is there; an
interrupted study resumes. The network is always ``vgg16_mini``, whose source task is drawn by
formulas: what it gives on photographs is part of the question.
"""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhelpers.data.augmentation import Augmentation
from tlhelpers.experiments.baseline import RATES, baseline_recipe, baseline_trials, next_trial
from tlhelpers.experiments.records import (
    Settings,
    claiming,
    load_record,
    open_record,
    record_missing,
    settings_recorded,
    updating,
)
from tlhelpers.transfer import recipes
from tlhelpers.transfer.recipes import Training

if TYPE_CHECKING:
    import pandas

    from tlhelpers.data.splits import Dataset
    from tlhelpers.models.backbones import Backbone
    from tlhelpers.transfer.runs import Run

LABELS = (5, 20, 100, 500)
SEEDS = 5
METHODS = ("scratch", "frozen", "tuned")
MATCHED = "matched"
"""Fine-tuned for as many epochs, on as many views, as the baseline: run where it is asked for."""
LONGER = "longer"
"""From scratch for twice the baseline's epochs, to see whether those were too few."""
SOURCES = {"vgg16": 64, "mobilenet_v2": 96}
"""Frozen features of other sources, ImageNet's, and the pixels to which pictures are enlarged."""

TUNING_LABELS = 100
TUNING_SEED = 1_000
"""A seed of its own for choosing the baseline's recipe, which no result uses."""


@dataclass(frozen=True)
class Target:
    """A target task of the study.

    Attributes:
        dataset: Name for :func:`tlhelpers.load_dataset`.
        tier: ``"embedded"`` for a drawn world, ``"real"`` for published data.
        image_size: Width and height in pixels.
        knobs: Further arguments of ``load_dataset``.
        augmentation: How training views may differ from the images.
        most: Images of the smallest class, for training and validation; None where not known.
    """

    dataset: str
    tier: str
    image_size: int
    knobs: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)
    most: int | None = None


def load_target(target: Target, seed: int) -> "Dataset":
    """Load a target's data.

    Args:
        target: The target.
        seed: Which images are drawn, or carved off for validation.

    Returns:
        The data set.

    Example:
        >>> load_target(Target("pets", "embedded", 32, {"n_train": 40}), seed=0).image_size
        32
    """
    from tlhelpers.data.datasets import load_dataset

    return load_dataset(
        target.dataset,
        tier=target.tier,
        image_size=target.image_size,
        seed=seed,
        **target.knobs,
    )


TARGETS = {
    "pets": Target("pets", "embedded", 64, {"n_train": 1000}, most=625),
    "objects": Target("objects", "embedded", 32, {"n_train": 4000}, most=500),
    "cifar10": Target("cifar10", "real", 32, most=5000),
    # A mirrored digit is another sign, or none.
    "mnist": Target("digits", "real", 32, augmentation=Augmentation(flip=False), most=5421),
    "photographs": Target("cats_dogs", "real", 64, most=1000),
}
PETS = TARGETS["pets"]
SWEEP_NAME, SWEPT = "relatedness", "pets"
"""The sweep's record, and the target whose relatedness it turns."""
RELATEDNESS = (0.0, 0.25, 0.5, 0.75)
"""Share of the target's pictures that show a pet, whose parts the source's forms have too.

The study's own pets are the fifth point, at 1."""


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
            as long as the baseline, ``"longer"``, which trains from scratch for twice as long, and
            ``"vgg16"`` and ``"mobilenet_v2"``, which fit a head on features of those networks.
            Defaults to the first three.

    Returns:
        Each new result, run when it is asked for.

    Raises:
        ValueError: If a target or a method is unknown, or seeds or labels are impossible.

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
    _check(methods, labels, seeds, [TARGETS[name] for name in chosen])
    return (
        row
        for seed, name in product(range(seeds), chosen)
        for row in _run_missing(Path(folder) / f"{name}.json", TARGETS[name], seed, labels, methods)
    )


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
        labels: As for :func:`run_study`. Defaults to 5, 20, 100 and 500.
        seeds: Number of seeds. Defaults to 5.
        methods: As for :func:`run_study`. Defaults to the three compared there.

    Returns:
        Each new result, run when it is asked for.

    Raises:
        ValueError: If a method is unknown, or seeds or labels are impossible.

    Example:
        >>> next(run_sweep("results", labels=[5], seeds=1))["relatedness"]  # doctest: +SKIP
        0.75
    """
    _check(methods, labels, seeds, [PETS])
    path = Path(folder) / f"{SWEEP_NAME}.json"
    trials = open_record(path.with_name(f"{SWEPT}.json")).get("baseline")
    record = open_record(path)
    if trials and not _has_baseline(record) and record.get("baseline") != trials:
        with updating(path) as record:
            record["baseline"] = trials
    # From the nearest on: without the study's record, the recipe is chosen on that one.
    return (
        row
        for seed, at in product(range(seeds), reversed(RELATEDNESS))
        for row in _run_missing(path, target_at(at), seed, labels, methods, {"relatedness": at})
    )


def table(
    folder: str | os.PathLike[str] | None = None, *, methods: Sequence[str] = METHODS
) -> "pandas.DataFrame":
    """Read the results of the study.

    Args:
        folder: Folder of the JSON files. Defaults to the book's ``_data/study``.
        methods: Methods to read. Defaults to the three that are compared everywhere; add
            ``"matched"`` for fine-tuning as long as the baseline, ``"longer"`` for a baseline
            of twice the epochs, or ``"vgg16"`` and ``"mobilenet_v2"`` for frozen features of
            ImageNet's networks, where they were recorded.

    Returns:
        One row a result: ``target``, ``relatedness`` (of the target to the source: 1 for drawn
        targets, less where the sweep turned the knob, NaN for real data), ``labels``, ``method``,
        ``seed``, ``test`` (accuracy, 0 to 1), ``n_test`` and ``seconds``.

    Raises:
        FileNotFoundError: If nothing has been recorded.

    Example:
        >>> sorted(table()["method"].unique())
        ['frozen', 'scratch', 'tuned']
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


def _check(
    methods: Sequence[str], labels: Sequence[int], seeds: int, targets: Sequence[Target]
) -> None:
    """Raise an error where nothing, or something unknown, is to be run."""
    known = (*METHODS, MATCHED, LONGER, *SOURCES)
    unknown = sorted(set(methods) - set(known))
    if unknown:
        raise ValueError(f"A method is one of {', '.join(known)}. Received: {', '.join(unknown)}.")
    if not isinstance(labels, Sequence):
        raise TypeError(f"labels are several counts, such as [5, 20]. Received: {labels!r}.")
    if seeds < 1 or min(labels, default=0) < 2:
        raise ValueError(
            "There must be at least one seed, and at least two labels a class, one of them for "
            f"validation. Received: {seeds} seeds, {', '.join(map(str, labels)) or 'no'} labels."
        )
    for target in targets:
        if target.most and max(labels) > target.most:
            raise ValueError(
                f"{target.dataset} has at most {target.most:,} labelled images a class. "
                f"Received: {max(labels):,} labels."
            )


def _run_missing(
    path: Path,
    target: Target,
    seed: int,
    labels: Sequence[int],
    methods: Sequence[str],
    about: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Run and record what a target's record lacks of one seed."""
    from tlhelpers.models.backbones import load_backbone
    from tlhelpers.transfer.methods import feature_transfer, from_scratch, model_transfer

    plan: list[Settings] = [
        {**(about or {}), "method": method, "labels": n, "seed": seed}
        for n, method in product(labels, methods)
    ]
    if settings_recorded(path, plan) == len(plan):
        return
    base, data = load_backbone("vgg16_mini", target.image_size), load_target(target, seed)

    @functools.cache
    def few(n: int) -> "Dataset":
        """Draw the labelled images, once for all methods."""
        return data.few(n, seed=seed)

    @functools.cache
    def frozen(n: int) -> "Run":
        """Fit a head, once for all methods that start from it."""
        return feature_transfer(base, few(n), seed=seed)

    @functools.cache
    def source(name: str) -> "Backbone":
        """Load another source's network."""
        return load_backbone(name, SOURCES[name])

    def run(settings: Settings, _: "Dataset") -> "Run":
        """Run one method."""
        method, n = settings["method"], settings["labels"]
        if method == "frozen":
            return frozen(n)
        if size := SOURCES.get(method):
            return feature_transfer(source(method), few(n).resized(size), seed=seed)
        recipe = None
        if method != "tuned":
            recipe = _baseline_recipe(path, target, base, few(n))
        if method == LONGER and recipe:
            recipe = replace(recipe, epochs=2 * recipe.epochs)
        if method == MATCHED and recipe:
            recipe = _as_long(recipe, few(n), base)
        usual: dict[str, Any] = {"recipe": recipe, "augmentation": target.augmentation}
        if method in ("scratch", LONGER):
            return from_scratch(base, few(n), seed=seed, **usual)
        return model_transfer(base, few(n), start=frozen(n), seed=seed, **usual)

    def weights(run: "Run") -> dict[str, Any]:
        """Say which weights a transfer started from."""
        if run.name == "scratch":
            return {}
        source_of = run.base if run.base and run.base.name in SOURCES else base
        return {"source_weights": source_of.weights_digest()}

    rows = record_missing(
        path, plan, lambda _: data, run, more=weights, is_same_data=target.tier == "real"
    )
    for row in rows:
        yield {"target": path.stem, **row}


def _as_long(baseline: Training, few: "Dataset", base: "Backbone") -> Training:
    """Return the recipe of fine-tuning with the epochs and views of the baseline's."""
    n_validation = len(few.validation)
    usual = recipes.fine_tuning(len(few.train), n_validation, near_source=False)
    patience = recipes.patience(n_validation, baseline.epochs)
    return replace(usual, epochs=baseline.epochs, views=baseline.views, patience=patience)


def _has_baseline(record: Mapping[str, Any]) -> bool:
    """Tell whether a record has results from scratch, so that their recipe is settled."""
    return any(row["method"] == "scratch" for row in record["results"])


def _baseline_recipe(path: Path, target: Target, base: "Backbone", few: "Dataset") -> Training:
    """Return the baseline's recipe for some labelled images, as chosen once for the target."""
    with claiming(path, "baseline", wait=True):
        record = open_record(path)
        tried = record.get("baseline", [])
        # Chosen before the first result and kept: those of two recipes can't be averaged.
        if not _has_baseline(record) and next_trial(tried, RATES) is not None:
            data = load_target(target, TUNING_SEED)
            for trial in baseline_trials(
                base,
                data.few(TUNING_LABELS, seed=TUNING_SEED),
                data.validation,
                rates=RATES,
                augmentation=target.augmentation,
                seed=TUNING_SEED,
                tried=tried,
            ):
                with updating(path) as record:
                    record.setdefault("baseline", []).append(trial)
    return baseline_recipe(open_record(path).get("baseline", []), few, base)
