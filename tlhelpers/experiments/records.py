"""Recorded results: JSON files that grow by one result at a time, with what made each."""

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhelpers.files import recorded_places, write_atomically
from tlhelpers.runtime import installed_version

if TYPE_CHECKING:
    from tlhelpers.data.splits import Dataset, Split
    from tlhelpers.transfer.runs import Run

PACKAGES = ("tlhelpers", "keras", "tensorflow", "numpy", "scikit-learn", "pillow")
SETTINGS = ("backbone", "cut", "image_size", "relatedness", "method", "labels", "seed")
"""What may tell one result of a record from another."""

Settings = dict[str, Any]


class OtherDataError(ValueError):
    """The images at hand are not those that a record's results are from."""


def open_record(path: Path) -> dict[str, Any]:
    """Read a record, or begin one.

    Args:
        path: The JSON file.

    Returns:
        A dictionary with ``experiment`` (the file's name), ``data``, ``environments`` and
        ``results``, a list of one dictionary a result.

    Raises:
        ValueError: If the file is damaged, or holds something else. It is left as it is.

    Example:
        >>> open_record(Path("nowhere/pets.json"))["experiment"]
        'pets'
    """
    kinds = {"experiment": str, "data": dict, "environments": list, "results": list}
    if not path.exists():
        return {"experiment": path.stem, "data": {}, "environments": [], "results": []}
    record = _read(path)
    if not isinstance(record, dict):
        raise _no_record(path, f"holds a {type(record).__name__}")
    lacking = [key for key, kind in kinds.items() if not isinstance(record.get(key), kind)]
    if lacking:
        raise _no_record(path, f"lacks {', '.join(lacking)}")
    if record["experiment"] != path.stem:
        raise _no_record(path, f"holds results of {record['experiment']!r}")
    if not all(isinstance(row, dict) and "test" in row for row in record["results"]):
        raise _no_record(path, "holds results without a test accuracy")
    return record


def _read(path: Path) -> Any:
    """Read a JSON file."""
    if not path.is_file():
        raise _no_record(path, "is no file")
    content = path.read_bytes()
    if not content.strip():
        raise _no_record(path, "is empty")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _no_record(path, f"is damaged, cut off or no JSON ({error})") from None


def _no_record(path: Path, wrong: str) -> ValueError:
    """Word what is wrong with a file, and what to do."""
    return ValueError(
        f"Recorded results are JSON with experiment, data, environments and results, in a file "
        f"named like the experiment. Received: {path}, which {wrong}. It was left as it is: put "
        "back a copy of it, or move it away and record anew."
    )


@contextlib.contextmanager
def updating(path: Path) -> Iterator[dict[str, Any]]:
    """Hand out a record for changes, which are written at the end; other processes wait.

    Args:
        path: The JSON file; its folder is made when missing.

    Yields:
        What :func:`open_record` gives.

    Example:
        >>> with updating(Path("pets.json")) as record:  # doctest: +SKIP
        ...     record["results"].append(row)
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        record = open_record(path)
        yield record
        write_record(record, path)


@contextlib.contextmanager
def claiming(path: Path, work: Any, *, wait: bool = False) -> Iterator[bool]:
    """Keep other processes from the same piece of work on a record, until the block ends.

    Args:
        path: The record's JSON file; its folder is made when missing.
        work: What tells this piece of work from others.
        wait: Whether to wait for a process that is at it. Defaults to False.

    Yields:
        False where another process is at it. Where it is True, look whether the work is still to
        be done: another process may just have finished it.

    Example:
        >>> with claiming(Path("pets.json"), "baseline") as ours:  # doctest: +SKIP
        ...     print(ours)
        True
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(repr(work).encode()).hexdigest()[:12]
    lock = FileLock(path.with_name(f".{path.stem}-{name}.lock"))
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file
            os.unlink(lock.lock_file)
        lock.release()


def record_missing(
    path: Path,
    plan: Iterable[Settings],
    load: "Callable[[Settings], Dataset]",
    run: "Callable[[Settings, Dataset], Run]",
    *,
    more: "Callable[[Run], dict[str, Any]] | None" = None,
    is_same_data: bool = True,
) -> Iterator[dict[str, Any]]:
    """Run what a record lacks of a plan, and record each result as soon as it is there.

    An interrupted recording resumes. Several processes may record into one file: what one of them
    is at, the others leave to it.

    Args:
        path: The JSON file.
        plan: The settings of each result, all with the same of :data:`SETTINGS`, in the order of
            running.
        load: Gives the data for a result's settings.
        run: Gives the result.
        more: Gives further figures of a run to record. Defaults to none.
        is_same_data: Whether all results must be from the same images. Defaults to True; False
            where every seed draws its own.

    Yields:
        Each new result.

    Raises:
        ValueError: If the file is damaged, or holds something else.
        OtherDataError: If its results are from other images.

    Example:
        >>> next(record_missing(Path("pets.json"), plan, load, run))["test"]  # doctest: +SKIP
        0.91
    """
    noted: dict[str, Any] = {}
    for settings in plan:
        with claiming(path, identity(settings)) as ours:
            if not ours or settings_recorded(path, [settings]):
                continue
            data = load(settings)
            if not is_same_data:
                noted = asdict(data.source)
            elif not noted:
                noted = note_data(open_record(path), data)
            result = run(settings, data)
            with updating(path) as record:
                if is_same_data and record["data"] not in ({}, noted):
                    raise _other_data(record, noted)
                record["data"] = noted
                row = describe_run(result, settings, record) | (more(result) if more else {})
                record["results"].append(row)
        yield row


