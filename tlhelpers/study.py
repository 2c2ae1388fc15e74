"""The controlled study: from scratch, frozen and fine-tuned, by labels and target.

`make study` runs what is missing and records every result as soon as it is there; an
interrupted study resumes. The network is always `vgg16_mini`, whose source task is drawn by
formulas: what it gives on photographs is part of the question.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhelpers.augmentation import Augmentation
from tlhelpers.baseline import RATES, baseline_recipe, baseline_trials, next_trial
from tlhelpers.recipes import Training
from tlhelpers.records import describe_run, load_record, open_record, write_record

if TYPE_CHECKING:
    import pandas

    from tlhelpers.backbones import Backbone
    from tlhelpers.splits import Dataset

METHODS = ("scratch", "frozen", "tuned")
LABELS = (5, 20, 100, 500)
SEEDS = 5

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

    Yields:
        Each new result.

    Raises:
        ValueError: If a target is unknown.

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
    for seed in range(seeds):
        for name in chosen:
            yield from _run_target(name, TARGETS[name], Path(folder), labels, seed)


def table(folder: str | os.PathLike[str] | None = None) -> "pandas.DataFrame":
    """Read all results of the study.

    Args:
        folder: Folder of the JSON files. Defaults to the book's ``_data/study``.

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
    return pandas.concat(parts, ignore_index=True)[columns]


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
    from tlhelpers.datasets import load_dataset

    return load_dataset(
        target.dataset,
        tier=target.tier,
        image_size=target.image_size,
        seed=seed,
        **target.knobs,
    )


def _run_target(
    name: str, target: Target, folder: Path, labels: Sequence[int], seed: int
) -> Iterator[dict[str, Any]]:
    """Run what is missing of one target and seed."""
    from tlhelpers.backbones import load_backbone

    path = folder / f"{name}.json"
    if not _missing(open_record(path), labels, seed, METHODS, {}):
        return
    base = load_backbone("vgg16_mini", target.image_size)
    data = load_target(target, seed)
    for n in labels:
        yield from run_missing(path, target, base, data.few(n, seed=seed), n, seed, METHODS, {})


def _missing(
    record: dict[str, Any],
    labels: Sequence[int],
    seed: int,
    methods: Sequence[str],
    about: Mapping[str, Any],
) -> list[tuple[int, str]]:
    """Return the numbers of labels and the methods that a record lacks."""
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
        methods: Of ``"scratch"``, ``"frozen"`` and ``"tuned"``.
        about: What else tells these results from others, such as the source's relatedness.

    Yields:
        Each new result.

    Example:
        >>> next(run_missing(path, target, base, few, 20, 0, ["frozen"], {}))  # doctest: +SKIP
    """
    from tlhelpers import transfer

    record = open_record(path)
    wanted = [method for _, method in _missing(record, [n], seed, methods, about)]
    if not wanted:
        return
    frozen = transfer.feature_transfer(base, few, seed=seed) if set(wanted) - {"scratch"} else None
    for method in wanted:
        if method == "scratch":
            recipe = _baseline_recipe(path, target, base, few)
            record = open_record(path)
            run = transfer.from_scratch(
                base, few, recipe=recipe, augmentation=target.augmentation, seed=seed
            )
        elif method == "frozen" and frozen is not None:
            run = frozen
        else:
            run = transfer.model_transfer(
                base, few, start=frozen, augmentation=target.augmentation, seed=seed
            )
        settings = {**about, "method": method, "labels": n, "seed": seed}
        record["data"] = asdict(few.source)
        row = describe_run(run, settings, record)
        if method != "scratch":
            row["source_weights"] = base.weights_digest()
        record["results"].append(row)
        write_record(record, path)
        yield {"target": path.stem, **row}


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
