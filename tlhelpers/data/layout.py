"""Which folders are classes, which are splits, and which files are theirs."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tlhelpers.data.audit import first_few, printable

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "eval": "validation",
    "evaluation": "validation",
    "test": "test",
    "testing": "test",
    "holdout": "test",
}
# What archives add to those: train2017, seg_test, my_training_set, valid-images.
_FILLERS = "set|sets|data|dataset|images|image|imgs|img|pictures|photos|split|folder|seg|my|the"
_SPLIT = re.compile(
    rf"[^a-z]*(?:(?:{_FILLERS})[^a-z]*)*({'|'.join(_SPLIT_WORDS)})(?:[^a-z]*(?:{_FILLERS}))*[^a-z]*"
)
# What operating systems, cameras and network drives leave behind.
_CLUTTER = {
    "$recycle.bin",
    "@eadir",
    "#recycle",
    "__macosx",
    "desktop.ini",
    "ehthumbs.db",
    "icon\r",
    "lost+found",
    "picasa.ini",
    "system volume information",
    "thumbs.db",
}
_CLASSES = 'Name the class folders, as in classes=["cats", "dogs"], if these are classes'


@dataclass
class Layout:
    """The files found in a folder.

    Attributes:
        paths: The files of all classes.
        classes: Name of the class of each.
        splits: Split of each, or "" where the folder has no splits.
        skipped: What was left out, each with the reason.
        split_folders: Names of the folders of each split.
        notes: What was decided that another reader might decide otherwise.
    """

    paths: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    split_folders: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_files(root: Path, classes: Sequence[str] | None = None) -> Layout:
    """Find the files of each class, and of each split where there are folders of splits.

    Args:
        root: A folder of class folders, or of splits with class folders inside.
        classes: Names of the class folders. Defaults to all there are, where that is clear.

    Returns:
        What was found.

    Raises:
        ValueError: If it isn't clear which folders are classes, or a class has no file.
    """
    layout = Layout()
    entries = _entries(root, layout)
    folders = [entry for entry in entries if entry.is_dir()]
    wanted = None if classes is None else [class_name(name) for name in classes]
    if wanted is None:
        splits = _find_splits(root, folders, layout)
    elif set(wanted) <= {class_name(folder.name) for folder in folders}:
        splits = {}
    else:
        splits = {folder: split for folder in folders if (split := split_of(folder.name))}
    if not splits:
        _add_classes(root, "", wanted, layout)
        return layout
    for entry in entries:
        if entry in splits:
            split = splits[entry]
            layout.split_folders.setdefault(split, []).append(entry.name)
            _add_classes(_inner(entry, split), split, wanted, layout)
        else:
            layout.skipped.append((entry, "lies beside the folders train, validation and test"))
    return layout


def class_name(folder: str) -> str:
    """Return a folder's name as that of a class: with one spelling, since macOS writes é as two."""
    return printable(unicodedata.normalize("NFC", folder))


def split_of(folder: str) -> str:
    """Return the split a folder's name stands for, or "".

    Example:
        >>> split_of("training_set"), split_of("seg_test"), split_of("train station")
        ('train', 'test', '')
    """
    found = _SPLIT.fullmatch(folder.casefold())
    return _SPLIT_WORDS[found[1]] if found else ""


def _find_splits(root: Path, folders: list[Path], layout: Layout) -> dict[Path, str]:
    """Tell which folders are splits; refuse where they might as well be classes."""
    splits = {folder: split for folder in folders if (split := split_of(folder.name))}
    if not splits:
        return {}
    others = [folder for folder in folders if folder not in splits]
    nested = {folder for folder in splits if any(e.is_dir() for e in _entries(folder, Layout()))}
    found = first_few(
        f"{printable(folder.name)} ({'with' if folder in nested else 'without'} folders inside)"
        for folder in [*splits, *others]
    )
    trains = [folder for folder in splits if splits[folder] == "train"]
    if any(folder in nested for folder in trains) and (len(splits) > 1 or not others):
        return splits
    # "train" may be a class, beside bus and car.
    if len(splits) == len(trains) == 1 and others and not nested:
        layout.notes.append(f"{trains[0].name} was taken as a class, since it lies beside others")
        return {}
    if not trains:
        problem = "There is no folder of training pictures beside those named like other splits"
    elif not nested:
        problem = "Folders named like splits must hold one folder per class"
    else:
        problem = "Folders named like splits lie beside others, which may be classes"
    raise ValueError(
        f"{problem}. Received in {root}: {found}. {_CLASSES}; else give the folders the shape "
        "train/cats, train/dogs, test/cats, test/dogs."
    )


