"""A reader's own photographs: class folders to a data set, and a page on what was understood."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlhelpers.data.audit import FolderAudit, count, first_few, printable
from tlhelpers.data.augmentation import Augmentation, what_may_change_labels
from tlhelpers.data.content_split import Division, divide
from tlhelpers.data.copies import ALL, SMALLEST, link, near_copies
from tlhelpers.data.groups import Groups, read_groups, suggest_groups
from tlhelpers.data.images import check_fit
from tlhelpers.data.inspection import inspect_images
from tlhelpers.data.layout import Layout, class_name, find_files
from tlhelpers.data.splits import Dataset, Source, Split
from tlhelpers.runtime import check_seed, say


def load_folder(
    path: str | Path,
    *,
    classes: Sequence[str] | None = None,
    groups: Groups | None = None,
    image_size: int = 224,
    fit: str = "crop",
    validation: float = 0.2,
    test: float = 0.2,
    augmentation: Augmentation | None = None,
    seed: int = 0,
) -> Dataset:
    """Load a folder that holds one folder of images per class, and print what was understood.

    Either ``photos/<class>/…``, of which validation and test splits are carved, or
    ``photos/train/<class>/…`` with ``validation`` and ``test`` beside it (or ``val``, ``test_set``
    and the like); a split that has no folder is carved from ``train``. Class folders may have
    folders inside. Every format and mode that Pillow reads is fine, whatever the file is called.
    Files that can't be decoded are left out and reported. Nothing is written to the folder.

    **Copies** — the same picture in other sizes, formats and qualities, turned, mirrored or
    slightly cropped — and the pictures of a group stay in one split. Where folders of splits tear them
    apart, they are left out of train and validation, never out of test.

    **Carving** goes by what pictures show: as long as ``data.audit.settled`` is True and ``seed``,
    shares and groups are the same, no picture that was once in the test split is ever trained on, however
    the folder grows, and whatever is renamed or gets another label; nor where a few pictures get a
    group later (:func:`tlhelpers.data.content_split.divide`). Of more than 5,000 pictures near-copies
    are found by hashes, which may miss a pair, so that is no longer promised. Shares are met roughly
    in small folders; every split has at least one picture of each class.

    **Grey of more than 8 bits** is scaled by the lowest and highest value in all such files.

    Args:
        path: The folder.
        classes: Names of the class folders, in the order of the labels, where it isn't clear which
            they are or not all are wanted. Defaults to all, in alphabetical order.
        groups: What belongs together, such as pictures of one patient: a group for each file name
            (or path below the folder), the path of a CSV file with columns for file and group, or
            a regular expression whose parentheses find the group in the path. Files without a group
            stand by themselves, and are counted. Defaults to none.
        image_size: Height and width in pixels to give the images in. Defaults to 224.
        fit: How pictures become square: ``"crop"`` takes the middle, ``"pad"`` adds black,
            ``"stretch"`` changes proportions. Defaults to ``"crop"``.
        validation: Share of the images to carve for validation. Defaults to 0.2.
        test: Share of the images to carve for testing. Defaults to 0.2.
        augmentation: How views will differ from the pictures: where that may change a label, by the
            classes' names, a note says so. Defaults to ``Augmentation()``.
        seed: Which images are carved. Defaults to 0.

    Returns:
        The data set; its ``skipped`` lists the files left out, each with the reason, and its
        ``audit`` is what was printed.

    Raises:
        FileNotFoundError: If there is no such folder, or no such CSV file.
        NotADirectoryError: If the path is a file.
        ValueError: If it isn't clear which folders are classes, there are fewer than two, a class
            has no usable image, classes differ between splits, or there are too few images to split.

    Example:
        >>> mine = load_folder("photos", image_size=160)
        photos: 30 images
          2 classes: cats 15, dogs 15
          train 17 (by content, seed 0): cats 9, dogs 8
          validation 6 (by content, seed 0): cats 3, dogs 3
          test 7 (by content, seed 0): cats 3, dogs 4
          2 files skipped: cats/a.jpg (truncated), dogs/notes.txt (not an image)
        >>> mine.skipped[0]
        (PosixPath('photos/cats/a.jpg'), 'truncated')
    """
    root = _check_folder(Path(path).expanduser())
    _check_shares(validation, test)
    check_fit(fit)
    seed = check_seed(seed)
    layout = find_files(root, _check_class_names(classes))
    with inspect_images(layout.paths, root) as (reasons, facts, thumbs):
        whole = np.flatnonzero([not reason for reason in reasons])
        skipped = layout.skipped + [
            (Path(layout.paths[row]), reason) for row, reason in enumerate(reasons) if reason
        ]
        class_names = _check_classes(root, layout, whole, classes, skipped)
        paths = [layout.paths[row] for row in whole]
        names = [_below(root, one) for one in paths]
        group_of = read_groups(groups, names)
        hint = (
            suggest_groups(names, class_names)
            if groups is None
            else _ungrouped(
                [one for one, group in zip(names, group_of, strict=True) if group is None]
            )
        )
        del names  # as long as the files' paths, and not needed to look for copies
        pairs, some_left = near_copies(thumbs, facts["width"], facts["height"])
    pairs, facts = (
        np.searchsorted(whole, pairs),
        facts if len(whole) == len(facts) else facts[whole],
    )
    label_of = {name: label for label, name in enumerate(class_names)}
    labels = np.array([label_of[layout.classes[row]] for row in whole])
    given = np.array([layout.splits[row] for row in whole])
    shares = {
        name: share
        for name, share in (("test", test), ("validation", validation))
        if not np.any(given == name)
    }
    if shares:
        given[given == "train"] = ""
    keys = [one.tobytes() for one in facts["content"]]
    division = divide(labels, keys, pairs, given, shares, seed, group_of)
    del keys
    skipped += [
        (Path(paths[row]), f"belongs together with {_below(root, paths[other])}")
        for row, other in division.left_out.items()
    ]
    _check_splits(root, labels, class_names, division, skipped)

    copies, near_copies_, several_classes = _name_copies(paths, labels, facts, division.pairs)
    grey_range = _grey_range(facts)
    everything = Split.from_paths(
        paths,
        labels,
        class_names,
        image_size=image_size,
        fit=fit,
        grey_range=grey_range,
        file_digests=[one.tobytes() for one in facts["file"]],
    )
    splits = {name: everything.take(rows, name=name) for name, rows in division.rows.items()}
    cut = _share_cut(facts) if fit == "crop" else np.zeros(len(paths))
    audit = FolderAudit(
        folder=root,
        class_names=tuple(class_names),
        counts={
            name: tuple(np.bincount(split.labels, minlength=len(class_names)).tolist())
            for name, split in splits.items()
        },
        split_folders={name: tuple(layout.split_folders.get(name, ())) for name in splits},
        seed=seed,
        skipped=tuple(skipped),
        copies=copies,
        near_copies=near_copies_,
        several_classes=several_classes,
        groups=len(set(group_of) - {None}),
        torn=division.crowded,
        tiny=int((np.minimum(facts["width"], facts["height"]) < SMALLEST).sum()),
        fit=fit,
        cut=float(cut.mean()),
        most_cut=(Path(paths[cut.argmax()]), float(cut.max())) if cut.any() else None,
        grey_range=grey_range,
        grey_files=int(facts["grey"].sum()),
        settled="test" not in shares or (division.settled and not some_left and len(paths) <= ALL),
        notes=(
            *layout.notes,
            *_notes(
                class_names, division, some_left, shares, int(facts["sixteen"].sum()), len(paths)
            ),
            *filter(None, (hint, what_may_change_labels(class_names, augmentation))),
        ),
    )
    say(str(audit))
    source = Source(
        root.resolve().name,
        str(path),
        f"sha256:{everything.digest}",
        "unknown",
        "; ".join(audit.what_is_wrong()),
    )
    return Dataset(source.name, **splits, source=source, skipped=audit.skipped, audit=audit)


def _check_folder(root: Path) -> Path:
    """Check that there is such a folder."""
    if not root.exists():
        raise FileNotFoundError(
            f"There is no folder {root}; its full path would be {root.absolute()}."
        )
    if not root.is_dir():
        raise NotADirectoryError(
            f"load_folder takes a folder that holds one folder per class. Received the file {root}."
        )
    return root


def _below(root: Path, path: str) -> str:
    """Return a file's path below the folder, with slashes."""
    return Path(path).relative_to(root).as_posix()