def settings_recorded(path: Path, plan: Iterable[Settings]) -> int:
    """Count how many of a plan's results a file holds.

    Args:
        path: The JSON file.
        plan: The settings of each result.

    Returns:
        Their number, 0 where there is no file.

    Raises:
        ValueError: If the file is damaged, or its results are told apart by other settings.

    Example:
        >>> settings_recorded(Path("nowhere/pets.json"), [{"method": "frozen", "seed": 0}])
        0
    """
    done = {identity(row) for row in open_record(path)["results"]}
    wanted = {identity(settings) for settings in plan}
    for one in done:
        if any([key for key, _ in one] != [key for key, _ in other] for other in wanted):
            raise _no_record(path, f"holds results by {', '.join(key for key, _ in one)}")
    return len(done & wanted)


def write_record(record: dict[str, Any], path: Path) -> None:
    """Replace the file once the new one is complete.

    Args:
        record: What :func:`open_record` gave, with more results.
        path: The JSON file; its folder is made when missing.

    Example:
        >>> write_record(open_record(Path("pets.json")), Path("pets.json"))  # doctest: +SKIP
    """
    write_atomically(path, json.dumps(record, indent=1, default=float) + "\n")


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
        ValueError: If the file is damaged.

    Example:
        >>> load_record("photographs")["experiment"]  # doctest: +SKIP
        'photographs'
    """
    below = Path("_data") / kind
    places = [Path(folder)] if folder else [below, "book" / below, *recorded_places(kind)]
    for place in places:
        path = place / f"{name}.json"
        if path.is_file():
            return _read(path)
    by_kind = {"field": f"tlhelpers record {name}", "workflow": "make field"}
    how = by_kind.get(kind, "make study")
    raise FileNotFoundError(
        f"Recorded results are read from {name}.json in {' or '.join(map(str, places))}. Received: "
        f"no such file; record them with: {how}"
    )


def describe_run(run: "Run", settings: Settings, record: dict[str, Any]) -> dict[str, Any]:
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


def note_data(record: dict[str, Any], data: "Dataset") -> dict[str, Any]:
    """Return what a record says of its data: where they come from, and what they hold.

    The same images may come in another file, as the publisher's MNIST does and a mirror's: that is
    told by pixels and labels, and the record keeps the first file's digest.

    Args:
        record: The record, in which nothing is changed.
        data: The whole data set of the next result.

    Returns:
        The source's fields, and ``content``: what :func:`content_of` gives.

    Raises:
        OtherDataError: If the record was made from other images, whose results would not compare.

    Example:
        >>> note_data(record, tl.load_dataset("cifar10"))["content"]["test"]  # doctest: +SKIP
        10000
    """
    recorded = record["data"]
    if recorded and recorded["digest"] == data.source.digest:
        return recorded
    noted = {**asdict(data.source), "content": content_of(data)}
    if not recorded or recorded.get("content") == noted["content"]:
        return recorded or noted
    raise _other_data(record, noted)


def content_of(data: "Dataset") -> dict[str, Any]:
    """Describe what a data set holds, whatever files it is read from and however it is split.

    Args:
        data: The data set.

    Returns:
        ``train`` (number of images, validation included), ``test``, and ``sha256`` over the pixels
        and labels of both, each in any order.

    Example:
        >>> import tlhelpers as tl
        >>> content_of(tl.load_dataset("pets", n_train=8, n_test=4))["train"]
        10
    """
    parts = [
        sorted((digest, label) for split in splits for digest, label in _labelled_digests(split))
        for splits in ((data.train, data.validation), (data.test,))
    ]
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{len(part)} images".encode())
        for digest, label in part:
            total.update(digest + f" {label}".encode())
    train, test = map(len, parts)
    return {"train": train, "test": test, "sha256": total.hexdigest()}


def _labelled_digests(split: "Split") -> Iterator[tuple[bytes, int]]:
    """Give for each image the digest of its pixels as decoded, in their own size, and its label."""
    from tlhelpers.data.splits import in_threads

    digests = split.digests() if split.paths is None else in_threads(_decoded, split.paths)
    return zip(digests, split.labels.tolist(), strict=True)


def _decoded(path: Path) -> bytes:
    """Return the digest of a file's pixels."""
    from PIL import Image

    with Image.open(path) as image:
        return hashlib.sha256(image.convert("RGB").tobytes()).digest()


def _other_data(record: dict[str, Any], noted: dict[str, Any]) -> OtherDataError:
    """Say which two data sets do not go together, and what to do."""
    described = []
    for source in (noted, record["data"]):
        content = source.get("content", {})
        sizes = ", ".join(f"{content[part]:,} {part}" for part in ("train", "test") if content)
        notes = "; ".join(filter(None, (source.get("note"), sizes, source["digest"][:19])))
        described.append(f"{source['name']} from {source['origin']} ({notes})")
    return OtherDataError(
        f"All results of a record must come from the same images, since accuracies on others don't "
        f"compare. Received: {described[0]}, for the record {record['experiment']!r} that was made "
        f"from {described[1]}. Record yours in a folder of their own, with: --to DIR"
    )


def identity(settings: Settings) -> tuple[tuple[str, Any], ...]:
    """Return what tells one result from another.

    Args:
        settings: A result, or its settings.

    Returns:
        Name and value of each of :data:`SETTINGS` that it has.

    Example:
        >>> identity({"labels": 5, "seed": 0, "method": "frozen", "test": 0.4})
        (('method', 'frozen'), ('labels', 5), ('seed', 0))
    """
    return tuple((key, settings[key]) for key in SETTINGS if key in settings)


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
