"""CIFAR-10 from Keras's loader, or from an archive of image files such as a mirror holds."""

import functools
import io
import os
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np

from tlhelpers.environment import cache_folder
from tlhelpers.files import DownloadError, digest_of
from tlhelpers.images import read_image
from tlhelpers.splits import in_threads

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CLASS_NAMES = (
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


def load_by_keras() -> dict[str, np.ndarray]:
    """Have Keras download CIFAR-10 and check its digest.

    Returns:
        ``train_images`` uint8 [50000, 32, 32, 3], ``train_labels`` [50000], and
        ``test_images`` and ``test_labels`` with 10,000.

    Raises:
        DownloadError: If it can't be had.

    Example:
        >>> load_by_keras()["test_labels"].shape  # doctest: +SKIP
        (10000,)
    """
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = keras.datasets.cifar10.load_data()
    except Exception as error:  # Keras raises a bare Exception when a download fails.
        reason = str(error).splitlines()[0]
        raise DownloadError(
            f"CIFAR-10 was to be fetched from {ADDRESS}, and that failed: {reason}. Set "
            "TLH_MIRROR=<folder or URL> to a place that holds cifar10.zip, or use the embedded "
            "tier, which downloads nothing (TLH_TIER=embedded)."
        ) from None
    return {
        "train_images": np.moveaxis(x_train, 1, -1) if x_train.shape[1] == 3 else x_train,
        "train_labels": y_train[:, 0],
        "test_images": np.moveaxis(x_test, 1, -1) if x_test.shape[1] == 3 else x_test,
        "test_labels": y_test[:, 0],
    }


def load_archive(archive: Path) -> tuple[dict[str, np.ndarray], bool]:
    """Read CIFAR-10 from an archive of 60,000 small files, which are decoded once.

    The decoded arrays are kept in the cache under the archive's digest.

    Args:
        archive: A zip of ``cifar10/{train,test}/<class>/<file>``, 32 × 32 pixels.

    Returns:
        The arrays, memory-mapped, by the names that :func:`load_by_keras` uses; and
        whether the files are JPEG-compressed.

    Raises:
        ValueError: If the archive is laid out in another way, or holds a broken image.

    Example:
        >>> arrays, is_jpeg = load_archive(fetch("cifar10.zip"))  # doctest: +SKIP
    """
    from filelock import FileLock

    key = digest_of(archive).removeprefix("sha256:")[:12]
    folder = cache_folder() / "decoded" / f"cifar10-{key}"
    with zipfile.ZipFile(archive) as zipped:
        members = sorted(name for name in zipped.namelist() if not name.endswith("/"))
        is_jpeg = any(name.lower().endswith((".jpg", ".jpeg")) for name in members)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            if not folder.is_dir():
                _decode_into(folder, zipped, members)
    names = [f"{part}_{what}" for part in ("train", "test") for what in ("images", "labels")]
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}, is_jpeg


def _decode_into(folder: Path, zipped: zipfile.ZipFile, members: list[str]) -> None:
    """Write the decoded arrays of an archive ``…/{train,test}/<class>/<file>`` to a folder."""
    part = folder.parent / f".{folder.name}.part"
    # A killed process may have left one.
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        for split in ("train", "test"):
            names = [name for name in members if PurePosixPath(name).parts[-3:-2] == (split,)]
            classes = [PurePosixPath(name).parts[-2] for name in names]
            if set(classes) != set(CLASS_NAMES):
                raise ValueError(
                    f"The archive must hold cifar10/{split}/<class>/<file> for the classes "
                    f"{', '.join(CLASS_NAMES)}. Received: {', '.join(sorted(set(classes)))}."
                )
            labels = np.array([CLASS_NAMES.index(name) for name in classes], np.int64)
            files = [zipped.read(name) for name in names]
            images = in_threads(functools.partial(read_image, image_size=32), files)
            np.save(part / f"{split}_images.npy", np.stack(images))
            np.save(part / f"{split}_labels.npy", labels)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_archive(path: str | Path) -> None:
    """Write CIFAR-10, fetched by Keras, as the archive of PNG files that a mirror holds.

    Args:
        path: The archive to write, ``cifar10/{train,test}/<class>/<number>.png`` inside; it
            appears only when it is complete.

    Raises:
        DownloadError: If CIFAR-10 can't be had.

    Example:
        >>> write_archive("mirror/cifar10.zip")  # doctest: +SKIP
    """
    from PIL import Image

    arrays = load_by_keras()
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as beside:
        part = Path(beside) / path.name
        with zipfile.ZipFile(part, "w") as zipped:
            for split in ("train", "test"):
                pairs = zip(arrays[f"{split}_images"], arrays[f"{split}_labels"], strict=True)
                for number, (image, label) in enumerate(pairs):
                    png = io.BytesIO()
                    Image.fromarray(image).save(png, "PNG")
                    name = f"cifar10/{split}/{CLASS_NAMES[label]}/{number:05d}.png"
                    # A fixed date keeps the archive's digest the same on every machine.
                    entry = zipfile.ZipInfo(name, (2009, 1, 1, 0, 0, 0))
                    zipped.writestr(entry, png.getvalue())
        os.replace(part, path)