def _check_shares(validation: float, test: float) -> None:
    """Check that both shares are possible, and leave something to train on."""
    for name, share in (("validation", validation), ("test", test)):
        if not (isinstance(share, float | np.floating) and 0 < share < 1):
            raise ValueError(f"{name} must be a share between 0 and 1. Received: {share!r}.")
    if validation + test >= 1:
        raise ValueError(
            "validation and test must leave images to train on: their sum must be below 1. "
            f"Received: {validation} + {test}."
        )


def _check_class_names(classes: Sequence[str] | None) -> Sequence[str] | None:
    """Check that at least two classes are named, each once, in an order."""
    if classes is None:
        return None
    listed = isinstance(classes, Sequence) and all(isinstance(name, str) for name in classes)
    if isinstance(classes, str) or not listed or len(set(classes)) < max(2, len(classes)):
        raise ValueError(
            "classes must name two folders or more, each once, in a list: its order is that of the "
            f"labels. Received: {classes!r}."
        )
    return classes


def _check_classes(
    root: Path,
    layout: Layout,
    whole: np.ndarray,
    wanted: Sequence[str] | None,
    skipped: list[tuple[Path, str]],
) -> list[str]:
    """Check that there are two classes, the same in every split, each with usable images."""
    found = set(zip(layout.splits, layout.classes, strict=True))
    names = sorted({name for _, name in found})
    if len(names) < 2:
        raise ValueError(
            f"There must be at least two class folders in {root}. Received one: {names[0]}. "
            "If that folder holds the classes, load it instead."
        )
    for split in sorted({split for split, _ in found}):
        here = {name for part, name in found if part == split}
        missing = sorted(set(names) - here)
        if missing:
            raise ValueError(
                f"Every split must have the same classes. The {split} folder of {root} lacks: "
                f"{first_few(missing)}; it has: {first_few(sorted(here))}."
            )
    usable = {(layout.splits[row], layout.classes[row]) for row in whole}
    for split, name in sorted(found - usable):
        where = f"{split}/{name}" if split else name
        raise ValueError(
            f"Every class needs images that can be decoded, and in {root} the folder {where} has "
            f"none. Skipped: {_listed(root, skipped)}."
        )
    return names if wanted is None else [class_name(name) for name in wanted]


