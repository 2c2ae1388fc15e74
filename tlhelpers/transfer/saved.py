"""A saved run: the model with its class names, its threshold and its card, ready to predict."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.data.images import read_image, resize_image
from tlhelpers.data.splits import in_threads
from tlhelpers.runtime import installed_version
from tlhelpers.transfer.recipes import inference_batch_size
from tlhelpers.transfer.runs import card_path, predict_batch

if TYPE_CHECKING:
    import keras
    import pandas


@dataclass(frozen=True)
class SavedRun:
    """What :func:`load_run` gives back.

    Attributes:
        model: Keras model from raw RGB images, 0 to 255, ``[n, s, s, 3]``, to probabilities
            ``[n, classes]``.
        class_names: Name of each class, in the order of the probabilities.
        threshold: Probability of the most probable class below which a prediction is "unsure".
        card: What was noted when it was saved: what it expects, its weights, settings, versions.
    """

    model: "keras.Model"
    class_names: tuple[str, ...]
    threshold: float
    card: dict[str, Any]

    def predict(
        self, images: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | np.ndarray"
    ) -> "pandas.DataFrame":
        """Name the class of each image. Files are read as the training images were.

        Args:
            images: An image file, a folder (with the folders in it), a list of files, or an array
                ``[n, h, w, 3]`` of RGB images with values from 0 to 255: integers of any size, or
                floats of the model's.

        Returns:
            A row for each image: ``file``, ``class`` (or ``"unsure"``, or None), ``probability`` of
            the most probable class, 0 to 1, and ``note``: why a file could not be read, or what an
            unsure one looks most like.

        Raises:
            FileNotFoundError: If there is no such file or folder, or no file in the folder.
            ValueError: If an array has another shape or range, such as values from 0 to 1.
        """
        import pandas

        size = self.model.input_shape[1]
        if isinstance(images, np.ndarray):
            items: Any = _checked(images, size)
            names = [f"image {place}" for place in range(len(items))]
        else:
            items = _files(images) if isinstance(images, str | os.PathLike) else images
            names = [str(item) for item in items]
        length = inference_batch_size(size)
        rows = []
        for start in range(0, len(items), length):
            part = items[start : start + length]
            read = in_threads(lambda item: _read(item, size, self.card.get("input", {})), part)
            readable = [image for image in read if isinstance(image, np.ndarray)]
            batch = np.stack(readable) if readable else np.empty((0, size, size, 3))
            probabilities = iter(predict_batch(self.model, batch, length))
            for name, image in zip(names[start : start + length], read, strict=True):
                known = next(probabilities) if isinstance(image, np.ndarray) else image
                rows.append((name, *self._answer(known)))
        return pandas.DataFrame(rows, columns=["file", "class", "probability", "note"])

    def _answer(self, known: np.ndarray | str) -> tuple[str | None, float, str]:
        """Return class, probability and note, from probabilities or from why there are none."""
        if isinstance(known, str):
            return None, float("nan"), known
        best, probability = self.class_names[known.argmax()], float(known.max())
        if probability < self.threshold:
            return "unsure", probability, f"most like {best}"
        return best, probability, ""


def load_run(path: str | os.PathLike[str]) -> SavedRun:
    """Load a model that :meth:`tlhelpers.Run.save` wrote, with what its card says.

    Args:
        path: The ``.keras`` file; its card, named like it with ``.json`` behind, lies beside it.

    Returns:
        The model with its class names, threshold and card.

    Raises:
        FileNotFoundError: If one of the two files is missing.
        ValueError: If they don't belong together, or this version of Keras can't read the model.

    Example:
        >>> load_run("results/mine.keras").predict("new_photos/")  # doctest: +SKIP
    """
    import keras

    path = Path(path)
    beside = card_path(path)
    for file in (path, beside):
        if not file.is_file():
            raise FileNotFoundError(
                f"A saved run is a .keras file with its card beside it. Received: {path}, and "
                f"there is no {file}; Run.save writes both."
            )
    try:
        card = json.loads(beside.read_text("utf-8"))
        digest, names, versions = card["sha256"], tuple(card["classes"]), card["versions"]
        threshold = float(card["threshold"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{beside} must be a card as Run.save writes it. Received: one with {error!r}."
        ) from None
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != digest:
        raise ValueError(
            f"The card must be of this model, SHA-256 {digest[:16]}…. Received: {path}, whose "
            f"SHA-256 is {found[:16]}…; one of the two was replaced or damaged."
        )
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras lets errors of many kinds through
        raise ValueError(
            f"{path} was saved with Keras {versions.get('keras')}, and Keras "
            f"{installed_version('keras')} can't load it: {(str(error).splitlines() or [''])[0]}"
        ) from error
    return SavedRun(model, names, threshold, card)


def _files(path: Path | str | os.PathLike[str]) -> list[Path]:
    """Return a file, or the files of a folder that are not hidden."""
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        files = [f for f in files if not any(n.startswith(".") for n in f.relative_to(path).parts)]
    else:
        files = [path] if path.is_file() else []
    if not files:
        raise FileNotFoundError(f"There must be image files to look at. Received: {path}.")
    return files


def _read(item: Any, size: int, how: dict[str, Any]) -> np.ndarray | str:
    """Return an image in the model's size, or say why there is none."""
    fit = how.get("fit", "crop")
    if isinstance(item, np.ndarray):
        return item if item.shape[:2] == (size, size) else resize_image(item, size, fit)
    if not Path(item).is_file():
        return "not a file" if Path(item).exists() else "missing file"
    try:
        return read_image(item, size, fit=fit, grey_range=how.get("grey_range"))
    except (OSError, ValueError) as error:
        return str(error.__cause__ or error)


def _checked(images: np.ndarray, size: int) -> np.ndarray:
    """Return images with values from 0 to 255, integers as uint8."""
    wanted = "Images must be an array [n, h, w, 3] of RGB values from 0 to 255"
    images = images[None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype.kind not in "uif":
        raise ValueError(f"{wanted}. Received: {images.dtype} {list(images.shape)}.")
    floats = images.dtype.kind == "f"
    brightest = images.max(axis=(1, 2, 3), initial=0)
    if not (images.min(initial=0) >= 0 and brightest.max(initial=0) <= 255):
        raise ValueError(f"{wanted}. Received: {images.min():g} to {images.max():g}.")
    if floats and ((brightest > 0) & (brightest <= 1)).any():
        raise ValueError(
            f"{wanted}: preprocessing is inside the model. Received: values from 0 to 1; multiply "
            "them by 255."
        )
    if floats and images.shape[1:3] != (size, size):
        raise ValueError(
            f"{wanted}; floats come in the model's size, {size} x {size}, while uint8 images are "
            f"resized as files are. Received: {images.dtype} {list(images.shape)}."
        )
    return images if floats else images.astype(np.uint8)
