"""The book: what is stored in the chapters, how it is refreshed, and how nbval compares it."""

import ast
import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import notebooks
import numpy as np
import pytest
import yaml
from building import tiny_book
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
CHAPTERS = sorted(BOOK.glob("*.ipynb"))
NEW = nbformat.v4


def each_chapter(test):
    return pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)(test)


# What is stored


def toc_files():
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    parts = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *parts]


def test_the_table_of_contents_names_every_page_once():
    listed = toc_files()
    stored = {path.stem for path in BOOK.iterdir() if path.suffix in {".md", ".ipynb"}}
    assert len(listed) == len(set(listed))
    assert set(listed) == stored


@each_chapter
def test_a_chapter_is_named_and_titled(path):
    assert re.fullmatch(r"(\d\d|[A-Z])_[a-z0-9_]+", path.stem)
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


@each_chapter
def test_a_chapter_was_executed_from_top_to_bottom_without_errors(path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert cells
    counts = [cell.execution_count for cell in cells if cell.source.strip()]
    assert counts == list(range(1, len(counts) + 1)), "run make outputs"
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]


@each_chapter
def test_a_chapter_is_stored_normalised(path):
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    assert notebooks.normalise(stored) == stored, (
        "run make outputs, or tests/tools/notebooks.py --tidy"
    )


@each_chapter
def test_every_figure_of_a_chapter_has_alt_text(path):
    missing = []
    for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
        figures = [
            mime
            for output in cell.get("outputs", [])
            for mime in output.get("data", {})
            if mime.startswith("image/")
        ]
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if figures and len(alt.split()) < 4:
            missing.append(f"cell {index + 1}: {cell.source[:60]!r}")
        missing += [
            f"cell {index + 1}: image without alt text"
            for _ in re.findall(r"!\[\s*\]\(", cell.source if cell.cell_type == "markdown" else "")
        ]
    assert not missing, 'give the cell metadata {"mystnb": {"image": {"alt": "..."}}}'


@each_chapter
def test_tables_fit_both_themes_and_no_address_in_memory_is_stored(path):
    for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for table in re.findall(r"<table[^>]*>", data.get("text/html", "")):
                assert "dataframe" in table, f"cell {index + 1}: {table} has no class dataframe"
            text = data.get("text/plain", "") + output.get("text", "")
            assert not re.search(r" at 0x[0-9a-f]{6,}", text), f"cell {index + 1}: {text[:80]}"


@each_chapter
def test_a_chapter_weighs_less_than_a_megabyte(path):
    assert path.stat().st_size < 1_000_000, "run tests/tools/notebooks.py --tidy, or show less"


# The tool that refreshes the stored outputs


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_a_stored_picture_is_compressed_once_and_looks_the_same():
    ramp = np.linspace(0, 255, 120)[:, None, None] * np.array([1, 0.5, 0.2])
    noise = np.random.default_rng(0).normal(0, 8, (120, 160, 3))
    image = Image.fromarray((ramp + noise).clip(0, 255).astype(np.uint8)).convert("RGBA")
    small = notebooks.compressed(png(image))
    assert len(small) < 0.6 * len(png(image))
    assert notebooks.compressed(small) == small
    decoded = Image.open(io.BytesIO(base64.b64decode(small))).convert("RGBA")
    assert np.abs(np.asarray(decoded, int) - np.asarray(image)).mean() < 6
    image.putpixel((0, 0), (0, 0, 0, 0))
    assert notebooks.compressed(png(image)) == png(image)


def test_refreshing_twice_leaves_the_file_as_it_was(tmp_path, capsys):
    source = "import sys, time\nprint(f'took {time.perf_counter():.6f} s')\nprint('log', file=sys.stderr)"
    book = tiny_book(tmp_path, NEW.new_code_cell(source), NEW.new_code_cell("{1: 'one'}"))
    path = book / "01_tiny.ipynb"
    rules = notebooks.read_sanitizers(ROOT / "tests" / "tools" / "sanitize.cfg")
    assert notebooks.refresh(path, rules).endswith("changed")
    first = path.read_bytes()
    assert notebooks.refresh(path, rules).endswith("unchanged")
    assert path.read_bytes() == first
    assert "cell 2 wrote to standard error, not stored: log" in capsys.readouterr().out
    stored = nbformat.read(path, as_version=4)
    assert [cell.get("execution_count") for cell in stored.cells] == [None, 1, 2]
    assert [output.get("name") for output in stored.cells[1].outputs] == ["stdout"]


@pytest.mark.slow
def test_refreshing_stores_text_that_really_changed(tmp_path):
    book = tiny_book(tmp_path, NEW.new_code_cell("print('accuracy 0.91')"))
    path = book / "01_tiny.ipynb"
    notebooks.refresh(path, [])
    stored = nbformat.read(path, as_version=4)
    stored.cells[1].outputs[0].text = "accuracy 0.85\n"
    nbformat.write(stored, path)
    assert notebooks.refresh(path, []).endswith("text outputs changed")
    assert nbformat.read(path, as_version=4).cells[1].outputs[0].text == "accuracy 0.91\n"


