"""A saved run: the model with its class names, its threshold and its card, ready to predict."""

import csv
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.data.audit import printable
from tlhelpers.data.downloads import digest_of
from tlhelpers.data.images import UnreadableImageError, check_fit, read_image, resize_image
from tlhelpers.data.layout import Layout, files_below
from tlhelpers.data.splits import in_threads
from tlhelpers.files import replacing, set_aside, write_atomically
from tlhelpers.runtime import check_backend, installed_version
from tlhelpers.transfer.engine import ExportFailedError, choose_engine, forward_pass
from tlhelpers.transfer.recipes import inference_batch_size
from tlhelpers.transfer.runs import card_path, digest_of_names
from tlhelpers.workflow.strangers import Familiar

if TYPE_CHECKING:
    import keras
    import pandas

COLUMNS = ("file", "class", "probability", "note")

_Forward = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

ANSWERS = ("unsure", "unknown", "unreadable")
"""What is answered in place of a class."""


@dataclass(frozen=True)
class SavedRun:
    """What :func:`load_run` gives back.

    Attributes:
        model: Keras model from raw RGB images, 0 to 255, ``[n, s, s, 3]``, to probabilities
            ``[n, classes]``.
        class_names: Name of each class, in the order of the probabilities.
        threshold: Probability of the most probable class below which a prediction is "unsure".
        card: What was noted when it was saved: what it expects, its weights, settings, versions.
        familiar: What the training images look like to the network, by which strange ones are told,
            or None.
    """

    model: "keras.Model"
    class_names: tuple[str, ...]
    threshold: float
    card: dict[str, Any]
    familiar: Familiar | None = None
    _forwards: dict[str, _Forward] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def predict(
        self, images: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | np.ndarray"
    ) -> "pandas.DataFrame":
        """Name the class of each image. Files are read as the training images were.

        Args:
            images: An image file, a folder (with the folders in it), a list of files, or an array
                ``[n, h, w, 3]`` of RGB images with values from 0 to 255: integers of any size, or
                floats of the model's. Or a list of such images, ``[h, w, 3]``.

        Returns:
            A row for each image: ``file``, ``class`` (or ``"unsure"``, ``"unknown"`` where it is far
            from everything that was trained on, or None), ``probability`` of the most probable
            class, 0 to 1, and ``note``: why a file (or a folder in the folder) could not be read, or
            what an unsure or unknown one looks most like.

        Raises:
            FileNotFoundError: If there is no such file or folder, or no file in the folder.
            TypeError: If it is none of these.
            ValueError: If an array has another shape or range, such as values from 0 to 1.
        """
        import pandas

        return pandas.DataFrame(list(self.answers(images)), columns=list(COLUMNS))

    def answers(
        self,
        images: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | np.ndarray",
        table: Path | None = None,
    ) -> Iterator[tuple[str, str | None, float, str]]:
        """Give the rows of :meth:`predict` one by one, with a batch of images in memory at a time.

        Args:
            images: As for :meth:`predict`.
            table: Where the answers are written; left out where it lies in the folder of images.
                Defaults to none.

        Yields:
            File, class, probability and note.
        """
        size = self.model.input_shape[1]
        items, names = _listed(images, size, table)
        length = inference_batch_size(size)
        floats = any(isinstance(one, np.ndarray) and one.dtype != np.uint8 for one in items)
        forward = self._forward("keras" if floats else choose_engine("auto", size))
        for start in range(0, len(items), length):
            part = items[start : start + length]
            read = in_threads(lambda item: _read(item, size, self.card["input"]), part)
            readable = [image for image in read if isinstance(image, np.ndarray)]
            # Filled up to one length, so that an image gives the same in any company.
            batch = np.zeros((length, size, size, 3), readable[0].dtype if readable else np.uint8)
            if readable:
                batch[: len(readable)] = readable
                probabilities, distances = forward(batch)
            place = 0
            for name, image in zip(names[start : start + length], read, strict=True):
                if isinstance(image, np.ndarray):
                    yield (name, *self._answer(probabilities[place], distances[place]))
                    place += 1
                else:
                    yield name, None, float("nan"), image

    def distances(self, images: np.ndarray) -> np.ndarray:
        """Return how far images are from what was trained on.

        Args:
            images: ``uint8 [n, s, s, 3]``, RGB, in the model's size.

        Returns:
            ``[n]``, 0 to 2; above ``familiar.limit`` an image is unknown.

        Raises:
            ValueError: If nothing was saved to tell it by.
        """
        if self.familiar is None:
            raise ValueError("Only models that tlhelpers train made tell strange images apart.")
        length = inference_batch_size(images.shape[1])
        forward = self._forward("keras")
        parts = [forward(images[at : at + length])[1] for at in range(0, len(images), length)]
        return np.concatenate([np.empty(0), *parts])

    def _forward(self, engine: str) -> _Forward:
        """Return what gives a batch's probabilities, and distances where strangers are told.

        It is built once: to hand a network to OpenVINO takes some seconds.
        """
        if engine not in self._forwards:
            self._forwards[engine] = self._built(engine)
        return self._forwards[engine]

    def _built(self, engine: str) -> _Forward:
        """Build it."""
        import keras

        if self.familiar is None:
            model, known = self.model, None
        else:
            head, known = self.model.get_layer("head"), self.familiar
            model = keras.Model(self.model.inputs[0], [self.model.outputs[0], head.input])
        try:
            run = forward_pass(model, engine)
        except ExportFailedError as error:
            print(f"OpenVINO can't run this model, so Keras does ({error}).")
            run = forward_pass(model, "keras")

        def forward(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Run a batch."""
            found = run(batch)
            if known is None:
                return np.asarray(found[0], np.float32), np.zeros(len(batch))
            return np.asarray(found[0], np.float32), known.distances(np.asarray(found[1]))

        return forward

    def _answer(self, known: np.ndarray, distance: float) -> tuple[str | None, float, str]:
        """Return class, probability and note."""
        best, probability = self.class_names[known.argmax()], float(known.max())
        if self.familiar is not None and distance > self.familiar.limit:
            return "unknown", probability, f"unlike the training images; most like {best}"
        if probability < self.threshold:
            return "unsure", probability, f"most like {best}"
        return best, probability, ""


def check_answers(class_names: Sequence[str]) -> None:
    """Refuse classes that are called as what is answered in place of one.

    Args:
        class_names: The classes.

    Raises:
        ValueError: If one is called "unsure", "unknown" or "unreadable".

    Example:
        >>> check_answers(["cat", "dog"])
    """
    if taken := [name for name in class_names if name.casefold() in ANSWERS]:
        raise ValueError(
            f"{', '.join(ANSWERS)} are answers in place of a class, so no class may be called so. "
            f"Received: a folder {taken[0]}; rename it, as to other_{taken[0]}."
        )


def write_answers(run: SavedRun, images: str | os.PathLike[str], path: Path) -> Counter[str]:
    """Predict a folder's images into a CSV file, a batch in memory at a time.

    Args:
        run: The saved run.
        images: An image file or a folder, in which the CSV file itself is passed over.
        path: The CSV file. One that this function wrote before is replaced when the new one is
            whole, and set aside if it was edited since. A hidden file beside it holds its digest.

    Returns:
        How often each answer was given; ``"unreadable"`` for files that are no image.

    Raises:
        FileExistsError: If there is another file of that name.
        FileNotFoundError: If there is nothing to predict.
    """
    if path.exists():
        if not path.is_file():  # opening a pipe would wait for ever
            raise FileExistsError(f"The answers go to a file. Received: {path}, which is none.")
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            ours = file.readline().strip() == ",".join(COLUMNS)
        if not ours:
            raise FileExistsError(
                f"{path} exists, and is no table of answers: it was left as it is. Name another file."
            )
    counts: Counter[str] = Counter()
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name, answer, probability, note in run.answers(images, path):
            counts[answer or "unreadable"] += 1
            known = "" if answer is None else f"{probability:.4f}"
            writer.writerow((name, answer or "", known, note))
        file.flush()
        _keep_edits(path.resolve(), digest_of(part))
    return counts


def _keep_edits(path: Path, written: str) -> None:
    """Set answers aside that somebody edited, and note the digest of those that take their place."""
    noted = path.with_name(f".{path.name}.sha256")
    before = noted.read_text("utf-8") if noted.is_file() else ""
    if path.exists() and digest_of(path) not in (before, written):
        print(f"{path} was edited since it was written: it is kept as {set_aside(path)}.")
    write_atomically(noted, written)


def load_run(path: str | os.PathLike[str]) -> SavedRun:
    """Load a model that :meth:`tlhelpers.Run.save` wrote, with what its card says.

    Args:
        path: The ``.keras`` file; its card, named like it with ``.json`` behind, lies beside it.

    Returns:
        The model with its class names, threshold and card.

    Raises:
        FileNotFoundError: If one of the two files is missing.
        ValueError: If they don't belong together, this version of Keras can't read the model, or its
            backend is neither TensorFlow nor JAX.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("pets", n_train=80).few(5)
        >>> run = tl.feature_transfer(tl.load_backbone("vgg16_mini", data.image_size), data)
        >>> load_run(run.save("mine.keras")).predict(data.test.load([0]))["class"].isin(["cat", "dog"])
        0    True
        Name: class, dtype: bool
    """
    check_backend()
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
        card = json.loads(beside.read_text("utf-8-sig"))  # editors add a byte-order mark
        digest, names, versions = card["sha256"], _class_names(card), dict(card["versions"])
        if digest_of_names(names) != card["classes_sha256"]:
            raise ValueError(
                f"the classes {', '.join(names)}, which are not those it was saved with, or not in "
                "that order; to rename classes, rename the folders and train again"
            )
        threshold = float(card["threshold"])
        check_fit(dict(card["input"]).get("fit", "crop"))
        low, high = map(int, card["input"].get("grey_range") or (0, 1))
        if low > high:
            raise ValueError(f"a grey range from {low} to {high}")
        stored = card.get("familiar")
        stored = stored and (path.with_name(stored["file"]), str(stored["sha256"]))
        if not 0 <= threshold <= 1:
            raise ValueError(f"a threshold of {threshold}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{beside} must be a card as Run.save writes it. Received: one with "
            f"{type(error).__name__}: {error}."
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
    shape: Any = getattr(model, "input_shape", None)
    side = shape[1] if isinstance(shape, tuple) and len(shape) == 4 else None
    if not side or shape[1:] != (side, side, 3):
        raise ValueError(
            "The model must take RGB images of one size, [n, s, s, 3], as those of Run.save do. "
            f"Received: {path}, which takes {shape}."
        )
    if model.output_shape[-1] != len(names):
        raise ValueError(
            f"The card must name a class for each of the model's {model.output_shape[-1]} outputs. "
            f"Received: {len(names)} in {beside}."
        )
    return SavedRun(model, names, threshold, card, stored and Familiar.load(*stored))


def _class_names(card: dict[str, Any]) -> tuple[str, ...]:
    """Return the classes of a card, each with a name of its own."""
    names = card["classes"]
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not texts or len(set(names)) < len(names):
        raise ValueError(f"the classes {names!r}")
    return tuple(names)


def _listed(images: Any, size: int, table: Path | None) -> tuple[Sequence[Any], list[str]]:
    """Return images or files, or in place of a file why it can't be read; and their names."""
    if isinstance(images, np.ndarray) and images.dtype.kind not in "OSU":
        items: Any = _checked(images, size)
    elif isinstance(images, str | os.PathLike):
        found = _files(Path(images), table)
        return list(found.values()), [printable(str(path)) for path in found]
    else:
        if isinstance(images, bytes) or not isinstance(images, Iterable):
            raise _not_images(images)
        items = list(images)
        if other := [one for one in items if not isinstance(one, np.ndarray | str | os.PathLike)]:
            raise _not_images(other[0])
        items = [_checked(one, size)[0] if isinstance(one, np.ndarray) else one for one in items]
    return items, [
        f"image {place}" if isinstance(one, np.ndarray) else printable(str(one))
        for place, one in enumerate(items)
    ]


def _not_images(received: Any) -> TypeError:
    """Return the error on what is neither a file nor an array."""
    return TypeError(
        "predict takes an image file, a folder, a list of files, or arrays of RGB values from 0 to "
        f"255, such as np.asarray(picture). Received: {type(received).__name__}."
    )


def _files(path: Path, table: Path | None) -> dict[Path, Path | UnreadableImageError]:
    """Return a file, or all but the table in a folder, with the reason where it can't be read."""
    found: dict[Path, Path | UnreadableImageError] = {path: path} if path.is_file() else {}
    if path.is_dir():
        layout = Layout()
        below = map(Path, files_below(path, layout))
        found |= {file: file for file in below if table is None or not _is_table(file, table)}
        found |= {entry: UnreadableImageError(reason) for entry, reason in layout.skipped}
        found = dict(sorted(found.items()))
    if not found:
        raise FileNotFoundError(f"There must be image files to look at. Received: {path}.")
    return found


def _is_table(file: Path, table: Path) -> bool:
    """Tell a table of answers, or an edited one that was set aside, by its name and folder."""
    named = re.fullmatch(rf"(yours-\d+-)?{re.escape(table.name)}", file.name)
    return named is not None and file.parent.resolve() == table.parent.resolve()


def _read(item: Any, size: int, how: dict[str, Any]) -> np.ndarray | str:
    """Return an image in the model's size, or say why there is none."""
    fit = how.get("fit", "crop")
    if isinstance(item, np.ndarray):
        return item if item.shape[:2] == (size, size) else resize_image(item, size, fit)
    if isinstance(item, UnreadableImageError):
        return str(item)
    if not Path(item).is_file():
        return "not a file" if Path(item).exists() else "missing file"
    try:
        return read_image(item, size, fit=fit, grey_range=how.get("grey_range"))
    except (OSError, ValueError) as error:
        return str(error.__cause__ or error)


def _checked(images: np.ndarray, size: int) -> np.ndarray:
    """Return images with values from 0 to 255, integers as uint8."""
    wanted = "Images must be an array [n, h, w, 3] of RGB values from 0 to 255"
    shape = images.shape
    images = images[None] if images.ndim == 3 else images
    if images.ndim != 4 or shape[-1] != 3 or images.dtype.kind not in "uif" or 0 in shape[-3:]:
        raise ValueError(f"{wanted}. Received: {images.dtype} {list(shape)}.")
    floats = images.dtype.kind == "f"
    brightest = images.max(axis=(1, 2, 3), initial=0)
    if not (images.min(initial=0) >= 0 and brightest.max(initial=0) <= 255):
        raise ValueError(f"{wanted}. Received: {images.min():g} to {images.max():g}.")
    too_dark = (brightest > 0) & (brightest <= 1)
    if too_dark.any() and (floats or brightest.max() == 1):
        raise ValueError(
            f"{wanted}: preprocessing is inside the model. Received: values from 0 to 1; multiply "
            "them by 255, before they are made integers."
        )
    if floats and images.shape[1:3] != (size, size):
        raise ValueError(
            f"{wanted}; floats come in the model's size, {size} x {size}, while uint8 images are "
            f"resized as files are. Received: {images.dtype} {list(images.shape)}."
        )
    return images if floats else images.astype(np.uint8)
