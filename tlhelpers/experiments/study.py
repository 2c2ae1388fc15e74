"""The controlled study: from scratch, frozen and fine-tuned, by labels and target.

`make study` runs what is missing and records every result as soon as it is there; an
interrupted study resumes. The network is always `vgg16_mini`, whose source task is drawn by
formulas: what it gives on photographs is part of the question.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhelpers.data.augmentation import Augmentation
from tlhelpers.experiments.baseline import RATES, baseline_recipe, baseline_trials, next_trial
from tlhelpers.experiments.records import describe_run, load_record, open_record, write_record
from tlhelpers.transfer import recipes
from tlhelpers.transfer.recipes import Training

if TYPE_CHECKING:
    import pandas

    from tlhelpers.data.splits import Dataset
    from tlhelpers.models.backbones import Backbone

METHODS = ("scratch", "frozen", "tuned")
MATCHED = "matched"
"""Fine-tuned for as many epochs, on as many views, as the baseline: run where it is asked for."""
LONGER = "longer"
"""From scratch for twice the baseline's epochs, to see whether those were too few."""

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
    """

    dataset: str
    tier: str
    image_size: int
    knobs: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)


def load_target(target: Target, seed: int) -> "Dataset":
    """Load a target's data.

    Args:
        target: The target.
        seed: Which images are drawn, or carved off for validation.

    Returns:
        The data set.

    Example:
        >>> load_target(Target("cats_dogs", "embedded", 32, {"n": 40}), seed=0).image_size
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


def check_methods(methods: Sequence[str]) -> None:
    """Raise an error unless the study has these methods.

    Args:
        methods: Their names.

    Raises:
        ValueError: If one is unknown.

    Example:
        >>> check_methods(["frozen", "matched"])
    """
    known = (*METHODS, MATCHED, LONGER)
    unknown = sorted(set(methods) - set(known))
    if unknown:
        raise ValueError(f"A method is one of {', '.join(known)}. Received: {', '.join(unknown)}.")


def missing(
    record: dict[str, Any],
    labels: Sequence[int],
    seed: int,
    methods: Sequence[str],
    about: Mapping[str, Any],
) -> list[tuple[int, str]]:
    """Return the numbers of labels and the methods that a record lacks.

    Args:
        record: The study's or the sweep's record of a target.
        labels: Labelled images a class, each of which is wanted.
        seed: The seed.
        methods: The methods wanted.
        about: What else tells these results from others, such as the source's relatedness.

    Returns:
        Pairs of a number of labels and a method.

    Example:
        >>> row = {"labels": 5, "seed": 0, "method": "frozen"}
        >>> missing({"results": [row]}, [5], 0, ["scratch", "frozen"], {})
        [(5, 'scratch')]
    """
    keys = ("labels", "seed", "method", *about)
    done = {tuple(row[key] for key in keys) for row in record["results"]}
    return [
        (n, method)
        for n in labels
        for method in methods
        if (n, seed, method, *about.values()) not in done
    ]


def run_missing(
    path: Path,
    target: Target,
    base: "Backbone",
    few: "Dataset",
    n: int,
    seed: int,
    methods: Sequence[str],
    about: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Run and record the methods that a record lacks, the fitted head before the tuned network.

    Args:
        path: The JSON file.
        target: The target.
        base: The pre-trained network.
        few: The labelled images, drawn from the target with ``seed``.
        n: Labelled images a class.
        seed: Seed of weights, order and augmentation.
        methods: Of ``"scratch"``, ``"frozen"``, ``"tuned"``, ``"matched"`` and ``"longer"``.
        about: What else tells these results from others, such as the source's relatedness.

    Yields:
        Each new result.

    Example:
        >>> next(run_missing(path, target, base, few, 20, 0, ["frozen"], {}))  # doctest: +SKIP
    """
    from tlhelpers.transfer.methods import feature_transfer, from_scratch, model_transfer

    record = open_record(path)
    wanted = [method for _, method in missing(record, [n], seed, methods, about)]
    if not wanted:
        return
    transfers = set(wanted) - {"scratch", LONGER}
    frozen = feature_transfer(base, few, seed=seed) if transfers else None
    for method in wanted:
        recipe = None
        if method in ("scratch", MATCHED, LONGER):
            recipe = _baseline_recipe(path, target, base, few)
            record = open_record(path)
            if method == MATCHED:
                recipe = _as_long(recipe, few, base)
            if method == LONGER:
                recipe = replace(recipe, epochs=2 * recipe.epochs)
        if method in ("scratch", LONGER):
            run = from_scratch(
                base, few, recipe=recipe, augmentation=target.augmentation, seed=seed
            )
        elif method == "frozen" and frozen is not None:
            run = frozen
        else:
            run = model_transfer(
                base,
                few,
                start=frozen,
                recipe=recipe,
                augmentation=target.augmentation,
                seed=seed,
            )
        settings = {**about, "method": method, "labels": n, "seed": seed}
        record["data"] = asdict(few.source)
        row = describe_run(run, settings, record)
        if method in transfers:
            row["source_weights"] = base.weights_digest()
        record["results"].append(row)
        write_record(record, path)
        yield {"target": path.stem, **row}


def _as_long(baseline: Training, few: "Dataset", base: "Backbone") -> Training:
    """Return the recipe of fine-tuning with the epochs and views of the baseline's."""
    n_validation = len(few.validation)
    usual = recipes.fine_tuning(len(few.train), n_validation, base.input_size, near_source=False)
    patience = recipes.patience(n_validation, baseline.epochs)
    return replace(usual, epochs=baseline.epochs, views=baseline.views, patience=patience)


def has_baseline(record: Mapping[str, Any]) -> bool:
    """Tell whether a record has results from scratch, so that their recipe is settled.

    Args:
        record: The study's or the sweep's record of a target.

    Returns:
        True if it has.

    Example:
        >>> has_baseline({"results": [{"method": "frozen"}]})
        False
    """
    return any(row["method"] == "scratch" for row in record["results"])


def _baseline_recipe(path: Path, target: Target, base: "Backbone", few: "Dataset") -> Training:
    """Return the baseline's recipe for some labelled images, as chosen once for the target."""
    record = open_record(path)
    tried = record.setdefault("baseline", [])
    # Chosen before the first result and kept: those of two recipes can't be averaged.
    if not has_baseline(record) and next_trial(tried, RATES) is not None:
        data = load_target(target, TUNING_SEED)
        for trial in baseline_trials(
            base,
            data.few(TUNING_LABELS, seed=TUNING_SEED),
            data.validation,
            rates=RATES,
            augmentation=target.augmentation,
            seed=TUNING_SEED,
            tried=list(tried),
        ):
            tried.append(trial)
            write_record(record, path)
    return baseline_recipe(tried, few, base)


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
    from tlhelpers.models.backbones import load_backbone

    path = folder / f"{name}.json"
    if not missing(open_record(path), labels, seed, methods, {}):
        return
    base = load_backbone("vgg16_mini", target.image_size)
    data = load_target(target, seed)
    for n in labels:
        yield from run_missing(path, target, base, data.few(n, seed=seed), n, seed, methods, {})


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
        methods: As for :func:`tlhelpers.experiments.study.run_study`. Defaults to the three compared there.

    Yields:
        Each new result.

    Raises:
        ValueError: If a method is unknown.

    Example:
        >>> next(run_sweep("results", labels=[5], seeds=1))["relatedness"]  # doctest: +SKIP
        0.75
    """
    from tlhelpers.models.backbones import load_backbone

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
