"""Features of more images than fit in memory or a day: in shards, resumable, on several workers."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.data.audit import first_few, printable
from tlhelpers.data.images import (
    GREY_RANGE,
    UnreadableImageError,
    check_fit,
    decoded,
    digest_image,
    file_content,
    read_and_digest,
)
from tlhelpers.data.layout import Layout, files_below
from tlhelpers.data.splits import in_threads
from tlhelpers.files import locked, remove_unfinished, replacing, write_atomically
from tlhelpers.models.backbones import batch_normalisation, load_backbone
from tlhelpers.progress import counted, progress_bar
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

RETRIES = 5
"""How often a shard whose worker died is begun again; a file may kill each of them."""

# How read_image reads unless told otherwise; the digest leaves these out.
_USUAL: dict[str, Any] = {"fit": "crop", "grey_range": GREY_RANGE}
_FOUND = ("weights", "arithmetic", "images", "listing")  # in a plan, and no argument


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
        fit: How pictures become square.
        grey_range: Values of grey beyond 8 bits that become 0 and 255; None refuses such files.
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
    fit: str
    grey_range: tuple[int, int] | None

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.images // self.shard)

    @property
    def digest(self) -> str:
        """SHA-256 of everything above but where the images lie."""
        about = dict(item for item in asdict(self).items() if item not in _USUAL.items())
        del about["photos"]
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
    fit: str = "crop",
    grey_range: tuple[int, int] | None = None,
    shard: int = SHARD,
    workers: int = 1,
    cluster: str | None = None,
) -> Path:
    """Extract a network's pooled features from all images below a folder, into shards of Parquet.

    A shard is written whole or not at all, so a job that was killed resumes with the shards that are
    missing, and no image is computed twice. Each file is read once. The memory needed does not grow
    with the number of images, apart from the list of their names.

    The same call again on finished work looks at size and time of each file, reads those that
    differ and those that could not be read, and does the shards anew of which one is another now.

    Call :func:`tlhelpers.setup` first, with ``tier="real"`` for ImageNet weights.

    Args:
        photos: A folder of images, in folders of any depth. It is not changed.
        to: The folder of the shards: new, empty, or that of the same work, which goes on.
        backbone: Name of the network. Defaults to ``"mobilenet_v2"``.
        image_size: Width and height it is fed, in pixels. Defaults to 224.
        cut: Its last stage. Defaults to the whole network.
        engine: As for :func:`tlhelpers.extract_features`. Defaults to ``"auto"``.
        precision: As for :func:`tlhelpers.extract_features`. Defaults to ``"float32"``.
        fit: As for :func:`tlhelpers.load_folder`. Defaults to ``"crop"``.
        grey_range: Values that become black and white in files of grey with more than 8 bits, such
            as ``(0, 4095)`` for 12. Defaults to none: such files count as unreadable.
        shard: Images in a shard. Defaults to 4,096.
        workers: Processes of a cluster. Defaults to 1.
        cluster: ``"ray"`` for a pool of Ray's actors, each with the network loaded once; they must
            see ``photos`` and ``to`` under the same paths. Defaults to this process alone.

    Returns:
        The path of ``manifest.json``: plan, files with their digests, and counts. Beside it stand
        ``features-000000.parquet`` and so on, with columns ``file`` (below ``photos``), ``folder``
        (the class, where the folders are classes), ``sha256`` and ``features`` (float32), and
        ``unreadable-000000.parquet`` with ``file`` and ``reason`` where a shard has such; one more
        names what was left out, such as links to folders, which are not followed.

    Raises:
        ModuleNotFoundError: If pyarrow or Ray is needed and not installed.
        FileNotFoundError: If there are no images.
        FileExistsError: If ``to`` holds something else.
        ValueError: If an argument is not possible, or files were added or removed since the work
            began.

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
    check_fit(fit)
    if grey_range is not None:
        low, high = grey_range
        if not low < high:
            raise ValueError(
                f"A grey range has its lower value first, as in 0 and 4095. Received: {low} {high}."
            )
        grey_range = int(low), int(high)
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
            "fit": fit,
            "grey_range": grey_range,
        }
        names, skipped = _list(photos)
        plan = _plan(photos, to, names, about)
        _renew(plan, to, names)
        missing = [number for number in range(plan.shards) if not _shard_path(to, number).is_file()]
        run = _on_ray if cluster else _here
        done = plan.images - sum(_size(plan, number) for number in missing)
        with progress_bar(plan.images, "features", " images", initial=done) as bar:
            for number in run(plan, to, missing, workers):
                bar.update(_size(plan, number))
        return _manifest(plan, to, skipped)


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


def _list(photos: Path) -> tuple[list[str], dict[str, str]]:
    """Name the images below a folder, mixed, and what was left out with the reason."""
    layout = Layout()
    names = sorted(
        Path(path).relative_to(photos).as_posix() for path in files_below(photos, layout)
    )
    skipped = {path.relative_to(photos).as_posix(): reason for path, reason in layout.skipped}
    if not names:
        left_out = first_few(f"{printable(name)} ({reason})" for name, reason in skipped.items())
        raise FileNotFoundError(
            f"There must be images in {photos} or in the folders below it."
            + f" Left out: {left_out}." * bool(skipped)
        )
    # Mixed, so that every shard has something of every class, which training in one pass needs.
    return [names[row] for row in np.random.default_rng(0).permutation(len(names))], skipped


