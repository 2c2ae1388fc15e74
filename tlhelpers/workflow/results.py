"""The folder a training writes to: only what it made itself is replaced, and edits are kept."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlhelpers.data.downloads import digest_of
from tlhelpers.files import (
    plain_disk_errors,
    remove_unfinished,
    set_aside,
    writable_folder,
    write_atomically,
)

MARK = "made_by_tlhelpers.json"
"""The file by which a results folder is known, with the digests of each file that was written."""

_MAKING = ".making-"
LOCK = ".training.lock"
"""The file that a training holds while it runs."""


@contextlib.contextmanager
def claim(folder: Path, photos: Path) -> Iterator[dict[str, Any]]:
    """Take a folder for results, unless it is somebody else's, and hold it.

    Args:
        folder: The folder, which need not exist.
        photos: The folder of photographs, in which it may not lie.

    Yields:
        What an earlier training noted there: ``key`` and ``files``; empty for a new folder.

    Raises:
        FileExistsError: If it holds files that no training wrote, or a mark that can't be read.
        RuntimeError: If another training holds it.
        ValueError: If it lies in the folder of photographs.
        OSError: If it can't be written to.
    """
    inside = photos.resolve()
    if folder.resolve() == inside or inside in folder.resolve().parents:
        raise ValueError(
            f"Results must lie outside the folder of photographs. Received: {folder}, in {photos}."
        )
    mark = folder / MARK
    others = folder.is_dir() and any(path.name != LOCK for path in folder.iterdir())
    if others and not mark.is_file():
        raise FileExistsError(
            f"The folder for the results must be new, empty, or from an earlier training. Received: "
            f"{folder}, which holds other files; nothing was changed. Name another one with --out."
        )
    if mark.is_file():
        _read(mark)
    writable_folder(folder, "The folder for the results", "Name another one with --out.")
    with _held(folder):
        noted = _read(mark) if mark.is_file() else {"key": "", "files": {}}
        remove_unfinished(folder)
        for unfinished in folder.glob(f"{_MAKING}*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        if not mark.exists():
            write_atomically(mark, json.dumps(noted))
        yield noted


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder for results, unless another training does."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        with plain_disk_errors(LOCK, folder):
            lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(
            f"One training at a time can write to a folder. Received: {folder}, to which another one "
            "is writing. Wait until it has finished, or name another folder with --out."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _read(mark: Path) -> dict[str, Any]:
    """Read what an earlier training noted."""
    try:
        noted = json.loads(mark.read_text("utf-8"))
        files = {name: list(digests) for name, digests in noted["files"].items()}
        if beyond := [name for name in files if Path(name).name != name]:
            raise ValueError(beyond[0])
        return {"key": str(noted["key"]), "files": files}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FileExistsError(
            f"{MARK} must say which files a training wrote. Received: {mark}, which doesn't, so "
            "that your own can't be told from them; nothing was changed. Name another folder with "
            "--out."
        ) from None


def is_whole(folder: Path, noted: dict[str, Any], key: str) -> bool:
    """Tell whether a folder holds the results of this very training, as they were written."""
    files = noted["files"]
    return (
        noted["key"] == key and bool(files) and all(_is_ours(folder / n, files[n]) for n in files)
    )


@contextlib.contextmanager
def making(folder: Path) -> Iterator[Path]:
    """Hand out a folder to write new results to, until :func:`finish` puts them in their place.

    Args:
        folder: The folder for the results, whose files stay as they are meanwhile.

    Yields:
        A folder in it that is removed in the end, whatever happens.
    """
    with tempfile.TemporaryDirectory(prefix=_MAKING, dir=folder) as made:
        yield Path(made)


def finish(folder: Path, made: Path, noted: dict[str, Any], key: str) -> list[str]:
    """Put what was made in its place, and remove what an earlier training wrote beyond that.

    Args:
        folder: The folder for the results.
        made: The folder that holds the new ones.
        noted: What :func:`claim` returned.
        key: What they are the results of.

    Returns:
        The new names of files in their places that no training wrote as they are.
    """
    before = noted["files"]
    new = {path.name: [digest_of(path)] for path in sorted(made.iterdir())}
    both = {name: before.get(name, []) + new.get(name, []) for name in {**before, **new}}
    write_atomically(folder / MARK, json.dumps({"key": "", "files": both}))
    moved = []
    for name in both:
        path = folder / name
        if os.path.lexists(path) and not _is_ours(path, both[name]):
            moved.append(set_aside(path).name)
        if name in new:
            (made / name).replace(path)
        else:
            path.unlink(missing_ok=True)
    write_atomically(folder / MARK, json.dumps({"key": key, "files": new}, indent=1))
    return moved


def _is_ours(path: Path, digests: list[str]) -> bool:
    """Tell whether a file is as a training wrote it."""
    return path.is_file() and digest_of(path) in digests
