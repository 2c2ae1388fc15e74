"""Build the site, or that of a tiny book, as the Makefile does, in the tests' own environment."""

import os
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"

needs_make = pytest.mark.skipif(
    shutil.which("make") is None or not (ROOT / ".venv" / ".installed").exists(),
    reason="the site is built by make in .venv: run make test",
)


def find_chromium() -> str | None:
    """Return the path of Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


def make(target, out, *settings, book=BOOK):
    """Run one of the Makefile's site targets on a book, with settings such as "CHAPTERS=all"."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", target, f"OUT={out}", f"BOOK={book}", *settings]
    # -o: the environment this test runs in is not to be reinstalled under it.
    return subprocess.run(
        [*command, "-o", ".venv/.installed"], cwd=ROOT, env=env, capture_output=True, text=True
    )


def tiny_book(folder, *cells):
    """Write a book of one chapter in the project's own setting."""
    from notebooks import normalise

    book = folder / "book"
    book.mkdir()
    shutil.copytree(BOOK / "_static", book / "_static")
    shutil.copy(BOOK / "references.bib", book)
    (book / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n  - file: 01_tiny\n", encoding="utf-8"
    )
    (book / "index.md").write_text("# Tiny\n\n[](01_tiny.ipynb)\n", encoding="utf-8")
    tiny = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Chapter"), *cells])
    nbformat.write(normalise(tiny), book / "01_tiny.ipynb")
    return book
