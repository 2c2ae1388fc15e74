"""Fetch data and weights once, check them by digest, and unpack them without trusting them."""

import contextlib
import functools
import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Protocol

import numpy as np

from tlhelpers.runtime import cache_folder, write_atomically

if TYPE_CHECKING:
    import requests

_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications"
_DATA = "https://storage.googleapis.com/mledu-datasets"


@dataclass(frozen=True)
class RemoteFile:
    """A file that is fetched when it is first needed.

    Args:
        name: Base name, in the cache and in a mirror.
        url: The publisher's address, or None where only a mirror has the file.
        digest: The published digest, ``"sha256:…"`` or ``"md5:…"``. None where the
            publisher gives none: then the digest of the first download is kept beside
            the file, and the file is held to it from then on.
        megabytes: Size in 10⁶ bytes.
        licence: The licence or terms.
        what: What it holds, in a few words.

    Example:
        >>> FILES["mnist.npz"].megabytes
        11.5
    """

    name: str
    url: str | None
    digest: str | None
    megabytes: float
    licence: str
    what: str


def _mobilenet_v2(size: int) -> RemoteFile:
    """Name the weights of MobileNetV2 that were trained on images of this size in pixels."""
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{size}_no_top.h5"
    what = f"ImageNet weights of MobileNetV2 ({size} px) without its top"
    return RemoteFile(name, f"{_APPLICATIONS}/mobilenet_v2/{name}", None, 9.4, "Apache 2.0", what)


# Weights: addresses and digests as in keras.applications (Keras 3.15), which has none for
# MobileNetV2. MNIST: as in keras.datasets.mnist.
FILES: dict[str, RemoteFile] = {
    file.name: file
    for file in (
        RemoteFile(
            "cats_and_dogs_filtered.zip",
            f"{_DATA}/cats_and_dogs_filtered.zip",
            None,
            68.6,
            "no open licence: Asirra photographs (Petfinder.com, Microsoft), for research",
            "3,000 photographs of cats and dogs",
        ),
        RemoteFile(
            "cifar10.zip",
            None,
            None,
            140.0,
            "none stated; cite Krizhevsky (2009)",
            "CIFAR-10 as folders of image files",
        ),
        RemoteFile(
            "mnist.npz",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
            "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
            11.5,
            "CC BY-SA 3.0",
            "MNIST digits as arrays",
        ),
        RemoteFile(
            "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            f"{_APPLICATIONS}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "md5:6d6bbae143d832006294945121d1f1fc",
            58.9,
            "CC BY 4.0 (Visual Geometry Group, Oxford)",
            "ImageNet weights of VGG16 without its top",
        ),
        RemoteFile(
            "vgg16_edges_hed_bsds500_notop.h5",
            None,
            None,
            29.5,
            "MIT",
            "VGG16 without its top, trained on from ImageNet to find edges (HED on BSDS500), "
            "half precision",
        ),
        *(_mobilenet_v2(size) for size in (96, 128, 160, 192, 224)),
        RemoteFile(
            "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            f"{_APPLICATIONS}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "md5:4d473c1dd8becc155b73f8504c6f6626",
            94.8,
            "MIT",
            "ImageNet weights of ResNet50 without its top",
        ),
        RemoteFile(
            "efficientnetv2-b0_notop.h5",
            f"{_APPLICATIONS}/efficientnet_v2/efficientnetv2-b0_notop.h5",
            "md5:893217f2bb855e2983157299931e43ff",
            24.3,
            "Apache 2.0",
            "ImageNet weights of EfficientNetV2-B0 without its top",
        ),
        RemoteFile(
            "convnext_tiny_notop.h5",
            f"{_APPLICATIONS}/convnext/convnext_tiny_notop.h5",
            "sha256:d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
            111.7,
            "MIT",
            "ImageNet weights of ConvNeXt-Tiny without its top",
        ),
    )
}


CIFAR10_ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
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
_SUMS = "SHA256SUMS"


class DownloadError(RuntimeError):
    """A file could not be had; the message says from where and what to do."""


