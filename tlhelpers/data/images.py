"""Image files of any kind to the one form a network takes: ``uint8 [s, s, 3]``, RGB."""

import hashlib
import io
import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from tlhelpers.data.jpeg import has_hole

# Formats that hold photographs. PostScript and its like are left out: Pillow
# would hand them to an outside program.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA")
_HEAD_BYTES = 18

_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    MemoryError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# The EXIF orientation tag (0x0112) to the transposition that undoes it; 1 is upright.
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

FITS = ("crop", "pad", "stretch")
"""The ways to make a picture square: its middle, all of it on black, or all of it out of shape."""

GREY_RANGE = (0, 65535)
"""Values of 16-bit grey that become black and white where nothing else is said."""

BYTES_PER_PIXEL = 8
"""Files longer than this many bytes for each pixel of the limit are not read."""


class UnreadableImageError(ValueError):
    """An image file that can't be used; the text is the reason in a few words."""


def read_image(
    source: str | Path | bytes,
    image_size: int,
    *,
    fit: str = "crop",
    grey_range: tuple[int, int] | None = None,
) -> np.ndarray:
    """Read an image file as a square RGB array, whatever its mode and shape.

    This is the reader that every split and every run uses. Pillow's antialiased bilinear filter
    resizes; transparent parts come out white; the orientation that a camera noted is undone; an
    animation or a stack of pages gives its first. Large JPEG files are decoded at a reduced scale,
    which is several times faster. Files of more than 100 megapixels are refused, and no more than
    that is decoded at once; ``TLH_MEGAPIXELS`` sets another limit.

    Args:
        source: A path, or the bytes of an image file.
        image_size: Height and width of the result in pixels.
        fit: How a picture becomes square: ``"crop"`` takes the largest square in its middle,
            ``"pad"`` shrinks it and fills the rest with black, ``"stretch"`` changes its
            proportions. Defaults to ``"crop"``.
        grey_range: Values that become 0 and 255, for grey of more than 8 bits; what lies outside
            is cut. Defaults to 0 and 65,535. A data set has its own: ``data.audit.grey_range``.

    Returns:
        ``uint8 [image_size, image_size, 3]``, RGB, 0 to 255.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the file can't be decoded as an image, which the message names, or there is
            no such fit.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("L", (40, 30), 128).save(file, "PNG")
        >>> read_image(file.getvalue(), 8).shape
        (8, 8, 3)
    """
    return read_and_digest(source, image_size, fit=fit, grey_range=grey_range)[0]


def read_and_digest(
    source: str | Path | bytes,
    image_size: int,
    *,
    fit: str = "crop",
    grey_range: tuple[int, int] | None = None,
) -> tuple[np.ndarray, bytes]:
    """Return what :func:`read_image` returns, and the SHA-256 of the very bytes it is decoded from."""
    check_fit(fit)
    with _naming(source), file_content(source) as content:
        # Twice the wanted size is left for the bilinear filter to work on.
        with decoded(content, 2 * image_size) as image:
            pixels = _fitted(_rgb(image, grey_range), image_size, fit)
        return np.asarray(pixels), hashlib.sha256(content).digest()


def digest_image(path: Path) -> bytes:
    """Return the SHA-256 of an image file."""
    with _naming(path), file_content(path) as content:
        return hashlib.sha256(content).digest()


