"""The teaching kit: what students get and don't get, and what the real autograders make of it."""

import ast
import copy
import importlib.util
import json
import re
import resource
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from exercise_cases.chapter_02 import CASES
from teaching import SOLUTIONS, WRONG, small_book

from tlhelpers.book.checks import check
from tlhelpers.book.exercises import EXERCISES
from tlhelpers.book.kit import MADE, digests, make_kit, not_made
from tlhelpers.book.kit.chapter import Chapter, needed, read_chapter
from tlhelpers.book.kit.classroom import offline_section
from tlhelpers.book.kit.handouts import instructor, student
from tlhelpers.book.kit.points import points_of, read_points
from tlhelpers.book.kit.releases import hidden_test, name_of, setup, solved
from tlhelpers.book.kit.words import cited, plain
from tlhelpers.book.notebooks import find_chapters

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = [path for path in find_chapters(ROOT / "book") if path.stem[0].isdigit()]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    book = small_book(tmp_path_factory.mktemp("kit"))
    return book, read_chapter(book / "02_small.ipynb"), read_points(book)


def text_of(document):
    return json.dumps(document, ensure_ascii=False)


# What an exercise depends on


def test_what_code_depends_on_is_found():
    program = [
        "import math\nimport re",
        "n, unused = 2, 3\nfor i in range(3):\n    n += i",
        "def f(x):\n    return math.sqrt(x) + n",
        "table = {}\ntable['a'] = f(2)\nother = {}\nother['b'] = 1",
        "rows = []\nrows.append(n)",
        "%pip install nothing",
        "return n  # compiles in no cell",
    ]
    found = needed(program, "answer = table['a'] + rows[0]")
    assert not any(one.split()[-1] == "re" or "other" in one for one in found)
    space = {}
    exec("\n".join(found), space)
    assert space["table"] == {"a": 2**0.5 + 5}
    assert space["rows"] == [5]


@pytest.mark.parametrize(
    "change",
    [
        "for one in kept:\n    one.append(1)",
        "for place, one in enumerate(kept):\n    one.append(1)",
        "for _, one in zip(range(9), kept):\n    one.append(1)",
        "for one in reversed(kept):\n    one.append(1)",
        "kept.copy()[0].append(1)",
        "list(kept)[0].append(1)",
    ],
)
def test_what_changes_a_part_by_another_name_is_needed(change):
    assert change in needed(["kept = [[]]", change], "answer = kept[0]")


def test_a_loop_that_only_draws_is_not():
    program = ["data = [1]", "for axis, one in zip(axes, data):\n    axis.plot(one)"]
    assert needed(program, "answer = data") == ["data = [1]"]


def test_a_name_set_anew_needs_nothing_before_it():
    program = ["x = slow()", "x = 1", "with open(x) as y:\n    z = y.read()\n    print(z)"]
    assert needed(program, "answer = x") == ["x = 1"]
    assert needed(program, "z = 3\nanswer = z") == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapters_exercises_are_paired_with_their_solutions(path):
    chapter = read_chapter(path)
    assert [one.id for one in chapter.exercises if one.solution] == [
        name for name in EXERCISES if name.startswith(path.stem[:2])
    ]
    for one in chapter.exercises:
        ast.parse("\n".join(needed(chapter.code, one.solution)))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_three_to_five_exercises(path):
    assert 3 <= len(read_chapter(path).exercises) <= 5


@pytest.mark.parametrize("number", [f"{number:02}" for number in range(1, 16)])
def test_one_exercise_asks_for_a_prediction_and_one_is_open(number):
    (path,) = (path for path in CHAPTERS if path.stem.startswith(number))
    exercises = read_chapter(path).exercises
    assert any("Predict before running" in one.question for one in exercises)
    assert any(one.open_points >= 4 for one in exercises)


def test_a_check_without_its_exercise_is_refused(tmp_path):
    path = small_book(tmp_path) / "02_small.ipynb"
    path.write_text(path.read_text("utf-8").replace("**3.** Which", "Which"), "utf-8")
    with pytest.raises(ValueError, match="02-3"):
        read_chapter(path)


def test_the_table_of_points_names_exercises_that_exist():
    table = read_points(ROOT / "book")
    assert set(table) - {"default"} <= set(EXERCISES)
    assert points_of(table, "no such").most == table["default"].most


# Notebooks


