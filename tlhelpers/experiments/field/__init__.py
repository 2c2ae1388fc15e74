"""Full-size results: run once on the real tier, recorded with what made them, shown in the book."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhelpers.experiments.field import (
    adaptation,
    cifar10_alike,
    digits,
    heads,
    looking,
    photographs,
    poisoned,
    remedies,
    scenes,
    sentences,
    small_resnet,
    speech,
    stages,
)
from tlhelpers.experiments.field.plans import Experiment, grid, load_real
from tlhelpers.experiments.records import Settings, identity, load_record, record_missing

if TYPE_CHECKING:
    import pandas

    from tlhelpers.data.splits import Dataset
    from tlhelpers.transfer.runs import Run


def _load_objects(settings: Settings) -> "Dataset":
    """Draw the objects; another seed would draw another set, and with it another test."""
    from tlhelpers.data.datasets import load_dataset

    return load_dataset("objects", image_size=settings["image_size"], seed=0)


def _run_objects(settings: Settings, data: "Dataset") -> "Run":
    """Train a network so wide that a picture costs what it costs vgg16_mini, cut at block 4."""
    few = data.few(settings["labels"], seed=settings["seed"])
    return small_resnet.train_small_resnet(few, settings["seed"], width=16)


SMALL: Settings = {
    "backbone": "small_resnet",
    "cut": None,
    "image_size": 32,
    "method": "scratch",
}

EXPERIMENTS = {
    "photographs": Experiment(photographs.plan, photographs.load, photographs.run),
    "small_photographs": Experiment(
        photographs.plan_small, photographs.load, photographs.run_small
    ),
    "heads": Experiment(heads.plan, heads.load, heads.run),
    "remedies": Experiment(remedies.plan, remedies.load, remedies.run, more=remedies.more),
    "objects": Experiment(
        grid([SMALL], (5, 20, 100), seeds=3),
        _load_objects,
        _run_objects,
    ),
    "digits": Experiment(digits.plan, load_real("digits"), digits.run, more=digits.history),
    "scenes": Experiment(scenes.plan, scenes.load, scenes.run),
    "sentences": Experiment(sentences.plan, sentences.load, sentences.run, more=sentences.more),
    "speech": Experiment(speech.plan, speech.load, speech.run, more=speech.more),
    "stages": Experiment(stages.plan, stages.load, stages.run, more=stages.more),
    "adaptation": Experiment(
        adaptation.plan, adaptation.load, adaptation.run, more=adaptation.more
    ),
    "looking": Experiment(looking.plan, looking.load, looking.run),
    "poisoned": Experiment(poisoned.plan, poisoned.load, poisoned.run),
    "cifar10_alike": Experiment(cifar10_alike.plan, cifar10_alike.load, cifar10_alike.run),
}


def choose(
    name: str,
    *,
    backbones: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    labels: Sequence[int] | None = None,
    seeds: int | None = None,
) -> list[Settings]:
    """Name the results of an experiment, or some of them, in the order of running.

    Args:
        name: Name of the experiment.
        backbones: Only these networks. Defaults to all of the experiment.
        methods: Only these. Defaults to all of the experiment.
        labels: Only these numbers of labels a class. Defaults to all of the experiment.
        seeds: Number of seeds, at least 1. Defaults to the experiment's.

    Returns:
        The settings of each result.

    Raises:
        TypeError: If what is chosen is no list.
        ValueError: If the experiment, or something chosen, is unknown, or if nothing of the
            experiment has all that was chosen.

    Example:
        >>> [settings["seed"] for settings in choose("digits", backbones=["mlp"], seeds=2)]
        [0, 1]
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"An experiment is one of {', '.join(EXPERIMENTS)}. Received: {name!r}.")
    if seeds is not None and seeds < 1:
        raise ValueError(f"The number of seeds must be at least 1. Received: {seeds}.")
    # A plan may name a result twice; it is run where it is named first.
    planned = list({identity(one): one for one in EXPERIMENTS[name].plan(seeds)}.values())
    wanted: dict[str, Sequence[Any] | None] = {
        "backbone": backbones,
        "method": methods,
        "labels": labels,
    }
    chosen = planned
    for key, values in wanted.items():
        if values is not None and (isinstance(values, str) or not isinstance(values, Sequence)):
            raise TypeError(f"{key} chosen are a list of them. Received: {values!r}.")
        known = list(dict.fromkeys(settings[key] for settings in planned))
        for value in values or ():
            if value not in known:
                what = {"backbone": "network", "labels": "number of labels"}.get(key, key)
                raise ValueError(
                    f"A {what} of {name} is one of {', '.join(map(str, known))}. "
                    f"Received: {value!r}."
                )
        chosen = [settings for settings in chosen if not values or settings[key] in values]
    for key, values in wanted.items():
        for value in values or ():
            if value not in {settings[key] for settings in chosen}:
                pairs = dict.fromkeys((one["backbone"], one["method"]) for one in planned)
                raise ValueError(
                    f"Nothing of {name} has {value!r} and the rest of what was chosen. It has "
                    f"{', '.join(map(' '.join, pairs))}."
                )
    return chosen


def run_experiment(
    name: str, folder: str | os.PathLike[str], **chosen: Any
) -> Iterator[dict[str, Any]]:
    """Run what is missing of an experiment, and record each result as soon as it is there.

    Results already in the file are not run again, so an interrupted recording resumes.

    Args:
        name: Name of the experiment.
        folder: Folder of the JSON files.
        **chosen: ``backbones``, ``methods``, ``labels`` and ``seeds``, as for :func:`choose`.

    Returns:
        Each new result, run when it is asked for.

    Raises:
        ValueError: If the experiment, or something chosen, is unknown, or if the file there is no
            record, or one that was made from other images.

    Example:
        >>> next(run_experiment("objects", "results", seeds=1))["labels"]  # doctest: +SKIP
        5
    """
    plan = choose(name, **chosen)
    experiment = EXPERIMENTS[name]
    return record_missing(
        Path(folder) / f"{name}.json", plan, experiment.load, experiment.run, more=experiment.more
    )


def load(name: str, folder: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Read a recorded experiment.

    Args:
        name: Name of the experiment.
        folder: Folder of the JSON files. Defaults to the book's ``_data/field``, looked for in the
            working folder, in ``book/`` below it, and in what was installed with the package.

    Returns:
        The record: data, environments, and one result a run.

    Raises:
        FileNotFoundError: If it has not been recorded.

    Example:
        >>> sorted(load("photographs"))
        ['data', 'environments', 'experiment', 'results']
    """
    return load_record(name, "field", folder)


def table(name: str, folder: str | os.PathLike[str] | None = None) -> "pandas.DataFrame":
    """Summarise a recorded experiment over its seeds.

    Args:
        name: Name of the experiment.
        folder: Folder of the JSON files. Defaults to the book's.

    Returns:
        One row for each network, method and number of labels: mean, standard deviation, lowest and
        highest test accuracy (0 to 1), number of seeds, and median seconds.

    Raises:
        FileNotFoundError: If it has not been recorded.
    """
    import pandas

    results = pandas.DataFrame(load(name, folder)["results"])
    results["cut"] = results["cut"].fillna("")
    grouped = results.groupby(["labels", "method", "backbone", "cut", "image_size"], sort=True)
    return grouped.agg(
        mean=("test", "mean"),
        sd=("test", "std"),
        lowest=("test", "min"),
        highest=("test", "max"),
        seeds=("test", "size"),
        seconds=("seconds", "median"),
    ).reset_index()
