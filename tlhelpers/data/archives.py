"""Zip archives, read and unpacked without trusting them: names, sizes and contents are checked."""

import contextlib
import errno
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from tlhelpers.data.downloads import digest_of, vouched_by
from tlhelpers.files import check_room, locked, plain_disk_errors
from tlhelpers.progress import counted

# Unpacked, an archive of photographs grows by a few per cent, one of text or drawings a few times;
# one made to fill a disk grows a thousandfold.
_MAX_GROWTH = 20
_SMALL_BYTES = 100 * 10**6
# Names that mean one and the same file on every system, and what systems add to archives.
_PLAIN_NAME = re.compile(r"(?:\w(?:[\w .-]{0,98}\w)?/){0,8}\w(?:[\w .-]{0,98}\w)?", re.ASCII)
_RESERVED = re.compile(r"(?:.*/)?(?:con|prn|aux|nul|com\d|lpt\d) *(?:[./].*)?", re.I)
_CLUTTER = re.compile(r"__MACOSX/.*|(?:.*/)?(?:\.DS_Store|Thumbs\.db|desktop\.ini)?")
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError)

Members = tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]


@contextlib.contextmanager
def open_archive(archive: Path, holds: str) -> Iterator[Members]:
    """Open a zip archive whose files are of a known kind, and list them by name.

    Args:
        archive: The file.
        holds: Regular expression that the whole name of each file must match. Folders, and what
            systems leave in archives (``.DS_Store``), are passed over.

    Yields:
        The archive, and its files in the order of their names.

    Raises:
        ValueError: If it is no zip archive, is damaged, or holds something else: another name, one
            twice, a link, or content far larger than itself.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            yield zipped, _checked(zipped, archive, re.compile(holds))
    except (*_DAMAGE, OSError) as error:
        # A damaged table sends the reader to a place before the file's beginning.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise ValueError(
            f"{archive.name} must be a whole zip archive. Received: a damaged one or another file "
            f"({error}). {vouched_by(archive.name)}"
        ) from None


def _checked(
    zipped: zipfile.ZipFile, archive: Path, holds: re.Pattern[str]
) -> list[zipfile.ZipInfo]:
    """Return an archive's files by name; refuse it if one of them is not to be trusted."""
    chosen: dict[str, zipfile.ZipInfo] = {}
    room = max(_SMALL_BYTES, _MAX_GROWTH * archive.stat().st_size)
    problems = []
    for entry in zipped.infolist():
        name = entry.orig_filename
        if name and _CLUTTER.fullmatch(name):
            continue
        room -= entry.file_size
        problem = _problem(entry, holds)
        if name.lower() in chosen:
            problem = problem or "occurs twice, or in two spellings"
        if room < 0:
            problem = problem or "makes it, unpacked, far larger than its own size suggests"
        problems += [(name, problem)] if problem else []
        chosen[name.lower()] = entry
    if not problems:
        folders = {name.rpartition("/")[0] for name in chosen}
        above = {str(place) for folder in folders for place in PurePosixPath(folder, "x").parents}
        problems = [(name, "is a file and a folder") for name in chosen.keys() & above]
    if problems:
        name, problem = problems[0]
        raise ValueError(
            f"{archive.name} was refused, and nothing of it kept: {name[:80]!r} in it {problem}. "
            f"{vouched_by(archive.name)}"
        )
    return sorted(chosen.values(), key=lambda entry: entry.filename)


def _problem(entry: zipfile.ZipInfo, holds: re.Pattern[str]) -> str | None:
    """Say what is wrong with a file in an archive, if anything is."""
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    if not _PLAIN_NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        return "has a name that is not safe on every system"
    if not holds.fullmatch(name):
        return f"is none of the files it must hold ({holds.pattern})"
    if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:
        return "is a link, a device or encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is neither stored nor deflated, and nothing else is read here"
    return None


def unpack(archive: Path, folder: Path, holds: str) -> list[Path]:
    """Unpack a zip archive, or put right what was unpacked before.

    Files are held to the archive's own table: each is compared with its size and CRC-32 there,
    every time (0.2 s for 3,000 photographs), and unpacked again where it is missing or differs. So
    an interrupted run is completed, and a foreign file is never among those returned.

    Args:
        archive: A zip file.
        folder: Where to put the unpacked folder, ``<archive>-<digest>``, so that another version of
            an archive never mixes with this one.
        holds: Regular expression that the name of each file in it must match.

    Returns:
        The files, in the order of their names in the archive.

    Raises:
        FileNotFoundError: If there is no such archive.
        ValueError: If :func:`open_archive` refuses it.
        OSError: If the disk is full or the folder can't be written to.
    """
    if not archive.is_file():
        raise FileNotFoundError(f"There is no archive {archive}.")
    digest = digest_of(archive).removeprefix("sha256:")
    final = folder / f"{archive.name.split('.')[0]}-{digest[:12]}"
    with open_archive(archive, holds) as (zipped, entries):
        wrong = _differing(final, entries)
        if wrong:
            size = sum(entry.file_size for entry in wrong)
            check_room(archive.name, folder, size)
            if final.is_dir():
                print(f"{archive.name}: unpacked files are missing or damaged in {final}")
            print(f"Unpacking {len(wrong):,} files ({size / 1e6:,.1f} MB) to {final} (TLH_CACHE)")
            with (
                locked(folder / f".{final.name}.lock"),
                plain_disk_errors(final.name, folder, size),
            ):
                _write(final, zipped, _differing(final, entries))
    return [final / entry.filename for entry in entries]


def _differing(folder: Path, entries: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """Pick the entries that are not in the folder as the archive has them."""

    def differs(entry: zipfile.ZipInfo) -> bool:
        path = folder / entry.filename
        try:
            facts = path.lstat()
            if not stat.S_ISREG(facts.st_mode) or facts.st_size != entry.file_size:
                return True
            return zlib.crc32(path.read_bytes()) != entry.CRC
        except OSError:
            return True

    # Several at once: most of the time goes into waiting for the disk.
    with ThreadPoolExecutor(8) as pool:
        return [
            entry for entry, bad in zip(entries, pool.map(differs, entries), strict=True) if bad
        ]


def _write(folder: Path, zipped: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> None:
    """Unpack entries below a folder; each file appears in its place when it is whole."""
    folder.mkdir(exist_ok=True)
    part = folder / ".part"
    try:
        for entry in counted(entries, len(entries), f"unpacking to {folder.name}", " files"):
            target = folder / entry.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            content = zipped.read(entry)
            if len(content) != entry.file_size:
                raise zipfile.BadZipFile(f"{entry.filename} has not the size it is listed with")
            part.write_bytes(content)
            os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
