"""Record features of real images: ``tlhelpers record features NAME`` writes a pack that travels.

For each network every image is run once, and the map of every stage is averaged over its places.
Wide stages are rounded to fewer levels (:data:`COARSER`), the others to 256: on these data neither
moved a linear head's accuracy by more than 0.2 points beyond two standard errors, which
is tested as they are written; what was found stands in ``about.json``.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.data.packs import Pack, Quantised, RecordedNetwork, prepared
from tlhelpers.experiments.records import environment
from tlhelpers.files import cache_folder, replacing, write_atomically
from tlhelpers.progress import progress_bar
from tlhelpers.transfer.features import PIXELS, pixel_scores

if TYPE_CHECKING:
    from tlhelpers.data.splits import Dataset, Split
    from tlhelpers.models.backbones import Backbone

COARSER = ((1024, 31), (256, 63))
"""Channels from which on fewer steps do, and how many."""

TOLERANCE = 0.002
"""Largest change of a linear head's accuracy that rounding may cause, beyond two standard errors."""


@dataclass(frozen=True)
class Sitting:
    """One network looking at some of a data set's images.

    Attributes:
        backbone: Name for :func:`tlhelpers.load_backbone`, or ``"pixels"``.
        input_size: Width and height in pixels.
        weights: ``"pretrained"``, ``"edges"`` or ``"random"``. Defaults to ``"pretrained"``.
        divided: Whether images are divided by 255 in place of the network's own preprocessing.
        n_train: Images for training, to which a quarter of as many for validation come; all if None.
        n_test: Test images; all if None.
        shift: Another look that the images are given, or None.
        only: The one stage that is recorded; every stage if None.
        steps: Steps that its features are rounded to; by :data:`COARSER` if None.
    """

    backbone: str
    input_size: int
    weights: str = "pretrained"
    divided: bool = False
    n_train: int | None = None
    n_test: int | None = None
    shift: str | None = None
    only: str | None = None
    steps: int | None = None


SOME: dict[str, Any] = {"n_train": 480, "n_test": 400}
PACKS: dict[str, tuple[dict[str, int], tuple[Sitting, ...]]] = {
    "cats_dogs": (
        {},
        (
            Sitting("mobilenet_v2", 224),
            Sitting("vgg16", 224),
            Sitting("pixels", 32),
            Sitting("vgg16_mini", 64),
            Sitting("vgg16", 224, divided=True, **SOME),
            Sitting("vgg16", 224, "edges", **SOME),
            Sitting("vgg16", 224, "random", **SOME),
            *(
                Sitting("mobilenet_v2", 224, shift=shift, only="block_16", steps=15, **SOME)
                for shift in ("texture", "sketch", "blur")
            ),
        ),
    ),
    "cifar10": (
        {"n_train": 2400, "n_test": 1000},
        (Sitting("vgg16", 64), Sitting("mobilenet_v2", 224), Sitting("pixels", 32)),
    ),
}
"""Each pack: how many of the data set's images it holds, and which networks see them."""


