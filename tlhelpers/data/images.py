"""Image files of any kind to the one form a network takes: ``uint8 [s, s, 3]``, RGB."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

# Formats that hold photographs. PostScript and its like are left out: Pillow
# would hand them to an outside program.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "TGA", "AVIF", "MPO")

_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
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


def read_image(source: str | Path | bytes, image_size: int) -> np.ndarray:
    """Read an image file as a square RGB array, whatever its mode and shape.

    The largest centred square is cut out and resized with Pillow's antialiased
    bilinear filter: nothing is stretched, and the edges of a long side are lost.
    Transparent parts come out white, EXIF orientation is honoured, 16-bit grey is
    scaled to 8 bits, and an animation gives its first frame. Large JPEG files are
    decoded at a reduced scale, which is several times faster.

    Args:
        source: A path, or the bytes of an image file.
        image_size: Height and width of the result in pixels.

    Returns:
        ``uint8 [image_size, image_size, 3]``, RGB, 0 to 255.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the file can't be decoded as an image; the message names it.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("L", (40, 30), 128).save(file, "PNG")
        >>> read_image(file.getvalue(), 8).shape
        (8, 8, 3)
    """
    if isinstance(source, (str, Path)) and not Path(source).exists():
        raise FileNotFoundError(f"There is no image file {source}.")
    try:
        with _open(source) as image:
            # Twice the wanted size is left for the bilinear filter to work on.
            image.draft(None, (2 * image_size, 2 * image_size))
            return np.asarray(_square(_rgb(_upright(image)), image_size))
    except _UNREADABLE as error:
        name = f"{len(source):,} bytes" if isinstance(source, bytes) else str(source)
        raise ValueError(f"{name} can't be read as an image: {_reason(source, error)}.") from error


def resize_image(image: np.ndarray, image_size: int) -> np.ndarray:
    """Resize a square RGB array with the filter that :func:`read_image` uses.

    Args:
        image: ``uint8 [s, s, 3]``, 0 to 255.
        image_size: Height and width of the result in pixels.

    Returns:
        ``uint8 [image_size, image_size, 3]``, 0 to 255.

    Example:
        >>> resize_image(np.zeros((8, 8, 3), np.uint8), 32).shape
        (32, 32, 3)
    """
    return np.asarray(_square(Image.fromarray(image), image_size))


def inspect_image(path: str | Path) -> str | None:
    """Decode a file to the end and say why it can't be used, if it can't.

    Args:
        path: The file to look at.

    Returns:
        None when the file is a whole image, else the reason in a few words, such
        as ``"empty file"`` or ``"truncated"``.

    Example:
        >>> inspect_image(__file__)
        'not an image'
    """
    try:
        read_image(path, 8)
    except FileNotFoundError:
        return "missing file"
    except ValueError as error:
        return _reason(path, error.__cause__ or error)
    return None


def _open(source: str | Path | bytes) -> Image.Image:
    """Open an image lazily, restricted to photographic formats."""
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)


def _upright(image: Image.Image) -> Image.Image:
    """Undo the rotation that the camera noted in EXIF; broken EXIF counts as upright."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except _UNREADABLE:
        orientation = 1
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB, transparent parts to white."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        grey = np.asarray(image, dtype=np.float64).clip(0, 65535) / 257
        return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _square(image: Image.Image, image_size: int) -> Image.Image:
    """Cut out the largest centred square and resize it."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((image_size, image_size), Image.Resampling.BILINEAR, box, reducing_gap=3.0)


def _reason(source: str | Path | bytes, error: BaseException) -> str:
    """Say in a few words why an image can't be decoded."""
    if isinstance(error, PermissionError):
        return "no permission to read it"
    try:
        head = source[:12] if isinstance(source, bytes) else _head(Path(source))
    except OSError as unreadable:
        return str(unreadable)
    if not head:
        return "empty file"
    if head[4:11] in (b"ftyphei", b"ftyphev", b"ftypmif"):
        return "a HEIC photograph; export it as JPEG"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than Pillow considers safe"
    text = str(error)
    return "truncated" if "truncated" in text.lower() else text or type(error).__name__


def _head(path: Path) -> bytes:
    """Read the first bytes of a file, where formats sign themselves."""
    with path.open("rb") as file:
        return file.read(12)
