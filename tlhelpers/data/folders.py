"""A reader's own photographs: class folders to a data set, with everything odd reported."""

import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlhelpers.data.images import inspect_image
from tlhelpers.data.splits import Dataset, Source, Split, carve_rows, in_threads

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx", "icon\r"}


@dataclass(frozen=True)
class _Photo:
    """An image file, the class it belongs to, and the split folder it lies in ("" for none)."""

    path: Path
    class_name: str
    split: str


def load_folder(
    path: str | Path,
    *,
    image_size: int = 224,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Load a folder that holds one folder of images per class.

    Either ``photos/<class>/…``, of which validation and test splits are carved, or
    ``photos/train/<class>/…`` with ``validation`` (or ``val``, ``valid``) and ``test``
    beside it; a split that has no folder is carved from ``train``. Class folders may have
    folders inside. Every format and mode that Pillow reads is fine, whatever the file is
    called. Files that can't be decoded are left out and reported, and so are exact copies
    that lie in two splits; when splits are carved, copies stay together. Nothing is
    written to the folder.

    Args:
        path: The folder.
        image_size: Height and width in pixels to give the images in. Defaults to 224.
        validation: Share of the images to carve for validation. Defaults to 0.2.
        test: Share of the images to carve for testing. Defaults to 0.2.
        seed: Which images are carved. Defaults to 0.

    Returns:
        The data set; its ``skipped`` lists the files left out, each with the reason.

    Raises:
        FileNotFoundError: If there is no such folder.
        NotADirectoryError: If the path is a file.
        ValueError: If there are fewer than two classes, a class without a usable image,
            classes that differ between splits, or too few images to split.

    Example:
        >>> mine = load_folder("photos", image_size=160)  # doctest: +SKIP
        photos: 2 files skipped: cats/a.jpg (truncated), dogs/notes.txt (not an image).
        >>> mine.skipped[0]  # doctest: +SKIP
        (PosixPath('photos/cats/a.jpg'), 'truncated')
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise FileNotFoundError(
            f"There is no folder {root}; its full path would be {root.absolute()}."
        )
    if not root.is_dir():
        raise NotADirectoryError(
            f"load_folder takes a folder that holds one folder per class. Received the file {root}."
        )
    for name, share in (("validation", validation), ("test", test)):
        if not 0 < share < 1:
            raise ValueError(f"{name} must be a share between 0 and 1. Received: {share}.")
    if validation + test >= 1:
        raise ValueError(
            "validation and test must leave images to train on: their sum must be below 1. "
            f"Received: {validation} + {test}."
        )
    photos, skipped = _find_photos(root)
    reasons = in_threads(lambda photo: inspect_image(photo.path), photos)
    found = {(photo.split, photo.class_name) for photo in photos}
    skipped += [
        (photo.path, reason)
        for photo, reason in zip(photos, reasons, strict=True)
        if reason is not None
    ]
    photos = [photo for photo, reason in zip(photos, reasons, strict=True) if reason is None]
    _report_skipped(root, skipped)
    class_names = _check_classes(root, photos, found)

    label_of = {name: label for label, name in enumerate(class_names)}
    everything = Split.from_paths(
        [photo.path for photo in photos],
        np.array([label_of[photo.class_name] for photo in photos]),
        class_names,
        image_size=image_size,
    )
    copies = _group_copies(everything.digests())
    rows_of = _assign_rows(
        everything.labels, [photo.split for photo in photos], copies, validation, test, seed
    )
    for split, rows in rows_of.items():
        missing = sorted(set(range(len(class_names))) - set(everything.labels[rows].tolist()))
        if missing:
            names = ", ".join(class_names[label] for label in missing)
            raise ValueError(
                f"Every split needs images of every class, and too few are left for the {split} "
                f"split of: {names}. Add different images (3 a class at the very least), or "
                f"give {root.name} folders train, validation and test."
            )
    note = _report_copies(root, everything, copies, rows_of)
    splits = {name: everything.take(rows, name=name) for name, rows in rows_of.items()}
    digest = f"sha256:{everything.digest}"
    name = root.resolve().name
    source = Source(name, str(path), digest, "unknown", note)
    return Dataset(name, **splits, source=source, skipped=tuple(skipped))


def _visible(folder: Path) -> list[Path]:
    """List a folder without hidden files and what systems leave behind, in a fixed order."""
    entries = [
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and entry.name.lower() not in _CLUTTER
    ]
    return sorted(entries, key=lambda entry: _normal(entry.name))


def _normal(name: str) -> str:
    """Give a name one spelling: macOS writes é as two characters, other systems as one."""
    return unicodedata.normalize("NFC", name)


def _find_photos(root: Path) -> tuple[list[_Photo], list[tuple[Path, str]]]:
    """Find all files in class folders, and the stray ones beside them."""
    folders = [entry for entry in _visible(root) if entry.is_dir()]
    split_of = {folder: _SPLIT_NAMES.get(folder.name.lower(), "") for folder in folders}
    # "train" is a split when it holds class folders; it may also be a class, beside bus and car.
    trains = [folder for folder in folders if split_of[folder] == "train"]
    if not any(entry.is_dir() for folder in trains for entry in _visible(folder)):
        return _photos_below(root, "")
    photos: list[_Photo] = []
    skipped: list[tuple[Path, str]] = []
    for entry in _visible(root):
        if split_of.get(entry):
            more_photos, more_skipped = _photos_below(entry, split_of[entry])
            photos += more_photos
            skipped += more_skipped
        else:
            skipped.append((entry, "lies beside the folders train, validation and test"))
    return photos, skipped


def _photos_below(folder: Path, split: str) -> tuple[list[_Photo], list[tuple[Path, str]]]:
    """Find the files of one split, each below the folder of its class."""
    photos: list[_Photo] = []
    skipped: list[tuple[Path, str]] = []
    entries = _visible(folder)
    classes = [entry for entry in entries if entry.is_dir()]
    if not classes:
        raise ValueError(
            f"{folder} must hold one folder per class, with the images inside. "
            f"Received: {len(entries)} {'file' if len(entries) == 1 else 'files'} and no folder."
        )
    for entry in entries:
        if entry in classes:
            photos += [_Photo(path, _normal(entry.name), split) for path in _files_below(entry)]
        else:
            skipped.append((entry, "lies outside the class folders"))
    empty = [
        entry.name
        for entry in classes
        if not any(photo.path.is_relative_to(entry) for photo in photos)
    ]
    if empty:
        raise ValueError(
            f"Class folders must hold images. Received in {folder}, empty: {', '.join(empty)}."
        )
    return photos, skipped


def _files_below(folder: Path) -> list[Path]:
    """List all files in a folder and the folders inside it; links to folders are not followed."""
    files: list[Path] = []
    for entry in _visible(folder):
        if entry.is_dir():
            files += [] if entry.is_symlink() else _files_below(entry)
        else:
            files.append(entry)
    return files


def _check_classes(root: Path, photos: list[_Photo], found: set[tuple[str, str]]) -> list[str]:
    """Check that there are two classes, the same in every split, each with usable images."""
    class_names = sorted({class_name for _, class_name in found})
    if len(class_names) < 2:
        raise ValueError(
            f"There must be at least two class folders in {root}. Received one: {class_names[0]}. "
            "If that folder holds the classes, load it instead."
        )
    for split in sorted({split for split, _ in found}):
        here = {class_name for part, class_name in found if part == split}
        missing = sorted(set(class_names) - here)
        if missing:
            raise ValueError(
                f"Every split must have the same classes. The {split} folder of {root} lacks: "
                f"{', '.join(missing)}; it has: {', '.join(sorted(here))}."
            )
    usable = {(photo.split, photo.class_name) for photo in photos}
    for split, class_name in sorted(found - usable):
        where = f"{split}/{class_name}" if split else class_name
        raise ValueError(
            f"Every class needs images that can be decoded, and in {root} the folder {where} has "
            "none. The files that were skipped are listed above."
        )
    return class_names


def _group_copies(digests: list[bytes]) -> np.ndarray:
    """Number the files so that exact copies have the same number."""
    number: dict[bytes, int] = {}
    return np.array([number.setdefault(digest, len(number)) for digest in digests])


def _assign_rows(
    labels: np.ndarray,
    split_of: list[str],
    copies: np.ndarray,
    validation: float,
    test: float,
    seed: int,
) -> dict[str, np.ndarray]:
    """Give each row to a split: by its folder, or by carving what has no folder from train."""
    folders = np.array(split_of)
    rows_of = {
        "train": np.flatnonzero((folders == "train") | (folders == "")),
        "validation": np.flatnonzero(folders == "validation"),
        "test": np.flatnonzero(folders == "test"),
    }
    total = len(rows_of["train"])
    classes = len(np.unique(labels))
    for name, share in (("test", test), ("validation", validation)):
        if len(rows_of[name]):
            continue
        train = rows_of["train"]
        size = min(max(round(share * total), classes), len(train))
        kept, carved = carve_rows(labels[train], size, seed, copies[train])
        rows_of["train"], rows_of[name] = train[kept], train[carved]
    return rows_of


def _report_skipped(root: Path, skipped: list[tuple[Path, str]]) -> None:
    """Print which files were left out, the first few by name."""
    if not skipped:
        return
    named = ", ".join(f"{path.relative_to(root)} ({reason})" for path, reason in skipped[:8])
    more = f", and {len(skipped) - 8} more: see .skipped" if len(skipped) > 8 else ""
    files = "file" if len(skipped) == 1 else "files"
    print(f"{root.name}: {len(skipped)} {files} skipped: {named}{more}.")


def _report_copies(
    root: Path, everything: Split, copies: np.ndarray, rows_of: dict[str, np.ndarray]
) -> str:
    """Print which images lie in two splits or in two classes, and return the same as a note."""
    splits_with: dict[int, set[str]] = defaultdict(set)
    rows_with: dict[int, list[int]] = defaultdict(list)
    for name, rows in rows_of.items():
        for row in rows.tolist():
            splits_with[copies[row]].add(name)
            rows_with[copies[row]].append(row)
    paths = everything.paths or ()

    def name_first(groups: list[int]) -> str:
        """Name the copies of the first such image."""
        return " = ".join(str(paths[row].relative_to(root)) for row in rows_with[groups[0]])

    notes = []
    leaked = [group for group, names in splits_with.items() if len(names) > 1]
    if leaked:
        notes.append(
            f"{_images_lie(leaked)} in more than one split, which flatters the result: "
            f"{name_first(leaked)}"
        )
    torn = [
        group for group, rows in rows_with.items() if len(set(everything.labels[rows].tolist())) > 1
    ]
    if torn:
        notes.append(f"{_images_lie(torn)} in more than one class: {name_first(torn)}")
    for note in notes:
        print(f"{root.name}: {note}.")
    return "; ".join(notes)


def _images_lie(groups: list[int]) -> str:
    """Write how many images the rest of a sentence is about."""
    return "1 image lies" if len(groups) == 1 else f"{len(groups)} images lie"
