"""What a folder's files hold: each is decoded once to look at it, and remembered by its digest."""

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from tlhelpers.data.images import UnreadableImageError, decoded, file_content, has_alpha, on_white
from tlhelpers.files import cache_folder, locked, replacing
from tlhelpers.progress import counted, mapped
from tlhelpers.runtime import usable_cores

THUMB = 32
"""Height and width of the thumbnails by which copies are found (pixels)."""

FACTS = np.dtype(
    [
        ("file", "u1", 32),  # SHA-256 of the file
        ("content", "u1", 32),  # SHA-256 of the pixels, whatever they were wrapped in
        ("width", "<i4"),
        ("height", "<i4"),
        ("grey", "?"),  # whether it is grey of more than 8 bits, with values from low to high
        ("low", "<i8"),
        ("high", "<i8"),
        ("sixteen", "?"),  # whether it is in colours of 16 bits, of which Pillow keeps 8
        ("place", "<i8"),  # where its thumbnail lies, for Thumbnails
    ]
)
"""What is known of an image file."""

# What is kept of it in the cache; the check is the SHA-256 of all that follows.
_RECORD = np.dtype([("check", "u1", 32), ("facts", FACTS), ("thumb", "u1", (THUMB, THUMB, 3))])
_AT_ONCE = 64  # records written at once


class Thumbnails:
    """Thumbnails of pictures, which lie in a file: ``thumbs[rows]`` reads those of some rows."""

    def __init__(self, file: Any, facts: np.ndarray, unwritten: Sequence[np.ndarray]) -> None:
        """Hold the open file, the facts of each picture, and what places -1, -2 … stand for."""
        self._file, self._facts, self._unwritten = file, facts, unwritten

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return ``uint8 [k, 32, 32, 3]``."""
        found = np.empty((len(rows), THUMB, THUMB, 3), np.uint8)
        for thumb, row in zip(found, rows, strict=True):
            place = int(self._facts["place"][row])
            if place < 0:
                thumb[:] = self._unwritten[~place]
                continue
            self._file.seek(place * _RECORD.itemsize)
            record = self._file.read(_RECORD.itemsize)
            # The check comes first, then the digest of the picture's file.
            if (
                len(record) < _RECORD.itemsize
                or record[32:64] != self._facts["file"][row].tobytes()
            ):
                raise OSError(f"{self._file.name} was changed while it was in use; start again.")
            thumb[:] = np.frombuffer(record, _RECORD)["thumb"][0]
        return found


def inspect_image(
    path: Path, known: Mapping[bytes, np.ndarray] | None = None
) -> tuple[str, np.ndarray, np.ndarray | None]:
    """Decode a file to the end, unless a file of the same digest was decoded before.

    Args:
        path: The file.
        known: Facts by the digest of the file. Defaults to none.

    Returns:
        ``(reason, facts, thumb)``: why it can't be used, in a few words, or ``""`` for a whole
        image; one element of the dtype :data:`FACTS`; and its thumbnail if it was decoded.

    Example:
        >>> inspect_image(Path(__file__))[0]
        'not an image'
    """
    facts = np.zeros((), FACTS)
    try:
        with file_content(path) as content:
            digest = hashlib.sha256(content).digest()
            if known and digest in known:
                return "", known[digest], None
            facts["file"] = np.frombuffer(digest, np.uint8)
            # JPEG's reduced decoding still reads the whole file.
            with decoded(content, 2 * THUMB) as image:
                return "", facts, _describe(image, facts)
    except FileNotFoundError:
        return "missing file", facts, None
    except UnreadableImageError as error:
        return str(error), facts, None


def _describe(image: Image.Image, facts: np.ndarray) -> np.ndarray:
    """Fill in what a decoded image tells, and return its thumbnail."""
    facts["width"], facts["height"] = image.size
    facts["sixteen"] = image.info.get("sixteen", False)
    if image.mode.startswith("I"):
        grey = np.asarray(image, np.int64)
        facts["grey"], facts["low"], facts["high"] = True, grey.min(), grey.max()
        scaled = (grey - grey.min()) / max(int(grey.max() - grey.min()), 1)
        content, image = grey, Image.fromarray(np.uint8(255 * scaled))
    else:
        # What is nowhere transparent counts as the same picture without the channel for it.
        image = image.convert("RGBA" if has_alpha(image) else "RGB")
        if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
            image = image.convert("RGB")
        content = np.asarray(image)
    digest = hashlib.sha256(f"{content.shape}{content.dtype}".encode())
    digest.update(np.ascontiguousarray(content).data)
    facts["content"] = np.frombuffer(digest.digest(), np.uint8)
    # As it will be seen: a drawing on nothing looks like itself on white paper.
    return np.asarray(on_white(image.resize((THUMB, THUMB), Image.Resampling.BOX)))


@contextlib.contextmanager
def inspect_images(
    paths: Sequence[str | Path], folder: Path
) -> Iterator[tuple[list[str], np.ndarray, Thumbnails]]:
    """Look at the files of a folder, with progress where it takes long.

    What is found is kept in the cache, for this version of Pillow, so that the next time files are
    only digested; also when it was interrupted. Thumbnails stay there until they are asked for.

    Args:
        paths: The files.
        folder: The folder they lie in, which names what is kept.

    Yields:
        ``(reasons, facts, thumbs)`` of each file, as :func:`inspect_image` gives them, but facts
        and thumbnails of files that can't be used are zeros, and thumbnails are read by row.
    """
    with _opened(folder) as (file, lock):
        facts = np.zeros(len(paths), FACTS)
        facts["place"] = -1
        unwritten = [np.zeros((THUMB, THUMB, 3), np.uint8)]  # what unusable files show
        what = f"looking at {folder.resolve().name}"
        reasons = _look(paths, what, facts, partial(_keep, file, lock, unwritten), _known(file))
        yield reasons, facts, Thumbnails(file, facts, unwritten)
    _tidy(file, lock, facts)


def _look(
    paths: Sequence[str | Path],
    what: str,
    facts: np.ndarray,
    keep: Callable[[np.ndarray], np.ndarray],
    known: Mapping[bytes, np.ndarray],
) -> list[str]:
    """Fill in the facts of each file, keep those that are new, and return the reasons."""
    reasons: list[str] = []
    rows: list[int] = []
    new = np.zeros(_AT_ONCE, _RECORD)
    pool = ThreadPoolExecutor(max(1, min(usable_cores(), len(paths))))
    try:
        found = mapped(pool, lambda path: inspect_image(Path(path), known), paths)
        for reason, one, thumb in counted(found, len(paths), what, " files"):
            if not reason:
                facts[len(reasons)] = one
            if thumb is not None:
                new["facts"][len(rows)], new["thumb"][len(rows)] = one, thumb
                rows.append(len(reasons))
            reasons.append(reason)
            if len(rows) == _AT_ONCE:
                facts["place"][rows] = keep(new)
                rows.clear()
    finally:
        pool.shutdown(cancel_futures=True)
        if rows:
            facts["place"][rows] = keep(new[: len(rows)])
    return reasons


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Open the file that keeps a folder's facts, or a temporary one where there is no cache."""
    name = hashlib.sha256(f"4 {PIL.__version__} {folder.resolve()}".encode(errors="replace"))
    with contextlib.ExitStack() as stack:
        file: Any
        lock: Callable[[], Any] = contextlib.nullcontext
        try:
            place = cache_folder() / "pictures" / name.hexdigest()[:24]
            place.parent.mkdir(exist_ok=True)
            try:
                file = stack.enter_context(place.open("a+b", 0))
            except PermissionError:  # another user's, who shares the cache: only read
                file = stack.enter_context(place.open("rb", 0))
            lock = partial(locked, place.parent.with_suffix(".lock"))
        except OSError:
            try:
                file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            except OSError:  # nor a folder for temporary files
                file = io.BytesIO()
        yield file, lock


