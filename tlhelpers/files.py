"""Fetch data and weights once, from their publisher or a mirror, and check them by digest."""

import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tlhelpers.catalogue import FILES, RemoteFile
from tlhelpers.environment import cache_folder

if TYPE_CHECKING:
    import requests

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
        write_text(note, digest_of(path) + "\n")
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
            from tlhelpers.cifar10 import write_archive

            write_archive(path)
            status = "made"
        else:
            fetch(name, to=folder)
    except (DownloadError, OSError) as error:
        print(error)
        return Fetched(name, "failed", 0, str(error))
    listed[name] = digest_of(path).removeprefix("sha256:")
    write_text(sums, "".join(f"{listed[key]}  {key}\n" for key in sorted(listed)))
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


def write_text(path: Path, text: str) -> None:
    """Write a text file that is never seen half-written.

    Args:
        path: The file, in a folder that exists.
        text: What to write, as UTF-8.

    Example:
        >>> write_text(Path("notes.txt"), "kept")  # doctest: +SKIP
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".write-") as beside:
        part = Path(beside) / path.name
        part.write_text(text, "utf-8")
        os.replace(part, path)
