"""Builds of a tiny book: what fails them, what they execute, and formulas without a network."""

import subprocess

import nbformat
import pytest
import site_check
from building import make, needs_make, tiny_book

NEW = nbformat.v4


def test_the_site_check_finds_what_it_looks_for(tmp_path):
    (tmp_path / "style.css").write_text("a { background: url('https://x.example/a.png') }")
    (tmp_path / "b.html").write_text("<p id='here'>b</p>")
    (tmp_path / "a.html").write_text(
        "<script src='https://cdn.example/x.js'></script><link rel=canonical href='https://ok.example'>"
        "<style>@import '//fonts.example/f.css';</style><img src='p.png' alt='p.png'><img src='b.html'>"
        "<img alt='a b' src='data:image/png;base64,AAAA'>"
        "<a href='b.html#here'>fine</a><a href='b.html#gone'>x</a><a href='c.html'>x</a>"
        "<a href='https://elsewhere.example'>fine</a><a href='#top'>x</a>"
    )
    assert site_check.outside_loads(tmp_path) == [
        "a.html loads https://cdn.example/x.js",
        "a.html loads //fonts.example/f.css",
        "style.css loads https://x.example/a.png",
    ]
    assert site_check.broken_links(tmp_path) == [
        "a.html: no anchor for b.html#gone",
        "a.html: no file for c.html",
        "a.html: no anchor for #top",
        "a.html: no file for p.png",
    ]
    assert len(site_check.images_without_words(tmp_path)) == 2


@needs_make
def test_make_book_executes_a_copy_and_ends_with_the_page_to_open(tmp_path):
    book = tiny_book(tmp_path, NEW.new_code_cell("print('made', 6 * 7)"))
    before = {path: path.read_bytes() for path in book.rglob("*") if path.is_file()}
    built = make("book", tmp_path, "CHAPTERS=all", book=book)
    assert built.returncode == 0, built.stdout + built.stderr
    index = tmp_path / "_build" / "html" / "index.html"
    assert built.stdout.splitlines()[-1] == f"The book is ready: {index}"
    assert index.is_file()
    assert "made 42" in (index.parent / "01_tiny.html").read_text(encoding="utf-8")
    assert {path: path.read_bytes() for path in book.rglob("*") if path.is_file()} == before


@needs_make
def test_make_book_executes_chapter_1_and_keeps_what_the_others_store(tmp_path):
    book = tiny_book(tmp_path, NEW.new_code_cell("print('executed')"))
    chapter = nbformat.read(book / "01_tiny.ipynb", as_version=4)
    chapter.cells[1].outputs = [NEW.new_output("stream", text="as stored")]
    nbformat.write(chapter, book / "01_tiny.ipynb")
    nbformat.write(chapter, book / "02_tiny.ipynb")
    with (book / "_toc.yml").open("a", encoding="utf-8") as toc:
        toc.write("  - file: 02_tiny\n")
    built = make("book", tmp_path, book=book)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "Executed 1 of 2 chapters" in built.stdout
    assert "make book CHAPTERS=all" in built.stdout
    pages = tmp_path / "_build" / "html"
    assert "as stored" not in (pages / "01_tiny.html").read_text(encoding="utf-8")
    assert "as stored" in (pages / "02_tiny.html").read_text(encoding="utf-8")


@needs_make
def test_a_failing_cell_fails_the_build_and_is_named(tmp_path):
    book = tiny_book(tmp_path, NEW.new_code_cell("x = 1"), NEW.new_code_cell("assert x == 2, 'x'"))
    built = make("book", tmp_path, "CHAPTERS=all", book=book)
    assert built.returncode != 0
    assert "01_tiny.ipynb: cell 3 of 3" in built.stderr
    assert "AssertionError: x" in built.stderr
    assert not (tmp_path / "_build" / "html" / "index.html").exists()


WRONG = {
    "[gone](missing.md)": "missing.md",
    "{ref}`nowhere`": "nowhere",
    "{cite}`nobody1900`": "nobody1900",
    "### Skips a level": "header level",
}


@needs_make
def test_a_warning_fails_the_build_also_the_second_time(tmp_path):
    book = tiny_book(tmp_path, *map(NEW.new_markdown_cell, WRONG))
    for _ in range(2):
        built = make("html", tmp_path, book=book)
        assert built.returncode != 0
        warnings = [line for line in built.stderr.splitlines() if "WARNING" in line]
        for named in WRONG.values():
            assert any(named in line for line in warnings), (named, built.stderr[-3000:])


@needs_make
def test_one_warning_is_enough(tmp_path):
    built = make(
        "html", tmp_path, book=tiny_book(tmp_path, NEW.new_markdown_cell(next(iter(WRONG))))
    )
    assert built.returncode != 0


@needs_make
@pytest.mark.browser
def test_mathematics_is_rendered_without_a_network(tmp_path, chromium):
    formula = NEW.new_markdown_cell("Inline $a^2$ and\n\n$$\n\\sum_i x_i\n$$ (total)")
    book = tiny_book(tmp_path, formula)
    built = make("html", tmp_path, book=book)
    assert built.returncode == 0, built.stdout + built.stderr
    page = tmp_path / "_build" / "html" / "01_tiny.html"
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=10000"]
    shown = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert shown.stdout.count("<mjx-container") == 2, shown.stderr[-2000:]