def _known(file: Any) -> dict[bytes, np.ndarray]:
    """Read what is known by the digest of each file; what is damaged counts as nothing."""
    facts = np.zeros(file.seek(0, os.SEEK_END) // _RECORD.itemsize, FACTS)
    known = {}
    file.seek(0)
    for place, one in enumerate(facts):
        record = file.read(_RECORD.itemsize)
        if hashlib.sha256(record[32:]).digest() == record[:32]:
            facts[place] = np.frombuffer(record, _RECORD)["facts"][0]
            facts["place"][place] = place
            known[one["file"].tobytes()] = one
    return known


def _keep(
    file: Any, lock: Callable[[], Any], unwritten: list[np.ndarray], records: np.ndarray
) -> np.ndarray:
    """Add records at the end and return their places; what can't be written stays in memory."""
    size = _RECORD.itemsize
    for one in records:
        one["check"] = np.frombuffer(hashlib.sha256(one.tobytes()[32:]).digest(), np.uint8)
    # Where there are no locks, older releases of filelock raise NotImplementedError.
    with contextlib.suppress(OSError, NotImplementedError), lock():
        # What a killed process left unfinished is filled up, and counts as unknown.
        end = file.seek(0, os.SEEK_END)
        content = bytes(-end % size) + records.tobytes()
        if file.write(content) == len(content):
            return -(-end // size) + np.arange(len(records))
    unwritten += list(records["thumb"].copy())
    return len(records) - len(unwritten) - 1 - np.arange(len(records))


def _tidy(file: Any, lock: Callable[[], Any], facts: np.ndarray) -> None:
    """Write the closed file anew where most of it is of files that are no longer there."""
    name, size = getattr(file, "name", 0), _RECORD.itemsize
    if isinstance(name, int):  # a temporary one
        return
    with contextlib.suppress(OSError, NotImplementedError), lock():
        length = os.path.getsize(name)
        if length <= 2 * len(facts) * size:
            return
        here = {one.tobytes() for one in facts["file"]}
        with replacing(name) as path, open(name, "rb", 0) as old, path.open("wb") as fresh:
            for digest, one in _known(old).items():
                if digest in here:
                    old.seek(int(one["place"]) * size)
                    fresh.write(old.read(size))
