"""The same pictures as another camera, light or hand would have made them."""

import hashlib
import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageEnhance

from tlhelpers.transfer.features import Images

Alter = Callable[[Image.Image], Image.Image]


def _jpeg(quality: int) -> Alter:
    """Compress and read again."""

    def alter(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return alter


def _crop(share: float) -> Alter:
    """Keep the middle, this share of each side."""

    def alter(image: Image.Image) -> Image.Image:
        width, height = image.size
        left, top = width * (1 - share) / 2, height * (1 - share) / 2
        box = (left, top, width - left, height - top)
        return image.resize(image.size, Image.Resampling.BILINEAR, box)

    return alter


def _turn(degrees: float) -> Alter:
    """Turn, with the mean colour in the corners."""

    def alter(image: Image.Image) -> Image.Image:
        mean = tuple(int(value) for value in np.asarray(image).mean(axis=(0, 1)))
        return image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=mean)

    return alter


def _brightness(factor: float) -> Alter:
    """Multiply all values."""
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


ALTERATIONS: dict[str, Alter] = {
    "JPEG, quality 30": _jpeg(30),
    "JPEG, quality 10": _jpeg(10),
    "half as bright": _brightness(0.5),
    "half as bright again": _brightness(1.5),
    "turned by 15 degrees": _turn(15),
    "turned by 90 degrees": _turn(90),
    "middle 80 % of each side": _crop(0.8),
    "middle 60 % of each side": _crop(0.6),
}
"""What is tried, from mild to strong in each kind."""


class Altered:
    """Some images of a collection, altered, as images features can be extracted from."""

    def __init__(self, images: Images, rows: np.ndarray, name: str) -> None:
        """Say which images, and which of :data:`ALTERATIONS`."""
        self._images, self._rows, self._name = images, np.asarray(rows), name
        self._found = images.digests()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def load(self, rows: Sequence[int] | np.ndarray, image_size: int) -> np.ndarray:
        """Return uint8 images ``[k, image_size, image_size, 3]``."""
        alter = ALTERATIONS[self._name]
        plain = self._images.load(self._rows[np.asarray(rows)], image_size)
        return np.stack([np.asarray(alter(Image.fromarray(image))) for image in plain])

    def digests(self) -> list[bytes]:
        """Return a SHA-256 of each image and of what is done to it."""
        how = f"altered: {self._name}".encode()
        return [hashlib.sha256(self._found[row] + how).digest() for row in self._rows]