def record_features(name: str, folder: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Write what is missing of a pack.

    Args:
        name: A name of :data:`PACKS`.
        folder: Folder of the packs; the pack is a folder in it. What is there is kept.

    Yields:
        For each stage recorded: its network's file, the stage, and what rounding does to a head's
        accuracy: the mean change and its standard error.

    Raises:
        ValueError: If there is no such pack, it was made of other images, or rounding changes an
            accuracy by more than 0.2 points beyond two standard errors.
    """
    from tlhelpers.data.datasets import load_dataset

    if name not in PACKS:
        raise ValueError(f"A pack is one of {', '.join(PACKS)}. Received: {name!r}.")
    size, sittings = PACKS[name]
    place = Path(folder) / name
    place.mkdir(parents=True, exist_ok=True)
    pool = load_dataset(name, tier="real", **size)
    about = _begin(place, pool)
    have = {row["file"] for row in about["networks"]}
    for sitting in sittings:
        file = _file_name(sitting)
        if file in have:
            continue
        asked = {"n_train": sitting.n_train, "n_test": sitting.n_test}
        some = {key: count for key, count in asked.items() if count is not None}
        data = load_dataset(name, tier="real", **(size | some))
        rows = _rows_of(pool, data)
        if sitting.shift:
            data = load_dataset(name, tier="real", shift=sitting.shift, **(size | some))
        base, arrays = _look(sitting, data)
        stored: dict[str, np.ndarray] = {"rows": rows}
        changes: dict[str, list[float]] = {}
        for stage, numbers in arrays.items():
            rounded = quantise(numbers, sitting.steps or _steps(numbers.shape[1]))
            change, error = accuracy_change(numbers, rounded, data)
            if abs(change) > TOLERANCE + 2 * error:
                raise ValueError(
                    f"Rounding may change an accuracy by {TOLERANCE:.1%} at most. Received: "
                    f"{change:+.2%} ± {error:.2%} at {stage} of {file}."
                )
            changes[stage] = [round(change, 4), round(error, 4)]
            stored |= {
                f"{stage}/codes": np.ascontiguousarray(rounded.codes.T),
                f"{stage}/scale": rounded.scale,
                f"{stage}/offset": rounded.offset,
            }
            yield {"network": file, "stage": stage, "change": change, "error": error}
        about["files"][file] = write_arrays(place / file, stored)
        about["networks"].append(asdict(_describe(sitting, base, arrays, file)))
        about.setdefault("rounding", {})[file] = changes
        _write_about(place, about)


def quantise(features: np.ndarray, steps: int = 255) -> Quantised:
    """Round features to evenly spaced levels, from each channel's smallest number to its largest.

    Args:
        features: Finite numbers ``[n, c]``, n at least 1.
        steps: Steps between the levels, 1 to 255. Fewer make a smaller file. Defaults to 255.

    Returns:
        The codes, off by half a step at most: with 255 steps 0.2 % of the channel's range.

    Raises:
        ValueError: If a number is not finite, or there is none.

    Example:
        >>> numbers = np.array([[0.0, 5.0], [1.0, 5.0], [0.5, 5.0]])
        >>> quantise(numbers).numbers().round(2).tolist()
        [[0.0, 5.0], [1.0, 5.0], [0.5, 5.0]]
    """
    if features.ndim != 2 or not len(features) or not np.isfinite(features).all():
        raise ValueError(
            "Features to be recorded must be finite numbers of the shape [n, c], n at least 1. "
            f"Received: shape {list(features.shape)}"
            f"{'' if np.isfinite(features).all() else ', not all finite'}."
        )
    numbers = features.astype(np.float64)
    lowest = numbers.min(axis=0)
    scale = (numbers.max(axis=0) - lowest) / steps
    scale[scale == 0] = 1.0
    codes = np.rint((numbers - lowest) / scale).astype(np.uint8)
    return Quantised(codes, scale.astype(np.float32), lowest.astype(np.float32))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> str:
    """Write an ``.npz`` file as small as zlib makes it, whole or not at all.

    Args:
        path: The file.
        arrays: Its arrays, by name.

    Returns:
        SHA-256 of the file.
    """
    with replacing(path) as part, zipfile.ZipFile(part, "w") as zipped:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(
                f"{name}.npy", (2000, 1, 1, 0, 0, 0)
            )  # the same bytes each time
            zipped.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _steps(channels: int) -> int:
    """Return how many steps a stage of so many channels is rounded to."""
    return next((steps for least, steps in COARSER if channels >= least), 255)


def accuracy_change(
    numbers: np.ndarray, rounded: Quantised, data: "Dataset"
) -> tuple[float, float]:
    """Measure what rounding does to a linear head's test accuracy.

    Args:
        numbers: Features of training, validation and test images, float ``[n, c]``.
        rounded: The same, rounded.
        data: The data set they are of.

    Returns:
        Mean change over ten draws of 20 and ten of 100 labels per class, as a share of 1, with the
        penalty that the unrounded numbers choose, and the standard error of that mean.
    """
    from sklearn.linear_model import LogisticRegression

    from tlhelpers.data.splits import balanced_rows
    from tlhelpers.transfer.heads import fit_linear_head

    train, test = len(data.train), len(data.test)
    restored = rounded.numbers()
    gains = []
    for n in (20, 100):
        for seed in range(10):
            rows = balanced_rows(data.train.labels, n, np.random.default_rng(seed))
            labels = data.train.labels[rows]
            head = fit_linear_head(
                numbers[rows],
                labels,
                numbers[train : len(numbers) - test],
                data.validation.labels,
                num_classes=data.num_classes,
            )
            scores = []
            for x in (numbers, restored):
                centre = x[rows].mean(axis=0)
                scale = np.sqrt(((x[rows] - centre) ** 2).sum(axis=1).mean())
                model = LogisticRegression(C=100 * head.inverse_penalty, max_iter=2000)
                model.fit((x[rows] - centre) / scale, labels)
                guesses = model.predict((x[len(x) - test :] - centre) / scale)
                scores.append(float((guesses == data.test.labels).mean()))
            gains.append(scores[1] - scores[0])
    return float(np.mean(gains)), float(np.std(gains, ddof=1) / np.sqrt(len(gains)))


def load_sitting(sitting: Sitting) -> "Backbone":
    """Load a sitting's network, with the weights and the preprocessing it says.

    Args:
        sitting: Which network.

    Returns:
        The backbone.
    """
    from tlhelpers.models.backbones import Preprocessing, load_backbone

    base = load_backbone(sitting.backbone, sitting.input_size, weights=sitting.weights)
    if sitting.divided:
        base = replace(base, preprocessing=Preprocessing(scale=1 / 255))
    return base


def _look(sitting: Sitting, data: "Dataset") -> tuple["Backbone | None", dict[str, np.ndarray]]:
    """Return the network, and its features of training, validation and test images by stage."""
    splits = (data.train, data.validation, data.test)
    if sitting.backbone == "pixels":
        scores = pixel_scores(data)
        return None, {"pca": np.concatenate([scores(split) for split in splits])}
    base = load_sitting(sitting)
    stages = (sitting.only,) if sitting.only else base.stages
    seen = hashlib.sha256("".join(split.digest for split in splits).encode()).hexdigest()
    computed = (
        cache_folder() / "recording" / f"{data.name}-{seen[:12]}-{base.weights_digest()[:12]}"
    )
    computed = computed.with_name(f"{computed.name}-{_file_name(sitting)}")
    if not computed.is_file():  # an hour's work is not to be lost to a check that fails after it
        parts = [_stage_features(base, split, stages) for split in splits]
        whole = {s: np.concatenate([p[i] for p in parts]) for i, s in enumerate(stages)}
        with replacing(computed) as part:
            np.savez(part, **whole)  # type: ignore[arg-type]
    with np.load(computed, allow_pickle=False) as stored:
        return base, {stage: stored[stage] for stage in stages}


def _stage_features(base: "Backbone", split: "Split", stages: tuple[str, ...]) -> list[np.ndarray]:
    """Average the map of each stage over its places, in one pass over the images."""
    import keras

    from tlhelpers.transfer.recipes import inference_batch_size

    images = keras.Input((base.input_size, base.input_size, 3))
    ends = [base.cut(stage).model.outputs[0] for stage in stages]
    pooled = [keras.layers.GlobalAveragePooling2D()(end) for end in ends]
    network = keras.Model(base.model.inputs, pooled)
    model = keras.Model(images, network(base.preprocess(images), training=False))
    length = inference_batch_size(base.input_size)
    outputs = []
    with progress_bar(len(split), f"{base.name} {split.name}", " images") as bar:
        for start in range(0, len(split), length):
            pixels = split.load(range(start, min(start + length, len(split))), base.input_size)
            padded = np.zeros((length, *pixels.shape[1:]), pixels.dtype)
            padded[: len(pixels)] = pixels
            maps = model.predict_on_batch(padded)
            maps = maps if len(ends) > 1 else [maps]  # Keras gives a single output without a list
            outputs.append([one[: len(pixels)] for one in maps])
            bar.update(len(pixels))
    return [np.concatenate([batch[place] for batch in outputs]) for place in range(len(ends))]


def _begin(place: Path, pool: "Dataset") -> dict[str, Any]:
    """Read a pack's description, or begin one with the images' labels and digests."""
    digests, labels, is_test = _in_order(pool)
    if (place / "about.json").is_file():
        kept = Pack(place)
        if (kept.digests(), kept.labels.tolist(), kept.is_test.tolist()) != (
            digests,
            labels,
            is_test,
        ):
            raise ValueError(
                f"A pack holds features of the same images for every network. Received: other "
                f"images than those of {place}. Record into another folder with --to."
            )
        return kept.about
    images = {
        "labels": np.array(labels, np.uint8),
        "is_test": np.array(is_test),
        "digests": np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
    }
    digest = write_arrays(place / "images.npz", images)
    about: dict[str, Any] = {
        "name": pool.name,
        "source": asdict(pool.source),
        "class_names": list(pool.class_names),
        "environment": environment(),
        "files": {"images.npz": digest},
        "networks": [],
    }
    _write_about(place, about)
    return about


def _write_about(place: Path, about: dict[str, Any]) -> None:
    """Replace the description once the new one is whole."""
    write_atomically(place / "about.json", json.dumps(about, indent=1) + "\n")


def _in_order(pool: "Dataset") -> tuple[list[bytes], list[int], list[bool]]:
    """Return digest, label and whether it is for testing of each image, in the archive's order.

    The order decides which images a seed carves off for validation: it must be the real tier's.
    """
    rows = [
        (split is pool.test, path, digest, label)
        for split in (pool.train, pool.validation, pool.test)
        for path, digest, label in zip(
            map(str, split.paths or range(len(split))), split.digests(), split.labels, strict=True
        )
    ]
    if pool.train.paths:
        rows.sort(key=lambda row: row[:2])
    is_test, _, digests, labels = zip(*rows, strict=True)
    return list(digests), list(labels), list(is_test)


def _rows_of(pool: "Dataset", data: "Dataset") -> np.ndarray:
    """Return where in the pack the images of a part of the data set lie."""
    row_of = {digest: row for row, digest in enumerate(_in_order(pool)[0])}
    splits = (data.train, data.validation, data.test)
    return np.array([row_of[one] for split in splits for one in split.digests()], np.int32)


def _describe(
    sitting: Sitting, base: "Backbone | None", arrays: dict[str, np.ndarray], file: str
) -> RecordedNetwork:
    """Describe a sitting for the pack."""
    return RecordedNetwork(
        backbone=sitting.backbone,
        weights=sitting.weights if base else "none",
        input_size=sitting.input_size,
        preprocessing=prepared(str(base.preprocessing) if base else PIXELS, sitting.shift),
        stages=tuple(arrays),
        channels=tuple(numbers.shape[1] for numbers in arrays.values()),
        digests=tuple(base.cut(stage).weights_digest() if base else "" for stage in arrays),
        file=file,
        source=base.weights if base else "",
    )


def _file_name(sitting: Sitting) -> str:
    """Name a sitting's file."""
    parts = [sitting.backbone, str(sitting.input_size)]
    parts += [sitting.weights] if sitting.weights != "pretrained" else []
    parts += [sitting.shift] if sitting.shift else []
    return "-".join(parts + (["divided_by_255"] if sitting.divided else [])) + ".npz"
