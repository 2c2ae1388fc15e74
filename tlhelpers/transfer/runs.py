"""The result of one training run: a model that takes raw images, and what it scored."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.evaluation.scores import Score, score
from tlhelpers.files import replacing, write_atomically
from tlhelpers.runtime import installed_version
from tlhelpers.transfer.recipes import inference_batch_size

if TYPE_CHECKING:
    import keras

    from tlhelpers.data.splits import Dataset, Split
    from tlhelpers.models.backbones import Backbone

READING = (
    "EXIF orientation applied, transparent parts white, {} and resized with Pillow's antialiased "
    "bilinear filter: tlhelpers.read_image"
)
SQUARE = {
    "crop": "the largest centred square cut out",
    "pad": "black added to a square",
    "stretch": "stretched to a square",
}


@dataclass
class Run:
    """What a training run gives back.

    Attributes:
        name: What was done, such as ``"frozen"``; it labels tables and figures.
        model: Keras model from raw RGB images, 0 to 255, ``[n, s, s, 3]``, to probabilities
            ``[n, classes]``, or None where ``predict_split`` stands in for it. Preprocessing is
            inside.
        data: The data set it was trained on.
        history: Figures of each epoch, by name (empty for a head fitted in closed form).
        seconds: Wall-clock seconds of training, feature extraction included.
        config: Every setting that was used.
        base: The backbone as trained, or None where there is none.
        grid: Cells along each side over which the feature map is pooled before the head.
        predict_split: Computes a split's probabilities; defaults to running the model.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("pets", n_train=80).few(5)
        >>> run = tl.feature_transfer(tl.load_backbone("vgg16_mini", data.image_size), data)
        >>> run.test.low < run.test.accuracy < run.test.high
        True
    """

    name: str
    model: "keras.Model | None"
    data: "Dataset"
    history: dict[str, list[float]]
    seconds: float
    config: dict[str, Any]
    base: "Backbone | None" = None
    grid: int = 1
    predict_split: "Callable[[Split], np.ndarray] | None" = None
    _probabilities: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def probabilities(self, split: str = "test") -> np.ndarray:
        """Return the model's probabilities on one of the data set's splits; computed once.

        Args:
            split: ``"train"``, ``"validation"`` or ``"test"``. Defaults to ``"test"``.

        Returns:
            float32 ``[n, classes]``.

        Raises:
            ValueError: If there is no such split.
        """
        if split not in ("train", "validation", "test"):
            raise ValueError(f"A split is 'train', 'validation' or 'test'. Received: {split!r}.")
        if split not in self._probabilities:
            images = getattr(self.data, split)
            self._probabilities[split] = (
                self.predict_split(images)
                if self.predict_split
                else predict_images(self.whole_model(), images)
            )
        return self._probabilities[split]

    def right(self, split: str = "test") -> np.ndarray:
        """Return for each image of a split whether its most probable class is the true one."""
        return self.probabilities(split).argmax(axis=1) == getattr(self.data, split).labels

    @property
    def test(self) -> Score:
        """Accuracy on the test split with its 95 % interval. Choose nothing by it."""
        return score(self.probabilities("test").argmax(axis=1), self.data.test.labels)

    @property
    def validation(self) -> Score:
        """Accuracy on the validation split with its 95 % interval: what to choose by."""
        return score(self.probabilities("validation").argmax(axis=1), self.data.validation.labels)

    def whole_model(self) -> "keras.Model":
        """Return the model.

        Raises:
            ValueError: If the run has predictions only.
        """
        if self.model is None:
            raise ValueError(f"The run {self.name!r} holds predictions only, and no model.")
        return self.model

    def save(self, path: str | os.PathLike[str], *, threshold: float = 0.0) -> Path:
        """Save the model, with its preprocessing, and beside it a card on what it expects.

        The card is named like the model, with ``.json`` behind. :func:`tlhelpers.load_run` reads
        both; the model alone needs nothing but Keras.

        Args:
            path: A file name that ends in ``.keras``. An existing file is replaced only when the
                new one is complete.
            threshold: Probability of the most probable class, 0 to 1, below which predictions say
                ``"unsure"``; choose it on validation images. Defaults to 0: they never do.

        Returns:
            The path of the model.

        Raises:
            ValueError: If the name does not end in ``.keras``, the threshold is no probability, or
                the run has no model.
            OSError: If it can't be written, as on a full disk. An earlier model stays as it was.
        """
        path, model = Path(path), self.whole_model()
        if path.suffix != ".keras":
            raise ValueError(f"A saved model's name must end in .keras. Received: {path.name!r}.")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie between 0 and 1. Received: {threshold}.")
        size = model.input_shape[1]
        packages = ("tlhelpers", "keras", "tensorflow", "jax", "numpy", "pillow")
        versions = {package: installed_version(package) for package in packages}
        card = {
            "input": {
                "images": f"RGB, red first, {size} x {size} pixels, uint8, or floats of its range",
                "range": [0, 255],
                "reading": READING.format(SQUARE[self.data.train.fit]),
                "fit": self.data.train.fit,
                "grey_range": self.data.train.grey_range,
            },
            "output": "probabilities, in the order of the classes",
            "classes": list(self.data.class_names),
            "classes_sha256": digest_of_names(self.data.class_names),
            "threshold": threshold,
            "trained_on": {"name": self.data.name, **asdict(self.data.source)},
            "weights": self.base
            and {"from": self.base.weights, "sha256 now": self.base.weights_digest()},
            "config": self.config,
            "versions": {name: version for name, version in versions.items() if version},
        }
        # The card is written first: one that names another model's digest is refused, while a model
        # with an older card would pass for what that card says.
        with replacing(path) as part:
            model.save(part)
            with part.open("rb") as file:
                card["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
            write_atomically(card_path(path), json.dumps(card, indent=1, default=str))
        return path

    def __str__(self) -> str:
        """Say what was done and how long it took; scoring is left to :attr:`test`."""
        network = f"{self.base.name} on " if self.base else ""
        return f"{self.name}: {network}{self.data.name}, {self.seconds:.1f} s"


def digest_of_names(names: Sequence[str]) -> str:
    """Return the SHA-256 of names in their order, by which a card edited by hand is noticed."""
    return hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()


def card_path(path: Path) -> Path:
    """Return where the card of a saved model lies."""
    return path.with_name(f"{path.name}.json")


def predict_images(model: "keras.Model", split: "Split") -> np.ndarray:
    """Run a model on raw images, a batch in memory at a time.

    Args:
        model: Keras model whose input is ``[n, s, s, 3]``, 0 to 255.
        split: The images; they are read in the model's input size.

    Returns:
        float32, the model's outputs, one row an image.
    """
    size = model.input_shape[1]
    length = inference_batch_size(size)
    outputs = [np.empty((0, model.output_shape[-1]), np.float32)]
    for start in range(0, len(split), length):
        images = split.load(range(start, min(start + length, len(split))), size)
        # Filled up to one length, so that an image gives the same in any company.
        padded = np.zeros((length, *images.shape[1:]), images.dtype)
        padded[: len(images)] = images
        outputs.append(np.asarray(model.predict_on_batch(padded), np.float32)[: len(images)])
    return np.concatenate(outputs)
