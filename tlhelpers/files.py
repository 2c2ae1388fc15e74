"""Where the package writes, and how: its cache folder, locks, files written whole or not at all."""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for downloads and extracted features, made if it is missing.

    It is ``TLH_CACHE`` where that is set, else the platform's user cache folder.

    Returns:
        An existing folder that can be written to.

    Raises:
        PermissionError: If it cannot be made or written to.

    Example:
        >>> cache_folder().is_dir()
        True
    """
    return writable_folder(
        cache_place(), "The cache folder", "Set TLH_CACHE to a folder you can write to."
    )


def cache_place() -> Path:
    """Return where the cache folder is, or would be; nothing is made."""
    import platformdirs

    chosen = os.environ.get("TLH_CACHE")
    chosen = chosen if chosen and chosen.strip() else None
    with contextlib.suppress(RuntimeError):  # the user has no home folder
        place = Path(chosen or platformdirs.user_cache_dir("tlhelpers")).expanduser()
        if chosen or place.is_absolute():
            return place
    raise PermissionError(
        "The cache folder is in the user's home folder, and this user has none. "
        f"Received: TLH_CACHE={chosen!r}. Set TLH_CACHE to a folder you can write to."
    )


def recorded_places(kind: str) -> list[Path]:
    """Name the folders that recorded files of a kind may lie in: installed ones, or the book's."""
    package = Path(__file__).parent
    return [package / "recorded" / kind, package.parent / "book" / "_data" / kind]


def writable_folder(folder: Path, what: str, advice: str) -> Path:
    """Return a folder, made where it is missing, once a file could be written there.

    Raises:
        PermissionError: If it can't be made or written to.

    Example:
        >>> writable_folder(Path("."), "The folder", "Choose another.").is_dir()
        True
    """
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PermissionError(
            f"{what} must be writable. Received: {folder} ({error.strerror}). {advice}"
        ) from None
    return folder


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], size: int | None = None) -> Iterator[Path]:
    """Hand out a path beside a file; what is written there replaces the file when all went well.

    Where something fails, a full disk included, the file stays as it was and nothing is left beside
    it. A link is followed, so that it stays a link.

    Args:
        path: The file; its folder is made when missing.
        size: Bytes to be written; raises at once where there is no room. Defaults to unknown.

    Yields:
        A path in the same folder that ends like the file's name.

    Raises:
        OSError: If it can't be written; the message says what, where, and what to do.

    Example:
        >>> with replacing("figures.txt") as part:  # doctest: +SKIP
        ...     part.write_text("0.91")
    """
    path = Path(path).resolve()
    # A short name: one made from the file's own could be too long for the file system.
    part = path.with_name(f".part-{uuid.uuid4().hex[:12]}{path.suffix}")
    check_room(path.name, path.parent, size or 0)
    with plain_disk_errors(path.name, path.parent, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        try:
            yield part
            with part.open("r+b") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename somebody's file that stands where another is to go, and return its new place."""
    number = 1
    while os.path.lexists(kept := path.with_name(f"yours-{number}-{path.name}")):
        number += 1
    return path.rename(kept)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left of :func:`replacing`; for whoever holds the folder's lock."""
    for part in folder.glob(".part-*"):
        part.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: If it can't be written, as on a full disk. An earlier file stays as it was.

    Example:
        >>> write_atomically("figures.txt", "0.91")  # doctest: +SKIP
    """
    data = content.encode() if isinstance(content, str) else content
    with replacing(path, len(data)) as part:
        part.write_bytes(data)


_IN_THE_WAY = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY),
)


@contextlib.contextmanager
def plain_disk_errors(what: str, folder: Path, size: int | None = None) -> Iterator[None]:
    """Say what a full disk, a missing permission or something in the way kept from being written.

    Raises:
        OSError: In place of the system's own, of the same class.

    Example:
        >>> with plain_disk_errors("mnist.npz", cache_folder()):
        ...     pass
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _no_room(what, folder, size, str(error.strerror)) from None
        place = Path(str(error.filename)) if error.filename else folder
        ours = place.is_relative_to(folder) or folder.is_relative_to(place)
        if error.errno in _IN_THE_WAY and ours:
            raise type(error)(
                f"{what} could not be written to {folder}: {error.strerror}. {_elsewhere(folder)}"
            ) from None
        raise


def check_room(what: str, folder: Path, size: int) -> None:
    """Raise before a large file is written where the disk has too little room for it.

    Raises:
        OSError: If less is free.

    Example:
        >>> check_room("a note", cache_folder(), 10)
    """
    if _free_bytes(folder) < size:
        raise _no_room(what, folder, size)


def _free_bytes(folder: Path) -> int:
    """Return how much the disk of a folder has free; the folder need not exist yet."""
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(place).free


def _no_room(what: str, folder: Path, size: int | None, reason: str = "too little room") -> OSError:
    """Word a full disk: what was to be written, how much, where, and what to do."""
    amount = "" if size is None else f" ({size / 1e6:,.1f} MB)"
    return OSError(
        f"{what}{amount} could not be written to {folder}: {reason}, with "
        f"{_free_bytes(folder) / 1e6:,.1f} MB free there. {_elsewhere(folder)}"
    )


def _elsewhere(folder: Path) -> str:
    """Say what to do, and how the folder is chosen where that is by a variable."""
    if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(cache_place())):
        return (
            "TLH_CACHE names the folder for such files: set it to one with room that is your own."
        )
    return "Choose a folder with room that you can write to."


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that only one process has at a time; say so if another keeps this one waiting.

    Args:
        path: The lock file; its folder is made when missing. Whoever shares it may lock it.

    Example:
        >>> with locked(cache_folder() / ".example.lock"):
        ...     pass
    """
    from filelock import FileLock, Timeout

    with plain_disk_errors(path.name, path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, mode=0o666)
        try:
            lock.acquire(timeout=2)
        except Timeout:
            print(f"Waiting for another process that works on the same ({path}).")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