@dataclass(frozen=True)
class Fetched:
    """What :func:`fetch_all` did about one file.

    Args:
        name: Base name of the file.
        status: "fetched", "already there", "made", or "failed".
        bytes: Size of the file, 0 where it failed.
        reason: Why it failed. Defaults to "".
    """

    name: str
    status: str
    bytes: int
    reason: str = ""


def mirror() -> str | None:
    """Return the folder or URL that ``TLH_MIRROR`` names, or None when it names none.

    Example:
        >>> mirror() is None or len(mirror()) > 0
        True
    """
    return os.environ.get("TLH_MIRROR") or None


def mirror_names() -> frozenset[str] | None:
    """Return the names of the files that the mirror lists, or None without a mirror.

    Raises:
        DownloadError: If ``TLH_MIRROR`` names a place that is no mirror.

    Example:
        >>> mirror_names()  # doctest: +SKIP
        frozenset({'mnist.npz', 'cats_and_dogs_filtered.zip'})
    """
    place = mirror()
    return None if place is None else frozenset(_listed_digests(place))


def fetch(name: str, to: str | Path | None = None) -> Path:
    """Return a verified local copy of a file, fetching it if there is none.

    With ``TLH_MIRROR`` set nothing but the mirror is contacted: a folder's files are
    checked against its ``SHA256SUMS`` and used where they lie, a URL's are fetched into
    the cache. A download appears in its place only when it is whole and its digest
    right; copies in the cache are checked again before each process uses them.

    Args:
        name: Base name of a file in :data:`FILES` or in the mirror.
        to: Folder to put the file in. Defaults to the cache, or for a mirror folder to
            leaving it where it is.

    Returns:
        Path of the file.

    Raises:
        ValueError: If the name is unknown.
        DownloadError: If the file can't be had, or has the wrong digest.

    Example:
        >>> fetch("mnist.npz")  # doctest: +SKIP
        PosixPath('/home/ada/.cache/tlhelpers/files/731c5ac60275/mnist.npz')
    """
    place = mirror()
    if place is None:
        return _fetch_published(_known(name), to)
    digest = _listed_digest(name, place)
    if _is_url(place):
        shelf = cache_folder() / "files" / _shelf_name(digest)
        return _download(f"{place.rstrip('/')}/{name}", name, digest, shelf, to)
    path = Path(place).expanduser() / name
    if not has_digest(path, digest):
        raise DownloadError(
            f"The mirror's {path} is missing or damaged: its digest is not the one in {_SUMS} "
            "there. Copy the file to the mirror again."
        )
    return path if to is None else _copy(path, Path(to))


def fetch_all(folder: str | Path, names: Iterable[str] | None = None) -> list[Fetched]:
    """Make a mirror: put files into a folder and list their digests in ``SHA256SUMS``.

    Files that are there and right are left alone, so a run that was interrupted can be
    repeated. A file that fails is reported and does not stop the others.

    Args:
        folder: The mirror to make or complete.
        names: Base names. Defaults to all that can be had.

    Returns:
        One report per file, in order.

    Raises:
        ValueError: If a name is unknown.

    Example:
        >>> fetch_all("mirror", ["mnist.npz"])  # doctest: +SKIP
        [Fetched(name='mnist.npz', status='fetched', bytes=11490434)]
    """
    target = Path(folder).expanduser()
    if names is None:
        names = [file.name for file in FILES.values() if file.url or file.name == "cifar10.zip"]
    chosen = list(names)
    if mirror() is None:
        for name in chosen:
            _known(name)
    target.mkdir(parents=True, exist_ok=True)
    return [_add_to_mirror(name, target) for name in chosen]


def digest_of(path: str | Path, algorithm: str = "sha256") -> str:
    """Return the digest of a file's bytes, read once per process while it is unchanged.

    Args:
        path: The file.
        algorithm: "sha256" or "md5". Defaults to "sha256".

    Returns:
        The algorithm and the hexadecimal digest, as in ``"sha256:06af…"``.

    Raises:
        FileNotFoundError: If there is no such file.

    Example:
        >>> digest_of(__file__)[:7]
        'sha256:'
    """
    facts = Path(path).stat()
    return _digest(str(Path(path).resolve()), facts.st_size, facts.st_mtime_ns, algorithm)


