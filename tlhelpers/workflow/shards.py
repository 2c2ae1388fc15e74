"""Features of more images than fit in memory or a day: in shards, resumable, on several workers."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.data.images import read_and_digest
from tlhelpers.data.layout import Layout, files_below
from tlhelpers.data.splits import in_threads
from tlhelpers.files import locked, replacing, write_atomically
from tlhelpers.models.backbones import batch_normalisation, load_backbone
from tlhelpers.progress import progress_bar
from tlhelpers.transfer.engine import (
    Engine,
    Forward,
    Precision,
    choose_engine,
    describe_engine,
    forward_pass,
)
from tlhelpers.transfer.features import pooled_features
from tlhelpers.transfer.recipes import inference_batch_size

if TYPE_CHECKING:
    import pyarrow

PLAN, LISTING, MANIFEST = "plan.json", "files.parquet", "manifest.json"
SHARD = 4_096
"""Images in a shard: half a minute to some minutes of work, and 20 MB of MobileNetV2's features."""


@dataclass(frozen=True)
class Plan:
    """What is extracted, by which every shard is told from one of other work.

    Attributes:
        photos: The folder of images.
        backbone: Name of the network.
        image_size: Width and height it is fed, in pixels.
        cut: Its last stage, or None for the whole network.
        engine: ``"keras"`` or ``"openvino"``.
        precision: ``"float32"`` or ``"bfloat16"``.
        weights: Digest of the network's weights.
        arithmetic: What else decides the features' last bits.
        shard: Images in a shard.
        images: Images in all.
        listing: SHA-256 of the list of files.
    """

    photos: str
    backbone: str
    image_size: int
    cut: str | None
    engine: str
    precision: Precision
    weights: str
    arithmetic: dict[str, Any]
    shard: int
    images: int
    listing: str

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.images // self.shard)

    @property
    def digest(self) -> str:
        """SHA-256 of everything above but where the images lie."""
        about = {key: value for key, value in asdict(self).items() if key != "photos"}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def extract_shards(
    photos: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    backbone: str = "mobilenet_v2",
    image_size: int = 224,
    cut: str | None = None,
    engine: Engine = "auto",
    precision: Precision = "float32",
    shard: int = SHARD,
    workers: int = 1,
    cluster: str | None = None,
) -> Path:
    """Extract a network's pooled features from all images below a folder, into shards of Parquet.

    A shard is written whole or not at all, so a job that was killed resumes with the shards that are
    missing, and no image is computed twice. Each file is read once. The memory needed does not grow
    with the number of images, apart from the list of their names.

    Call :func:`tlhelpers.setup` first, with ``tier="real"`` for ImageNet weights.

    Args:
        photos: A folder of images, in folders of any depth. It is not changed.
        to: The folder of the shards: new, empty, or that of the same work, which goes on.
        backbone: Name of the network. Defaults to ``"mobilenet_v2"``.
        image_size: Width and height it is fed, in pixels. Defaults to 224.
        cut: Its last stage. Defaults to the whole network.
        engine: As for :func:`tlhelpers.extract_features`. Defaults to ``"auto"``.
        precision: As for :func:`tlhelpers.extract_features`. Defaults to ``"float32"``.
        shard: Images in a shard. Defaults to 4,096.
        workers: Processes of a cluster. Defaults to 1.
        cluster: ``"ray"`` for a pool of Ray's actors, each with the network loaded once; they must
            see ``photos`` and ``to`` under the same paths. Defaults to this process alone.

    Returns:
        The path of ``manifest.json``: plan, files with their digests, and counts. Beside it stand
        ``features-000000.parquet`` and so on, with columns ``file`` (below ``photos``), ``folder``
        (the class, where the folders are classes), ``sha256`` and ``features`` (float32), and
        ``unreadable-000000.parquet`` with ``file`` and ``reason`` where a shard has such.

    Raises:
        ModuleNotFoundError: If pyarrow or Ray is needed and not installed.
        FileNotFoundError: If there are no images.
        FileExistsError: If ``to`` holds something else.
        ValueError: If an argument is not possible, or the folder was changed since the work began.

    Example:
        >>> extract_shards("photos", "features")  # doctest: +SKIP
        PosixPath('features/manifest.json')
    """
    if cluster not in (None, "ray"):
        raise ValueError(f"cluster is 'ray' or None. Received: {cluster!r}.")
    if shard < 1 or workers < 1:
        raise ValueError(
            f"A shard has images, and there are workers. Received: shard={shard}, workers={workers}."
        )
    _need("pyarrow")
    if cluster:
        _need("ray")
    photos, to = Path(photos).expanduser().resolve(), Path(to).expanduser().resolve()
    base = load_backbone(backbone, image_size, cut=cut)
    chosen = choose_engine(engine, image_size, precision)
    if not photos.is_dir():
        raise FileNotFoundError(f"There must be a folder of images. Received: {photos}.")
    if to == photos or to.is_relative_to(photos):
        raise ValueError(
            f"Features go to a folder of their own, not among the images. Received: {to}."
        )
    to.mkdir(parents=True, exist_ok=True)
    with locked(to / "lock"):
        about = {
            "backbone": backbone,
            "image_size": image_size,
            "cut": cut,
            "engine": chosen,
            "precision": precision,
            "weights": base.weights_digest(),
            "arithmetic": describe_engine(chosen, precision, inference_batch_size(image_size)),
            "shard": shard,
        }
        plan = _plan(photos, to, about)
        missing = [number for number in range(plan.shards) if not _shard_path(to, number).is_file()]
        run = _on_ray if cluster else _here
        done = plan.images - sum(_size(plan, number) for number in missing)
        with progress_bar(plan.images, "features", " images", initial=done) as bar:
            for number in run(plan, to, missing, workers):
                bar.update(_size(plan, number))
        return _manifest(plan, to)


