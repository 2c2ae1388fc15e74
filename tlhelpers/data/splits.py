"""Labelled images in three splits, held in memory or read from files when they are needed."""

import copy
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tlhelpers.data.audit import FolderAudit, count
from tlhelpers.data.images import check_fit, digest_image, read_and_digest, resize_image
from tlhelpers.data.packs import DRAWN_INSTEAD, HOW_TO_GET_PIXELS, NotRecordedError
from tlhelpers.progress import counted, mapped
from tlhelpers.runtime import as_integer, check_seed, usable_cores
from tlhelpers.worlds.shifts import check_shift, shift_image

if TYPE_CHECKING:
    import tensorflow as tf


def carve_rows(labels: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide rows in two at random, each class in the same proportion.

    Every class gives at least one row when ``size`` allows it.

    Args:
        labels: ``int [n]``, 0 or more.
        size: Rows to carve off, shared out among the classes by their counts.
        seed: Which draw.

    Returns:
        ``(kept, carved)``: sorted row numbers.

    Raises:
        ValueError: If size is not between 0 and n.

    Example:
        >>> labels = np.array([0] * 8 + [1] * 4)
        >>> kept, carved = carve_rows(labels, 3, seed=0)
        >>> np.bincount(labels[carved]).tolist()
        [2, 1]
    """
    labels = np.asarray(labels)
    if not 0 <= size <= len(labels):
        raise ValueError(f"size must lie between 0 and {len(labels)}. Received: {size}.")
    rng = np.random.default_rng(seed)
    is_carved = np.zeros(len(labels), bool)
    for label, share in enumerate(_shares(np.bincount(labels), size)):
        is_carved[rng.permutation(np.flatnonzero(labels == label))[:share]] = True
    return np.flatnonzero(~is_carved), np.flatnonzero(is_carved)


def balanced_rows(labels: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n rows of each class, or all of a class that has fewer.

    Generators of the same seed draw nested rows: those for a smaller n are among those
    for a larger one.

    Args:
        labels: ``int [k]``.
        n: Rows a class.
        rng: The generator to draw with.

    Returns:
        Sorted row numbers.

    Example:
        >>> balanced_rows(np.array([0, 0, 0, 1]), 1, np.random.default_rng(0)).size
        2
    """
    drawn = [rng.permutation(np.flatnonzero(labels == label))[:n] for label in np.unique(labels)]
    return np.sort(np.concatenate(drawn)) if drawn else np.empty(0, int)


def _shares(counts: np.ndarray, size: int) -> np.ndarray:
    """Share out a total in proportion to counts, at least one each where it suffices."""
    present = counts > 0
    if not present.any():
        return np.zeros_like(counts)
    exact = counts * size / counts.sum()
    shares = np.floor(exact).astype(int)
    if size >= present.sum():
        shares = np.maximum(shares, present)
    while shares.sum() > size:
        shares[np.argmax(np.where(shares > 1, shares - exact, -np.inf))] -= 1
    while shares.sum() < size:
        shares[np.argmax(np.where(shares < counts, exact - shares, -np.inf))] += 1
    return shares


# A file that changed less than this before it was digested is digested again the next time.
SETTLED_NANOSECONDS = 2_000_000_000

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Source:
    """Where a data set is from.

    Args:
        name: The data set's own name.
        origin: An address, a folder, or the generator and its settings.
        digest: Digest of the file it was read from, or of the pixels drawn.
        licence: The licence or terms, "unknown" where none is stated.
        note: What differs from the data set as published. Defaults to "".

    Example:
        >>> Source("MNIST", "mnist.npz", "sha256:06af", "CC BY-SA 3.0").licence
        'CC BY-SA 3.0'
    """

    name: str
    origin: str
    digest: str
    licence: str
    note: str = ""


class Split:
    """Labelled images of one split, as arrays or as files that are decoded on demand.

    Build one with :meth:`from_arrays` or :meth:`from_paths`. A split doesn't change: arrays and
    labels are read-only, and a file that has changed since it was digested is not read.

    Attributes:
        name: "train", "validation" or "test".
        labels: ``int64 [n]``, 0 to ``len(class_names) - 1``.
        class_names: Name of each class, in the order of the labels.
        image_size: Height and width in pixels of the images this split gives.
        pack: Name of the pack of recorded features that stands in for the pixels, or None.
        fit: How files become square, as for :func:`tlhelpers.read_image`.
        grey_range: Values of grey beyond 8 bits that become 0 and 255, or None for 0 and 65,535.
        shift: The other look that images are given when they are read, or None.
    """

    def __init__(
        self,
        name: str,
        labels: np.ndarray,
        class_names: Sequence[str],
        image_size: int,
        *,
        pixels: np.ndarray | None = None,
        paths: Sequence[str | Path] | None = None,
        fit: str = "crop",
        grey_range: tuple[int, int] | None = None,
        file_digests: Sequence[bytes | None] | None = None,
        fixed: bool = False,
        pack: str | None = None,
        shift: str | None = None,
    ) -> None:
        """Check and hold the parts; :meth:`from_arrays` and its like call this."""
        self.name = name
        self.class_names = tuple(class_names)
        self.image_size = _positive("image_size", image_size)
        # As strings, which take a quarter of the memory; a Path would keep the name once more.
        self._files = None if paths is None else [_as_text(path) for path in paths]
        self.pack = pack
        self.shift = shift
        self._pixels = None if pixels is None else _read_only(pixels)
        held = self._files if self._files is not None else self._pixels
        images = len(file_digests or () if held is None else held)
        self.labels = _checked_labels(labels, len(self.class_names), images)
        check_fit(fit)
        self.fit = fit
        self.grey_range = grey_range
        self._file_digests = list(file_digests or [None] * len(self))
        # Size and times of each file as it was digested; -1 before.
        self._stamps = np.full((len(self) if self._files else 0, 3), -1, np.int64)
        self._fixed = fixed
        self._images: np.ndarray | None = None
        self._digests: list[bytes] | None = None

    @classmethod
    def from_arrays(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        class_names: Sequence[str],
        *,
        name: str = "train",
        image_size: int | None = None,
    ) -> "Split":
        """Make a split of images that are in memory.

        Args:
            images: ``uint8 [n, s, s, 3]``, RGB, 0 to 255.
            labels: Integers ``[n]``.
            class_names: Name of each class.
            name: "train", "validation" or "test". Defaults to "train".
            image_size: Size in pixels to give the images in. Defaults to s.

        Returns:
            The split.

        Raises:
            TypeError: If the images are not uint8 or the labels not integers.
            ValueError: If shapes, lengths or labels don't fit.

        Example:
            >>> images = np.zeros((4, 8, 8, 3), np.uint8)
            >>> split = Split.from_arrays(images, np.array([0, 0, 1, 1]), ["cat", "dog"])
            >>> split.load([3], image_size=16).shape
            (1, 16, 16, 3)
        """
        images = np.asarray(images)
        if images.dtype != np.uint8:
            raise TypeError(
                f"Images must be uint8 with values 0 to 255. Received: {images.dtype}; "
                "undo any scaling and use .astype('uint8')."
            )
        if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
            raise ValueError(
                "Images must have the shape [n, s, s, 3], square and RGB. "
                f"Received: {list(images.shape)}."
            )
        size = images.shape[1] if image_size is None else image_size
        return cls(name, labels, class_names, size, pixels=images)

    @classmethod
    def from_paths(
        cls,
        paths: Sequence[str | Path],
        labels: np.ndarray,
        class_names: Sequence[str],
        *,
        image_size: int,
        name: str = "train",
        fit: str = "crop",
        grey_range: tuple[int, int] | None = None,
        file_digests: Sequence[bytes] | None = None,
    ) -> "Split":
        """Make a split of image files, which are decoded when they are asked for.

        Args:
            paths: The n image files.
            labels: Integers ``[n]``.
            class_names: Name of each class.
            image_size: Size in pixels to give the images in.
            name: "train", "validation" or "test". Defaults to "train".
            fit: How files become square: "crop", "pad" or "stretch". Defaults to "crop".
            grey_range: Values of grey beyond 8 bits that become 0 and 255. Defaults to 0 and
                65,535.
            file_digests: SHA-256 of each file, if it must not change. Defaults to what is read.

        Returns:
            The split.

        Raises:
            TypeError: If the labels are not integers.
            ValueError: If lengths or labels don't fit.

        Example:
            >>> Split.from_paths(["a.jpg"], np.array([0]), ["cat"], image_size=64)
            Split('train', 1 image of 64 px, 1 class)
        """
        return cls(
            name,
            labels,
            class_names,
            image_size,
            paths=paths,
            fit=fit,
            grey_range=grey_range,
            file_digests=file_digests,
            fixed=file_digests is not None,
        )

    @classmethod
    def from_pack(
        cls,
        pack: str,
        digests: Sequence[bytes],
        labels: np.ndarray,
        class_names: Sequence[str],
        *,
        image_size: int,
        name: str = "train",
    ) -> "Split":
        """Make a split of images whose features are recorded and whose pixels are not at hand.

        Args:
            pack: Name of the pack that holds the features.
            digests: SHA-256 of each image.
            labels: Integers ``[n]``.
            class_names: Name of each class.
            image_size: Size in pixels in which the images come where they are at hand.
            name: "train", "validation" or "test". Defaults to "train".

        Returns:
            The split. Everything works but what needs pixels.

        Example:
            >>> Split.from_pack("pets", [b"a", b"b"], np.array([0, 1]), "ab", image_size=224)
            Split('train', 2 images of 224 px, 2 classes)
        """
        return cls(name, labels, class_names, image_size, file_digests=digests, pack=pack)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Describe the split in one line."""
        images, classes = count(len(self), "image"), count(len(self.class_names), "class", "es")
        return f"Split({self.name!r}, {images} of {self.image_size} px, {classes})"

    def load(
        self, rows: Iterable[int] | np.ndarray | slice | None = None, image_size: int | None = None
    ) -> np.ndarray:
        """Give some of the images, in the order asked for.

        Files are decoded by as many threads as there are processors; nothing is kept.

        Args:
            rows: Row numbers or a slice. Defaults to all rows.
            image_size: Size in pixels. Defaults to the split's own.

        Returns:
            ``uint8 [k, image_size, image_size, 3]``, RGB, 0 to 255.

        Raises:
            IndexError: If a row does not exist.
            FileNotFoundError: If a file is gone; the message names it.
            ValueError: If a file can't be decoded or has changed; the message names it. A
                ``NotRecordedError`` if only features of the images are at hand.
        """
        picked = self._rows(rows)
        self._need_pixels()
        size = self.image_size if image_size is None else _positive("image_size", image_size)
        if size == self.image_size and self._images is not None:
            return self._images[picked]
        if self._pixels is not None and self._pixels.shape[1] == size and not self.shift:
            return self._pixels[picked]

        result = np.empty((len(picked), size, size, 3), np.uint8)

        def fill(place: int) -> None:
            """Decode or resize one image into its place."""
            row = picked[place]
            if self._files is not None:
                image, digest = read_and_digest(
                    Path(self._files[row]), size, fit=self.fit, grey_range=self.grey_range
                )
                self._check_file(row, digest)
            else:
                pixels = self._pixels[row]  # type: ignore[index]
                image, digest = resize_image(pixels, size), hashlib.sha256(pixels).digest()
            if self.shift:
                image = shift_image(image, self.shift, int.from_bytes(digest[:8], "big"))
            result[place] = image

        in_threads(fill, range(len(picked)))
        return result

    def _need_pixels(self) -> None:
        """Refuse where only features of the images are at hand."""
        if self.pack is not None:
            drawn = DRAWN_INSTEAD.get(self.pack)
            raise NotRecordedError(
                f"The embedded tier holds features of {self.pack}'s images, not their pixels. "
                f"{HOW_TO_GET_PIXELS}{f' Drawn images are called {drawn!r}.' if drawn else ''}"
            )

    @property
    def paths(self) -> tuple[Path, ...] | None:
        """The image files, or None for images held otherwise."""
        return None if self._files is None else tuple(map(Path, self._files))

    @property
    def images(self) -> np.ndarray:
        """All images, ``uint8 [n, image_size, image_size, 3]``, kept in memory once read."""
        if self._images is None:
            self._images = _read_only(self.load(slice(None)))
        return self._images

    def to_numpy(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(images, labels)``: uint8 ``[n, s, s, 3]`` and int64 ``[n]``."""
        return self.images, self.labels

    def to_tf_data(
        self, batch_size: int = 32, shuffle: bool = False, seed: int = 0
    ) -> "tf.data.Dataset":
        """Give the split as a ``tf.data.Dataset`` of batches; no image is dropped.

        Args:
            batch_size: Images in a batch; the last one may be smaller. Defaults to 32.
            shuffle: Whether to draw a new order each epoch. Defaults to False.
            seed: Fixes the sequence of orders. Defaults to 0.

        Returns:
            Batches of ``(float32 [b, s, s, 3] with values 0 to 255, int64 [b])``. No
            preprocessing is applied: that belongs in the model.
        """
        self._need_pixels()  # TensorFlow would wrap the error in its own
        import tensorflow as tf

        rows = tf.data.Dataset.range(len(self))
        if shuffle:
            rows = rows.shuffle(max(len(self), 1), seed=seed, reshuffle_each_iteration=True)
        size, labels = self.image_size, self.labels

        def batch(picked: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
            """Read the images of one batch of row numbers."""
            images = tf.numpy_function(self.load, [picked], tf.uint8, stateful=False)
            images = tf.ensure_shape(images, [None, size, size, 3])
            return tf.cast(images, tf.float32), tf.gather(labels, picked)

        return rows.batch(_positive("batch_size", batch_size)).map(batch).prefetch(2)

    def digests(self) -> list[bytes]:
        """Return one SHA-256 per image: of its file's bytes, or of the pixels held.

        They are computed once; a file that has changed since is digested again, or refused where
        its digest was given. Where images are not read in the usual way, the way is hashed too; but
        recorded features are filed under the images' own digests.
        """
        if self.pack is not None:
            return [one for one in self._file_digests if one is not None]
        if self._pixels is not None:
            if self._digests is not None:
                return self._digests
            found = [hashlib.sha256(image).digest() for image in self._pixels]
        else:
            in_threads(self._digest_file, range(len(self)), "reading images")
            found = [one for one in self._file_digests if one is not None]
        how = "" if self.fit == "crop" else self.fit
        how += "" if self.grey_range is None else f" {self.grey_range}"
        how += f" {self.shift}" if self.shift else ""
        self._digests = (
            [hashlib.sha256(one + how.encode()).digest() for one in found] if how else found
        )
        return self._digests

    def last_digests(self) -> list[bytes]:
        """Return what :meth:`digests` returned last, without looking at the files."""
        return self._digests or self.digests()

    def _digest_file(self, row: int) -> None:
        """Digest a file, unless it was digested before and has not changed."""
        if self._files is None:
            return
        path = Path(self._files[row])
        try:
            facts = path.stat()
        except FileNotFoundError:
            raise FileNotFoundError(f"There is no image file {path}.") from None
        stamp = [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
        known, before = self._file_digests[row], self._stamps[row].tolist()
        if known is None or not (before == stamp or (self._fixed and before[0] < 0)):
            digest = digest_image(path)
            if self._fixed:
                self._check_file(row, digest)
            self._file_digests[row] = digest
        # Within one tick of the file system's clock a file can change and keep its stamp.
        settled = time.time_ns() - max(stamp[1:]) > SETTLED_NANOSECONDS
        self._stamps[row] = stamp if settled or self._fixed else -1

    def _check_file(self, row: int, digest: bytes) -> None:
        """Keep the digest of a file that is read for the first time; refuse one that has changed."""
        if self._file_digests[row] is None:
            self._file_digests[row] = digest
        elif self._file_digests[row] != digest:
            raise ValueError(
                "Image files must stay as they were when they were loaded. Received other content "
                f"in {self._files and Path(self._files[row])}. Load the data set again."
            )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all images and labels in their order, and of the image size."""
        what = f"{len(self)} images of {self.image_size} px"
        total = hashlib.sha256((f"{what}, {self.shift}" if self.shift else what).encode())
        for image in self.digests():
            total.update(image)
        total.update(self.labels.tobytes())
        return total.hexdigest()

    def take(self, rows: Iterable[int] | np.ndarray | slice, *, name: str | None = None) -> "Split":
        """Return a split of these rows only.

        Args:
            rows: Row numbers or a slice, in the order wanted.
            name: Name of the new split. Defaults to this one's.

        Returns:
            A new split; what this one has read and digested already is handed on.
        """
        picked = self._rows(rows)
        part = copy.copy(self)
        part.name = name or self.name
        part.labels = _read_only(self.labels[picked])
        part._file_digests = [self._file_digests[row] for row in picked]
        if self._files is not None:
            part._files = [self._files[row] for row in picked]
            part._stamps = self._stamps[picked]
        if self._pixels is not None:
            part._pixels = _read_only(self._pixels[picked])
        if self._images is not None:
            part._images = _read_only(self._images[picked])
        if self._digests is not None:
            part._digests = [self._digests[row] for row in picked]
        return part

    def resized(self, image_size: int) -> "Split":
        """Return the same images in another size; they are resized from the originals."""
        other = copy.copy(self)
        other.image_size = _positive("image_size", image_size)
        # Each finds by itself that a file has changed since it read it.
        other._file_digests, other._stamps = list(self._file_digests), self._stamps.copy()
        if image_size != self.image_size:
            other._images = None
        return other

    def shifted(self, shift: str) -> "Split":
        """Return the same images in another look, which leaves the labels as they are.

        Args:
            shift: "colour", "texture", "blur", "sketch" or "contrast", as for drawn images.

        Raises:
            ValueError: If there is no such shift.
        """
        check_shift(shift)
        other = self.resized(self.image_size)
        other.shift, other._images, other._digests = shift, None, None
        return other

    def _rows(self, rows: Iterable[int] | np.ndarray | slice | None) -> np.ndarray:
        """Turn rows of any kind into checked row numbers, none negative."""
        everything = np.arange(len(self))
        if rows is None:
            return everything
        if isinstance(rows, slice):
            return everything[rows]
        picked = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows))
        if picked.dtype == bool or picked.size == 0:
            return everything[picked.astype(bool)] if picked.size else everything[:0]
        if picked.max() >= len(self) or picked.min() < -len(self):
            raise IndexError(
                f"Rows must lie between 0 and {len(self) - 1}. "
                f"Received: {picked.min()} to {picked.max()}."
            )
        return everything[picked]


@dataclass(repr=False)
class Dataset:
    """Images in a training, a validation and a test split, with where they are from.

    Args:
        name: Name of the data set, such as "cats_dogs".
        train: Images to learn from.
        validation: Images to choose settings by, and to stop by.
        test: Images to judge by, once.
        source: Origin, digest and licence.
        skipped: Files that were left out, each with the reason. Defaults to none.
        audit: What :func:`tlhelpers.load_folder` understood of a folder. Defaults to None.

    Raises:
        ValueError: If the splits differ in classes or image size.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    source: Source
    skipped: tuple[tuple[Path, str], ...] = ()
    audit: FolderAudit | None = None

    def __post_init__(self) -> None:
        """Check that the splits agree."""
        for split in (self.validation, self.test):
            if split.class_names != self.class_names or split.image_size != self.image_size:
                raise ValueError(
                    f"Splits must have the same classes and image size. Received: {self.train} "
                    f"with {self.class_names} and {split} with {split.class_names}."
                )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class, in the order of the labels."""
        return self.train.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_size(self) -> int:
        """Height and width of the images in pixels."""
        return self.train.image_size

    def few(self, n: int, seed: int = 0) -> "Dataset":
        """Keep n labelled images a class in all, those for validation included.

        A label spent on validation costs as much as one spent on training, so both come out of
        the n, in the data set's own proportion and at least one each. The test split stays whole.
        With one seed, a smaller draw is part of a larger one.

        Args:
            n: Labelled images a class, at least 2.
            seed: Which draw. Defaults to 0.

        Returns:
            A balanced data set of the same name.

        Raises:
            TypeError: If n or the seed is not an integer.
            ValueError: If n is below 2, or some class has too few images.

        Example:
            >>> import tlhelpers as tl
            >>> data = tl.load_dataset("pets", n_train=80).few(20)
            >>> len(data.train), len(data.validation)
            (32, 8)
        """
        if as_integer("n", n) < 2:
            raise ValueError(
                "n must be at least 2, one image a class to train on and one to validate with. "
                f"Received: n={n}."
            )
        total = len(self.train) + len(self.validation)
        held_out = min(n - 1, max(1, round(n * len(self.validation) / total)))
        rng = np.random.default_rng(check_seed(seed))
        parts = {}
        for split, wanted in ((self.train, n - held_out), (self.validation, held_out)):
            counts = np.bincount(split.labels, minlength=self.num_classes)
            if wanted > counts.min():
                available = ", ".join(
                    f"{name} {count}" for name, count in zip(self.class_names, counts, strict=True)
                )
                raise ValueError(
                    f"Every class needs {wanted} images in the {split.name} split for n={n}. "
                    f"Received: {available}. Ask for a smaller n."
                )
            parts[split.name] = split.take(balanced_rows(split.labels, wanted, rng))
        return replace(self, train=parts["train"], validation=parts["validation"])

    def resized(self, image_size: int) -> "Dataset":
        """Return the same data set in another image size (pixels)."""
        train, validation, test = (
            split.resized(image_size) for split in (self.train, self.validation, self.test)
        )
        return replace(self, train=train, validation=validation, test=test)

    def __repr__(self) -> str:
        """Describe the data set in one line."""
        names = ", ".join(self.class_names[:10]) + (", …" if self.num_classes > 10 else "")
        skipped = f", {count(len(self.skipped), 'file')} skipped" if self.skipped else ""
        return (
            f"Dataset({self.name!r}, {len(self.train):,} train / {len(self.validation):,} "
            f"validation / {len(self.test):,} test, {self.image_size} px, "
            f"{self.num_classes} classes: {names}; from {self.source.origin}{skipped})"
        )


def in_threads(
    function: Callable[[_Item], _Result], items: Sequence[_Item], what: str | None = None
) -> list[_Result]:
    """Apply a function to all items with a thread for each processor, results in order.

    Example:
        >>> in_threads(len, ["a", "bc"])
        [1, 2]
    """
    if what is None and len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(max(1, min(usable_cores(), len(items)))) as pool:
        results = mapped(pool, function, items)
        return list(counted(results, len(items), what, " images") if what else results)


def _checked_labels(labels: Any, num_classes: int, count: int) -> np.ndarray:
    """Check labels against the classes and images; return them as read-only int64."""
    array = np.asarray(labels)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"Labels must be integers. Received: {array.dtype}.")
    if array.shape != (count,):
        raise ValueError(
            "There must be one label for each image. "
            f"Received: labels of shape {list(array.shape)} for {count} images."
        )
    if array.size and not 0 <= array.min() <= array.max() < num_classes:
        raise ValueError(
            f"Labels must lie between 0 and {num_classes - 1}, one for each class name. "
            f"Received: {array.min()} to {array.max()}."
        )
    return _read_only(array.astype(np.int64))


def _as_text(path: str | Path) -> str:
    """Return a path as a string; one that is a string already is not copied."""
    return path if isinstance(path, str) else str(Path(path))


def _positive(name: str, value: int) -> int:
    """Check that a value is an integer of at least 1."""
    number = as_integer(name, value)
    if number < 1:
        raise ValueError(f"{name} must be at least 1. Received: {number}.")
    return number


def _read_only(array: np.ndarray) -> np.ndarray:
    """Return a view that can't be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
