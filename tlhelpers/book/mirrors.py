"""Make a mirror: a folder of the files that the real tier needs, for a room without internet."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tlhelpers.data.downloads import (
    FILES,
    SUMS,
    DownloadError,
    digest_of,
    fetch,
    has_digest,
    known_file,
    mirror_names,
    read_sums,
    write_sums,
)
from tlhelpers.files import locked, remove_unfinished, writable_folder


@dataclass(frozen=True)
class Fetched:
    """What :func:`fetch_all` did: "fetched", "already there", or "failed" and why."""

    name: str
    status: str
    bytes: int
    reason: str = ""


def fetch_all(folder: str | Path, names: Iterable[str] | None = None) -> list[Fetched]:
    """Make a mirror: put files into a folder and list their digests in ``SHA256SUMS``.

    Files that are there and right are left alone, so a run that was interrupted can be repeated. A
    file that fails is reported and does not stop the others. Several processes may work at once.

    Args:
        folder: The mirror to make or complete.
        names: Base names. Defaults to all that can be had.

    Returns:
        One report per file, in order.

    Raises:
        ValueError: If a name is unknown, or the folder has no name.
        PermissionError: If the folder can't be made or written to.

    Example:
        >>> fetch_all("mirror", ["mnist.npz"])  # doctest: +SKIP
        [Fetched(name='mnist.npz', status='fetched', bytes=11490434)]
    """
    if not str(folder).strip():
        raise ValueError(f"A mirror must be a folder with a name. Received: {str(folder)!r}.")
    mirrored = mirror_names()
    if names is None:
        published = [row.name for row in FILES.values() if row.url]
        names = published if mirrored is None else sorted(mirrored)
    chosen = list(names) if mirrored is not None else [known_file(name).name for name in names]
    target = writable_folder(Path(folder).expanduser(), "The mirror", "Name another folder.")
    return [_add_to_mirror(name, target) for name in chosen]


def _add_to_mirror(name: str, folder: Path) -> Fetched:
    """Bring one file into a mirror and list it, unless it is there and right."""
    path = folder / name
    try:
        # One process at a time: the list is read, and written again with one more line.
        with locked(folder / f".{SUMS}.lock"):
            remove_unfinished(folder)
            listed = read_sums(folder / SUMS)
            if name in listed and has_digest(path, listed[name]):
                return Fetched(name, "already there", path.stat().st_size)
            fetch(name, to=folder)
            write_sums(folder, {**listed, name: digest_of(path)})
    except (DownloadError, OSError) as error:
        print(error)
        return Fetched(name, "failed", 0, str(error))
    return Fetched(name, "fetched", path.stat().st_size)