def has_digest(path: str | Path, digest: str) -> bool:
    """Tell whether a file exists and has this digest (``"sha256:…"`` or ``"md5:…"``).

    Example:
        >>> has_digest("no such file", "md5:00")
        False
    """
    return Path(path).is_file() and digest_of(path, digest.split(":")[0]) == digest


@functools.lru_cache(maxsize=256)
def _digest(path: str, size: int, changed: int, algorithm: str) -> str:
    """Digest a file; its size and time of change are in the arguments as the memory's key."""
    with open(path, "rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _known(name: str) -> RemoteFile:
    """Look a name up in the table."""
    if name not in FILES:
        raise ValueError(f"Unknown file. Received: {name!r}. Known: {', '.join(sorted(FILES))}.")
    return FILES[name]


def _fetch_published(file: RemoteFile, to: str | Path | None) -> Path:
    """Fetch from the publisher, by the published digest or the one noted at first use."""
    if file.url is None:
        raise DownloadError(
            f"{file.name} ({file.what}) has no public address: only a mirror holds it. Set "
            "TLH_MIRROR to one that does, or use the embedded tier (TLH_TIER=embedded)."
        )
    shelf = cache_folder() / "files" / _shelf_name(file.digest)
    if file.digest:
        return _download(file.url, file.name, file.digest, shelf, to)
    note = shelf / f"{file.name}.sha256"
    noted = note.read_text("utf-8").strip() if note.is_file() else None
    path = _download(file.url, file.name, noted, shelf, to)
    if noted is None:
        shelf.mkdir(parents=True, exist_ok=True)
        write_atomically(note, digest_of(path) + "\n")
        print(f"{file.name}: no digest is published; from now on it is held to {digest_of(path)}")
    return path


def _shelf_name(digest: str | None) -> str:
    """Name the cache's subfolder for a digest: versions of a file don't replace each other."""
    return digest.split(":")[1][:12] if digest else "first-use"


def _download(url: str, name: str, digest: str | None, shelf: Path, to: str | Path | None) -> Path:
    """Put a file on its shelf in the cache or into a folder, unless a right copy is there."""
    from filelock import FileLock

    folder = shelf if to is None else Path(to)
    target = folder / name
    if digest and has_digest(target, digest):
        return target
    if digest and has_digest(shelf / name, digest):
        return _copy(shelf / name, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):
        # Another process may have brought it while this one waited.
        if not (digest and has_digest(target, digest)):
            _retrieve(url, target, digest)
    return target


def _retrieve(url: str, path: Path, digest: str | None) -> None:
    """Download one file beside its place, check it, and move it in."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    beside = path.parent / f".{path.name}.part"
    print(f"Fetching {path.name} from {url}")
    try:
        # What a killed process left behind is in the way of nobody, and is removed.
        shutil.rmtree(beside, ignore_errors=True)
        downloader = pooch.HTTPDownloader(progressbar=True)
        os.replace(pooch.retrieve(url, digest, path.name, beside, downloader=downloader), path)
    except requests.RequestException as error:
        raise _failure(path.name, url, _network_reason(error)) from None
    except ValueError:
        raise _failure(path.name, url, "what came has not the expected digest") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _failure(path.name, url, f"{reason}, in {path.parent}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _network_reason(error: "requests.RequestException") -> str:
    """Say in a few words why a request failed; the library's own words run over lines."""
    if error.response is not None:
        return f"the server answered {error.response.status_code}"
    if "Timeout" in type(error).__name__:
        return "the server did not answer in time"
    return "there is no connection to it"


def _failure(name: str, url: str, reason: str) -> DownloadError:
    """Word a failed download and the ways out."""
    size = f" ({FILES[name].megabytes:g} MB)" if name in FILES else ""
    return DownloadError(
        f"{name}{size} was to be fetched from {url}, and that failed: {reason}. Set "
        "TLH_MIRROR=<folder or URL> to a place that holds it, or use the embedded tier, "
        "which downloads nothing (TLH_TIER=embedded)."
    )


def _is_url(place: str) -> bool:
    """Tell a URL from a folder."""
    return place.startswith(("http://", "https://"))


def _listed_digests(place: str) -> dict[str, str]:
    """Read the mirror's list of names and digests."""
    if _is_url(place):
        return _parse_sums(_text_at(f"{place.rstrip('/')}/{_SUMS}"))
    sums = Path(place).expanduser() / _SUMS
    if not sums.is_file():
        raise DownloadError(
            f"TLH_MIRROR must name a URL, or a folder that holds {_SUMS}. Received: {place}. "
            "Make one with: tlhelpers fetch --to DIR"
        )
    return _parse_sums(sums.read_text("utf-8"))


def _listed_digest(name: str, place: str) -> str:
    """Find a file's digest in the mirror's list, or say what the mirror has."""
    listed = _listed_digests(place)
    if name not in listed:
        raise DownloadError(
            f"{name} was to be fetched from the mirror {place}, which has only: "
            f"{', '.join(sorted(listed)) or 'nothing'}. Nothing else is contacted while "
            "TLH_MIRROR is set; add the file there, or use the embedded tier (TLH_TIER=embedded)."
        )
    return f"sha256:{listed[name]}"


@functools.lru_cache(maxsize=8)
def _text_at(url: str) -> str:
    """Read a small text file from a URL, once per process."""
    import requests

    try:
        answer = requests.get(url, timeout=30)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise _failure(_SUMS, url, _network_reason(error)) from None
    return answer.text


def _parse_sums(text: str) -> dict[str, str]:
    """Read ``sha256sum``'s format: a digest, blanks, perhaps a star, and a base name."""
    pairs = (line.split(maxsplit=1) for line in text.splitlines())
    return {pair[1].lstrip("*").strip(): pair[0].lower() for pair in pairs if len(pair) == 2}


def _add_to_mirror(name: str, folder: Path) -> Fetched:
    """Bring one file into a mirror and list it, unless it is there and right."""
    sums = folder / _SUMS
    path = folder / name
    listed = _parse_sums(sums.read_text("utf-8")) if sums.is_file() else {}
    if name in listed and has_digest(path, f"sha256:{listed[name]}"):
        return Fetched(name, "already there", path.stat().st_size)
    status = "fetched"
    try:
        if name == "cifar10.zip" and mirror() is None:
            write_archive(path)
            status = "made"
        else:
            fetch(name, to=folder)
    except (DownloadError, OSError) as error:
        print(error)
        return Fetched(name, "failed", 0, str(error))
    listed[name] = digest_of(path).removeprefix("sha256:")
    write_atomically(sums, "".join(f"{listed[key]}  {key}\n" for key in sorted(listed)))
    with contextlib.suppress(OSError):
        (folder / f".{name}.lock").unlink(missing_ok=True)
    return Fetched(name, status, path.stat().st_size)


def _copy(path: Path, folder: Path) -> Path:
    """Copy a file into a folder; it appears there only when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    if target.exists() and target.samefile(path):
        return target
    with tempfile.TemporaryDirectory(dir=folder, prefix=".copy-") as beside:
        os.replace(shutil.copyfile(path, Path(beside) / path.name), target)
    return target


# An archive of photographs grows by a few per cent when it is unpacked; one made to fill
# a disk grows a thousandfold.
_MAX_BYTES = 20 * 10**9
_MAX_GROWTH = 200
_SMALL_BYTES = 100 * 10**6


class _Member(Protocol):
    """A regular file in an archive: its name, its size in bytes, and how to read it."""

    name: str
    size: int

    def open(self) -> IO[bytes]:
        """Open the content."""


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a zip or tar archive into a folder of its own.

    The result is named by the archive and its digest, so another version of an archive
    never mixes with this one, and it appears only when it is complete: a run that was
    interrupted is done again, and two processes at once wait for each other.

    Args:
        archive: A ``.zip``, ``.tar``, ``.tar.gz``, ``.tar.bz2`` or ``.tar.xz`` file.
        folder: Where to put the unpacked folder; made if it is missing.

    Returns:
        The unpacked folder, ``folder/<archive>-<digest>``.

    Raises:
        FileNotFoundError: If there is no such archive.
        ValueError: If it is no archive, is damaged, or holds something unsafe: a path
            that leads outside, a link or device, or content far larger than itself.

    Example:
        >>> unpack("photos.zip", "data")  # doctest: +SKIP
        PosixPath('data/photos-c3552b4dca20')
    """
    from filelock import FileLock

    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise FileNotFoundError(f"There is no archive {archive}.")
    digest = digest_of(archive).removeprefix("sha256:")
    final = folder / f"{archive.name.split('.')[0]}-{digest[:12]}"
    if final.is_dir():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{final.name}.lock"):
        if final.is_dir():
            return final
        part = folder / f".{final.name}.part"
        if part.exists():
            shutil.rmtree(part)
        part.mkdir()
        try:
            _extract(archive, part)
            os.replace(part, final)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return final


def _extract(archive: Path, folder: Path) -> None:
    """Write every file of an archive below a folder, refusing what is unsafe."""
    limit = min(_MAX_BYTES, max(_SMALL_BYTES, _MAX_GROWTH * archive.stat().st_size))
    total = 0
    try:
        for member in _members(archive):
            target = folder / _safe_name(member.name, archive)
            total += member.size
            if total > limit:
                raise ValueError(
                    f"{archive.name} was refused: unpacked it would be larger than "
                    f"{limit / 1e6:,.0f} MB, far more than its own size suggests."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as content, target.open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError) as error:
        raise ValueError(f"{archive.name} is damaged: {error}. Fetch it again.") from None


def _members(archive: Path) -> Iterator[_Member]:
    """Go through the regular files of a zip or tar archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for entry in zipped.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if entry.is_dir():
                    continue
                if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:
                    raise _refusal(archive, entry.filename, "a link, a device or encrypted")
                yield _ZipMember(zipped, entry)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tarred:
            for item in tarred:
                if item.isdir():
                    continue
                if not item.isreg():
                    raise _refusal(archive, item.name, "a link or a device")
                yield _TarMember(tarred, item)
    else:
        raise ValueError(f"{archive.name} is not a zip or tar archive.")


class _ZipMember:
    """A file in a zip archive."""

    def __init__(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
        """Keep the archive and the entry."""
        self._archive, self._entry = archive, entry
        self.name, self.size = entry.orig_filename, entry.file_size

    def open(self) -> IO[bytes]:
        """Open the content."""
        return self._archive.open(self._entry)


class _TarMember:
    """A file in a tar archive."""

    def __init__(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        """Keep the archive and the entry."""
        self._archive, self._entry = archive, entry
        self.name, self.size = entry.name, entry.size

    def open(self) -> IO[bytes]:
        """Open the content."""
        content = self._archive.extractfile(self._entry)
        if content is None:
            raise tarfile.ReadError(f"{self.name} has no content")
        return content


def _safe_name(name: str, archive: Path) -> PurePosixPath:
    """Check that a member's name stays inside the folder on every system."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise _refusal(archive, name, "a path that leads outside the folder")
    if any(character in name for character in "\\:\0"):
        raise _refusal(archive, name, "a character that some systems take for a path")
    return path


def _refusal(archive: Path, name: str, what: str) -> ValueError:
    """Word a refusal."""
    return ValueError(f"{archive.name} was refused: {name!r} in it is {what}. Nothing was kept.")


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
            f"CIFAR-10 was to be fetched from {CIFAR10_ADDRESS}, and that failed: {reason}. Set "
            "TLH_MIRROR=<folder or URL> to a place that holds cifar10.zip, or use the embedded "
            "tier, which downloads nothing (TLH_TIER=embedded)."
        ) from None
    return {
        "train_images": np.moveaxis(x_train, 1, -1) if x_train.shape[1] == 3 else x_train,
        "train_labels": y_train[:, 0],
        "test_images": np.moveaxis(x_test, 1, -1) if x_test.shape[1] == 3 else x_test,
        "test_labels": y_test[:, 0],
    }


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
                    name = f"cifar10/{split}/{CIFAR10_CLASSES[label]}/{number:05d}.png"
                    # A fixed date keeps the archive's digest the same on every machine.
                    entry = zipfile.ZipInfo(name, (2009, 1, 1, 0, 0, 0))
                    zipped.writestr(entry, png.getvalue())
        os.replace(part, path)