def read_shards(
    folder: str | os.PathLike[str], *, batch: int = 1_024
) -> Iterator[dict[str, np.ndarray]]:
    """Read the features of a finished extraction, some rows at a time.

    Args:
        folder: The folder that :func:`extract_shards` wrote.
        batch: Rows at a time, at most. Defaults to 1,024.

    Yields:
        Arrays ``file``, ``folder`` and ``sha256`` (objects) and ``features`` (float32 ``[n, d]``).

    Raises:
        FileNotFoundError: If the extraction is not finished.
        ValueError: If a shard is not the one the manifest names.

    Example:
        >>> sum(len(rows["file"]) for rows in read_shards("features"))  # doctest: +SKIP
        200000
    """
    import pyarrow.parquet

    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(
            f"{folder} must hold a finished extraction ({MANIFEST}). Run the same tlhelpers extract "
            "again: it goes on with what is missing."
        )
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    for name, about in manifest["files"].items():
        if not name.startswith("features-"):
            continue
        with (folder / name).open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != about["sha256"]:
                raise ValueError(
                    f"{folder / name} is not the file that the manifest names: it was replaced or "
                    "damaged. Remove it, and run the same tlhelpers extract again."
                )
        with pyarrow.parquet.ParquetFile(folder / name) as shard:
            for part in shard.iter_batches(batch):
                values = part.column("features")
                yield {
                    "file": np.array(part.column("file").to_pylist(), object),
                    "folder": np.array(part.column("folder").to_pylist(), object),
                    "sha256": np.array(part.column("sha256").to_pylist(), object),
                    "features": values.flatten().to_numpy().reshape(len(part), -1),
                }


def _need(module: str) -> None:
    """Refuse where a library is missing."""
    import importlib.util

    if importlib.util.find_spec(module) is None:
        raise ModuleNotFoundError(
            f'Extraction in shards needs {module}: pip install "tlhelpers[cluster]".'
        )