def test_students_get_no_solution_and_no_output(small):
    _, chapter, _ = small
    given = student(chapter)
    nbformat.validate(nbformat.from_dict(given))
    text = text_of(given)
    for solution in SOLUTIONS.values():
        assert solution.splitlines()[0] not in text
    assert not any(cell.get("outputs") for cell in given["cells"])
    assert "secret output" not in text
    assert [text.count(f'check(\\"{name}\\"') for name in SOLUTIONS] == [1, 1, 1]
    assert "It has 784 pixels [pan2010survey]." in text  # the small book has no bibliography
    assert "tl.glue" not in text
    assert "def area" in text  # hidden in the book, and needed by what is not
    assert "Open in Colab" not in text


def test_the_student_notebook_runs_with_its_answers(small):
    cells = [cell["source"] for cell in student(small[1])["cells"] if cell["cell_type"] == "code"]
    exec("\n".join(cells), {})


def test_instructors_get_solutions_outputs_points_and_notes(small):
    _, chapter, table = small
    given = instructor(chapter, table)
    nbformat.validate(nbformat.from_dict(given))
    text = text_of(given)
    assert all(solution.splitlines()[0] in text for solution in SOLUTIONS.values())
    assert "secret output" in text
    assert "✓ 02-1" in text
    assert "**Grading 02-1.** 3 points: 1 for an answer" in text
    assert EXERCISES["02-1"].mistakes[0][1] in text
    assert "**Grading 02-4.** By hand, up to 4 points" in text


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_ids_are_unique_and_no_solution_is_in_a_chapters_student_notebook(path):
    chapter = read_chapter(path)
    for document in (student(chapter), instructor(chapter, read_points(ROOT / "book"))):
        ids = [cell["id"] for cell in document["cells"]]
        assert len(ids) == len(set(ids))
    sources = [cell["source"] for cell in student(chapter)["cells"]]
    for one in chapter.exercises:
        assert not one.solution or not any(one.solution in source for source in sources), one.id


OUTSIDE = {
    "[](05_cats.ipynb#x) and {numref}`fig-05-first`": "[chapter 5](05_cats.ipynb) and the figure “first”",
    "{cite:t}`he2019rethinking` {cite:p}`weiss2016survey,none`":
        "He et al. (2019) [Weiss et al. 2016; none]",
    "[it](#here), [](D_common_mistakes.md), [b](https://x.org/)": "it, appendix D, [b](https://x.org/)",
    "`layers[0](x)` {ref}`a gain <e02>`": "`layers[0](x)` a gain",
    "(e38)=\nIt lacks": "It lacks",
    ":::{admonition} Points\n:class: rubric\n\n- 2: one\n:::\nAfter": "> **Points**\n>\n> - 2: one\nAfter",
    "```{code-block} python\n:name: lst\nx = 1\n```": "```python\nx = 1\n```",
    "```{figure} a.svg\n:alt: Circles\n\nA network.\n```": "*A network.* (Circles.)",
}  # fmt: skip


@pytest.mark.parametrize("text", OUTSIDE)
def test_text_reads_well_outside_the_book(text):
    assert plain(text, Chapter("09_x", [], (), ROOT / "book")) == OUTSIDE[text]


def test_a_work_is_called_by_its_authors_and_year(tmp_path):
    (tmp_path / "a.bib").write_text(
        "@book{a,\n  author = {Doll{\\'a}r, Piotr and {The Group}},\n  year = {2001}\n}\n"
    )
    assert cited(tmp_path / "a.bib") == {"a": ("Dollár and The Group", "2001")}
    works = cited(ROOT / "book" / "references.bib")
    assert len(works) == (ROOT / "book" / "references.bib").read_text("utf-8").count("\n@") + 1
    assert all(re.fullmatch(r"\d{4}", year) and who[:1].isalpha() for who, year in works.values())


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_students_notebook_shows_nothing_of_the_sites_markup(path):
    for cell in student(read_chapter(path))["cells"]:
        if cell["cell_type"] == "markdown":
            assert not re.search(
                r"^:::|^```\{|^\([\w-]+\)=$|\]\(#|\{\w+(:\w+)?\}`", cell["source"], re.M
            )


# What a search for an exercise's id finds


