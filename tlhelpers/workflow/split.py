"""All images of a folder in one order, what belongs together among them, and folds of those."""

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlhelpers.data.copies import link
from tlhelpers.data.groups import Groups, read_groups
from tlhelpers.data.splits import Dataset

ENOUGH_TO_HOLD_OUT = 200
"""From this number of test images on, the score is theirs; below, it comes from cross-validation."""

FOLDS = 5
REPEATS = 3

MORE_FOLDS = 10
"""Folds that are tried at most where fewer leave some class without groups to fit on."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Pictures:
    """Every usable image of a data set, train first, then validation, then test.

    It gives images as a :class:`tlhelpers.Split` does, so features can be extracted from it.

    Attributes:
        data: The data set.
        labels: ``int64 [n]``.
        groups: ``int64 [n]``: images with the same number show the same thing, or were said to.
        split_of: ``[n]``: 0 for train, 1 for validation, 2 for test.
    """

    data: Dataset
    labels: np.ndarray
    groups: np.ndarray
    split_of: np.ndarray

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @property
    def paths(self) -> list[Path]:
        """The files, in this order."""
        splits = (getattr(self.data, name) for name in SPLITS)
        return [path for split in splits for path in split.paths or ()]

    @property
    def names(self) -> list[str]:
        """Path of each file below the folder, with slashes."""
        root = self.data.audit.folder if self.data.audit else Path()
        return [path.relative_to(root).as_posix() for path in self.paths]

    @property
    def own_test(self) -> bool:
        """Whether the folder brought test images of its own, which may be of another kind."""
        audit = self.data.audit
        return audit is not None and bool(audit.split_folders["test"])

    @property
    def held_out(self) -> bool:
        """Whether the score comes from the test split; else it is cross-validated."""
        return self.own_test or len(self.data.test) >= ENOUGH_TO_HOLD_OUT

    @property
    def pool(self) -> np.ndarray:
        """Rows to learn from and to choose on: all but the test split, or all."""
        return np.flatnonzero(self.split_of < 2) if self.held_out else np.arange(len(self))

    @property
    def judged(self) -> np.ndarray:
        """Rows that are scored."""
        return np.flatnonzero(self.split_of == 2) if self.held_out else np.arange(len(self))

    def load(self, rows: Sequence[int] | np.ndarray, image_size: int) -> np.ndarray:
        """Return uint8 images ``[k, image_size, image_size, 3]``, in the order asked for."""
        rows = np.asarray(rows, int)
        images = np.empty((len(rows), image_size, image_size, 3), np.uint8)
        first = 0
        for name in SPLITS:
            split = getattr(self.data, name)
            here = (rows >= first) & (rows < first + len(split))
            if here.any():
                images[here] = split.load(rows[here] - first, image_size)
            first += len(split)
        return images

    def digests(self) -> list[bytes]:
        """Return a SHA-256 of each image."""
        return [one for name in SPLITS for one in getattr(self.data, name).digests()]


def gather(data: Dataset, groups: Groups | None = None) -> Pictures:
    """Put the images of a folder in one order, and number what belongs together.

    Args:
        data: A data set that :func:`tlhelpers.load_folder` gave.
        groups: What it was given as ``groups``. Defaults to none.

    Returns:
        The images; copies, near-copies and images of a group share a number.

    Raises:
        ValueError: If the images to learn from of some class are all of one group.

    Example:
        >>> gather(load_folder("photos")).held_out  # doctest: +SKIP
        True
    """
    splits = [getattr(data, name) for name in SPLITS]
    found = Pictures(
        data,
        np.concatenate([split.labels for split in splits]),
        np.zeros(0, int),
        np.repeat(np.arange(3), [len(split) for split in splits]),
    )
    pairs = []
    if data.audit is not None:
        row_of = {path: row for row, path in enumerate(found.paths)}
        for copies in (*data.audit.copies, *data.audit.near_copies):
            rows = [row_of[path] for path in copies if path in row_of]
            # Those on several sides were taken apart there, and would link what is on one.
            if len(set(found.split_of[rows].tolist())) == 1:
                pairs += list(itertools.pairwise(rows))
    of_group: dict[str, int] = {}
    if groups is not None:
        for row, group in enumerate(read_groups(groups, found.names)):
            if group is not None:
                pairs.append((of_group.setdefault(group, row), row))
    numbers = link(np.array(pairs, int).reshape(-1, 2), len(found))
    gathered = Pictures(data, found.labels, numbers, found.split_of)
    for label, name in enumerate(data.class_names):
        own = gathered.pool[gathered.labels[gathered.pool] == label]
        if len(np.unique(numbers[own])) < 2:
            raise ValueError(
                "Every class needs images of at least two groups, one to fit on and one to judge "
                f"by. Received: class {name}, whose {len(own):,} images to learn from are of one "
                "group. Add images that show something else, or name smaller groups."
            )
    return gathered


class UndividedError(ValueError):
    """Rows that can't be divided into folds with every class on both sides."""


def folds(
    labels: np.ndarray, groups: np.ndarray, seed: int, most: int = FOLDS
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Divide rows into stratified folds that keep groups whole.

    Where there is a division that leaves two groups of each class to fit on, it is taken, so that
    those can be divided again. Where groups span classes, that may take more folds than some class
    has groups.

    Args:
        labels: ``int [n]``.
        groups: ``int [n]``.
        seed: Which draw.
        most: Folds, or fewer where a class has fewer groups. Defaults to 5.

    Yields:
        Rows to fit on, which have every class, and rows held out.

    Raises:
        UndividedError: If some class has images of one group only, or no such division was found.

    Example:
        >>> labels, groups = np.repeat([0, 1], 10), np.arange(20) // 2
        >>> [len(held) for _, held in folds(labels, groups, seed=0)]
        [4, 4, 4, 4, 4]
    """
    from sklearn.model_selection import StratifiedGroupKFold

    classes, number = np.unique(labels, return_inverse=True)
    # One row of each group of each class.
    ones = np.unique(np.stack([number, groups], axis=1), axis=0, return_index=True)[1]
    has = np.bincount(number[ones])
    fewest = int(has.min())
    usual = min(most, fewest)
    more = min(MORE_FOLDS, len(np.unique(groups)), int(np.bincount(number).max()))
    spare = None
    for count in (*range(usual, 1, -1), *range(max(usual, 1) + 1, more + 1)) if fewest > 1 else ():
        for draw in range(10):
            splitter = StratifiedGroupKFold(count, shuffle=True, random_state=1000 * seed + draw)
            with warnings.catch_warnings():  # of more folds than a class has images
                warnings.simplefilter("ignore", UserWarning)
                found = list(splitter.split(labels, labels, groups))
            left = min(
                np.bincount(number[ones[~np.isin(ones, held)]], minlength=len(has)).min()
                for _, held in found
            )
            if left >= min(2, fewest - 1):
                yield from found
                return
            if left and spare is None:
                spare = found
    if spare is None:
        raise UndividedError(
            "Every class needs images of at least two groups, one to fit on and one to judge by. "
            f"Received: class number {classes[has.argmin()]} with {fewest}"
            f"{', which no division that was tried keeps apart' if fewest > 1 else ''}. Add images "
            "that show something else, or name smaller groups."
        )
    yield from spare
