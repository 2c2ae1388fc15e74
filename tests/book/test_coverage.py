"""Coverage: each item of the usual articles is treated in the book, or its page is still unwritten."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml
from docutils.nodes import make_id

BOOK = Path(__file__).resolve().parents[2] / "book"
COVERAGE = yaml.safe_load((BOOK / "_data" / "coverage.yml").read_text(encoding="utf-8"))

# How many items there are of each kind: what is taught (S), and what is wrong in it (E).
COUNTS = {"S0-": 52, "S1-": 44, "S2-": 86, "S3-": 39, "S4-": 30, "E": 73}
ALL = {f"{kind}{n:02d}" for kind, count in COUNTS.items() for n in range(1, count + 1)}


def expand(text):
    """Give the ids of a line such as "S0-01..03 E17"."""
    for word in text.split():
        first, _, last = word.partition("..")
        for number in range(int(first[-2:]), int(last or first[-2:]) + 1):
            yield f"{first[:-2]}{number:02d}"


CHAPTERS = {page: set(expand(ids)) for page, ids in COVERAGE["chapters"].items()}
MAPPED = {
    item: [targets] if isinstance(targets, str) else targets
    for item, targets in COVERAGE["mapped"].items()
}
OPEN = list(expand(COVERAGE["open"] or ""))


def pages_of(page, book=BOOK):
    """Find the files of a page: of a chapter by its number, of an appendix by its name."""
    pattern = f"{page}_*" if page.isdigit() else f"*{page}*"
    return [path for path in book.glob(pattern) if path.suffix in {".ipynb", ".md"}]


def anchors(path):
    """Collect what a link into a page can lead to: headings, labels, named boxes and figures."""
    found = set()
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
        figures = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in cells]
        found |= {figure["name"] for figure in figures if "name" in figure}
    else:
        texts = [path.read_text(encoding="utf-8")]
    for text in texts:
        # In backtick fences with no braces, a line is code and not a heading.
        prose = re.sub(r"^```[^{\n]*\n.*?^```", "", text, flags=re.M | re.S)
        headings = re.findall(r"^#{1,6} +(.+?) *#*$", prose, flags=re.M)
        found |= {make_id(re.sub(r"\{\w+\}|[`*$]", "", heading)) for heading in headings}
        found |= set(re.findall(r"^\((.+?)\)=\s*$", prose, flags=re.M))
        found |= set(re.findall(r"^:name: *(\S+)\s*$", prose, flags=re.M))
    return found


def test_every_item_belongs_to_a_page():
    assert set().union(*CHAPTERS.values()) == ALL


def test_every_item_is_mapped_or_open_and_none_is_both():
    assert len(OPEN) == len(set(OPEN))
    assert not set(MAPPED) & set(OPEN)
    assert set(MAPPED) | set(OPEN) == ALL


def test_mapped_items_lead_to_a_heading_a_label_or_a_box():
    known = {
        path.stem: anchors(path) for path in BOOK.iterdir() if path.suffix in {".ipynb", ".md"}
    }
    lost = []
    for item, targets in MAPPED.items():
        for target in targets:
            page, _, anchor = target.partition("#")
            if anchor not in known.get(page, ()):
                lost.append(f"{item}: {target}")
    assert MAPPED
    assert not lost, "no such heading, (label)= or :name:"


def test_mistakes_lead_to_boxes_of_their_own():
    """A box is named e and a number; one box may treat several mistakes."""
    for item, targets in MAPPED.items():
        if item.startswith("E"):
            assert all(re.fullmatch(r"e\d\d", target.partition("#")[2]) for target in targets), item


def test_open_items_wait_for_a_page_that_is_not_written():
    """Whoever adds a chapter maps its items; an item of two chapters may wait for the second."""
    owed = [
        item
        for item in OPEN
        if all(pages_of(page) for page, items in CHAPTERS.items() if item in items)
    ]
    assert not owed, "map them in book/_data/coverage.yml: their chapters exist"


@pytest.mark.parametrize("suffix", [".md", ".ipynb"])
def test_anchors_are_found_where_readers_find_them(tmp_path, suffix):
    text = (
        "# What it is, and isn't\n\n(s2-09)=\n## Step 1: `select` a base\n\n:::{admonition} Wrong\n"
        ":class: usual-recipe\n:name: e01\n\n(e02)=\nMore.\n:::\n\n```python\n# no heading\n```\n"
    )
    path = tmp_path / f"01_page{suffix}"
    if suffix == ".md":
        path.write_text(text, encoding="utf-8")
    else:
        new = nbformat.v4
        code = new.new_code_cell("# no heading either\n(x)=\n")
        code.metadata["mystnb"] = {"figure": {"name": "fig-01-steps"}}
        nbformat.write(new.new_notebook(cells=[new.new_markdown_cell(text), code]), path)
    expected = {"what-it-is-and-isn-t", "step-1-select-a-base", "s2-09", "e01", "e02"}
    assert anchors(path) - {"fig-01-steps"} == expected
    assert ("fig-01-steps" in anchors(path)) == (suffix == ".ipynb")


def test_pages_are_found_by_number_or_name(tmp_path):
    for name in ("01_concepts.ipynb", "A_faq.md", "11_frontiers.txt"):
        (tmp_path / name).touch()
    assert [p.stem for p in pages_of("01", tmp_path)] == ["01_concepts"]
    assert [p.stem for p in pages_of("faq", tmp_path)] == ["A_faq"]
    assert pages_of("11", tmp_path) == []