def test_no_answer_stands_beside_an_exercises_id_in_the_package():
    solutions = {one.id: one.solution for path in CHAPTERS for one in read_chapter(path).exercises}
    for path in sorted((ROOT / "tlhelpers").rglob("*.py")):
        lines = path.read_text("utf-8").splitlines()
        for place, line in enumerate(lines):
            for name in (name for name in EXERCISES if name in line):
                around = "\n".join(lines[max(0, place - 3) : place + 15])
                assert "right=" not in around, f"{path.name}: {name}"
                assert not solutions[name] or solutions[name] not in around
                beside = re.sub(rf"{name}|\d\d-\d", "", around)
                given = re.findall(r"(?<![\w.])\d[\d_,]*\.?\d*(?![\w.])", beside)
                told = [one for one in given if len(one) > 2 and check(name, one.strip(",_"))]
                assert not told, f"{path.name}: {name}: {told}"


def test_a_hidden_test_is_not_misled_by_what_a_student_names(small):
    _, chapter, table = small
    (first,) = (one for one in chapter.exercises if one.id == "02-1")
    test = hidden_test(first, points_of(table, first.id), setup(chapter))
    for answer, right in ((266_610, True), (266_200, False)):
        names = {"PIXELS": 3, "tl": None, name_of(first): answer}
        exec(test, names)
        assert names["right"] == right


def test_no_solution_stands_in_a_comment_of_the_checks():
    for path in (ROOT / "tlhelpers/book/exercises").glob("chapter_0[28].py"):
        assert not re.search(r"# [^A-Z\n]*[*(]", path.read_text("utf-8"))


def need_autograders():
    """Skip without them. They aren't imported here: setuptools refuses a process with distutils."""
    if not all(map(importlib.util.find_spec, ("nbgrader", "otter"))):
        pytest.skip('needs pip install -e ".[teach]"')


# The autograders themselves: a solved copy, an empty one, a usual mistake in each exercise


RELEASE = """
import sys
from pathlib import Path
from tlhelpers.book.kit.chapter import read_chapter
from tlhelpers.book.kit.points import read_points
from tlhelpers.book.kit.releases import nbgrader_release, otter_release
path, folder = map(Path, sys.argv[1:])
chapters, table = [read_chapter(path)], read_points(path.parent)
nbgrader_release(chapters, table, folder / "nbgrader")
otter_release(chapters, table, folder / "otter")
"""


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A chapter as assignments: their folder, the chapter, its points."""
    need_autograders()
    folder, book = tmp_path_factory.mktemp("released"), ROOT / "book"
    path = book / "03_loss_math.ipynb"
    done = subprocess.run(
        [sys.executable, "-c", RELEASE, path, folder], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder, read_chapter(path), read_points(book)


def class_of(chapter):
    """What three students put in place of each variable's ``...``: all right, nothing, mistakes."""
    asked = [one for one in chapter.exercises if one.solution]
    cases = import_module(f"exercise_cases.chapter_{chapter.name[:2]}").CASES
    mistakes = {one: f"{name_of(one)} = {next(iter(cases[one.id][1]))!r}" for one in asked}
    texts = {"solved": {one: solved(one) for one in asked}, "empty": {}, "mistaken": mistakes}
    return {
        student: {f"{name_of(one)} = ...": text for one, text in answers.items()}
        for student, answers in texts.items()
    }


def expected(chapter, table):
    """Say what the table gives: all for right answers, the form's points for mistakes."""
    worth = [points_of(table, one.id) for one in chapter.exercises if one.solution]
    return {
        "solved": sum(one.most for one in worth),
        "empty": 0,
        "mistaken": sum(one.form for one in worth),
    }


def hand_in(given, chapter, place):
    """Write each student's copy of an assignment's notebook to where ``place`` says."""
    for name, answers in class_of(chapter).items():
        done = copy.deepcopy(given)
        for cell in done["cells"]:
            for stub, text in answers.items():
                if cell["cell_type"] == "code":
                    cell["source"] = "".join(cell["source"]).replace(stub, text)
        path = place(name) / f"{chapter.name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(done), "utf-8")


def test_hidden_tests_and_solutions_are_only_in_the_instructors_files(released):
    folder, chapter, table = released
    name = chapter.name
    public = [
        folder / f"nbgrader/release/{name}/{name}.ipynb",
        folder / f"otter/{name}/student/{name}.ipynb",
    ]
    for path in public:
        text = path.read_text("utf-8")
        assert "agrees" not in text
        for one in chapter.exercises:
            if one.solution:
                assert json.dumps(one.solution.splitlines()[-1])[1:-1] not in text
                assert hidden_test(one, points_of(table, one.id), "").splitlines()[-1] not in text
    source = (folder / f"nbgrader/source/{name}/{name}.ipynb").read_text("utf-8")
    assert "BEGIN HIDDEN TESTS" in source
    (grader,) = (folder / f"otter/{name}/autograder").glob("*.zip")
    with zipfile.ZipFile(grader) as file:
        assert "agrees" in file.read(f"tests/q{name[:2]}_1.py").decode()


