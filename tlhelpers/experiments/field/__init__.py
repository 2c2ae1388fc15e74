"""Full-size results: run once on the real tier, recorded with what made them, shown in the book."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from inspect import signature
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhelpers.experiments.field.cifar10 import WIDTH, train_small_resnet
from tlhelpers.experiments.records import (
    describe_run,
    identity,
    load_record,
    note_data,
    open_record,
    write_record,
)

if TYPE_CHECKING:
    import pandas

    from tlhelpers.data.splits import Dataset
    from tlhelpers.transfer.runs import Run

METHODS = ("scratch", "frozen", "tuned")


@dataclass(frozen=True)
class Arm:
    """One network in an experiment.

    Attributes:
        backbone: Its name; ``"small_resnet"`` is a network made for small pictures, and has no
            weights but random ones.
        cut: Stage it ends at, or None for the whole network.
        image_size: Width and height in pixels.
        methods: What is done with it.
        width: Channels of ``small_resnet``'s first convolution. Defaults to 24.
    """

    backbone: str
    cut: str | None
    image_size: int
    methods: tuple[str, ...] = METHODS
    width: int = WIDTH


@dataclass(frozen=True)
class Experiment:
    """Methods on networks, by number of labels and seed.

    Attributes:
        dataset: Name for :func:`tlhelpers.load_dataset`.
        arms: The networks.
        labels: Labelled images a class, those for validation included.
        seeds: Number of seeds; each draws its own images, weights and order.
        tier: Where the images come from. Defaults to ``"real"``.
        module: Module of this package whose ``run`` takes over, for networks that are no backbones.
    """

    dataset: str
    arms: tuple[Arm, ...]
    labels: tuple[int, ...]
    seeds: int = 5
    tier: str = "real"
    module: str | None = None


EXPERIMENTS = {
    "cats_dogs": Experiment(
        dataset="cats_dogs",
        arms=(
            Arm("mobilenet_v2", None, 224, ("frozen", "tuned")),
            Arm("vgg16", "block3_pool", 150, ("frozen", "tuned")),
            # From random weights the smaller picture trains six times faster, and no worse: it
            # gives the baseline more epochs for its time.
            Arm("mobilenet_v2", None, 96, ("scratch",)),
        ),
        labels=(20, 100, 500, 1000),
    ),
    "objects": Experiment(
        dataset="cifar10",
        # As wide as makes a picture cost what it costs vgg16_mini, cut after its fourth block.
        arms=(Arm("small_resnet", None, 32, ("scratch",), width=16),),
        labels=(5, 20, 100),
        seeds=3,
        tier="embedded",
    ),
    "digits": Experiment(dataset="digits", arms=(), labels=(6000,), module="digits"),
    "stages": Experiment(dataset="digits", arms=(), labels=(5, 10, 20, 50), module="stages"),
    "cifar10": Experiment(
        dataset="cifar10", arms=(), labels=(5, 20, 100, 500, 5000), module="cifar10"
    ),
}


def run_experiment(
    name: str,
    folder: str | os.PathLike[str],
    *,
    backbones: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    labels: Sequence[int] | None = None,
    seeds: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Run what is missing of an experiment, and record each result as soon as it is there.

    Results already in the file are not run again, so an interrupted recording resumes.

    Args:
        name: Name of the experiment.
        folder: Folder of the JSON files.
        backbones: Only these. Defaults to all of the experiment.
        methods: Only these. Defaults to all of the experiment.
        labels: Only these numbers of labels. Defaults to all of the experiment.
        seeds: Number of seeds. Defaults to the experiment's.

    Yields:
        Each new result.

    Raises:
        ValueError: If the experiment, a method or a backbone is unknown, or the experiment can't be
            narrowed down in that way.
    """
    from tlhelpers.data.datasets import load_dataset

    experiment = _experiment(name)
    if experiment.module:
        special = import_module(f"tlhelpers.experiments.field.{experiment.module}")
        chosen = {"networks": backbones, "methods": methods, "labels": labels, "seeds": seeds}
        given = {key: value for key, value in chosen.items() if value is not None}
        accepted = signature(special.run).parameters
        if unused := [key for key in given if key not in accepted]:
            raise ValueError(
                f"Results of {name} are chosen by network and seed only. Received also: "
                f"{', '.join(unused)}; leave that out."
            )
        yield from special.run(folder, **given)
        return
    for method in methods or ():
        if method not in METHODS:
            raise ValueError(f"A method is one of {', '.join(METHODS)}. Received: {method!r}.")
    known = sorted({arm.backbone for arm in experiment.arms})
    for backbone in backbones or ():
        if backbone not in known:
            raise ValueError(
                f"A backbone of {name} is one of {', '.join(known)}. Received: {backbone!r}."
            )
    path = Path(folder) / f"{name}.json"
    record = open_record(path)
    done = {identity(row) for row in record["results"]}
    for n, seed, arm in product(
        labels or experiment.labels, range(seeds or experiment.seeds), experiment.arms
    ):
        if backbones and arm.backbone not in backbones:
            continue
        for method in (m for m in arm.methods if not methods or m in methods):
            settings = {**asdict(arm), "method": method, "labels": n, "seed": seed}
            del settings["methods"], settings["width"]
            if identity(settings) in done:
                continue
            data = load_dataset(
                experiment.dataset,
                tier=experiment.tier,
                image_size=arm.image_size,
                # Another seed would draw another set, and with it another test.
                seed=seed if experiment.tier == "real" else 0,
            )
            note_data(record, data)
            run = _run(arm, method, data.few(n, seed=seed), seed)
            row = describe_run(run, settings, record)
            record["results"].append(row)
            write_record(record, path)
            yield row


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
        >>> sorted(load("cats_dogs"))  # doctest: +SKIP
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


def _experiment(name: str) -> Experiment:
    """Look an experiment up."""
    if name not in EXPERIMENTS:
        raise ValueError(f"An experiment is one of {', '.join(EXPERIMENTS)}. Received: {name!r}.")
    return EXPERIMENTS[name]


def _run(arm: Arm, method: str, data: "Dataset", seed: int) -> "Run":
    """Run one method on one network."""
    from tlhelpers.models.backbones import load_backbone
    from tlhelpers.transfer import methods

    if arm.backbone == "small_resnet":
        return train_small_resnet(data, seed, width=arm.width)
    weights = None if method == "scratch" else "pretrained"
    base = load_backbone(arm.backbone, arm.image_size, cut=arm.cut, weights=weights)
    if method == "scratch":
        return methods.from_scratch(base, data, seed=seed)
    if method == "frozen":
        return methods.feature_transfer(base, data, seed=seed)
    return methods.model_transfer(base, data, seed=seed)