def _plan(photos: Path, to: Path, about: dict[str, Any]) -> Plan:
    """Return the plan that a folder holds, or list the images and begin one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    layout = Layout()
    names = sorted(path.relative_to(photos).as_posix() for path in files_below(photos, layout))
    if not names:
        raise FileNotFoundError(f"There must be images in {photos} or in the folders below it.")
    # Mixed, so that every shard has something of every class, which training in one pass needs.
    names = [names[row] for row in np.random.default_rng(0).permutation(len(names))]
    listing = hashlib.sha256()
    for place, name in enumerate(names):
        listing.update(b"\0" * (place > 0) + os.fsencode(name))
    plan = Plan(photos=str(photos), images=len(names), listing=listing.hexdigest(), **about)
    path = to / PLAN
    if path.is_file():
        found = Plan(**json.loads(path.read_text("utf-8")))
        if found.digest != plan.digest:
            old, new = asdict(found), asdict(plan)
            changed = ", ".join(key for key in old if key != "photos" and old[key] != new[key])
            raise ValueError(
                f"{to} holds features of other work: {changed} changed since it began. Choose "
                "another folder, or remove this one to begin anew."
            )
        return plan
    if other := [entry.name for entry in to.iterdir() if entry.name != "lock"]:
        raise FileExistsError(
            f"Features go to a new or empty folder. Received: {to}, which holds {other[0]}."
        )
    table = pa.table({"file": pa.array([os.fsencode(name) for name in names], pa.binary())})
    with replacing(to / LISTING) as part:
        pq.write_table(table, part, row_group_size=plan.shard)
    write_atomically(path, json.dumps(asdict(plan), indent=1))
    return plan


def _size(plan: Plan, number: int) -> int:
    """Return how many images a shard has."""
    return min(plan.shard, plan.images - number * plan.shard)


def _shard_path(to: Path, number: int, what: str = "features") -> Path:
    """Return where a shard is written."""
    return to / f"{what}-{number:06}.parquet"


def _forward_of(plan: Plan) -> tuple[Forward, int]:
    """Build the network's forward pass, and say how many numbers an image gives."""
    base = load_backbone(plan.backbone, plan.image_size, cut=plan.cut)
    if base.weights_digest() != plan.weights:
        raise ValueError(
            f"Every worker must have the same weights of {plan.backbone}. Received: others on this one."
        )
    model = pooled_features(base)
    constant = bool(batch_normalisation(base.model))
    return forward_pass(model, plan.engine, plan.precision, constant=constant), model.output_shape[
        1
    ]


def _here(plan: Plan, to: Path, missing: list[int], _: int) -> Iterator[int]:
    """Extract shard after shard in this process."""
    if missing:
        forward, width = _forward_of(plan)
    for number in missing:
        _extract(plan, to, number, forward, width)
        yield number


def _on_ray(plan: Plan, to: Path, missing: list[int], workers: int) -> Iterator[int]:
    """Extract shards by a pool of Ray's actors; an actor that was killed is started anew."""
    if not missing:
        return
    import ray
    from ray.util import ActorPool

    if not ray.is_initialized():
        ray.init(num_cpus=None if "RAY_ADDRESS" in os.environ else workers, log_to_driver=False)
    actor = ray.remote(_Worker).options(num_cpus=1, max_restarts=-1, max_task_retries=-1)
    pool = ActorPool(
        [actor.remote(asdict(plan), str(to)) for _ in range(min(workers, len(missing)))]
    )
    yield from pool.map_unordered(lambda worker, number: worker.extract.remote(number), missing)


class _Worker:
    """One of Ray's actors. It builds the network itself: models don't travel well."""

    def __init__(self, plan: dict[str, Any], to: str) -> None:
        from tlhelpers.runtime import setup

        setup(tier="real", precision="float32")
        self.plan, self.to = Plan(**plan), Path(to)
        self.forward, self.width = _forward_of(self.plan)

    def extract(self, number: int) -> int:
        """Extract a shard, unless it was finished before this worker was killed."""
        if not _shard_path(self.to, number).is_file():
            _extract(self.plan, self.to, number, self.forward, self.width)
        return number