def test_the_usual_mistakes_are_those_that_the_checks_know():
    for name, wrong in WRONG.items():
        assert ast.literal_eval(wrong) in CASES[name][1]


def ran(script, folder, *given):
    """Run a script as an instructor would run the tool: apart from these tests, with no network."""
    from tlhelpers.book.kit.sandbox import has_namespaces

    alone = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c"]
    command = [sys.executable, "-W", "ignore", "-c", script, *given]
    if has_namespaces():  # a kernel is spoken to by the machine's own address
        command = [*alone, 'ip link set lo up 2>/dev/null; exec "$@"', "sh", *command]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


NBGRADER = """
import json, sys
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from traitlets.config import Config
from tlhelpers.book.kit.releases import quiet
chapter, names = sys.argv[1], ("solved", "empty", "mistaken")
config = Config()
config.CourseDirectory.root = "."
with quiet():
    api = NbGraderAPI(config=config)
    done = [api.autograde(chapter, name) for name in names]
    failed = [one for one in done if not one["success"]]
with Gradebook("sqlite:///gradebook.db") as book:
    marks = {name: book.find_submission(chapter, name).score for name in names}
    most = book.find_assignment(chapter).max_score
print(json.dumps([failed, marks, most]))
"""
FORMGRADER = """
import json, socket, subprocess, sys, time, urllib.request
with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
given = ["--no-browser", f"--port={port}", "--IdentityProvider.token=t", "--allow-root"]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
def ask(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/formgrader{path}?token=t") as page:
        return page.read().decode()
with subprocess.Popen([sys.executable, "-m", "jupyterlab", *given], **quiet) as lab:
    for _ in range(200):
        time.sleep(0.3)
        try:
            start = ask("/manage_assignments")
            break
        except OSError:
            pass
    listed = json.loads(ask("/api/assignments"))
    (one, *_) = json.loads(ask("/api/submitted_notebooks/{0}/{0}".format(sys.argv[1])))
    graded = ask("/submissions/{}/".format(one["id"]))
    lab.terminate()
print(json.dumps([start, listed, graded]))
"""
OTTER = """
import json, sys
from otter.api import grade_submission
from tlhelpers.book.kit.releases import quiet
chapter, grader = sys.argv[1:]
names = ("solved", "empty", "mistaken")
with quiet():
    marks = {name: grade_submission(f"{name}/{chapter}.ipynb", grader).total for name in names}
print(json.dumps(marks))
"""


@pytest.mark.slow
def test_nbgrader_grades_as_the_table_says(released):
    folder, chapter, table = released
    course, name = folder / "nbgrader", chapter.name
    given = json.loads((course / f"release/{name}/{name}.ipynb").read_text("utf-8"))
    hand_in(given, chapter, lambda student: course / "submitted" / student / name)
    failed, marks, most = ran(NBGRADER, course, name)
    assert not failed
    assert marks == expected(chapter, table)
    by_hand = sum(one.open_points for one in chapter.exercises)
    assert most == marks["solved"] + by_hand
    assert by_hand >= 4
    start, listed, page = ran(FORMGRADER, course, name)
    assert "Manage Assignments" in start
    assert [(one["name"], one["num_submissions"]) for one in listed] == [(name, 3)]
    marked = sum(2 * bool(one.solution) + bool(one.rubric) for one in chapter.exercises)
    assert page.count('class="score tabbable"') == marked


@pytest.mark.slow
def test_otter_grades_as_the_table_says(released, tmp_path):
    folder, chapter, table = released
    place = folder / "otter" / chapter.name
    (grader,) = place.glob("autograder/*.zip")
    given = json.loads((place / f"student/{chapter.name}.ipynb").read_text("utf-8"))
    hand_in(given, chapter, lambda student: tmp_path / student)
    assert ran(OTTER, tmp_path, chapter.name, str(grader)) == expected(chapter, table)


# The whole kit


def test_the_section_on_rooms_without_internet_is_the_guides():
    section = offline_section((ROOT / "book" / "I_teaching.md").read_text("utf-8"))
    assert section.startswith("## A room without internet")
    assert "--no-index" in section
    assert section.count("\n## ") == 0
    with pytest.raises(ValueError, match="teaching-offline"):
        offline_section("# A guide")


