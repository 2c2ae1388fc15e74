"""The book's data sets: one name, one shape, two tiers."""

import functools
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class _Entry:
    """How one data set is made in each tier, and the size its images come in (pixels).

    ``world`` names the procedural world it is drawn from, if it is: then both tiers draw it.
    """

    embedded: Callable[..., Dataset]
    embedded_size: int
    real: Callable[..., Dataset]
    real_size: int
    world: str | None = None


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
        **knobs: ``n``, the number of training images, to which ``n // 4`` for validation are
            added; ``test``, the number of test images; ``shift``, another look under the same
            labels ("colour", "texture", "blur", "sketch" or "contrast"; of photographs the embedded
            tier has MobileNetV2's block 16 in "texture", "sketch" and "blur", with n=480 and
            test=400); and for drawn images also the other knobs of :mod:`tlhelpers.worlds`:
            ``relatedness``, ``label_noise`` (test labels stay true) and ``difficulty``.

    Returns:
        The data set. Labels are noted in its splits as int64, images as uint8 RGB, 0 to 255.

    Raises:
        ValueError: If the name or tier is unknown, or there are fewer images than asked for.
        TypeError: If a knob does not exist for this data set and tier, or belongs to a drawn one, or
            ``n``, ``test`` or the seed is not an integer.
        DownloadError: If a file can't be had.

    Example:
        >>> data = load_dataset("pets", n=40, test=10)
        >>> len(data.train), len(data.validation), len(data.test)
        (40, 10, 10)
    """
    if name not in _TABLE:
        raise ValueError(
            f"A data set must be one of {', '.join(sorted(_TABLE))}. Received: {name!r}. "
            "For images of your own use load_folder."
        )
    if tier is not None:
        check_tier(tier)
    entry = _TABLE[name]
    known = ["n", "test", *(_world_knobs(entry.world) if entry.world else ["shift"])]
    unknown = sorted(set(knobs) - set(known))
    if unknown:
        drawn = DRAWN_INSTEAD.get(name)
        hint = f" Drawn images, which have more, are called {drawn!r}." if drawn else ""
        raise TypeError(
            f"{name} has these knobs: {', '.join(known)}. Received: {', '.join(unknown)}.{hint}"
        )
    for knob in {"n", "test"} & {key for key, value in knobs.items() if value is not None}:
        knobs[knob] = as_integer(knob, knobs[knob])
    seed = check_seed(seed)
    if tier is None:
        settle(lambda: files_of(name))
    chosen = tier or tier_in_force()
    make = entry.embedded if chosen == "embedded" else entry.real
    size = entry.embedded_size if chosen == "embedded" else entry.real_size
    shift = None if entry.world else knobs.pop("shift", None)
    data = make(size=size if image_size is None else image_size, seed=seed, **knobs)
    return data if shift is None else _shifted(data, shift)


def _shifted(data: Dataset, shift: str) -> Dataset:
    """Give every image another look, and say so."""
    splits = {name: getattr(data, name).shifted(shift) for name in ("train", "validation", "test")}
    note = "; ".join(filter(None, (data.source.note, f"shift={shift}")))
    return replace(data, **splits, source=replace(data.source, note=note))


def files_of(name: str) -> list[str]:
    """Name the file that a data set of the real tier is read from; a drawn one has none."""
    if name == "cifar10" and "cifar10.zip" in (mirror_names() or ()):
        return ["cifar10.zip"]
    return [_FILE_OF[name]] if name in _FILE_OF else []


def _world_knobs(world: str) -> list[str]:
    """Name the knobs of a world that a data set hands on."""
    from tlhelpers import worlds

    parameters = inspect.signature(getattr(worlds, world)).parameters
    return [knob for knob in parameters if knob not in ("n", "seed", "image_size")]


def _recorded(name: str, validation_size: int) -> Callable[..., Dataset]:
    """Return how to read a data set whose features are recorded."""

    def read(size: int, seed: int, n: int | None = None, test: int | None = None) -> Dataset:
        """Make the splits of the pack's images, carved as the real tier carves them."""
        pack = load_pack(name)
        digests, names = pack.digests(), tuple(pack.about["class_names"])
        train, test_split = (
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
        note = "; ".join(filter(None, (source.note, "recorded features, without pixels")))
        return _published(
            name, train, test_split, replace(source, note=note), validation_size, seed, n, test
        )

    return read


def _world(world: str, usual: int) -> Callable[..., Dataset]:
    """Return how to draw a data set of a world."""

    def draw(size: int, seed: int, n: int = usual, test: int = 1000, **knobs: Any) -> Dataset:
        """Draw it."""
        return _drawn(world, size, seed, n, test, knobs)

    return draw


def _drawn(world: str, size: int, seed: int, n: int, test: int, knobs: dict[str, Any]) -> Dataset:
    """Draw the three splits of a world; each has its own stream of random numbers."""
    train_seed, validation_seed = np.random.SeedSequence(seed).generate_state(2).tolist()
    for_test = {knob: value for knob, value in knobs.items() if knob != "label_noise"}
    train = _draw(world, "train", n, train_seed, size, **knobs)
    validation = _draw(world, "validation", max(1, n // 4), validation_seed, size, **knobs)
    test_split = _draw(world, "test", test, _TEST_SEED, size, **for_test)
    settings = ", ".join(f"{knob}={value}" for knob, value in sorted(knobs.items()))
    source = Source(
        f"drawn {world}",
        f"tlhelpers.worlds.{world}",
        _joint_digest(train, validation, test_split),
        "MIT",
        f"seed={seed}" + (f", {settings}" if settings else ""),
    )
    return Dataset(world, train, validation, test_split, source)


@functools.lru_cache(maxsize=6)
def _draw(world: str, split: str, n: int, seed: int, size: int, **knobs: Any) -> Split:
    """Draw one split of a world; the last few are kept, since chapters ask for them again."""
    from tlhelpers import worlds

    drawn = getattr(worlds, world)(n=n, seed=seed, image_size=size, **knobs)
    return Split.from_arrays(
        drawn.images, drawn.labels, drawn.class_names, name=split, conditions=drawn.conditions
    )


def _photographed_cats_dogs(
    size: int, seed: int, n: int | None = None, test: int | None = None
) -> Dataset:
    """Read the well-known archive; its validation folder is the test split here."""
    archive = fetch("cats_and_dogs_filtered.zip")
    found = load_photographs(archive)
    splits = {}
    for name, part in (("train", "train"), ("test", "validation")):
        classes = [found[f"{part}/{kind}"] for kind in ("cats", "dogs")]
        labels = np.repeat([0, 1], [len(paths) for paths in classes])
        paths = [path for paths in classes for path in paths]
        splits[name] = Split.from_paths(paths, labels, ("cat", "dog"), image_size=size, name=name)
    source = Source(
        "Dogs vs. Cats, 3,000 photographs",
        _origin(archive.name),
        digest_of(archive),
        FILES[archive.name].licence,
        "the archive's validation folder is the test split; validation is carved from train",
    )
    return _published("cats_dogs", splits["train"], splits["test"], source, 400, seed, n, test)


def _published_cifar10(
    size: int, seed: int, n: int | None = None, test: int | None = None
) -> Dataset:
    """Read CIFAR-10 as published, or from a mirror's folders of image files."""
    archive = fetch(files_of("cifar10")[0])
    if archive.suffix == ".zip":
        arrays, is_jpeg = load_cifar10(archive)
    else:
        arrays, is_jpeg = load_cifar10_records(archive), False
    source = Source(
        "CIFAR-10",
        _origin(archive.name),
        digest_of(archive),
        FILES[archive.name].licence,
        "JPEG-compressed: accuracies lie several points below the lossless set's" * is_jpeg,
    )
    train, test_split = _array_splits(arrays, CIFAR10_CLASSES, size)
    return _published("cifar10", train, test_split, source, 5000, seed, n, test)


def _scanned_digits(size: int, seed: int, n: int | None = None, test: int | None = None) -> Dataset:
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
    train, test_split = _array_splits(arrays, _DIGIT_NAMES, size)
    source = Source(
        "Optical Recognition of Handwritten Digits (UCI), its test part",
        "sklearn.datasets.load_digits",
        f"sha256:{hashlib.sha256(grey.tobytes() + digits.target.tobytes()).hexdigest()}",
        "CC BY 4.0",
        "8 px originals, resized",
    )
    return _published("digits", train, test_split, source, 287, seed, n, test)


def _mnist_digits(size: int, seed: int, n: int | None = None, test: int | None = None) -> Dataset:
    """Read MNIST."""
    file = fetch("mnist.npz")
    arrays = load_mnist(file)
    for part in ("train_images", "test_images"):
        arrays[part] = _grey_to_rgb(arrays[part])
    train, test_split = _array_splits(arrays, _DIGIT_NAMES, size)
    source = Source(
        "MNIST",
        _origin(file.name),
        digest_of(file),
        FILES[file.name].licence,
        "28 px originals, resized",
    )
    return _published("digits", train, test_split, source, 5000, seed, n, test)


_TABLE = {
    "cats_dogs": _Entry(_recorded("cats_dogs", 400), 224, _photographed_cats_dogs, 224),
    "cifar10": _Entry(_recorded("cifar10", 600), 32, _published_cifar10, 32),
    "digits": _Entry(_scanned_digits, 32, _mnist_digits, 32),
    "pets": _Entry(_world("pets", 1600), 64, _world("pets", 1600), 64, world="pets"),
    "objects": _Entry(_world("objects", 2000), 32, _world("objects", 2000), 32, world="objects"),
}


DATASETS = tuple(_TABLE)
_FILE_OF = {  # in the real tier
    "cats_dogs": "cats_and_dogs_filtered.zip",
    "cifar10": "cifar-10-binary.tar.gz",
    "digits": "mnist.npz",
}


def _published(
    name: str,
    train: Split,
    test: Split,
    source: Source,
    validation_size: int,
    seed: int,
    n: int | None,
    test_size: int | None,
) -> Dataset:
    """Carve validation from train, and cut the splits to the sizes asked for."""
    kept, carved = carve_rows(train.labels, validation_size, seed)
    return Dataset(
        name,
        _cut(train.take(kept), n, seed),
        _cut(train.take(carved, name="validation"), None if n is None else max(1, n // 4), seed),
        _cut(test, test_size, seed=0),
        source,
    )


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


def _joint_digest(*splits: Split) -> str:
    """Digest several splits together."""
    digests = " ".join(split.digest for split in splits)
    return f"sha256:{hashlib.sha256(digests.encode()).hexdigest()}"


def _origin(name: str) -> str:
    """Say where a file was taken from, without a path of this machine."""
    return f"{name} from a mirror" if mirror() else FILES[name].url or name