def _inner(folder: Path, split: str) -> Path:
    """Step into a folder that holds nothing but one of the same split, as archives have it."""
    inside = _entries(folder, Layout())
    if len(inside) == 1 and inside[0].is_dir() and split_of(inside[0].name) == split:
        return _inner(inside[0], split)
    return folder


def _add_classes(folder: Path, split: str, wanted: list[str] | None, layout: Layout) -> None:
    """Add the files of one split, each below the folder of its class."""
    entries = _entries(folder, layout)
    folders = [entry for entry in entries if entry.is_dir()]
    names = {entry: class_name(entry.name) for entry in folders}
    if not folders:
        raise ValueError(
            f"{folder} must hold one folder per class, with the images inside. "
            f"Received: {len(entries)} {'file' if len(entries) == 1 else 'files'} and no folder."
        )
    missing = [name for name in wanted or [] if name not in names.values()]
    if missing:
        raise ValueError(
            f"classes must name folders of {folder}. Received: {first_few(missing)}; there are: "
            f"{first_few(names.values())}."
        )
    if wanted is None:
        _check_names(folder, names)
    before = len(layout.paths)
    empty = []
    for entry in entries:
        if entry not in names:
            reason = "lies outside the class folders"
        elif wanted is not None and names[entry] not in wanted:
            reason = "not among classes="
        else:
            first = len(layout.paths)
            layout.paths += files_below(entry, layout)
            count = len(layout.paths) - first
            layout.classes += [names[entry]] * count
            layout.splits += [split] * count
            empty += [] if count else [entry.name]
            continue
        layout.skipped.append((entry, reason))
    if empty:
        reasons = {path.name: f" ({reason})" for path, reason in layout.skipped}
        empty = [printable(name) + reasons.get(name, "") for name in empty]
        raise ValueError(
            f"Class folders must hold images. Received in {folder}, empty: {first_few(empty)}. "
            "Put images in, or remove them."
        )
    if not split and wanted is None:
        _check_no_splits_inside(folder, layout.paths[before:])


def _check_names(folder: Path, names: dict[Path, str]) -> None:
    """Refuse classes whose names differ in nothing but case."""
    spelled: dict[str, str] = {}
    for name in names.values():
        other = spelled.setdefault(name.casefold(), name)
        if other != name:
            raise ValueError(
                f"Names of classes must differ in more than case. Received in {folder}: {other} "
                f"and {name}. Put the images of one class into one folder; if they are two, name "
                "all class folders with classes=."
            )


def _check_no_splits_inside(root: Path, paths: list[str]) -> None:
    """Refuse classes with folders of splits inside, which would be mixed."""
    parts = (Path(path).relative_to(root).parts for path in paths)
    inside = {part[1] for part in parts if len(part) > 2}
    if len({split_of(name) for name in inside} - {""}) > 1:
        raise ValueError(
            f"Folders of splits must lie above those of classes, as in train/cats. Received in "
            f"{root}, inside the classes: {first_few(sorted(inside))}. Exchange the two levels; to "
            "mix all images and split them anew, name the class folders with classes=."
        )


def _entries(folder: Path, layout: Layout) -> list[Path]:
    """List a folder without hidden files and clutter, in a fixed order; report what can't be read."""
    return [folder / name for name in _names(folder, layout)]


def _names(folder: Path, layout: Layout) -> list[str]:
    """Name what :func:`_entries` lists: a name takes a quarter of what a path does."""
    try:
        names = sorted(
            entry.name
            for entry in folder.iterdir()
            if not entry.name.startswith(".") and entry.name.casefold() not in _CLUTTER
        )
    except OSError as error:
        denied = isinstance(error, PermissionError)
        reason = "no permission to read it" if denied else error.strerror or str(error)
        layout.skipped.append((folder, reason))
        return []
    return sorted(names, key=class_name)


def files_below(folder: Path, layout: Layout) -> Iterator[str]:
    """List all regular files in a folder and in the folders inside it; report everything else.

    Yields:
        The files, as strings: of a million paths Python would keep every name a second time.
        Hidden ones, and what operating systems leave behind, are passed over.

    Example:
        >>> list(files_below(Path("no such folder"), Layout()))
        []
    """
    waiting = [folder]
    while waiting:
        inside = []
        folder = waiting.pop()
        for entry in (os.path.join(folder, name) for name in _names(folder, layout)):
            kind = _kind(entry)
            if kind == "file":
                yield entry
            elif kind == "folder":
                inside.append(Path(entry))
            else:
                layout.skipped.append((Path(entry), kind))
        waiting += reversed(inside)


def _kind(path: str | Path) -> str:
    """Tell a file from a folder, or say what else a name stands for; nothing is opened."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "a link to nothing" if os.path.islink(path) else "missing file"
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISDIR(mode):
        return "a link to a folder" if os.path.islink(path) else "folder"
    return "file" if stat.S_ISREG(mode) else "not a regular file"