def _plan(photos: Path, to: Path, names: list[str], about: dict[str, Any]) -> Plan:
    """Return the plan that a folder holds, or begin one."""
    listing = hashlib.sha256()
    for place, name in enumerate(names):
        listing.update(b"\0" * (place > 0) + os.fsencode(name))
    plan = Plan(photos=str(photos), images=len(names), listing=listing.hexdigest(), **about)
    path = to / PLAN
    if path.is_file():
        old, new = json.loads(path.read_text("utf-8")), json.loads(json.dumps(asdict(plan)))
        if changed := [key for key in new if key != "photos" and old.get(key) != new[key]]:
            began = ", ".join(f"{key}={old.get(key)!r}" for key in changed if key not in _FOUND)
            what = ", ".join(changed)
            if "listing" in changed:
                what = f"which files there are (then {old['images']:,}, now {new['images']:,})"
            raise ValueError(
                f"{to} holds features of other work: {what} changed since it began"
                f"{began and f' (with {began}; that goes on)'}. Choose another folder, or remove this "
                "one to begin anew."
            )
        remove_unfinished(to)
        return plan
    # Whoever was killed before the plan was written left no more than these.
    ours = ("lock", LISTING)
    others = [entry.name for entry in to.iterdir() if entry.name not in ours]
    if other := [name for name in others if not name.startswith(".part-")]:
        raise FileExistsError(
            f"Features go to a new or empty folder. Received: {to}, which holds {other[0]}."
        )
    remove_unfinished(to)
    (to / LISTING).unlink(missing_ok=True)
    write_atomically(path, json.dumps(asdict(plan), indent=1))
    return plan


def _renew(plan: Plan, to: Path, names: list[str]) -> None:
    """Remove the shards of which a file is another now, and note what tells it next time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    photos, listing, columns = Path(plan.photos), to / LISTING, ["size", "mtime_ns"]
    now = np.fromiter((_stamp(photos / name) for name in names), np.dtype((np.int64, 2)))
    known = listing.is_file()
    changed = np.full(len(names), not known)
    if known:
        noted = pq.read_table(listing, columns=columns)
        for place, column in enumerate(columns):
            changed |= noted.column(column).to_numpy() != now[:, place]
    for number in counted(range(plan.shards), plan.shards, "checking", " shards"):
        rows = slice(number * plan.shard, (number + 1) * plan.shard)
        if _is_outdated(plan, to, number, names[rows], changed[rows]):
            # The listing last: if this is killed before, the next run finds the same again.
            for path in (to / MANIFEST, _shard_path(to, number)):
                path.unlink(missing_ok=True)
    if known and not changed.any():
        return
    table = pa.table(
        {
            "file": pa.array([os.fsencode(name) for name in names], pa.binary()),
            **{column: now[:, place] for place, column in enumerate(columns)},
        }
    )
    with replacing(listing) as part:
        pq.write_table(table, part, row_group_size=plan.shard)


def _stamp(path: Path) -> tuple[int, int]:
    """Return size and time of a file, which tell without reading it that it is another."""
    try:
        facts = path.stat()
    except OSError:
        return -1, -1
    return facts.st_size, facts.st_mtime_ns


def _is_outdated(plan: Plan, to: Path, number: int, names: list[str], changed: np.ndarray) -> bool:
    """Tell whether a finished shard has a file that is another now, or now reads otherwise."""
    import pyarrow.parquet as pq

    features, unreadable = _shard_path(to, number), _shard_path(to, number, "unreadable")
    if not features.is_file() or not (changed.any() or unreadable.is_file()):
        return False
    noted: dict[str, set[bytes | str]] = {}  # names that are no text may be written alike
    for path, column in ((features, "sha256"), (unreadable, "reason")):
        if path.is_file():
            table = pq.read_table(path, columns=["file", column])
            for name, one in zip(
                *(table.column(c).to_pylist() for c in table.column_names), strict=True
            ):
                noted.setdefault(name, set()).add(one)
    read = _reader(plan)

    def is_other(name: str) -> bool:
        """Tell it of one file. Copying changes its time, so its content decides."""
        before = noted.get(_text(name), set())
        if any(isinstance(one, bytes) for one in before):
            try:
                if digest_image(Path(plan.photos, name)) in before:
                    return False
            except (OSError, ValueError):
                pass
        found = read(name)
        return not isinstance(found, str) or found not in before

    suspects = [
        name
        for name, one in zip(names, changed, strict=True)
        if one or not all(isinstance(found, bytes) for found in noted.get(_text(name), {""}))
    ]
    return any(in_threads(is_other, suspects))


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
    arithmetic = describe_engine(plan.engine, plan.precision, inference_batch_size(plan.image_size))
    if arithmetic != plan.arithmetic:
        raise ValueError(
            "Every worker must compute alike, since features of one data set are compared. Received: "
            f"{arithmetic} on this one, where the work began with {plan.arithmetic}. Use the same "
            "versions and kind of machine for all, and for what starts the work."
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
        try:  # RAY_ADDRESS's, or the one that runs on this machine
            ray.init(address="auto", log_to_driver=False)
        except ConnectionError:
            ray.init(address="local", num_cpus=workers, log_to_driver=False)
    # More actors than processors would wait for ever, and the shards handed to them.
    most = max(1, int(ray.cluster_resources().get("CPU", 1)))
    if workers > most:
        print(f"The cluster has {most} processors, so there are as many workers, not {workers}.")
    actor = ray.remote(_Worker).options(num_cpus=1, max_restarts=-1, max_task_retries=RETRIES)
    pool = ActorPool(
        [actor.remote(asdict(plan), str(to)) for _ in range(min(workers, most, len(missing)))]
    )
    try:
        yield from pool.map_unordered(lambda worker, number: worker.extract.remote(number), missing)
    except ray.exceptions.RayActorError as error:
        raise RuntimeError(
            f"A shard must be finished within {1 + RETRIES} tries. Received: a worker that died each "
            "time, for lack of memory or by a file that ends the process; what is finished is kept. "
            f"({str(error).splitlines()[0]})"
        ) from error


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
    read = _reader(plan)
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
    _write_reasons(unreadable, plan, to, number)
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


def _text(name: str) -> str:
    """Return a text as Parquet holds it; bytes of a name that are no text are escaped."""
    return re.sub(r"[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", name)


def _texts(values: Iterable[str]) -> "pyarrow.Array":
    """Return texts as Parquet holds them."""
    import pyarrow as pa

    return pa.array([_text(value) for value in values], pa.string())


def _reader(plan: Plan) -> Callable[[str], tuple[np.ndarray, bytes] | str]:
    """Return what reads a file once, or says why it can't be read."""

    def read(name: str) -> tuple[np.ndarray, bytes] | str:
        """Read one file."""
        try:
            with file_content(Path(plan.photos, name)) as content:
                found = read_and_digest(
                    content, plan.image_size, fit=plan.fit, grey_range=plan.grey_range
                )
                deep = None if plan.grey_range else _deep_grey(content, found[0])
        except FileNotFoundError:
            return "missing file"
        except UnreadableImageError as error:
            return str(error)
        except (OSError, ValueError) as error:
            return str(error.__cause__ or error)
        if deep:
            return (
                f"grey of more than 8 bits, here from {deep[0]:,} to {deep[1]:,}; give the values "
                "that become black and white, as in --grey-range 0 4095 for 12 bits"
            )
        return found

    return read