@pytest.mark.slow
def test_make_kit_writes_the_whole_kit_within_a_minute(tmp_path):
    need_autograders()
    kit, before = tmp_path / "kit", resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "tlhelpers", "kit", "--to", kit]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60
    names = {path.stem for path in CHAPTERS}
    for folder in ("student", "instructor", "slides"):
        assert {path.stem for path in (kit / folder).iterdir()} == names
    assert {path.name for path in (kit / "otter").iterdir()} == names
    assert {path.name for path in (kit / "nbgrader/release").iterdir()} == names
    for page in (kit / "slides").iterdir():
        text = page.read_text("utf-8")
        assert "data:image/png;base64," in text
        assert 'src="http' not in text
        assert "href=" not in text
    handed_out = ("student/*", "nbgrader/release/*/*", "otter/*/student/*")
    given = [path for place in handed_out for path in kit.glob(place)]
    assert len(given) == len(handed_out) * len(names)
    for path in given:
        found = re.search(r"agrees\(|BEGIN (HIDDEN|SOLUTION)|# Solution", path.read_text("utf-8"))
        assert not found, path
    with zipfile.ZipFile(kit / "classroom.zip") as file:
        inside = set(file.namelist())
        everything = b"".join(file.read(name) for name in inside if name.endswith(".ipynb"))
    assert {"README.md", "requirements.txt", "machines.md"} <= inside
    assert {f"notebooks/{name}.ipynb" for name in names} <= inside
    assert b"# Solution" not in everything
    assert not_made(kit) == []  # so that it may be replaced


def test_a_kit_with_submissions_or_marks_is_not_replaced(small, tmp_path, monkeypatch):
    kit = tmp_path / "kit"
    for name in ("README.txt", "nbgrader/gradebook.db", "student/02.ipynb"):
        (kit / name).parent.mkdir(parents=True, exist_ok=True)
        (kit / name).write_text(name)
    (kit / MADE).write_text(json.dumps(digests(kit)))
    (kit / "student/.ipynb_checkpoints").mkdir()
    (kit / "student/.ipynb_checkpoints/02.ipynb").touch()
    assert not_made(kit) == not_made(tmp_path / "none") == []
    submitted = kit / "nbgrader/submitted/ada/02/02.ipynb"
    submitted.parent.mkdir(parents=True)
    submitted.write_text("answers")
    (kit / "nbgrader/gradebook.db").write_text("marks")
    assert not_made(kit) == ["nbgrader/gradebook.db", "nbgrader/submitted/ada/02/02.ipynb"]
    monkeypatch.setattr("tlhelpers.book.kit.tools", lambda: None)
    with pytest.raises(ValueError, match=r"gradebook\.db.*nothing was changed"):
        make_kit(small[0], kit)
    with pytest.raises(ValueError, match="Only an earlier kit"):
        make_kit(small[0], submitted)
    assert submitted.read_text() == "answers"
    (kit / MADE).write_text("[torn")
    assert "student/02.ipynb" in not_made(kit)


def test_a_link_to_submissions_and_a_kit_in_an_odd_place_are_seen(tmp_path):
    kit = tmp_path / "__pycache__" / "kit"
    kit.mkdir(parents=True)
    (kit / MADE).write_text("{}")
    (kit / "submitted").symlink_to(tmp_path)
    (kit / "marks.db").touch()
    assert not_made(kit) == ["marks.db", "submitted"]


def test_what_is_handed_in_while_a_kit_is_made_is_kept(small, tmp_path, monkeypatch):
    for name in ("tools", "write_slides", "nbgrader_release", "otter_release", "write_zip"):
        monkeypatch.setattr(f"tlhelpers.book.kit.{name}", lambda *_: None)
    monkeypatch.setattr("tlhelpers.book.kit.doctor_sheet", lambda: "")
    monkeypatch.setattr("tlhelpers.book.kit.offline_section", lambda text: "")
    (small[0] / "I_teaching.md").touch()
    (small[0].parent / "requirements.txt").touch()
    kit = make_kit(small[0], tmp_path / "kit")
    assert make_kit(small[0], kit) == kit  # replaced, and not put inside
    assert not_made(kit) == []
    assert not (kit / "new").exists()
    late = kit / "submitted.ipynb"
    with pytest.raises(ValueError, match="submitted"):
        make_kit(small[0], kit, lambda line: late.write_text("answers"))
    assert late.read_text() == "answers"
