"""What the first page says a chapter costs is what was measured."""

import json
import re

import costs
import nbformat
import pytest
from building import BOOK

NEW = nbformat.v4
PAGE = """# Book

[Begin with the first chapter](05_z.ipynb)

| chapter | settled | to read | to run | memory |
| --- | --- | --- | --- | --- |
| [](01_x.ipynb) | What it *settles* |
| [](02_y.ipynb) | More | 1 min | 2 s | 3 GiB |

| [a](01_x.ipynb) | other table |
"""


@pytest.fixture
def book(tmp_path):
    (tmp_path / "index.md").write_text(PAGE, encoding="utf-8")
    return tmp_path


def rows(book):
    return [line for line in (book / "index.md").read_text("utf-8").splitlines() if "[](" in line]


def test_the_first_page_shows_the_measured_costs():
    page = (BOOK / "index.md").read_text(encoding="utf-8")
    assert costs.with_costs(page, costs.read(BOOK)) == page, "run make outputs"
    listed = {found[1] for line in page.splitlines() if (found := costs.ROW.match(line))}
    chapters = {path.stem for path in BOOK.glob("[0-9]*.ipynb")}
    assert listed >= chapters, "a chapter has no row in the first page's table"
    assert listed <= set(costs.read(BOOK)), "run make outputs"


def test_reading_times_are_those_of_the_stored_chapters():
    for name, cost in costs.read(BOOK).items():
        chapter = nbformat.read(BOOK / f"{name}.ipynb", as_version=4)
        minutes = costs.minutes_to_read(chapter)
        assert cost["minutes_to_read"] == minutes, f"{name}: run make outputs"
        text = "\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
        said = re.findall(r"(\d+) minutes to read", text)
        assert said in ([], [str(minutes)]), f"{name}: run make outputs"


def test_costs_are_recorded_and_shown(book):
    costs.record(book, "01_x", 47.3, 1234.5, 20)
    costs.record(book, "02_y", 151, 2100, 40)
    assert json.loads((book / "_data" / "chapters.json").read_text("utf-8")) == {
        "01_x": {"seconds": 47, "peak_memory_mb": 1230, "minutes_to_read": 20},
        "02_y": {"seconds": 151, "peak_memory_mb": 2100, "minutes_to_read": 40},
    }
    assert rows(book) == [
        "| [](01_x.ipynb) | What it *settles* | 20 min | 47 s | 1.2 GiB |",
        "| [](02_y.ipynb) | More | 40 min | 2.5 min | 2.1 GiB |",
    ]
    others = [line for line in PAGE.splitlines() if "[](" not in line]
    others[2] = "[Begin with the first chapter](01_x.ipynb)"
    after = (book / "index.md").read_text("utf-8").splitlines()
    assert [line for line in after if "[](" not in line] == others
    assert not costs.write_table(book)


def test_small_differences_leave_the_stored_measurement(book):
    costs.record(book, "01_x", 50, 1000, 20)
    before = (book / "_data" / "chapters.json").read_bytes()
    costs.record(book, "01_x", 58, 1100, 20)
    assert (book / "_data" / "chapters.json").read_bytes() == before
    costs.record(book, "01_x", 65, 1100, 20)
    assert costs.read(book)["01_x"]["seconds"] == 65
    assert costs.read(book)["01_x"]["peak_memory_mb"] == 1000


def test_a_chapter_without_a_measurement_shows_none(book):
    costs.write_table(book)
    assert rows(book)[1] == "| [](02_y.ipynb) | More |  |  |  |"


def chapter(words, lines, **metadata):
    text = f"It takes about 99 minutes to read. {'word ' * words}"
    code = NEW.new_code_cell("x = 1\n" * lines, metadata=metadata)
    first = NEW.new_markdown_cell("# Title")
    return NEW.new_notebook(cells=[first, NEW.new_markdown_cell(text), code])


@pytest.mark.parametrize(
    ("words", "lines", "tags", "minutes"),
    [
        (1500, 0, [], 10),
        (1500, 150, [], 20),
        (1500, 150, ["hide-cell"], 10),
        (1500, 150, ["remove-input"], 10),
        (10, 1, [], 5),
    ],
)
def test_reading_time_counts_words_and_lines(words, lines, tags, minutes):
    notebook = chapter(words, lines, tags=tags)
    assert costs.minutes_to_read(notebook) == minutes
    written = costs.write_minutes(notebook).cells[1].source
    assert written.startswith(f"It takes about {minutes} minutes to read. word")
    assert costs.minutes_to_read(notebook) == minutes
