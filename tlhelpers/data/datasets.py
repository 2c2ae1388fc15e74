"""The book's data sets: one name, one shape, two tiers."""

import functools
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlhelpers.data.downloads import FILES, digest_of, fetch, mirror, mirror_names, settle
from tlhelpers.data.packs import DRAWN_INSTEAD, load_pack
from tlhelpers.data.published import (
    CIFAR10_CLASSES,
    load_cifar10,
    load_cifar10_records,
    load_mnist,
    load_photographs,
)
from tlhelpers.data.splits import Dataset, Source, Split, carve_rows
from tlhelpers.runtime import as_integer, check_seed, check_tier
from tlhelpers.runtime import tier as tier_in_force

# Drawn data sets have one test split for every seed, as published ones do.
_TEST_SEED = 20_000_000_007
_DIGIT_NAMES = tuple(str(digit) for digit in range(10))


Parts = tuple[Split, Split, Source]
"""Training and test images as published, and where they are from."""


@dataclass(frozen=True)
class _Published:
    """A published data set: its usual size in pixels, its file, and how each tier reads it.

    For each tier there is a function from a size in pixels to the parts, and the number of training
    images that are carved off for validation.
    """

    size: int
    file: str
    embedded: tuple[Callable[[int], Parts], int]
    real: tuple[Callable[[int], Parts], int]


def load_dataset(
    name: str,
    *,
    tier: str | None = None,
    image_size: int | None = None,
    seed: int = 0,
    **knobs: Any,
) -> Dataset:
    """Load a data set by name, split into train, validation and test.

    | name | embedded tier | real tier |
    | --- | --- | --- |
    | cats_dogs | recorded features of the photographs, no pixels: 1,600 / 400 / 1,000 | photographs, 224 px: 1,600 / 400 / 1,000 |
    | cifar10 | recorded features of 4,000 of its images, no pixels: 2,400 / 600 / 1,000 | CIFAR-10, 32 px: 45,000 / 5,000 / 10,000 |
    | digits | scikit-learn's 8 px digits, given at 32 px: 1,150 / 287 / 360 | MNIST's 28 px digits, given at 32 px: 55,000 / 5,000 / 10,000 |
    | pets | drawn cats and dogs, 64 px: 1,600 / 400 / 1,000 | the same |
    | objects | drawn objects of ten classes, 32 px: 2,000 / 500 / 1,000 | the same |

    Validation images are carved from the training images, each class in proportion. The
    test split is the published one (for scikit-learn's digits a fixed draw), and the same
    for every seed.

    Args:
        name: "cats_dogs", "cifar10" or "digits", which are real, or "pets" or "objects", which are
            drawn.
        tier: "embedded" downloads nothing; "real" fetches files or uses a mirror.
            Defaults to the tier of :func:`tlhelpers.setup` or ``TLH_TIER``, else to the embedded one,
            or in Google Colab to the real one.
        image_size: Height and width in pixels. Defaults to the table's.
        seed: Which images are drawn, or which are carved off for validation. Defaults to 0.
        **knobs: ``n_train``, the number of training images, to which ``n_train // 4`` for
            validation are added, as long as there are so many; ``n_test``, the number of test
            images; ``shift``, another look under the same labels ("colour", "texture", "blur",
            "sketch" or "contrast"; of photographs the embedded tier has MobileNetV2's block 16 in
            "texture", "sketch" and "blur", with n_train=480 and n_test=400); and for drawn images
            also the other knobs of :mod:`tlhelpers.worlds`: ``relatedness``, ``label_noise`` (test
            labels stay true) and ``difficulty``.

    Returns:
        The data set. Labels are noted in its splits as int64, images as uint8 RGB, 0 to 255.

    Raises:
        ValueError: If the name or tier is unknown, or there are fewer images than asked for.
        TypeError: If a knob does not exist for this data set and tier, or belongs to a drawn one, or
            ``n_train``, ``n_test`` or the seed is not an integer.
        DownloadError: If a file can't be had.

    Example:
        >>> data = load_dataset("pets", n_train=40, n_test=10)
        >>> len(data.train), len(data.validation), len(data.test)
        (40, 10, 10)
    """
    if name not in DATASETS:
        raise ValueError(
            f"A data set must be one of {', '.join(sorted(DATASETS))}. Received: {name!r}. "
            "For images of your own use load_folder."
        )
    if tier is not None:
        check_tier(tier)
    known = ["n_train", "n_test", *(_world_knobs(name) if name in _DRAWN else ["shift"])]
    unknown = sorted(set(knobs) - set(known))
    if unknown:
        drawn = DRAWN_INSTEAD.get(name)
        hint = f" Drawn images, which have more, are called {drawn!r}." if drawn else ""
        raise TypeError(
            f"{name} has these knobs: {', '.join(known)}. Received: {', '.join(unknown)}.{hint}"
        )
    for knob in {"n_train", "n_test"} & {key for key, value in knobs.items() if value is not None}:
        knobs[knob] = as_integer(knob, knobs[knob])
        if knobs[knob] < 1:
            raise ValueError(f"{knob} must be at least 1. Received: {knobs[knob]}.")
    seed = check_seed(seed)
    if tier is None:
        settle(lambda: files_of(name))
    if name in _DRAWN:
        size, n_train = _DRAWN[name]
        knobs = {"n_train": n_train, "n_test": 1000, **knobs}
        return _drawn(name, size if image_size is None else image_size, seed, **knobs)
    return _read(name, tier or tier_in_force(), image_size, seed, **knobs)