@contextmanager
def _naming(source: str | Path | bytes) -> Iterator[None]:
    """Name the file in whatever goes wrong with it."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no image file {source!s}.") from None
    except UnreadableImageError as error:
        name = f"{len(source):,} bytes" if isinstance(source, bytes) else str(source)
        raise ValueError(f"{name} can't be read as an image: {error}.") from error


def check_fit(fit: str) -> None:
    """Check the name of a fit.

    Raises:
        ValueError: If it is none of them.
    """
    if fit not in FITS:
        raise ValueError(f"fit must be one of {', '.join(FITS)}. Received: {fit!r}.")


def resize_image(image: np.ndarray, image_size: int, fit: str = "crop") -> np.ndarray:
    """Make an RGB array square, with the filter that :func:`read_image` uses.

    Args:
        image: ``uint8 [h, w, 3]``, 0 to 255.
        image_size: Height and width of the result in pixels.
        fit: As for :func:`read_image`. Defaults to ``"crop"``.

    Returns:
        ``uint8 [image_size, image_size, 3]``, 0 to 255.

    Example:
        >>> resize_image(np.zeros((8, 8, 3), np.uint8), 32).shape
        (32, 32, 3)
    """
    return np.asarray(_fitted(Image.fromarray(image), image_size, fit))


@contextmanager
def file_content(source: str | Path | bytes) -> Iterator[bytes]:
    """Give the bytes of an image file, once there is room for them in memory.

    Only regular files are opened: reading a FIFO waits for ever. What isn't signed as an image is
    not read to its end.

    Args:
        source: A path, or the bytes themselves.

    Yields:
        All bytes of the file.

    Raises:
        FileNotFoundError: If the path does not exist.
        UnreadableImageError: If it can't be an image.
    """
    if isinstance(source, bytes):
        _check_head(source[:_HEAD_BYTES])
        yield source
        return
    # Only systems that know FIFOs have the flag that keeps open() from waiting for their writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = open(source, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise UnreadableImageError("no permission to read it") from error
    except (OSError, ValueError) as error:
        raise UnreadableImageError(_reason(error)) from error
    with file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise UnreadableImageError("not a regular file")
        limit = BYTES_PER_PIXEL * pixel_limit()
        if facts.st_size > limit:
            raise UnreadableImageError(_too_large(f"{facts.st_size / 1e9:,.1f} GB"))
        with _room_for_bytes.hold(facts.st_size, limit):
            yield _content(file)


def _content(file: BinaryIO) -> bytes:
    """Read a file to its end, if its first bytes are those of an image."""
    try:
        head = file.read(_HEAD_BYTES)
        _check_head(head)
        return head + file.read()
    except OSError as error:
        raise UnreadableImageError(_reason(error)) from error


@contextmanager
def decoded(content: bytes, enough: int) -> Iterator[Image.Image]:
    """Decode an image file, upright, once there is room for its pixels in memory.

    Args:
        content: All bytes of the file.
        enough: Pixels that the shorter side must keep; larger JPEG files are decoded reduced.

    Yields:
        The image, of whatever mode; ``info["sixteen"]`` tells whether colours had 16 bits.

    Raises:
        UnreadableImageError: If it can't be decoded, or has more pixels than the limit.
    """
    limit = pixel_limit()
    try:
        image = _open(content)
        if has_hole(content):
            raise UnreadableImageError("damaged: part of the picture is zeros")
        width, height = image.size
        image.draft(None, (enough, enough))
        pixels = image.width * image.height
        if image.info.get("progressive"):
            pixels = width * height  # libjpeg holds all coefficients
        if pixels > limit:
            raise UnreadableImageError(_too_large(f"{pixels / 1e6:,.0f} megapixels"))
        # Noted before the picture is loaded: Pillow then forgets how its file was laid out.
        image.info["sixteen"] = image.mode[0] != "I" and ";16" in str(getattr(image, "tile", ""))
        with _room_for_pixels.hold(pixels, limit), image:
            image.load()
            if image.mode == "F":
                raise UnreadableImageError(
                    "floating-point pixels have no fixed range; save it with 8 or 16 bits"
                )
            yield _upright(image)
    except _UNREADABLE as error:
        if isinstance(error, UnreadableImageError):
            raise
        raise UnreadableImageError(_reason(error)) from error


def pixel_limit() -> int:
    """Return how many pixels may be decoded at once: ``TLH_MEGAPIXELS`` million, or 100 million.

    Decoding takes 4 to 16 bytes a pixel, so 100 megapixels may take 1.6 GB.

    Raises:
        ValueError: If ``TLH_MEGAPIXELS`` is not a positive number.

    Example:
        >>> pixel_limit() > 0
        True
    """
    chosen = os.environ.get("TLH_MEGAPIXELS") or "100"
    try:
        limit = int(float(chosen) * 1e6)
    except (ValueError, OverflowError):
        limit = 0
    if limit < 1:
        raise ValueError(f"TLH_MEGAPIXELS must be a positive number. Received: {chosen!r}.")
    return limit


class _Room:
    """Memory that several threads share: each waits until what it needs is free."""

    def __init__(self) -> None:
        """Begin with nothing taken."""
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, amount: int, limit: int) -> Iterator[None]:
        """Wait until there is room, or nobody else holds any, and keep it for a block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + amount <= limit)
            self._taken += amount
        try:
            yield
        finally:
            with self._changed:
                self._taken -= amount
                self._changed.notify_all()