def _check_splits(
    root: Path,
    labels: np.ndarray,
    class_names: list[str],
    division: Division,
    skipped: list[tuple[Path, str]],
) -> None:
    """Check that every split has images of every class."""
    for split, rows in division.rows.items():
        missing = np.setdiff1d(np.arange(len(class_names)), labels[rows])
        if len(missing):
            left_out = f" Left out: {_listed(root, skipped)}." if division.left_out else ""
            raise ValueError(
                "Every split needs images of every class, and too few are left for the "
                f"{split} split of: {first_few(class_names[label] for label in missing)}. Add "
                "different images (3 a class at the very least, no copies, and from 3 groups where "
                f"there are any), or give {root.resolve().name} folders train, validation and test.{left_out}"
            )


def _listed(root: Path, skipped: list[tuple[Path, str]]) -> str:
    """Name the first files that were left out, with the reasons."""
    return first_few(f"{path.relative_to(root)} ({reason})" for path, reason in skipped)


_Sets = tuple[tuple[Path, ...], ...]


def _name_copies(
    paths: list[str], labels: np.ndarray, facts: np.ndarray, pairs: np.ndarray
) -> tuple[_Sets, _Sets, _Sets]:
    """Name the files of the same picture, of nearly the same, and of both in several classes."""
    contents = np.unique(facts["content"], axis=0, return_inverse=True)[1].reshape(-1)
    looks = link(contents[pairs], contents.max() + 1)[contents]

    def sets(numbers: np.ndarray, differing: np.ndarray) -> _Sets:
        """Name the files that share a number and differ in another."""
        several = np.flatnonzero(np.bincount(numbers)[numbers] > 1)
        order = several[np.argsort(numbers[several], kind="stable")]
        rows = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
        found = [some.tolist() for some in rows if len(set(differing[some].tolist())) > 1]
        return tuple(tuple(Path(paths[row]) for row in some) for some in sorted(found))

    return sets(contents, np.arange(len(paths))), sets(looks, contents), sets(looks, labels)


def _grey_range(facts: np.ndarray) -> tuple[int, int] | None:
    """Return the lowest and the highest value in all files of grey with more than 8 bits."""
    grey = facts[facts["grey"]]
    return (int(grey["low"].min()), int(grey["high"].max())) if len(grey) else None


def _share_cut(facts: np.ndarray) -> np.ndarray:
    """Return the share of each picture that lies outside the square in its middle."""
    width, height = facts["width"], facts["height"]
    return 1 - np.minimum(width, height) / np.maximum(width, height)


def _ungrouped(names: list[str]) -> str:
    """Say how many files were given no group."""
    if not names:
        return ""
    return (
        f"groups= says nothing of {count(len(names), 'file')} ({first_few(map(printable, names))}), "
        "each of which was taken by itself"
    )


def _notes(
    class_names: list[str],
    division: Division,
    some_left: bool,
    shares: dict[str, float],
    sixteen: int,
    total: int,
) -> list[str]:
    """Say what the splits can't promise, and what reading loses."""
    notes = []
    moves = "so pictures may go from test to train when the folder grows"
    if division.too_small and "test" in shares:
        small = first_few(class_names[label] for label in sorted(division.too_small))
        notes.append(f"too few images, or groups, to carve {small} by content alone, {moves}")
    if not division.by_any and "test" in shares:
        notes.append(
            f"more than a fifth of the pictures are near-copies, {moves}; groups= says what belongs "
            "together for good"
        )
    if division.torn and "test" in shares:
        notes.append(f"some pictures have a group and some none, {moves}")
    if division.missed:
        notes.append(
            f"{count(division.missed, 'picture')} of train would be in test by content alone: those, "
            "and a few more, may have been there when the folder was smaller or had no groups"
        )
    if division.crowded:
        notes.append(
            f"{count(division.crowded, 'picture')} look so much alike that they were not kept "
            "together: if they are frames of a film or of one thing, pass groups=, or the result "
            "may be too good"
        )
    if total > ALL:
        notes.append(
            f"of more than {ALL:,} pictures those with a hash in common were compared for "
            f"near-copies, which finds nearly all{f', {moves}' if 'test' in shares else ''}"
        )
    if some_left:
        notes.append("many pictures look alike, and not all of them were compared for near-copies")
    if sixteen:
        notes.append(
            f"{count(sixteen, 'file')} in colours of 16 bits, of which the upper 8 are read"
        )
    return notes
