"""The teaching kit, made from the chapters: notebooks, autograders, slides, a zip for a classroom."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlhelpers.book.kit.chapter import read_chapter
from tlhelpers.book.kit.classroom import doctor_sheet, offline_section, write_zip
from tlhelpers.book.kit.handouts import instructor, student
from tlhelpers.book.kit.points import read_points
from tlhelpers.book.kit.releases import nbgrader_release, otter_release, write
from tlhelpers.book.kit.slides import write_slides
from tlhelpers.book.notebooks import find_chapters

MADE = ".made.json"
BESIDE = {".ipynb_checkpoints", "__pycache__", ".DS_Store"}  # left behind by looking at it
ABOUT = """This folder was made from the chapters by tlhelpers kit. It is replaced when it is made anew, but not
once something in it was changed or added, such as submissions and marks.

student/      the chapters without solutions and outputs: hand these out
slides/       the figures of each chapter
classroom.zip student/ and slides/, what to install, how to bring a mirror, a sheet for each machine

For the instructor alone, since solutions and hidden tests are in them:
instructor/   the chapters with solutions, outputs, points and grading notes
nbgrader/     a course folder: source/, release/ (to hand out) and the gradebook
otter/        by chapter: source/, student/ (to hand out) and autograder/ with the zip that grades
"""


def make_kit(
    book: str | Path, to: str | Path, say: Callable[[str], None] = lambda line: None
) -> Path:
    """Make the teaching kit of a book.

    Args:
        book: The book's folder.
        to: The kit's folder; an earlier kit there is replaced, but only as it was made: anything
            else, such as submissions and marks in it, is not.
        say: Called with a line on each part that is ready. Defaults to nothing.

    Returns:
        The kit's folder.

    Raises:
        ValueError: Where ``to`` holds something else than a kit.
        ModuleNotFoundError: Where nbgrader, otter-grader or nbconvert is missing.

    Example:
        >>> make_kit("book", "_build/kit")  # doctest: +SKIP
        PosixPath('_build/kit')
    """
    book, to = Path(book), Path(to).resolve()
    tools()
    _check_replaceable(to)
    chapters = [one for one in map(read_chapter, find_chapters(book)) if one.exercises]
    table = read_points(book)
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as beside:
        new = Path(beside) / "new"
        for chapter in chapters:
            write(student(chapter), new / "student" / f"{chapter.name}.ipynb")
            write(instructor(chapter, table), new / "instructor" / f"{chapter.name}.ipynb")
            write_slides(chapter, new / "slides" / f"{chapter.name}.html")
        say(f"{len(chapters)} chapters: notebooks and slides")
        nbgrader_release(chapters, table, new / "nbgrader")
        say("nbgrader: source and release")
        otter_release(chapters, table, new / "otter")
        say("otter: student's notebooks and autograders")
        write_zip(
            new / "classroom.zip",
            {"notebooks": new / "student", "slides": new / "slides"},
            {
                "README.md": offline_section((book / "I_teaching.md").read_text("utf-8")),
                "requirements.txt": (book.parent / "requirements.txt").read_text("utf-8"),
                "machines.md": doctor_sheet(),
            },
        )
        say("classroom.zip")
        (new / "README.txt").write_text(ABOUT, "utf-8")
        (new / MADE).write_text(json.dumps(digests(new)), "utf-8")
        _check_replaceable(to)  # again: something may have been handed in meanwhile
        if to.exists():
            to.rename(Path(beside) / "earlier")
        shutil.move(new, to)
    return to


def _check_replaceable(kit: Path) -> None:
    """Raise where a folder holds anything that was not made with a kit."""
    if other := not_made(kit):
        raise ValueError(
            f"Only an earlier kit is replaced, as it was made. Received: {kit}, which holds something "
            f"else ({', '.join(other[:3])}); nothing was changed. Move it, or name another folder "
            "with --to."
        )


def not_made(kit: Path) -> list[str]:
    """Return what a kit's folder holds that was not made with it, or was changed since.

    Args:
        kit: The folder, which may not be there yet.

    Returns:
        Paths within it, or its own name where it is a file; sorted.

    Example:
        >>> not_made(Path("no such folder"))
        []
    """
    if kit.exists() and not kit.is_dir():
        return [kit.name]
    made: Any = {}
    with contextlib.suppress(OSError, ValueError):  # torn: then nothing counts as made
        made = json.loads((kit / MADE).read_text("utf-8"))
    made = made if isinstance(made, dict) else {}
    return sorted(name for name, digest in digests(kit).items() if made.get(name) != digest)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file of a folder, by its path within it; of a link, of where it leads."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if name.name == MADE or BESIDE.intersection(name.parts):
            continue
        if path.is_symlink() or path.is_file():
            held = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
            found[name.as_posix()] = hashlib.sha256(held).hexdigest()
    return found


def tools() -> None:
    """Raise, with what to do, where a tool that the kit is made with is missing."""
    try:
        import nbconvert  # noqa: F401
        import nbgrader  # noqa: F401
        import otter  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The teaching kit needs {error.name!r}, which is not installed. Install what it needs "
            'with: pip install -e ".[teach]"',
            name=error.name,
        ) from error
