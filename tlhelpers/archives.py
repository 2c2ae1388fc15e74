"""Unpack downloaded archives without trusting what is in them."""

import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from tlhelpers.files import digest_of

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
