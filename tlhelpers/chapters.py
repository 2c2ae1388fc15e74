"""Find and execute the book's chapters.

:func:`execute` is behind ``make book``, ``make outputs`` and ``tlhelpers run``, so a
chapter behaves the same however it is started.

Example:
    >>> import tlhelpers.chapters as chapters
    >>> [path.stem for path in chapters.find_chapters("book")]  # doctest: +SKIP
    ['05_cats_dogs_vgg16']
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tlhelpers.execution import ChapterError, ExecutedChapter, execute

MARKER = ".executed-copy"
"""A file in every folder that :func:`execute_book` made: only those are ever replaced."""

__all__ = ["ChapterError", "ExecutedChapter", "execute", "execute_book", "find_chapters", "main"]


def find_chapters(book: str | Path, names: Sequence[str] = ()) -> list[Path]:
    """Return the book's notebooks in reading order.

    Args:
        book: Folder that holds the notebooks.
        names: Only chapters whose file name starts with one of these, such as ``"05"``.
            Defaults to all.

    Returns:
        Paths of the notebooks, sorted by name.

    Raises:
        FileNotFoundError: When a name matches no notebook.
    """
    found = sorted(Path(book).glob("*.ipynb"))
    for name in names:
        if not any(path.name.startswith(name) for path in found):
            raise FileNotFoundError(
                f"No chapter in {book} starts with {name!r}. "
                f"Chapters: {', '.join(path.stem for path in found) or 'none'}."
            )
    return [path for path in found if not names or path.name.startswith(tuple(names))]


def execute_book(
    book: str | Path, to: str | Path, names: Sequence[str] = ()
) -> list[ExecutedChapter]:
    """Copy a book's folder and execute the chapters of the copy.

    The book itself is only read. In the copy, ``costs.json`` records seconds and memory of each
    chapter. The copy is written beside its place and moved there when it is whole.

    Args:
        book: Folder that holds the notebooks.
        to: Folder for the copy. It must not exist, be empty, or be an earlier copy, which is
            replaced.
        names: Only these chapters, as in :func:`find_chapters`; the others keep their stored
            outputs. Defaults to all.

    Returns:
        One entry per executed chapter, in reading order.

    Raises:
        ValueError: When ``to`` is no folder that this function may replace.
        ChapterError: When a chapter does not run to its end.
    """
    book = Path(book)
    to = _check_target(book, Path(to))
    chapters = find_chapters(book, names)
    _copy_book(book, to)
    done = []
    for chapter in chapters:
        done.append(execute(chapter, to / chapter.name, cwd=to))
        print(_line(done[-1]), flush=True)
    costs = {
        entry.name: {
            "seconds": round(entry.seconds, 1),
            "peak_memory_mb": round(entry.peak_memory_mb),
        }
        for entry in done
    }
    (to / "costs.json").write_text(json.dumps(costs, indent=2) + "\n", encoding="utf-8")
    return done


def _check_target(book: Path, to: Path) -> Path:
    """Return the folder for the copy, links resolved, if nothing but an earlier copy is lost there."""
    if not book.is_dir():
        raise ValueError(f"The book must be a folder with notebooks. Received: {book}.")
    source, target = book.resolve(), to.resolve()
    if target == source or target in source.parents or source in target.parents:
        raise ValueError(
            f"The copy must lie outside the book's folder, and not hold it. Received: {to} for the "
            f"book in {book}. Name another folder, such as _build/book."
        )
    if target.exists() and not target.is_dir():
        raise ValueError(f"The copy's place must be a folder. Received: {to}, which is a file.")
    if target.is_dir() and not (target / MARKER).is_file() and any(target.iterdir()):
        raise ValueError(
            f"Only an earlier copy of a book is replaced. Received: {to}, which holds other files; "
            "nothing was changed. Name a folder that does not exist yet, such as _build/book."
        )
    return target


def _copy_book(book: Path, to: Path) -> None:
    """Put a copy of the book in place of an earlier one, once it is whole."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as beside:
        whole, earlier = Path(beside) / "new", Path(beside) / "earlier"
        shutil.copytree(book, whole, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "_build"))
        (whole / MARKER).write_text(
            "Made by tlhelpers from a book's folder; replaced when made anew.\n"
        )
        if to.exists():
            to.rename(earlier)
        whole.rename(to)


def _line(done: ExecutedChapter) -> str:
    """Describe an executed chapter in one line."""
    return (
        f"{done.name}: {done.seconds:.0f} s, {done.peak_memory_mb / 1024:.1f} GiB "
        f"(slowest: cell {done.slowest_cell + 1}, {done.slowest_cell_seconds:.0f} s)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute a copy of a book from the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tlhelpers.chapters", description="Copy a book and execute its chapters."
    )
    parser.add_argument("book", type=Path, help="folder with the chapters")
    parser.add_argument("names", nargs="*", help="only these chapters, such as 05 (default: all)")
    parser.add_argument("--to", type=Path, required=True, help="folder for the executed copy")
    options = parser.parse_args(arguments)
    try:
        done = execute_book(options.book, options.to, options.names)
    except (ChapterError, OSError, ValueError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: the book in its folder is as it was.", file=sys.stderr)
        return 130
    total = len(find_chapters(options.book))
    seconds = sum(entry.seconds for entry in done)
    print(f"Executed {len(done)} of {total} chapters in {seconds:.0f} s.", end=" ")
    if len(done) < total:
        print("The others show their stored outputs.")
    else:
        slowest = sorted(done, key=lambda entry: -entry.seconds)[:5]
        print("Slowest:", ", ".join(f"{entry.name} {entry.seconds:.0f} s" for entry in slowest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