def _deep_grey(content: bytes, pixels: np.ndarray) -> tuple[int, int] | None:
    """Return the lowest and the highest value of grey with more than 8 bits, else None.

    Args:
        content: A file that can be read.
        pixels: What was read.
    """
    # Nearly all files need no second look: JPEG has 8 bits, and PNG says how many it has.
    png = content.startswith(b"\x89PNG")
    if content.startswith(b"\xff\xd8") or (png and content[24] != 16):
        return None
    if (pixels != pixels[..., :1]).any():
        return None
    with decoded(content, 0) as image:
        if not image.mode.startswith("I"):
            return None
        values = np.asarray(image)
        return int(values.min()), int(values.max())


def _write_reasons(reasons: Sequence[tuple[str, str]], plan: Plan, to: Path, number: int) -> None:
    """Write which files could not be read, and why; or remove what an earlier try wrote."""
    import pyarrow as pa

    if not reasons:
        _shard_path(to, number, "unreadable").unlink(missing_ok=True)
        return
    files, why = zip(*reasons, strict=True)
    table = pa.table({"file": _texts(files), "reason": _texts(why)})
    _write(table, plan, to, number, "unreadable")


def _write(table: "pyarrow.Table", plan: Plan, to: Path, number: int, what: str) -> None:
    """Write a table whole or not at all, with the plan it belongs to."""
    import pyarrow.parquet as pq

    table = table.replace_schema_metadata({"plan": plan.digest})
    with replacing(_shard_path(to, number, what)) as part:
        pq.write_table(table, part, compression="zstd")


def _manifest(plan: Plan, to: Path, skipped: dict[str, str]) -> Path:
    """Check that every shard is there and of this plan, and note the digest of each."""
    import pyarrow.parquet as pq

    # What was left out belongs to no shard; it goes behind the last one's.
    _write_reasons(list(skipped.items()), plan, to, plan.shards)
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
    counts["unreadable"] -= len(skipped)
    if sum(counts.values()) != plan.images:
        raise ValueError(
            f"{to} must hold a row for each of {plan.images:,} images. Received: "
            f"{sum(counts.values()):,}; remove the folder, and begin anew."
        )
    about = {
        "plan": asdict(plan),
        "digest": plan.digest,
        "counts": {**counts, "skipped": len(skipped)},
        "skipped": skipped,
        "files": files,
    }
    write_atomically(to / MANIFEST, json.dumps(about, indent=1))
    return to / MANIFEST