# Bytes are held while waiting for pixels and never the other way round, so nobody waits for ever.
_room_for_bytes, _room_for_pixels = _Room(), _Room()


def _check_head(head: bytes) -> None:
    """Refuse what can't be an image by its first bytes."""
    if not head:
        raise UnreadableImageError("empty file")
    if not _formats(head):
        raise _unknown(head)


def _formats(head: bytes) -> list[str]:
    """Name the formats that sign their files so; Targa has no signature but few possible headers."""
    Image.init()
    known = {name: Image.OPEN[name][1] for name in _FORMATS if name in Image.OPEN}
    found = [name for name, accept in known.items() if accept and accept(head[:16]) is True]
    if len(head) == _HEAD_BYTES and head[1] < 2 and head[2] in (1, 2, 3, 9, 10, 11):
        found.append("TGA")
    return found


def _open(content: bytes) -> Image.Image:
    """Open an image lazily, restricted to photographic formats.

    Pillow's own ``open`` would judge a JPEG file by its pixels before it is reduced, and its limit
    is one for the whole process.
    """
    for name in _formats(content[:_HEAD_BYTES]):
        try:
            return Image.OPEN[name][0](io.BytesIO(content), "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise _unknown(content)


def _unknown(head: bytes) -> UnreadableImageError:
    """Name what a file is instead of an image that Pillow reads."""
    heic = head[4:11] in (b"ftyphei", b"ftyphev", b"ftypmif")
    return UnreadableImageError("a HEIC photograph; export it as JPEG" if heic else "not an image")


def _upright(image: Image.Image) -> Image.Image:
    """Undo the rotation that the camera noted in EXIF; broken EXIF counts as upright.

    Asked of a loaded image: Pillow turns TIFF files itself, and takes the tag away. Pillow's own
    ``exif_transpose`` also writes the EXIF anew, which is slow and fails for odd values.
    """
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except _UNREADABLE:
        orientation = 1
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _rgb(image: Image.Image, grey_range: tuple[int, int] | None) -> Image.Image:
    """Convert any mode to RGB, transparent parts to white."""
    if image.mode.startswith("I"):
        low, high = grey_range or GREY_RANGE
        grey = np.asarray(image, dtype=np.float64).clip(low, high) - low
        grey /= max(high - low, 1) / 255
        return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")
    return on_white(image)


def on_white(image: Image.Image) -> Image.Image:
    """Convert a mode of 8 bits to RGB, transparent parts to white; RGB is given back as it is."""
    if has_alpha(image):
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    # Pillow copies what is RGB already, a sixth of the time that reading a photograph takes.
    return image if image.mode == "RGB" else image.convert("RGB")


def has_alpha(image: Image.Image) -> bool:
    """Tell whether parts of an image may be transparent."""
    return image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info


def _fitted(image: Image.Image, image_size: int, fit: str) -> Image.Image:
    """Make an image square in one of the :data:`FITS`."""
    width, height = image.size
    inner, box = (image_size, image_size), (0, 0, width, height)
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
    elif fit == "pad":
        scale = image_size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = image.resize(inner, Image.Resampling.BILINEAR, box, reducing_gap=3.0)
    if resized.size == (image_size, image_size):
        return resized
    square = Image.new("RGB", (image_size, image_size))
    square.paste(resized, ((image_size - inner[0]) // 2, (image_size - inner[1]) // 2))
    return square


def _too_large(size: str) -> str:
    """Say that a file is beyond the limit, and how to raise it."""
    return (
        f"{size}, where {pixel_limit() / 1e6:,.0f} megapixels are the limit; "
        "TLH_MEGAPIXELS raises it"
    )


def _reason(error: BaseException) -> str:
    """Say in a few words why an image can't be decoded."""
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than Pillow considers safe"
    text = getattr(error, "strerror", None) or str(error)
    return "truncated" if "truncated" in text.lower() else text or type(error).__name__