def _extract(plan: Plan, to: Path, number: int, forward: Forward, width: int) -> None:
    """Extract one shard, reading a batch ahead, and write it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(to / LISTING) as listing:
        listed = listing.read_row_group(number).column("file").to_pylist()
    names = [os.fsdecode(name) for name in listed]
    length = inference_batch_size(plan.image_size)
    parts = [names[at : at + length] for at in range(0, len(names), length)]
    read = _reader(Path(plan.photos), plan.image_size)
    kept: list[tuple[str, bytes]] = []
    rows, unreadable = [np.empty((0, width), np.float32)], []
    with ThreadPoolExecutor(max_workers=1) as ahead:
        pending = ahead.submit(in_threads, read, parts[0])
        for place, part in enumerate(parts):
            found = pending.result()
            if place + 1 < len(parts):
                pending = ahead.submit(in_threads, read, parts[place + 1])
            images = []
            for name, one in zip(part, found, strict=True):
                if isinstance(one, str):
                    unreadable.append((name, one))
                else:
                    images.append(one[0])
                    kept.append((name, one[1]))
            if images:
                # Every batch has the same shape, so an image gives the same in any company.
                batch = np.zeros((length, *images[0].shape), np.uint8)
                batch[: len(images)] = images
                rows.append(np.asarray(forward(batch)[0][: len(images)], np.float32))
    features = np.concatenate(rows)
    if unreadable:
        columns = dict(zip(("file", "reason"), zip(*unreadable, strict=True), strict=True))
        _write(pa.table({k: _texts(v) for k, v in columns.items()}), plan, to, number, "unreadable")
    files = [name for name, _ in kept]
    table = pa.table(
        {
            "file": _texts(files),
            "folder": _texts([Path(name).parent.as_posix() for name in files]),
            "sha256": pa.array([digest for _, digest in kept], pa.binary(32)),
            "features": pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), width),
        }
    )
    # The features last: where they are, the shard is done.
    _write(table, plan, to, number, "features")


def _texts(values: Any) -> "pyarrow.Array":
    """Return texts as Parquet holds them; bytes of a name that are no text are escaped."""
    import pyarrow as pa

    return pa.array([re.sub(r"[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", v) for v in values])


def _reader(photos: Path, size: int) -> Callable[[str], tuple[np.ndarray, bytes] | str]:
    """Return what reads a file once, or says why it can't be read."""

    def read(name: str) -> tuple[np.ndarray, bytes] | str:
        """Read one file."""
        try:
            return read_and_digest(photos / name, size)
        except (OSError, ValueError) as error:
            return str(error.__cause__ or error)

    return read


def _write(table: "pyarrow.Table", plan: Plan, to: Path, number: int, what: str) -> None:
    """Write a table whole or not at all, with the plan it belongs to."""
    import pyarrow.parquet as pq

    table = table.replace_schema_metadata({"plan": plan.digest})
    with replacing(_shard_path(to, number, what)) as part:
        pq.write_table(table, part, compression="zstd")


def _manifest(plan: Plan, to: Path) -> Path:
    """Check that every shard is there and of this plan, and note the digest of each."""
    import pyarrow.parquet as pq

    files: dict[str, Any] = {}
    for path in sorted(to.glob("*-??????.parquet")):
        with pq.ParquetFile(path) as shard:
            found = (shard.schema_arrow.metadata or {}).get(b"plan", b"").decode()
            rows = shard.metadata.num_rows
        if found != plan.digest:
            raise ValueError(
                f"{path} is no shard of this work. Move it elsewhere, and run the command again."
            )
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        files[path.name] = {"rows": rows, "sha256": digest}
    counts = {
        what: sum(about["rows"] for name, about in files.items() if name.startswith(what))
        for what in ("features", "unreadable")
    }
    if sum(counts.values()) != plan.images:
        raise ValueError(
            f"{to} must hold a row for each of {plan.images:,} images. Received: "
            f"{sum(counts.values()):,}; remove the folder, and begin anew."
        )
    about = {"plan": asdict(plan), "digest": plan.digest, "counts": counts, "files": files}
    write_atomically(to / MANIFEST, json.dumps(about, indent=1))
    return to / MANIFEST
