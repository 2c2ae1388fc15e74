"""What the published data sets hold: read from their files, checked, and decoded once."""

import functools
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from tlhelpers.data.archives import open_archive, unpack
from tlhelpers.data.downloads import (
    SUMS,
    DownloadError,
    digest_of,
    has_digest,
    read_sums,
    vouched_by,
    write_sums,
)
from tlhelpers.data.splits import in_threads
from tlhelpers.files import cache_folder, locked, remove_unfinished, replacing

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def _sizes(classes: Iterable[object], **counts: Sequence[int]) -> dict[str, int]:
    """Return the number of images by part and class, from those of each part."""
    return {
        f"{part}/{name}": count
        for part, of_class in counts.items()
        for name, count in zip(classes, of_class, strict=True)
    }


# Images of each class, as published: the archive of 3,000 photographs; Krizhevsky 2009; LeCun,
# Cortes and Burges's MNIST, whose classes differ in size.
SIZES = {
    "cats_dogs": _sizes(("cats", "dogs"), train=[1000] * 2, validation=[500] * 2),
    "cifar10": _sizes(CIFAR10_CLASSES, train=[5000] * 10, test=[1000] * 10),
    "mnist": _sizes(
        range(10),
        train=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        test=(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
}
_PHOTOGRAPHS = (
    r"cats_and_dogs_filtered/(?:(?:train|validation)/(?:cats|dogs)/\w+\.\d+\.jpg|vectorize\.py)"
)
_CIFAR10_IMAGES = rf"cifar10/(?:train|test)/(?:{'|'.join(CIFAR10_CLASSES)})/\d+\.(?:png|jpe?g)"
_RECORD, _BATCH = 1 + 3 * 32 * 32, 10_000  # bytes of a record, records of a file
_CIFAR10_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels", "is_jpeg")


def load_photographs(archive: Path) -> dict[str, list[Path]]:
    """Unpack the photographs of cats and dogs, and return their files by part and class.

    Args:
        archive: The file ``cats_and_dogs_filtered.zip``.

    Returns:
        The files in the order of their names, by ``"train/cats"`` and the like.

    Raises:
        ValueError: If the archive holds something else.
    """
    found: dict[str, list[Path]] = {}
    for path in unpack(archive, cache_folder() / "unpacked", _PHOTOGRAPHS):
        if path.suffix == ".jpg":
            found.setdefault("/".join(path.parts[-3:-1]), []).append(path)
    _check_sizes("cats_dogs", archive.name, {part: len(files) for part, files in found.items()})
    return found


def load_cifar10(archive: Path) -> tuple[dict[str, np.ndarray], bool]:
    """Read CIFAR-10 from an archive of 60,000 small files, which are decoded once.

    The decoded arrays are kept in the cache under the archive's digest, with their own digests,
    and decoded again where one doesn't fit.

    Args:
        archive: A zip of ``cifar10/{train,test}/<class>/<number>.png`` or ``.jpg``, 32 × 32 pixels.

    Returns:
        The arrays, memory-mapped, by the names that :func:`load_cifar10_records` uses; and whether the
        files are JPEG-compressed.

    Raises:
        ValueError: If the archive holds something else, or a broken image.
    """
    key = digest_of(archive).removeprefix("sha256:")[:12]
    folder = cache_folder() / "decoded" / f"cifar10-{key}"
    if not _is_whole(folder):
        with locked(folder.parent / f".{folder.name}.lock"):
            # Another process may have decoded them while this one waited.
            if not _is_whole(folder):
                size = sum(SIZES["cifar10"].values()) * 32 * 32 * 3
                print(f"Decoding {archive.name} ({size / 1e6:,.0f} MB) to {folder} (TLH_CACHE)")
                remove_unfinished(folder)
                _decode(archive, folder)
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _CIFAR10_ARRAYS}
    return arrays, bool(arrays.pop("is_jpeg"))


def load_mnist(file: Path) -> dict[str, np.ndarray]:
    """Read MNIST from the file of four arrays that Keras publishes.

    Args:
        file: The file ``mnist.npz``.

    Returns:
        ``train_images`` uint8 [60000, 28, 28], ``train_labels`` uint8 [60000], and ``test_images``
        and ``test_labels`` with 10,000.

    Raises:
        ValueError: If the file holds something else.
    """
    arrays = {}
    with open_archive(file, r"[xy]_(?:train|test)\.npy") as (zipped, entries):
        found = {entry.filename.removesuffix(".npy"): entry for entry in entries}
        for part in ("train", "test"):
            count = sum(n for key, n in SIZES["mnist"].items() if key.startswith(part))
            for name, what, shape in (("x", "images", (count, 28, 28)), ("y", "labels", (count,))):
                entry = found.get(f"{name}_{part}")
                array = _read_array(zipped, entry) if entry else "no such array"
                if not isinstance(array, np.ndarray) or (array.dtype, array.shape) != (
                    "uint8",
                    shape,
                ):
                    got = array if isinstance(array, str) else f"{array.dtype} {list(array.shape)}"
                    raise ValueError(
                        f"{file.name} must hold {name}_{part} as uint8 {list(shape)}. Received: "
                        f"{got}. {vouched_by(file.name)}"
                    )
                arrays[f"{part}_{what}"] = array
    _check_sizes("mnist", file.name, _class_sizes(arrays, range(10)))
    return arrays


def load_cifar10_records(archive: Path) -> dict[str, np.ndarray]:
    """Read CIFAR-10 from its publisher's "binary version": records of a label and three planes.

    Args:
        archive: The file ``cifar-10-binary.tar.gz``.

    Returns:
        ``train_images`` uint8 [50000, 32, 32, 3], ``train_labels`` uint8 [50000], and
        ``test_images`` and ``test_labels`` with 10,000.

    Raises:
        ValueError: If the archive holds something else.
    """
    arrays = {}
    batches = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
    try:
        with tarfile.open(archive, "r:gz") as packed:
            for part, names in batches.items():
                files = [packed.extractfile(f"cifar-10-batches-bin/{name}.bin") for name in names]
                content = b"".join(file.read(_BATCH * _RECORD) for file in files if file)
                records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
                planes = records[:, 1:].reshape(-1, 3, 32, 32)
                arrays[f"{part}_images"] = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
                arrays[f"{part}_labels"] = records[:, 0]
    except (tarfile.TarError, OSError, EOFError, zlib.error, KeyError, ValueError) as error:
        raise ValueError(
            f"{archive.name} must hold CIFAR-10's six files of records. Received: "
            f"{str(error) or type(error).__name__}. {vouched_by(archive.name)}"
        ) from None
    _check_sizes("cifar10", archive.name, _class_sizes(arrays, CIFAR10_CLASSES))
    return arrays


def _check_sizes(name: str, file: str, found: Mapping[str, int]) -> None:
    """Raise where the classes of a data set are not as large as published."""
    wanted = SIZES[name]
    wrong = [
        f"{found.get(part, 0):,} instead of {wanted.get(part, 0):,} in {part}"
        for part in sorted(wanted.keys() | found.keys())
        if found.get(part, 0) != wanted.get(part, 0)
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more such" if len(wrong) > 3 else ""
        raise ValueError(
            f"{file} must hold {sum(wanted.values()):,} images in {len(wanted)} folders or classes. "
            f"Received: {'; '.join(wrong[:3])}{more}. {vouched_by(file)}"
        )


def _class_sizes(arrays: dict[str, np.ndarray], classes) -> dict[str, int]:
    """Count the labels of each part and class."""
    return {
        f"{part}/{name}": int(np.count_nonzero(arrays[f"{part}_labels"] == label))
        for part in ("train", "test")
        for label, name in enumerate(classes)
    }


def _read_array(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray | str:
    """Read one array, or say why it is none."""
    content = zipped.read(entry)
    try:
        return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # NumPy fails in many ways on bytes that are no array.
        return f"no array of numbers ({type(error).__name__})"


def _is_whole(folder: Path) -> bool:
    """Tell whether decoded arrays are there with the digests that were noted for them."""
    try:
        noted = read_sums(folder / SUMS)
    except DownloadError:
        return False
    names = [f"{name}.npy" for name in _CIFAR10_ARRAYS]
    return all(name in noted and has_digest(folder / name, noted[name]) for name in names)


def _decode(archive: Path, folder: Path) -> None:
    """Decode the images of an archive into arrays, and note the arrays' digests."""
    arrays: dict[str, np.ndarray] = {}
    with open_archive(archive, _CIFAR10_IMAGES) as (zipped, entries):
        found: dict[str, list[zipfile.ZipInfo]] = {}
        for entry in entries:
            found.setdefault("/".join(PurePosixPath(entry.filename).parts[1:3]), []).append(entry)
        _check_sizes("cifar10", archive.name, {part: len(files) for part, files in found.items()})
        for split in ("train", "test"):
            parts = [found[f"{split}/{name}"] for name in CIFAR10_CLASSES]
            files = [(entry.filename, zipped.read(entry)) for part in parts for entry in part]
            decode = functools.partial(_decode_image, archive.name)
            arrays[f"{split}_images"] = np.stack(in_threads(decode, files, f"decoding {split}"))
            arrays[f"{split}_labels"] = np.repeat(np.arange(10), [len(part) for part in parts])
        arrays["is_jpeg"] = np.array(any(not e.filename.endswith(".png") for e in entries))
    for name, array in arrays.items():
        with replacing(folder / f"{name}.npy", array.nbytes) as part:
            np.save(part, array)
    write_sums(folder, {f"{name}.npy": digest_of(folder / f"{name}.npy") for name in arrays})


def _decode_image(archive: str, file: tuple[str, bytes]) -> np.ndarray:
    """Decode one image of CIFAR-10, or say which one is none."""
    name, content = file
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            if (image.mode, image.size) == ("RGB", (32, 32)):
                return np.asarray(image)
            got = f"{image.mode} {image.size[0]} × {image.size[1]}"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        got = f"no image ({type(error).__name__})"
    raise ValueError(
        f"{archive} must hold RGB images of 32 × 32 pixels. Received: {name}, {got}. "
        f"{vouched_by(archive)}"
    )
