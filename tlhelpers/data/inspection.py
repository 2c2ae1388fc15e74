"""What a folder's files hold: each is decoded once to look at it, and remembered by its digest."""

import contextlib
import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from tlhelpers.data.images import UnreadableImageError, decoded, file_content, has_alpha, on_white
from tlhelpers.files import cache_folder, replacing
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
        ("thumb", "u1", (THUMB, THUMB, 3)),
    ]
)
"""What is known of an image file."""

_SECONDS_BETWEEN_SAVES = 30.0


def inspect_image(
    path: Path, known: Mapping[bytes, np.ndarray] | None = None
) -> tuple[str, np.ndarray]:
    """Decode a file to the end, unless a file of the same digest was decoded before.

    Args:
        path: The file.
        known: Facts by the digest of the file. Defaults to none.

    Returns:
        ``(reason, facts)``: why it can't be used, in a few words, or ``""`` for a whole image; and
        one element of the dtype :data:`FACTS`.

    Example:
        >>> inspect_image(Path(__file__))[0]
        'not an image'
    """
    facts = np.zeros((), FACTS)
    try:
        with file_content(path) as content:
            digest = hashlib.sha256(content).digest()
            if known and digest in known:
                return "", known[digest]
            facts["file"] = np.frombuffer(digest, np.uint8)
            # JPEG's reduced decoding still reads the whole file.
            with decoded(content, 2 * THUMB) as image:
                _describe(image, facts)
    except FileNotFoundError:
        return "missing file", facts
    except UnreadableImageError as error:
        return str(error), facts
    return "", facts


def _describe(image: Image.Image, facts: np.ndarray) -> None:
    """Fill in what a decoded image tells."""
    facts["width"], facts["height"] = image.size
    facts["sixteen"] = image.info.get("sixteen", False)
    if image.mode == "F":
        raise UnreadableImageError(
            "floating-point pixels have no fixed range; save it with 8 or 16 bits"
        )
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
    facts["thumb"] = np.asarray(on_white(image.resize((THUMB, THUMB), Image.Resampling.BOX)))


def inspect_images(paths: Sequence[Path], folder: Path) -> tuple[list[str], np.ndarray]:
    """Look at the files of a folder, with progress where it takes long.

    What is found is kept in the cache, for this version of Pillow, so that the next time files are
    only digested; also when it was interrupted.

    Args:
        paths: The files.
        folder: The folder they lie in, which names what is kept.

    Returns:
        ``(reasons, facts)`` of each file, as :func:`inspect_image` gives them.
    """
    place = _place(folder)
    known = _remembered(place)
    reasons: list[str] = []
    facts = np.zeros(len(paths), FACTS)
    saved, between = time.monotonic(), _SECONDS_BETWEEN_SAVES
    pool = ThreadPoolExecutor(max(1, min(usable_cores(), len(paths))))
    try:
        found = mapped(pool, lambda path: inspect_image(path, known), paths)
        what = f"looking at {folder.resolve().name}"
        for reason, one in counted(found, len(paths), what, " files"):
            facts[len(reasons)] = one
            reasons.append(reason)
            if time.monotonic() - saved > between:
                began = time.monotonic()
                _remember(place, reasons, facts, known)
                saved = time.monotonic()
                # All of it is written each time, which takes longer the more there is.
                between = max(between, 20 * (saved - began))
    finally:
        pool.shutdown(cancel_futures=True)
        _remember(place, reasons, facts, known)
    return reasons, facts


def _place(folder: Path) -> Path | None:
    """Name the file that keeps a folder's facts, or None where there is no cache to write to."""
    name = hashlib.sha256(f"3 {PIL.__version__} {folder.resolve()}".encode(errors="replace"))
    try:
        return cache_folder() / "pictures" / name.hexdigest()[:24]
    except OSError:
        return None


def _remembered(place: Path | None) -> dict[bytes, np.ndarray]:
    """Read what is known by the digest of each file; what is damaged counts as nothing."""
    try:
        stored = place.read_bytes() if place and place.is_file() else b""
    except OSError:
        return {}
    content = memoryview(stored)[32:]
    if hashlib.sha256(content).digest() != stored[:32]:
        return {}
    return {one["file"].tobytes(): one for one in np.frombuffer(content, FACTS)}


def _remember(
    place: Path | None, reasons: list[str], facts: np.ndarray, known: Mapping[bytes, np.ndarray]
) -> None:
    """Keep what is known of whole images; where it can't be written, go on without."""
    whole = np.array([not why for why in reasons], bool)
    seen = facts[: len(reasons)]
    seen = seen if whole.all() else seen[whole]
    digests = {one.tobytes() for one in seen["file"]}
    others = known.keys() - digests
    if place is None or not (digests - known.keys() or (others and len(reasons) == len(facts))):
        return
    parts: list[memoryview | bytes] = [np.ascontiguousarray(seen).view(np.uint8).data]
    if len(reasons) < len(facts):
        parts += [known[one].tobytes() for one in others]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    with contextlib.suppress(OSError), replacing(place) as path, path.open("wb") as file:
        file.write(digest.digest())
        for part in parts:
            file.write(part)
