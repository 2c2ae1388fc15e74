"""What belongs together in a folder: pictures of one patient, one day, one tree."""

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Groups = Mapping[str, str] | str | Path
"""A group for each file, the path of a CSV file that says so, or a pattern of the files' names."""

NUMBERED = r"([^/]*\d[^/]*)[ _-][^/]*$"
"""A name with a number in it, before its last space, hyphen or underline: ``patient03_2.png``."""

FILE_COLUMNS = ("file", "filename", "path", "image")
GROUP_COLUMNS = ("group", "groups")
"""What the columns of a CSV file are called, in small or capital letters, in its first line."""

INSIDE = r"/([^/]+)/[^/]+$"
"""A folder inside the folder of the class: ``cats/tom/2.png``."""


def read_groups(groups: Groups | None, names: Sequence[str]) -> list[str | None]:
    """Find the group of each file.

    Args:
        groups: As for :func:`tlhelpers.load_folder`; None for no groups.
        names: Path of each file below the folder, with slashes.

    Returns:
        The group of each file, in small letters, or None for a file by itself.

    Raises:
        FileNotFoundError: If there is no such CSV file.
        TypeError: If groups are none of these.
        ValueError: If the pattern or the CSV file can't be read, no file has a group, or one has
            two.

    Example:
        >>> read_groups(r"(p[0-9]+)_", ["cats/p1_a.png", "cats/p1_b.png", "dogs/x.png"])
        ['p1', 'p1', None]
    """
    if groups is None:
        return [None] * len(names)
    if not isinstance(groups, Mapping | str | Path):
        raise TypeError(
            "groups must be a mapping, such as dict(series) of a pandas Series, the path of a CSV file "
            f"or a regular expression. Received: {type(groups).__name__}."
        )
    if isinstance(groups, str) and not groups.lower().endswith(".csv"):
        found = _by_pattern(groups, names)
    else:
        table = (
            groups.items() if isinstance(groups, Mapping) else _read_csv(Path(groups).expanduser())
        )
        found = _by_table(table, names)
    if names and not any(found):
        raise ValueError(
            "groups must give a group to some files of the folder: a mapping or a CSV file by name "
            "or by path below the folder, a pattern by what its parentheses find there. "
            f"Received: {str(groups)[:200]}, and files such as {names[0]}."
        )
    # P1 and p1 are one patient: to keep too much together spoils nothing, to tear it apart does.
    return [group and _one_spelling(group).casefold() for group in found]


def suggest_groups(names: Sequence[str], class_names: Sequence[str]) -> str:
    """Say so where file names look as if several pictures showed the same.

    Args:
        names: Path of each file below the folder, with slashes.
        class_names: Names of the classes.

    Returns:
        A sentence with the pattern to pass as ``groups``, or "".

    Example:
        >>> names = [f"ill/patient{i // 4:02}_{i % 4}.png" for i in range(40)]
        >>> suggest_groups(names, ["ill"]).split(":")[0]
        'file names suggest 10 groups (patient00, patient01, …)'
    """
    for pattern, what in ((INSIDE, "folders inside"), (NUMBERED, "file names")):
        counts = Counter(_by_pattern(pattern, names))
        counts.pop(None, None)
        for name in class_names:
            counts.pop(name, None)
        several = sorted(group for group, count in counts.items() if group and count > 1)
        shared = sum(counts[group] for group in several)
        if len(several) > max(2, len(class_names)) and shared > len(names) / 2:
            some = ", ".join(several[:2])
            return (
                f"{what} suggest {len(several):,} groups ({some}, …): if those show the same "
                f'thing, pass groups=r"{pattern}", or the result may be too good'
            )
    return ""


