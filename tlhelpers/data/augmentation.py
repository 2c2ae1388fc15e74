"""Augmented views of a split: drawn once from a seed, so that their features can be cached."""

import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance

if TYPE_CHECKING:
    from tlhelpers.data.splits import Split


@dataclass(frozen=True)
class Augmentation:
    """How far a view may differ from its photograph: changes that leave the label as it is.

    Which those are depends on the classes. Each can be turned off by itself; the class names that
    tell are looked for, and warned of (:func:`what_may_change_labels`).

    Attributes:
        flip: Whether to mirror left and right in half of the views. Defaults to True. It changes
            digits, letters, hands, arrows, and whatever is told apart by left and right.
        rotate: Largest rotation in degrees. Defaults to 10. It changes what is told apart by its
            angle: use 0.
        zoom: Largest relative change of scale. Defaults to 0.15. It changes sizes and distances: 0.
        shift: Largest shift as a share of the width. Defaults to 0.1. It changes places: 0.
        brightness: Largest relative change of brightness and of contrast. Defaults to 0.2. It
            changes light and dark, and colours that differ in nothing else, as brown and orange: 0.

    Raises:
        ValueError: If an amount is negative, or a relative one is not below 1.
    """

    flip: bool = True
    rotate: float = 10.0
    zoom: float = 0.15
    shift: float = 0.1
    brightness: float = 0.2

    def __post_init__(self) -> None:
        """Check the amounts."""
        if self.rotate < 0 or not all(
            0 <= amount < 1 for amount in (self.zoom, self.shift, self.brightness)
        ):
            raise ValueError(
                "rotate must be at least 0 degrees; zoom, shift and brightness lie between 0 and "
                f"1. Received: {self}."
            )

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw one view.

        Args:
            image: uint8 ``[h, w, 3]``.
            rng: Source of the random choices.

        Returns:
            uint8 ``[h, w, 3]``. What was outside the picture repeats the nearest edge.

        Example:
            >>> image = np.zeros((8, 8, 3), np.uint8)
            >>> Augmentation().apply(image, np.random.default_rng(0)).shape
            (8, 8, 3)
        """
        height, width = image.shape[:2]
        turn, scale_up, right, down, light, contrast = rng.uniform(-1, 1, 6)
        side = -1 if self.flip and rng.random() < 0.5 else 1  # -1 mirrors
        # Half a diagonal, scaled and shifted: the farthest from the middle that a view looks.
        reach = np.hypot(height, width) / 2 / (1 - self.zoom) + self.shift * max(height, width)
        margin = int(np.ceil(reach - min(height, width) / 2)) + 1
        padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        angle, scale = np.deg2rad(turn * self.rotate), 1 + scale_up * self.zoom
        # Pillow asks for the inverse map: where each pixel of the view comes from.
        cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
        cos_x, sin_x = side * cos, side * sin
        # To Pillow a pixel is a square, whose middle is half a pixel from its corner.
        centre_x, centre_y = width / 2, height / 2
        from_x = centre_x + margin - right * self.shift * width
        from_y = centre_y + margin - down * self.shift * height
        to_x = (cos_x, sin, from_x - cos_x * centre_x - sin * centre_y)
        to_y = (-sin_x, cos, from_y + sin_x * centre_x - cos * centre_y)
        view = Image.fromarray(padded).transform(
            (width, height), Image.Transform.AFFINE, to_x + to_y, Image.Resampling.BILINEAR
        )
        view = ImageEnhance.Brightness(view).enhance(1 + light * self.brightness)
        view = ImageEnhance.Contrast(view).enhance(1 + contrast * self.brightness)
        return np.asarray(view)


CHANGES = ("flip", "rotate", "zoom", "shift", "brightness")
"""The changes of a view: each is a setting of :class:`Augmentation`, and can be left out."""

# Words in the names of classes that a change may turn into each other.
_TELLING = {
    option: set(words.split())
    for option, words in {
        "flip": "left right clockwise anticlockwise counterclockwise zero one two three four five six "
        "seven eight nine",
        "rotate": "up down upright tilted level horizontal vertical diagonal clockwise anticlockwise",
        "zoom": "tiny small medium large big huge near far close closeup distant",
        "shift": "left right top bottom upper lower centre center middle corner edge",
        "brightness": "dark bright light dim day night sunny overcast pale faded red green blue yellow "
        "orange purple pink brown black white grey gray golden silver",
    }.items()
}


def what_may_change_labels(
    class_names: Sequence[str], augmentation: Augmentation | None = None
) -> str:
    """Say which changes may turn a picture of one class into one of another, by the classes' names.

    Args:
        class_names: Names of the classes.
        augmentation: The changes. Defaults to ``Augmentation()``.

    Returns:
        A sentence that names the classes and says how the changes are turned off, from Python and
        on the command line, with those that are off already; or "" where no two names tell of a
        change that is on.

    Example:
        >>> print(what_may_change_labels(["left hand", "right hand"]))
        augmented views may have another label, by the names left hand, right hand: if so, pass \
        augmentation=Augmentation(flip=False, shift=0); tlhelpers train --no-augment flip shift \
        leaves them out of fine-tuning (--minutes 0 makes no views) and --scratch
    """
    augmentation = augmentation or Augmentation()
    words = {
        name: {word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
        for name in class_names
    }
    risky: dict[str, None] = {}
    off = [option for option in CHANGES if not getattr(augmentation, option)]
    for option, telling in _TELLING.items():
        names = [name for name in class_names if words[name] & telling]
        if option == "flip":
            names += [name for name in class_names if len(name.strip()) == 1]
        if len(names) > 1 and getattr(augmentation, option):
            risky.update(dict.fromkeys(names))
            off.append(option)
    if not risky:
        return ""
    off.sort(key=CHANGES.index)
    settings = ", ".join(f"{option}={'False' if option == 'flip' else '0'}" for option in off)
    more = ", …" if len(risky) > 6 else ""
    return (
        f"augmented views may have another label, by the names {', '.join(list(risky)[:6])}{more}: "
        f"if so, pass augmentation=Augmentation({settings}); tlhelpers train --no-augment "
        f"{' '.join(off)} leaves them out of fine-tuning (--minutes 0 makes no views) and --scratch"
    )


def warn_of_labels(class_names: Sequence[str], augmentation: Augmentation) -> None:
    """Warn where a change may change a label (:func:`what_may_change_labels`)."""
    sentence = what_may_change_labels(class_names, augmentation)
    if sentence:
        warnings.warn(sentence, stacklevel=3)


class AugmentedViews:
    """Several augmented views of each image of a split, as images features can be extracted from.

    View ``v`` of image ``i`` is row ``v * len(split) + i``. It is drawn from the image's digest, the
    view's number and the seed, so it is the same in every subset and every session.

    Attributes:
        split: The split.
        views: Views of each image.
        augmentation: How far they may differ from it.
        seed: Seed of the random choices.
        labels: int64 ``[views * len(split)]``.
    """

    def __init__(
        self, split: "Split", views: int, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        """Prepare the views; none is drawn before it is loaded.

        Raises:
            ValueError: If ``views`` is smaller than 1.
        """
        if views < 1:
            raise ValueError(f"views must be at least 1. Received: {views}.")
        self.split = split
        self.views = views
        self.augmentation = augmentation or Augmentation()
        warn_of_labels(split.class_names, self.augmentation)
        self.seed = seed
        self.labels = np.tile(split.labels, views)

    def __len__(self) -> int:
        """Return the number of views of all images."""
        return self.views * len(self.split)

    def load(self, rows: Sequence[int] | np.ndarray, image_size: int) -> np.ndarray:
        """Draw some of the views.

        Args:
            rows: Rows of the views.
            image_size: Width and height in pixels.

        Returns:
            uint8 ``[k, image_size, image_size, 3]``.
        """
        digests = self.split.last_digests()
        images = self.split.load([row % len(self.split) for row in rows], image_size)
        views = [
            self.augmentation.apply(image, np.random.default_rng(list(self._key(row, digests))))
            for image, row in zip(images, rows, strict=True)
        ]
        return np.stack(views)

    def digests(self) -> list[bytes]:
        """Return a SHA-256 of what each view is drawn from."""
        digests = self.split.digests()
        return [self._key(row, digests) for row in range(len(self))]

    def _key(self, row: int, digests: list[bytes]) -> bytes:
        """Hash everything that decides one view."""
        view, image = divmod(int(row), len(self.split))
        drawn_by = f"{self.augmentation}, view {view}, seed {self.seed}".encode()
        return hashlib.sha256(digests[image] + drawn_by).digest()
