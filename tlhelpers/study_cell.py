"""One part of the controlled study: a target, some labelled images, and the methods compared.

Every result is recorded as soon as it is there, so an interrupted study resumes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhelpers import recipes
from tlhelpers.augmentation import Augmentation
from tlhelpers.baseline import RATES, baseline_recipe, baseline_trials, next_trial
from tlhelpers.recipes import Training
from tlhelpers.records import describe_run, open_record, write_record

if TYPE_CHECKING:
    from tlhelpers.backbones import Backbone
    from tlhelpers.splits import Dataset

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
    from tlhelpers.datasets import load_dataset

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
    from tlhelpers import transfer

    record = open_record(path)
    wanted = [method for _, method in missing(record, [n], seed, methods, about)]
    if not wanted:
        return
    transfers = set(wanted) - {"scratch", LONGER}
    frozen = transfer.feature_transfer(base, few, seed=seed) if transfers else None
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
            run = transfer.from_scratch(
                base, few, recipe=recipe, augmentation=target.augmentation, seed=seed
            )
        elif method == "frozen" and frozen is not None:
            run = frozen
        else:
            run = transfer.model_transfer(
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