def _by_pattern(pattern: str, names: Sequence[str]) -> list[str | None]:
    """Return what a pattern finds in each name: its parentheses, or all of it."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"groups must be a regular expression, a mapping or a CSV file. Received: {pattern!r} "
            f"({error})."
        ) from None
    if compiled.groups > 1:
        raise ValueError(
            "groups must be a regular expression with one pair of parentheses, around the group; "
            f"(?:…) is for others. Received: {pattern!r}, with {compiled.groups}."
        )
    found = (compiled.search(name) for name in names)
    return [(one and one[compiled.groups]) or None for one in found]


def _one_spelling(text: str) -> str:
    """Return a name in the one spelling of its letters, since macOS writes é as two."""
    return unicodedata.normalize("NFC", text.strip())


def _by_table(table: Iterable[tuple[Any, Any]], names: Sequence[str]) -> list[str | None]:
    """Return what a table says of each name: by its path, with any folders above, or by its end."""
    by_path = {_one_spelling(name): name for name in names}
    by_end: dict[str, list[str]] = {}
    for path, name in by_path.items():
        by_end.setdefault(path.rpartition("/")[2], []).append(name)
    of_path: dict[str, str] = {}
    of_end: dict[str, str] = {}
    for key, value in table:
        # Empty cells, also pandas' NaN, are no group.
        if value is None or value != value or not str(value).strip():
            continue
        spelled = _one_spelling(str(key))
        parts = [part for part in re.split(r"[\\/]+", spelled) if part != "."]
        ends = [spelled, *("/".join(parts[place:]) for place in range(len(parts)))]
        if whole := next((end for end in ends if end in by_path), None):
            named, known = [by_path[whole]], of_path
        else:
            named, known = by_end.get("/".join(parts), []), of_end
        if isinstance(value, float) and value.is_integer():  # pandas writes 7 as 7.0 beside gaps
            value = int(value)
        for name in named:
            if known.setdefault(name, str(value)) != str(value):
                raise ValueError(
                    f"groups must give each file one group. Received: {known[name]} and {value} for "
                    f"{name}."
                )
    return [of_path.get(name, of_end.get(name)) for name in names]


def _read_csv(path: Path) -> list[tuple[str, str]]:
    """Read the files and their groups from the columns so called, or from a table's two columns."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no CSV file of groups {path}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max(",;\t", key=first.count)
        reader = csv.reader(text.splitlines(), delimiter=delimiter)
        rows = [(reader.line_num, row) for row in reader if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} can't be read as a CSV file in UTF-8: {error}.") from None
    head = rows[0][1] if rows else ["nothing"]
    while len(head) > 2 and not any(any(row[len(head) - 1 :]) for _, row in rows):
        head = head[:-1]  # a column without anything, as spreadsheets write
    if len(head) < 2:
        raise ValueError(
            f"{path} must have two columns, a file and its group. Received: {head[0]}."
        )
    for line, row in rows:
        if len(row) < len(head) or any(row[len(head) :]):
            raise ValueError(
                f"Each line of {path} must have as many columns as the first: {len(head)}, between "
                f"{delimiter!r}. Received: {delimiter.join(row)[:200]} in line {line}, which has "
                f"{len(row)}. Write a name with {delimiter!r} in it between quotes."
            )
    names = [name.strip().casefold() for name in head]
    file, group = (
        next((names.index(one) for one in known if one in names), None)
        for known in (FILE_COLUMNS, GROUP_COLUMNS)
    )
    if file is not None and group is not None:
        return [(row[file], row[group]) for _, row in rows[1:]]
    # pandas numbers rows in a first column without a name, which it reads again as Unnamed: 0.
    numbered = names[0] in ("", "unnamed: 0") and all(row[0].isdigit() for _, row in rows[1:])
    start = int(numbered and len(head) == 3)
    if len(head) - start > 2:
        raise ValueError(
            f"{path} has {len(head)} columns, so its first line must name that of the files "
            f"({', '.join(FILE_COLUMNS)}) and that of the groups ({', '.join(GROUP_COLUMNS)}). "
            f"Received: {', '.join(head)[:200]}."
        )
    return [(row[start], row[start + 1]) for _, row in rows]
