"""Recorded results: JSON files that grow by one result at a time, with what made each."""

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhelpers.runtime import installed_version

if TYPE_CHECKING:
    from tlhelpers.data.splits import Dataset
    from tlhelpers.transfer.runs import Run

PACKAGES = ("tlhelpers", "keras", "tensorflow", "numpy", "scikit-learn", "pillow")


def open_record(path: Path) -> dict[str, Any]:
    """Read a record, or begin one.

    Args:
        path: The JSON file.

    Returns:
        A dictionary with ``experiment`` (the file's name), ``data``, ``environments`` and
        ``results``, a list of one dictionary a result.

    Example:
        >>> open_record(Path("nowhere/pets.json"))["experiment"]
        'pets'
    """
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    return {"experiment": path.stem, "data": {}, "environments": [], "results": []}


def write_record(record: dict[str, Any], path: Path) -> None:
    """Replace the file once the new one is complete.

    Args:
        record: What :func:`open_record` gave, with more results.
        path: The JSON file; its folder is made when missing.

    Example:
        >>> write_record(open_record(Path("pets.json")), Path("pets.json"))  # doctest: +SKIP
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".unfinished-{os.getpid()}-{path.name}")
    unfinished.write_text(json.dumps(record, indent=1, default=float) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


def load_record(
    name: str, kind: str = "field", folder: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Read a record of the book.

    Args:
        name: Name of the experiment.
        kind: Folder below the book's ``_data``. Defaults to ``"field"``.
        folder: Folder of the JSON files. Defaults to the book's ``_data/<kind>``, looked for in the
            working folder, in ``book/`` below it, and in what was installed with the package.

    Returns:
        The record.

    Raises:
        FileNotFoundError: If there is none.

    Example:
        >>> load_record("cats_dogs")["experiment"]  # doctest: +SKIP
        'cats_dogs'
    """
    package = Path(__file__).parents[1]
    below = Path("_data") / kind
    installed = [package / "recorded" / kind, package.parent / "book" / below]  # whole, or editable
    places = [Path(folder)] if folder else [below, "book" / below, *installed]
    for place in places:
        path = place / f"{name}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
    how = f"tlhelpers record {name}" if kind == "field" else "make study"
    raise FileNotFoundError(
        f"Recorded results are read from {name}.json in {' or '.join(map(str, places))}. Received: "
        f"no such file; record them with: {how}"
    )


def describe_run(run: "Run", settings: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Describe one result: its settings, its scores, and which environment made it.

    Args:
        run: A finished run.
        settings: What tells it from the other results.
        record: The record it will be part of; this environment is added where it is new.

    Returns:
        A dictionary that can be written as JSON.

    Example:
        >>> describe_run(run, {"labels": 20}, record)["test"]  # doctest: +SKIP
        0.91
    """
    here = environment()
    if here not in record["environments"]:
        record["environments"].append(here)
    return {
        **settings,
        "test": run.test.accuracy,
        "n_test": run.test.n,
        "validation": run.validation.accuracy,
        "n_validation": run.validation.n,
        "seconds": round(run.seconds, 1),
        "epochs_run": len(run.history.get("loss", [])),
        "config": run.config,
        "environment": record["environments"].index(here),
    }


def note_data(record: dict[str, Any], data: "Dataset") -> None:
    """Note in a record where its data come from.

    Args:
        record: The record; its ``data`` is set.
        data: The data of the next result.

    Raises:
        ValueError: If the record was made from other data, whose results would not compare.

    Example:
        >>> note_data(record, tl.load_dataset("cifar10"))  # doctest: +SKIP
    """
    recorded = record["data"].get("digest", data.source.digest)
    if recorded != data.source.digest:
        raise ValueError(
            f"All results of a record must come from the same data. Received: {data.source.origin} "
            f"with digest {data.source.digest[:19]}, and a record made from {recorded[:19]}. "
            "Choose another folder with --to."
        )
    record["data"] = asdict(data.source)


def identity(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells one result of a network from another.

    Args:
        row: A result, or its settings.

    Returns:
        Network, cut, image size, method, labels and seed.

    Example:
        >>> tiny = {"backbone": "vgg16", "cut": None, "image_size": 32, "method": "frozen"}
        >>> identity({**tiny, "labels": 5, "seed": 0, "test": 0.4})[-2:]
        (5, 0)
    """
    return tuple(row[key] for key in ("backbone", "cut", "image_size", "method", "labels", "seed"))


def environment() -> dict[str, Any]:
    """Describe what computes: package versions, processor or GPU, cores.

    Returns:
        A dictionary that can be written as JSON.

    Example:
        >>> environment()["packages"]["numpy"] is not None
        True
    """
    from tlhelpers.runtime import describe_device, usable_cores

    device, _ = describe_device()
    return {
        "packages": {name: installed_version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "device": device,
        "processor": _processor(),
        "cores": usable_cores(),
    }


def _processor() -> str:
    """Return the processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