@pytest.mark.slow
def test_a_failing_chapter_leaves_the_stored_one_alone(tmp_path):
    path = tiny_book(tmp_path, NEW.new_code_cell("1 / 0")) / "01_tiny.ipynb"
    before = path.read_bytes()
    command = [sys.executable, ROOT / "tests" / "tools" / "notebooks.py", "--book", path.parent]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert path.read_bytes() == before


def test_normalise_is_idempotent_and_keeps_what_matters():
    cell = NEW.new_code_cell(
        "1", execution_count=7, metadata={"execution": {"a": "1"}, "tags": ["x"]}
    )
    again = NEW.new_code_cell("1", execution_count=9)
    metadata = {
        "accelerator": "GPU",
        "widgets": {},
        "language_info": {"name": "python", "version": "3.11.7"},
    }
    once = notebooks.normalise(NEW.new_notebook(cells=[cell, again], metadata=metadata))
    assert notebooks.normalise(once) == once
    assert once.cells[0].metadata == {"tags": ["x"]}
    assert [c.execution_count for c in once.cells] == [1, 2]
    assert once.cells[0].id != once.cells[1].id
    assert set(once.metadata) == {"accelerator", "kernelspec", "language_info"}
    assert "version" not in once.metadata.language_info


def test_an_empty_frame_is_not_stored_and_a_picture_is():
    frames = ("<pre></pre>\n", "<pre>1</pre>", '<img src="a.png">')
    cell = NEW.new_code_cell("1", execution_count=1)
    cell.outputs = [NEW.new_output("display_data", {"text/html": one}) for one in frames]
    (stored,) = notebooks.normalise(NEW.new_notebook(cells=[cell])).cells
    assert [output.data["text/html"] for output in stored.outputs] == list(frames[1:])


# How nbval compares a chapter with its stored outputs, by the Makefile's options


@pytest.mark.slow
def test_a_checked_output_is_compared_and_stderr_is_not(tmp_path):
    source = """# NBVAL_CHECK_OUTPUT
import sys
print('a notice of today', file=sys.stderr)
print('mean 0.126 in 3.2 s')"""
    for name, stored in (("same", "mean 0.126 in 9 s\n"), ("other", "mean 0.127 in 9 s\n")):
        output = NEW.new_output("stream", name="stdout", text=stored)
        cell = NEW.new_code_cell(source, execution_count=1, outputs=[output])
        notebook = notebooks.normalise(NEW.new_notebook(cells=[cell]))
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    options = re.search(r"(--nbval-lax .*sanitize\.cfg)", (ROOT / "Makefile").read_text())
    # A test of this folder goes along, as in the Makefile, so that its conftest.py is read.
    other = "tests/test_project.py::test_versions_agree"
    command = [sys.executable, "-m", "pytest", "-rA", *options[1].split(), other, tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout
    assert re.search(r"^PASSED .*same\.ipynb::Cell 0$", done.stdout, re.M), done.stdout
    assert re.search(r"^FAILED .*other\.ipynb::Cell 0", done.stdout, re.M), done.stdout
    assert "2 passed" in done.stdout


def test_pictures_on_other_pages_are_the_chapters_own(root):
    import nbformat
    from notebooks import pictures

    found = {}
    for path in sorted((root / "book").glob("*.ipynb")):
        found |= pictures(nbformat.read(path, as_version=4))
    assert found, "no chapter names a picture for other pages"
    for name, content in found.items():
        assert (root / "book/_static" / name).read_bytes() == content, f"{name}: run make outputs"


def test_the_first_pages_say_what_their_picture_shows(root):
    """The picture's alt text is written by hand; its numbers are those that chapter 1 measured."""
    stored = nbformat.read(root / "book" / "01_concepts.ipynb", as_version=4)
    shown = {
        output.metadata.scrapbook.name: output.data["application/papermill.record/text/plain"]
        for cell in stored.cells
        for output in cell.get("outputs", [])
        if "scrapbook" in output.get("metadata", {})
    }
    rows = ("pixels", "random", "scratch", "small", "vgg16", "mobilenet")
    measured = [ast.literal_eval(shown[f"01-{row}"]).replace("\u00a0", " ") for row in rows]
    alts = {
        "README.md": re.compile(r"!\[(.*?)\]\(book/_static/result\.png\)"),
        "book/index.md": re.compile(r"_static/result\.png\n:alt: (.*)"),
    }
    for page, alt in alts.items():
        (text,) = alt.findall((root / page).read_text(encoding="utf-8"))
        assert re.findall(r"\d+ %", text)[:6] == measured, page
