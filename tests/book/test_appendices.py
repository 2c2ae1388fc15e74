"""The appendices: names and citations that exist, a glossary in two languages, courses with every chapter."""

import re
import sys

import nbformat
import pytest
from building import BOOK
from test_coverage import anchors

import tlhelpers

sys.path.insert(0, str(BOOK / "_ext"))
import chapters
import glossary_links

MODULES = {
    "curves": "tlhelpers.evaluation.plots",
    "field": "tlhelpers.experiments.field",
    "plots": "tlhelpers.evaluation.plots",
    "recipes": "tlhelpers.transfer.recipes",
    "similarity": "tlhelpers.evaluation.similarity",
    "study": "tlhelpers.experiments.study",
    "widgets": "tlhelpers.book.widgets",
    "worlds": "tlhelpers.worlds",
}


def page(name):
    return (BOOK / f"{name}.md").read_text(encoding="utf-8")


def prose():
    """Give the text of each page of the book."""
    for path in sorted(BOOK.iterdir()):
        if path.suffix == ".md":
            yield path.name, path.read_text(encoding="utf-8")
        elif path.suffix == ".ipynb":
            cells = nbformat.read(path, as_version=4).cells
            yield path.name, "\n".join(c.source for c in cells if c.cell_type == "markdown")


def test_the_reference_shows_every_public_name():
    shown = set(re.findall(r"^\.\. auto\w+:: (\S+)", page("H_api"), flags=re.M))
    expected = {MODULES.get(name, f"tlhelpers.{name}") for name in tlhelpers.__all__}
    assert shown == expected


def test_the_bibliography_can_be_read():
    from pybtex.database import parse_file

    entries = parse_file(str(BOOK / "references.bib")).entries
    assert len(entries) == (BOOK / "references.bib").read_text("utf-8").count("\n@") + 1


def test_works_cited_are_in_the_bibliography_once():
    bibliography = (BOOK / "references.bib").read_text(encoding="utf-8")
    known = re.findall(r"^@\w+\{([^,]+),", bibliography, flags=re.M)
    assert len(known) == len(set(known))
    for name, text in prose():
        cited = {
            key.strip()
            for keys in re.findall(r"\{cite:?\w*\}`([^`]+)`", text)
            for key in keys.split(",")
        }
        assert cited <= set(known), name


def test_each_glossary_entry_has_an_english_and_a_chinese_name_and_one_sentence():
    block = re.search(r"```\{glossary\}\n:sorted:\n(.*?)```", page("F_glossary"), re.S)[1]
    entries = [entry.splitlines() for entry in block.strip().split("\n\n")]
    assert len({english.lower() for english, *_ in entries}) == len(entries) > 50
    for english, chinese, *definition in entries:
        assert re.fullmatch(r"[A-Za-z0-9 -]+", english), english
        assert re.search(r"[\u4e00-\u9fff]", chinese), english
        (sentence,) = definition
        assert re.fullmatch(r"  \S.*\.", sentence), english
        assert not re.search(r"\. [A-Z]", sentence), english


def test_every_question_is_answered_with_a_link_to_a_cell_that_shows_it():
    chapters = {path.stem: anchors(path) for path in BOOK.glob("*.ipynb")}
    shown = set().union(*chapters.values())
    questions = re.split(r"^### ", page("E_faq"), flags=re.M)[1:]
    assert len(questions) >= 17
    for question in questions:
        answer = question.partition("*Often answered:*")[0]
        links = re.findall(r"\]\((\w+)\.ipynb#([\w-]+)\)", answer)
        assert all(anchor in chapters[name] for name, anchor in links), question
        named = set(re.findall(r"\{ref\}`[^`<]+<([\w-]+)>`", answer)) & shown
        assert links or named, question


@pytest.mark.parametrize("course", ["Six sessions", "Twelve sessions"])
def test_a_course_treats_or_names_every_chapter(course):
    sections = {
        title: re.search(
            rf"^## {title}\n(.*?)(?=^\(teaching|^## )", page("I_teaching"), re.M | re.S
        )[1]
        for title in (course, "Chapters for projects")
    }
    used = set(re.findall(r"\bc(\d\d)\b", "".join(sections.values())))
    assert used >= {path.stem[:2] for path in BOOK.glob("[0-9]*.ipynb")}
    assert "<teaching-projects>" in sections[course]
    for section in sections.values():
        assert not re.search(r"\| \d+ min", section), "minutes come from _data/chapters.json"


def test_every_chapter_has_exercises_to_assign():
    assigned = re.findall(r"\b(\d\d)-\d\b", page("I_teaching"))
    assert set(assigned) >= {path.stem[:2] for path in BOOK.glob("[0-9]*.ipynb")}


def test_the_exercises_assigned_exist():
    from tlhelpers.book.exercises import EXERCISES

    named = set(re.findall(r"\b(\d\d-\d)\b", page("I_teaching")))
    assert named
    assert named <= set(EXERCISES)


def test_chapters_are_named_by_number_with_their_minutes(tmp_path):
    (tmp_path / "05_cats.ipynb").touch()
    (tmp_path / "B_study.ipynb").touch()
    (tmp_path / "_data").mkdir()
    (tmp_path / "_data" / "chapters.json").write_text('{"05_cats": {"minutes_to_read": 35}}')
    assert chapters.names_and_minutes(tmp_path) == {
        "chapter": {"c05": "[](05_cats.ipynb)", "cB": "[](B_study.ipynb)"},
        "minutes": {"c05": 35},
    }


def test_the_first_use_of_a_term_in_running_text_is_linked():
    nodes = pytest.importorskip("docutils.nodes")
    from docutils.utils import new_document

    terms = glossary_links.terms_of(
        "```{glossary}\n:sorted:\n\nlinear probe\n线性探测\n  A.\n\nsource\n源域\n  B.\n\nprobe\nROC 探测\n  C.\n```"
    )
    assert terms == ["linear probe", "source", "probe"]
    for page, more in {"01_x": [("source", "source")], "03_x": []}.items():
        document = new_document(page)
        document += nodes.title("", "Linear probes")
        document += nodes.paragraph("", "Two linear probes, a Probe and another probe of a source.")
        glossary_links.link_first_uses(document, terms, page)
        linked = [
            (one["reftarget"], one.astext())
            for one in document.findall(lambda node: node.tagname == "pending_xref")
        ]
        assert linked == [("linear probe", "linear probes"), ("probe", "Probe"), *more]
        assert document.astext().endswith("a Probe and another probe of a source.")


def test_words_with_other_senses_are_introduced_where_they_are_linked():
    terms = glossary_links.terms_of(page("F_glossary"))
    assert len(terms) > 90
    texts = dict(prose())
    for word, chapter in glossary_links.INTRODUCED.items():
        assert word in terms
        if chapter:
            (text,) = (text for name, text in texts.items() if name.startswith(f"{chapter}_"))
            assert re.search(rf"\b{word}s?\b", text)