def files_of(name: str) -> list[str]:
    """Name the file that a data set of the real tier is read from; a drawn one has none."""
    if name == "cifar10" and "cifar10.zip" in (mirror_names() or ()):
        return ["cifar10.zip"]
    return [_PUBLISHED[name].file] if name in _PUBLISHED else []


def _world_knobs(world: str) -> list[str]:
    """Name the knobs of a world that a data set hands on."""
    from tlhelpers import worlds

    parameters = inspect.signature(getattr(worlds, world)).parameters
    return [knob for knob in parameters if knob not in ("n", "seed", "image_size")]


def _drawn(world: str, size: int, seed: int, n_train: int, n_test: int, **knobs: Any) -> Dataset:
    """Draw the three splits of a world; each has its own stream of random numbers."""
    train_seed, validation_seed = np.random.SeedSequence(seed).generate_state(2).tolist()
    for_test = {knob: value for knob, value in knobs.items() if knob != "label_noise"}
    splits = (
        _draw(world, "train", n_train, train_seed, size, **knobs),
        _draw(world, "validation", max(1, n_train // 4), validation_seed, size, **knobs),
        _draw(world, "test", n_test, _TEST_SEED, size, **for_test),
    )
    settings = ", ".join(f"{knob}={value}" for knob, value in sorted(knobs.items()))
    digests = " ".join(split.digest for split in splits)
    source = Source(
        f"drawn {world}",
        f"tlhelpers.worlds.{world}",
        f"sha256:{hashlib.sha256(digests.encode()).hexdigest()}",
        "MIT",
        f"seed={seed}" + (f", {settings}" if settings else ""),
    )
    return Dataset(world, *splits, source)


@functools.lru_cache(maxsize=6)
def _draw(world: str, split: str, n: int, seed: int, size: int, **knobs: Any) -> Split:
    """Draw one split of a world; the last few are kept, since chapters ask for them again."""
    from tlhelpers import worlds

    drawn = getattr(worlds, world)(n=n, seed=seed, image_size=size, **knobs)
    return Split.from_arrays(drawn.images, drawn.labels, drawn.class_names, name=split)


def _read(
    name: str,
    tier: str,
    image_size: int | None,
    seed: int,
    n_train: int | None = None,
    n_test: int | None = None,
    shift: str | None = None,
) -> Dataset:
    """Read a published data set, carve validation from train, and cut to the sizes asked for."""
    entry = _PUBLISHED[name]
    read, validation_size = entry.embedded if tier == "embedded" else entry.real
    train, test_split, source = read(entry.size if image_size is None else image_size)
    kept, carved = carve_rows(train.labels, validation_size, seed)
    held_out = train.take(carved, name="validation")
    train = _cut(train.take(kept), n_train, seed)
    if n_train is not None:  # larger training splits keep the validation split they have
        held_out = _cut(held_out, min(len(held_out), max(1, n_train // 4)), seed)
    test_split = _cut(test_split, n_test, seed=0)
    if shift is not None:
        train, held_out, test_split = (s.shifted(shift) for s in (train, held_out, test_split))
        source = _noted(source, f"shift={shift}")
    return Dataset(name, train, held_out, test_split, source)


def _cut(split: Split, count: int | None, seed: int) -> Split:
    """Keep a number of images, each class in proportion."""
    if count is None:
        return split
    if not 1 <= count <= len(split):
        raise ValueError(
            f"The number of {split.name} images must lie between 1 and {len(split):,}. "
            f"Received: {count}."
        )
    return split.take(carve_rows(split.labels, count, seed)[1])


def _recorded(name: str, size: int) -> Parts:
    """Read the splits of a data set whose features are recorded."""
    pack = load_pack(name)
    digests, names = pack.digests(), tuple(pack.about["class_names"])
    train, test = (
        Split.from_pack(
            name,
            [digests[row] for row in rows],
            pack.labels[rows],
            names,
            image_size=size,
            name=part,
        )
        for part, rows in (
            ("train", np.flatnonzero(~pack.is_test)),
            ("test", np.flatnonzero(pack.is_test)),
        )
    )
    source = Source(**pack.about["source"])
    return train, test, _noted(source, "recorded features, without pixels")


def _photographed_cats_dogs(size: int) -> Parts:
    """Read the well-known archive; its validation folder is the test split here."""
    archive = fetch("cats_and_dogs_filtered.zip")
    found = load_photographs(archive)
    splits = {}
    for name, part in (("train", "train"), ("test", "validation")):
        classes = [found[f"{part}/{kind}"] for kind in ("cats", "dogs")]
        labels = np.repeat([0, 1], [len(paths) for paths in classes])
        paths = [path for paths in classes for path in paths]
        splits[name] = Split.from_paths(paths, labels, ("cat", "dog"), image_size=size, name=name)
    note = "the archive's validation folder is the test split; validation is carved from train"
    source = _source("Dogs vs. Cats, 3,000 photographs", archive, note)
    return splits["train"], splits["test"], source


def _published_cifar10(size: int) -> Parts:
    """Read CIFAR-10 as published, or from a mirror's folders of image files."""
    archive = fetch(files_of("cifar10")[0])
    if archive.suffix == ".zip":
        arrays, is_jpeg = load_cifar10(archive)
    else:
        arrays, is_jpeg = load_cifar10_records(archive), False
    note = "JPEG-compressed: accuracies lie several points below the lossless set's" * is_jpeg
    return *_array_splits(arrays, CIFAR10_CLASSES, size), _source("CIFAR-10", archive, note)


def _scanned_digits(size: int) -> Parts:
    """Take scikit-learn's digits: real scans of 8 × 8 pixels, 16 shades of grey."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    # The set has no test split of its own: this draw is the same for every seed.
    kept, carved = carve_rows(digits.target, 360, seed=0)
    arrays = {
        "train_images": _grey_to_rgb(grey[kept]),
        "train_labels": digits.target[kept],
        "test_images": _grey_to_rgb(grey[carved]),
        "test_labels": digits.target[carved],
    }
    source = Source(
        "Optical Recognition of Handwritten Digits (UCI), its test part",
        "sklearn.datasets.load_digits",
        f"sha256:{hashlib.sha256(grey.tobytes() + digits.target.tobytes()).hexdigest()}",
        "CC BY 4.0",
        "8 px originals, resized",
    )
    return *_array_splits(arrays, _DIGIT_NAMES, size), source


def _mnist_digits(size: int) -> Parts:
    """Read MNIST."""
    file = fetch("mnist.npz")
    arrays = load_mnist(file)
    for part in ("train_images", "test_images"):
        arrays[part] = _grey_to_rgb(arrays[part])
    source = _source("MNIST", file, "28 px originals, resized")
    return *_array_splits(arrays, _DIGIT_NAMES, size), source


_PUBLISHED = {
    "cats_dogs": _Published(
        size=224,
        file="cats_and_dogs_filtered.zip",
        embedded=(functools.partial(_recorded, "cats_dogs"), 400),
        real=(_photographed_cats_dogs, 400),
    ),
    "cifar10": _Published(
        size=32,
        file="cifar-10-binary.tar.gz",
        embedded=(functools.partial(_recorded, "cifar10"), 600),
        real=(_published_cifar10, 5000),
    ),
    "digits": _Published(
        size=32,
        file="mnist.npz",
        embedded=(_scanned_digits, 287),
        real=(_mnist_digits, 5000),
    ),
}
_DRAWN = {"pets": (64, 1600), "objects": (32, 2000)}  # pixels, and images to train on
DATASETS = (*_PUBLISHED, *_DRAWN)


def _source(name: str, file: Path, note: str) -> Source:
    """Say where a file was taken from, without a path of this machine."""
    published = FILES[file.name]
    origin = f"{file.name} from a mirror" if mirror() else published.url or file.name
    return Source(name, origin, digest_of(file), published.licence, note)


def _noted(source: Source, note: str) -> Source:
    """Add to what a source says of the differences from the data set as published."""
    return replace(source, note="; ".join(filter(None, (source.note, note))))


def _array_splits(
    arrays: dict[str, np.ndarray], class_names: tuple[str, ...], size: int
) -> tuple[Split, Split]:
    """Make the train and test splits of arrays."""
    train, test = (
        Split.from_arrays(
            arrays[f"{name}_images"],
            arrays[f"{name}_labels"],
            class_names,
            name=name,
            image_size=size,
        )
        for name in ("train", "test")
    )
    return train, test


def _grey_to_rgb(images: np.ndarray) -> np.ndarray:
    """Repeat the grey channel: ``[n, s, s]`` to ``[n, s, s, 3]``, the form backbones take."""
    return np.repeat(images[..., np.newaxis], 3, axis=-1)
