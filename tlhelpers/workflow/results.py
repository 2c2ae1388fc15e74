"""The folder a training writes to: only what it made itself is replaced, and edits are kept."""

import json
from pathlib import Path
from typing import Any

from tlhelpers.data.downloads import digest_of
from tlhelpers.files import remove_unfinished, writable_folder, write_atomically

MARK = "made_by_tlhelpers.json"
"""The file by which a results folder is known, with the digest of each file that was written."""


def claim(folder: Path, photos: Path) -> dict[str, Any]:
    """Take a folder for results, unless it is somebody else's.

    Args:
        folder: The folder, which need not exist.
        photos: The folder of photographs, in which it may not lie.

    Returns:
        What an earlier training noted there: ``key`` and ``files``; empty for a new folder.

    Raises:
        FileExistsError: If it holds files that no training wrote.
        ValueError: If it lies in the folder of photographs.
        OSError: If it can't be written to.
    """
    inside = photos.resolve()
    if folder.resolve() == inside or inside in folder.resolve().parents:
        raise ValueError(
            f"Results must lie outside the folder of photographs. Received: {folder}, in {photos}."
        )
    mark = folder / MARK
    if folder.is_dir() and any(folder.iterdir()) and not mark.is_file():
        raise FileExistsError(
            f"The folder for the results must be new, empty, or from an earlier training. Received: "
            f"{folder}, which holds other files; nothing was changed. Name another one with --out."
        )
    writable_folder(folder, "The folder for the results", "Name another one with --out.")
    remove_unfinished(folder)
    if not mark.exists():
        write_atomically(mark, json.dumps({"key": "", "files": {}}))
    try:
        noted = json.loads(mark.read_text("utf-8"))
        return {"key": str(noted["key"]), "files": dict(noted["files"])}
    except (ValueError, KeyError, TypeError):
        return {"key": "", "files": {}}


def is_whole(folder: Path, noted: dict[str, Any], key: str) -> bool:
    """Tell whether a folder holds the results of this very training, as they were written."""
    files = noted["files"]
    return noted["key"] == key and bool(files) and not _changed(folder, files, missing=True)


def begin(folder: Path, noted: dict[str, Any]) -> list[str]:
    """Move files that somebody edited aside, and let the others be replaced.

    Args:
        folder: The folder.
        noted: What :func:`claim` returned.

    Returns:
        The new names of the edited files.
    """
    moved = []
    for name in _changed(folder, noted["files"]):
        number = 1
        while (kept := folder / f"yours-{number}-{name}").exists():
            number += 1
        (folder / name).rename(kept)
        moved.append(kept.name)
    files = dict.fromkeys(noted["files"], "")  # "" for what is being written
    write_atomically(folder / MARK, json.dumps({"key": "", "files": files}))
    return moved


def finish(folder: Path, key: str, names: list[str]) -> None:
    """Note what was written, and for what; remove what an earlier training wrote beyond that."""
    noted = json.loads((folder / MARK).read_text("utf-8"))
    for name in set(noted["files"]) - set(names):
        (folder / name).unlink(missing_ok=True)
    files = {name: digest_of(folder / name) for name in names}
    write_atomically(folder / MARK, json.dumps({"key": key, "files": files}, indent=1))


def _changed(folder: Path, files: dict[str, str], missing: bool = False) -> list[str]:
    """Name the files that are not as they were written."""
    return [
        name
        for name, digest in files.items()
        if ((folder / name).is_file() and digest and digest_of(folder / name) != digest)
        or (missing and not (folder / name).is_file())
    ]
