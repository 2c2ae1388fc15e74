"""The result of one training run: a model that takes raw images, and what it scored."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.evaluation.scores import Score, score

if TYPE_CHECKING:
    import keras

    from tlhelpers.data.splits import Dataset, Split
    from tlhelpers.models.backbones import Backbone


@dataclass
class Run:
    """What a training run gives back.

    Attributes:
        name: What was done, such as ``"frozen"``; it labels tables and figures.
        model: Keras model from raw RGB images, 0 to 255, ``[n, s, s, 3]``, to probabilities
            ``[n, classes]``. Preprocessing is inside.
        data: The data set it was trained on.
        history: Figures of each epoch, by name (empty for a head fitted in closed form).
        seconds: Wall-clock seconds of training, feature extraction included.
        config: Every setting that was used.
        base: The backbone as trained.
        grid: Cells along each side over which its feature map is pooled before the head.
        predict_split: Computes a split's probabilities; defaults to running the model.
    """

    name: str
    model: "keras.Model"
    data: "Dataset"
    history: dict[str, list[float]]
    seconds: float
    config: dict[str, Any]
    base: "Backbone"
    grid: int
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
            predict = self.predict_split or (lambda images: predict_images(self.model, images))
            self._probabilities[split] = predict(getattr(self.data, split))
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

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save the model, with its preprocessing, and beside it a note on what it expects.

        The note is named like the model, with ``.json`` behind.

        Args:
            path: A file name that ends in ``.keras``. An existing file is replaced only when the
                new one is complete.

        Returns:
            The path of the model.

        Raises:
            ValueError: If the name does not end in ``.keras``.
        """
        path = Path(path)
        if path.suffix != ".keras":
            raise ValueError(f"A saved model's name must end in .keras. Received: {path.name!r}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".unfinished-{os.getpid()}-{path.name}")
        self.model.save(unfinished)
        note = {
            "input": f"RGB images, 0 to 255, {self.base.input_size} x {self.base.input_size} pixels",
            "output": "probabilities, in the order of the classes",
            "classes": list(self.data.class_names),
            "trained_on": self.data.name,
            "config": self.config,
        }
        note_path = path.with_name(f"{path.name}.json")
        unfinished_note = note_path.with_name(f".unfinished-{os.getpid()}-{note_path.name}")
        unfinished_note.write_text(json.dumps(note, indent=1, default=str), encoding="utf-8")
        os.replace(unfinished, path)
        os.replace(unfinished_note, note_path)
        return path

    def __str__(self) -> str:
        """Say what was done and how long it took; scoring is left to :attr:`test`."""
        return f"{self.name}: {self.base.name} on {self.data.name}, {self.seconds:.1f} s"


def predict_images(model: "keras.Model", split: "Split") -> np.ndarray:
    """Run a model on raw images, a batch in memory at a time.

    Args:
        model: Keras model whose input is ``[n, s, s, 3]``, 0 to 255.
        split: The images; they are read in the model's input size.

    Returns:
        float32, the model's outputs, one row an image.
    """
    from tlhelpers.transfer.recipes import inference_batch_size

    size = model.input_shape[1]
    length = inference_batch_size(size)
    outputs = []
    for start in range(0, len(split), length):
        rows = range(start, min(start + length, len(split)))
        images = split.load(rows, size)
        padded = np.zeros((length, *images.shape[1:]), images.dtype)
        padded[: len(images)] = images
        outputs.append(np.asarray(model.predict_on_batch(padded), np.float32)[: len(images)])
    if not outputs:
        return np.empty((0, model.output_shape[-1]), np.float32)
    return np.concatenate(outputs)
