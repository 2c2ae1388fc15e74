"""Grading a folder: every file gets a row, none stops the run or reaches what is not its own."""

import codecs
import contextlib
import copy
import csv
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from teaching import RIGHT, SOLUTIONS, WRONG, answered, small_book

from tlhelpers.book.kit import grading
from tlhelpers.book.kit.chapter import Chapter, read_chapter
from tlhelpers.book.kit.grading import Limits, Row, grade_folder, table_of
from tlhelpers.book.kit.handouts import student
from tlhelpers.book.kit.sandbox import has_namespaces
from tlhelpers.book.kit.worker import find_answers, is_stub, plain_python, simple

if sys.platform != "linux":
    pytest.skip("processes are limited on Linux", allow_module_level=True)

LIMITS = Limits(seconds=6, memory_gb=1.5)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    book = small_book(tmp_path_factory.mktemp("grading"))
    return book, student(read_chapter(book / "02_small.ipynb"))


def graded(small, folder, notebooks, **more):
    """Write notebooks into a folder, grade it, and return the rows by file."""
    returned = folder / "returned"
    returned.mkdir()
    for name, document in notebooks.items():
        text = document if isinstance(document, str) else json.dumps(document)
        (returned / name).write_text(text, encoding="utf-8")
    more = {"limits": LIMITS, "jobs": 2, **more}
    rows = grade_folder(returned, folder / "grades.csv", small[0], **more)
    return {row.file: row for row in rows}


def table(small, answers):
    from tlhelpers.book.kit.points import points_of, read_points

    points = read_points(small[0])
    return sum(
        points_of(points, name).most if answers is RIGHT else points_of(points, name).form
        for name in answers
    )


STUBBORN = """while True:
    try:
        answer = 1
        while True:
            pass
    except BaseException:
        pass"""


@pytest.fixture(scope="module")
def nasty(small, tmp_path_factory):
    """A class of thirty: twenty as usual, ten that are not."""
    given = small[1]
    right = answered(given, RIGHT)
    usual = {f"student_{n:02d}.ipynb": right for n in range(18)}
    usual["mistaken.ipynb"] = answered(given, WRONG)
    usual["empty.ipynb"] = given
    forged = copy.deepcopy(given)
    twice, bare, other = (copy.deepcopy(right) for _ in range(3))
    for cell in forged["cells"]:
        name = cell["metadata"].get("tlhelpers", {}).get("exercise")
        if name:
            text = f"✓ {name}: right."
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
    position, answer = next(
        (place, cell)
        for place, cell in enumerate(twice["cells"])
        if cell["metadata"].get("tlhelpers", {}).get("exercise") == "02-1"
    )
    twice["cells"].insert(position, {**copy.deepcopy(answer), "source": "answer = 1"})
    bare["cells"] = [
        cell
        for cell in bare["cells"]
        if cell["metadata"].get("tlhelpers") or "**" in cell["source"]
    ]
    for cell in bare["cells"]:
        cell["source"] = cell["source"].partition("\ntl.check")[0]
    other["metadata"] = {"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}}
    flood = "for _ in range(400):\n    print('x' * 500_000)\nanswer = 3910"
    loud = answered(given, {**RIGHT, "02-2": flood})
    stored = copy.deepcopy(right)
    stored["cells"][1]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": "x" * 200_000_000}
    ]
    odd = {
        "endless.ipynb": answered(given, {**RIGHT, "02-2": "while True:\n    answer = 1"}),
        "stubborn.ipynb": answered(given, {**RIGHT, "02-2": STUBBORN}),
        "torn.ipynb": '{"cells": [',
        "forged.ipynb": forged,
        "twice.ipynb": twice,
        "bare.ipynb": bare,
        "other_kernel.ipynb": other,
        "loud.ipynb": loud,
        "stored_output.ipynb": stored,
        "hungry.ipynb": answered(given, {**RIGHT, "02-2": "x = bytearray(3 * 10**9)\nanswer = 1"}),
    }
    return graded(small, tmp_path_factory.mktemp("class"), usual | odd)


@pytest.mark.slow
def test_everyone_gets_a_row_and_nobody_stops_the_others(small, nasty):
    assert len(nasty) == 30
    usual = [row for name, row in nasty.items() if name.startswith("student")]
    assert {(row.points, row.of, row.by_hand, row.reason) for row in usual} == {
        (table(small, RIGHT), table(small, RIGHT), 4, "graded")
    }
    assert nasty["mistaken.ipynb"].points == table(small, WRONG)
    assert nasty["empty.ipynb"].points == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "points", "reason"),
    [
        ("endless.ipynb", 6, "02-2: stopped after 6 s"),
        ("stubborn.ipynb", 6, "02-2: stopped after 6 s, by force"),
        ("torn.ipynb", 0, "not graded: it is not JSON"),
        ("forged.ipynb", 0, "02-1: its stored output says it is right, its code not"),
        ("twice.ipynb", 9, "cells with the same id; 02-1 stands there 2 times: the last counts"),
        ("bare.ipynb", 9, "graded"),
        ("other_kernel.ipynb", 0, "not graded: its kernel speaks R"),
        ("loud.ipynb", 9, "graded"),
        ("stored_output.ipynb", 9, "graded"),
        ("hungry.ipynb", 6, "02-2: needed more memory"),
    ],
)
def test_what_is_odd_has_its_reason(nasty, name, points, reason):
    assert nasty[name].points == points
    assert nasty[name].reason.startswith(reason)


PRYING = """import multiprocessing, os, pathlib, socket, sqlite3
seen = []
for act in (
    lambda: pathlib.Path({other!r}).read_text(),
    lambda: pathlib.Path({other!r}).write_text("mine"),
    lambda: os.remove({other!r}),
    lambda: pathlib.Path({beside!r}).write_text("mine"),
    lambda: socket.create_connection(("127.0.0.1", {port}), timeout=2),
    lambda: os.system("touch " + {beside!r}),
    lambda: os.open(
        "beside.txt", os.O_WRONLY | os.O_CREAT, dir_fd=os.open(os.path.dirname({beside!r}), 0)
    ),
    lambda: sqlite3.connect({beside!r}).execute("create table mine (x)"),
    lambda: multiprocessing.get_context("spawn").Process(target=print).start(),
    lambda: os.kill(os.getppid(), 0),
):
    try:
        act()
        seen.append("done")
    except (OSError, sqlite3.Error) as error:
        seen.append(type(error).__name__)
pathlib.Path("own.txt").write_text("this is allowed")
answer = 94 if "done" not in seen else 0"""


@pytest.mark.parametrize("kernel", [True, False], ids=["namespaces", "guard alone"])
def test_a_notebook_reaches_neither_other_files_nor_the_network(
    small, tmp_path, monkeypatch, kernel
):
    if kernel and not has_namespaces():
        pytest.skip("this system lets no namespaces be made")
    from tlhelpers.book.kit import sandbox

    monkeypatch.setattr(sandbox, "has_namespaces", lambda: kernel)
    returned, beside = tmp_path / "returned", tmp_path / "beside.txt"
    with socket.create_server(("127.0.0.1", 0)) as server:
        prying = PRYING.format(
            other=str(returned / "b_other.ipynb"), beside=str(beside), port=server.getsockname()[1]
        )
        rows = graded(
            small,
            tmp_path,
            {
                "a_prying.ipynb": answered(small[1], {"02-3": prying}),
                "b_other.ipynb": answered(small[1], RIGHT),
            },
            jobs=1,
        )
    assert rows["a_prying.ipynb"].exercises["02-3"] == "3/3 right"
    assert rows["b_other.ipynb"].reason == "graded"
    assert not beside.exists()


def test_the_kernel_keeps_out_what_python_cannot(tmp_path):
    """Through ctypes a program passes by the guard; namespaces hold it all the same."""
    if not has_namespaces():
        pytest.skip("this system lets no namespaces be made")
    from tlhelpers.book.kit.sandbox import command, environment

    work, secret = tmp_path / "work", tmp_path / "secret"
    work.mkdir()
    secret.mkdir()
    (secret / "marks.csv").write_text("all")
    tried = (
        f"cat '{secret}/marks.csv'; touch '{tmp_path}/out'; umount '{secret}'; "
        f"mount -o remount,rw / ; touch '{tmp_path}/out'; cat '{secret}/marks.csv'; echo end"
    )
    line = command(work, [secret], ["sh", "-c", tried])
    done = subprocess.run(line, env=environment(work), capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "end"
    assert not (tmp_path / "out").exists()


def test_an_answer_can_neither_change_its_marks_nor_pass_as_another(small, tmp_path):
    cheat = (
        "import tlhelpers.book.checks as c\nc.check = lambda *a: True\nc.agrees = lambda *a: True\n"
        "answer = 1"
    )
    ends = "import os\nanswer = 94\nos._exit(0)"
    rows = graded(
        small,
        tmp_path,
        {"a.ipynb": answered(small[1], {"02-1": cheat, "02-2": ends, "02-3": "94"})},
    )
    row = rows["a.ipynb"]
    assert row.exercises["02-1"] == "1/3 wrong"
    assert row.exercises["02-2"] == "0/3 error"
    assert row.exercises["02-3"] == "3/3 right"
    assert "02-2: its process ended" in row.reason


LIAR = """import os
for place in range(3, 256):
    try:
        os.write(place, b'{"begun": "99-9"}\\n')
    except OSError:
        pass
answer = 1
os._exit(0)"""
ODD = {
    "huge": ("answer = 10 ** 5000", 6, "graded"),
    "stray": ("answer = 1\nreturn answer", 6, "02-1: SyntaxError: 'return' outside function"),
    "unwritable": ("raise ValueError('\\udcff\\x1b[2J')", 6, "02-1: ValueError: \\udcff\\x1b[2J"),
    "deep": ("def f(n): return f(n + 1)\nanswer = f(0)", 6, "02-1: RecursionError: maximum"),
    "crash": ("import ctypes\nanswer = ctypes.string_at(0)", 6, "02-1: its process ended"),
    "endless_list": ("answer = []\nanswer.append(answer)", 6, "02-1: RecursionError"),
    "liar": (LIAR, 0, "not graded: its process ended too often"),
}


@pytest.mark.slow
def test_what_breaks_an_answer_costs_that_answer_alone(small, tmp_path):
    notebooks = {f"{name}.ipynb": answered(small[1], RIGHT | {"02-1": f"{code}\n"})
                 for name, (code, _, _) in ODD.items()}  # fmt: skip
    many = answered(small[1], RIGHT)
    for number in range(40):
        cell = {"cell_type": "code", "source": "import time\ntime.sleep(5)", "outputs": []}
        many["cells"].append({**cell, "metadata": {"tlhelpers": {"exercise": f"zz-{number}"}}})
    rows = graded(small, tmp_path, notebooks | {"many.ipynb": many})
    for name, (_, points, reason) in ODD.items():
        row = rows[f"{name}.ipynb"]
        assert (name, row.points, row.reason[: len(reason)]) == (name, points, reason)
    assert rows["many.ipynb"].points == 9
    assert rows["many.ipynb"].reason.startswith("zz-0 is not of this chapter")
    written = (tmp_path / "grades.csv").read_bytes()
    assert written.startswith(codecs.BOM_UTF8)
    assert b"\\udcff" in written


@pytest.mark.slow
def test_who_talks_for_ever_is_not_listened_to_for_ever():
    from tlhelpers.book.kit.grading import _listen

    heard, said = os.pipe()
    talker = [sys.executable, "-c", TALK, str(said)]
    with subprocess.Popen(talker, pass_fds=[said], stderr=subprocess.DEVNULL) as process:
        os.close(said)
        started = time.monotonic()
        told = _listen(heard, 30, started + 3)
        os.close(heard)
        process.kill()
    assert time.monotonic() - started < 20
    assert "killed" in told[-1]


TALK = """import os, sys, time
while True:
    os.write(int(sys.argv[1]), b'{"begun": "02-1"}\\n')
    time.sleep(0.05)"""
ORPHAN = """import ctypes, time
libc = ctypes.CDLL(None)
if not libc.fork():
    libc.setsid()
    libc.prctl(15, b"tl-orphan")
    while True:
        time.sleep(1)
answer = 266_610"""


@pytest.mark.slow
def test_what_an_answer_starts_does_not_outlive_it(small, tmp_path):
    """The guard knows nothing of the system's own fork; the kernel ends whatever came of it."""
    if not has_namespaces():
        pytest.skip("this system lets no namespaces be made")
    limits = Limits(seconds=60, memory_gb=1.5)
    notebook = answered(small[1], RIGHT | {"02-1": ORPHAN})
    row = graded(small, tmp_path, {"a.ipynb": notebook}, limits=limits)["a.ipynb"]
    assert row.points == 9
    assert row.seconds < 60
    names = [path.read_text() for path in Path("/proc").glob("[0-9]*/comm")]
    assert "tl-orphan\n" not in names


def test_what_an_answer_starts_ends_with_the_grader(small, tmp_path):
    if not has_namespaces():
        pytest.skip("this system lets no namespaces be made")
    forever = ORPHAN.replace("if not libc.fork():\n    libc.setsid()", "if True:").replace(
        "orphan", "endless"
    )
    (tmp_path / "returned").mkdir()
    notebook = answered(small[1], {"02-1": forever})
    (tmp_path / "returned/a.ipynb").write_text(json.dumps(notebook), "utf-8")
    run = "import sys; from tlhelpers.book.kit.grading import grade_folder; grade_folder(*sys.argv[1:])"
    given = [str(tmp_path / "returned"), str(tmp_path / "grades.csv"), str(small[0])]

    def there():
        for path in Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                if path.read_text() == "tl-endless\n":
                    return True
        return False

    def soon(seen):
        return any(there() == seen or time.sleep(0.1) for _ in range(300))

    with subprocess.Popen([sys.executable, "-c", run, *given]) as grader:
        began = soon(True)
        grader.kill()
    assert began
    assert soon(False)


def test_an_answer_may_stand_in_a_cell_of_its_own_under_any_name(small, tmp_path):
    notebook = answered(small[1], RIGHT)
    place, cell = next(
        (place, cell)
        for place, cell in enumerate(notebook["cells"])
        if cell["metadata"].get("tlhelpers", {}).get("exercise") == "02-1"
    )
    cell["source"] = '%time display(mine, raw=True)\nmine?\ndisplay(mine)\ncheck("02-1",\n    mine)'
    own = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    source = "from tlhelpers import check\nmine = 266_610"
    notebook["cells"].insert(place, {**own, "source": source})
    assert graded(small, tmp_path, {"a.ipynb": notebook})["a.ipynb"].points == 9


@pytest.mark.slow
def test_one_cell_may_answer_several(small, tmp_path):
    cell = "\n".join(f'answer = {RIGHT[name]}\ntl.check("{name}", answer)' for name in RIGHT)
    notebook = answered(small[1], {"02-3": cell})
    assert graded(small, tmp_path, {"a.ipynb": notebook})["a.ipynb"].points == 9


@pytest.mark.slow
def test_an_answer_and_its_check_may_stand_in_cells_apart(small, tmp_path):
    notebook = answered(small[1], RIGHT)
    apart = []
    for cell in notebook["cells"]:
        name = cell["metadata"].get("tlhelpers", {}).get("exercise")
        if name:
            answer, _, check = cell["source"].partition("\n")
            own = {
                **cell,
                "metadata": {} if name == "02-2" else cell["metadata"],
                "id": f"{name}-a",
            }
            apart += [{**own, "source": answer}, {**own, "source": f"{check}\nprint(answer)"}]
        else:
            apart.append(cell)
    row = graded(small, tmp_path, {"a.ipynb": {**notebook, "cells": apart}})["a.ipynb"]
    assert (row.points, row.reason) == (9, "cells with the same id")


CHECKED = 'answer = 3910\ntl.check("02-2", answer)'
WAYS = {  # answers, own cells above and below those of exercises, and what the row says
    "scratch below": ({"02-1": SOLUTIONS["02-1"]}, {}, "PIXELS = 3\ndef area(n): return 0", "graded"),
    "a constant reused below": ({"02-2": "answer = b"}, {"02-2": "b = 3910"}, "b = 1", "graded"),
    "written below, run before": (
        {"02-2": "answer = late"}, {}, "late = 3910", "02-2: it needs cells that stand below it"),
    "the same statement twice": (
        {"02-2": "answer = n"}, {"02-1": "n = 3908\nm = n", "02-2": "n += 1\nn += 1"}, "", "graded"),
    "star import": ({"02-2": "answer = 10 * ceil(50_000 / 128)"}, {"02-1": "from math import *"}, "",
        "graded"),
    "function fills what it is given": (
        {"02-2": "answer = box['n']"},
        {"02-2": "box = {}\ndef fill(b):\n    b['n'] = 3910\nfill(box)"}, "", "graded"),
    "function sets a global name": (
        {"02-2": "answer = n"}, {"02-2": "def f():\n    global n\n    n = 3910\nf()"}, "", "graded"),
    "what only order shows": (
        {"02-2": "answer = n"}, {"02-2": "exec('n = 3910')"}, "",
        "02-2: with all cells above it run in order"),
    "answer set above its check": (
        {"02-2": 'tl.check("02-2", answer)'}, {"02-2": "answer: int=3910"}, "", "graded"),
    "an error after the check": (
        {"02-2": f"{CHECKED}\n1/0"}, {}, "", "02-2: after its check: ZeroDivisionError"),
    "guesses after the answer": (
        {"02-2": f"{CHECKED}\nfor n in (1, 2):\n    tl.check('02-2', n)"}, {}, "", "graded"),
    "a notebook's own code": (
        {"02-2": f"import asyncio\nout = !ls\nt = %timeit -o f()\nawait asyncio.sleep(0)\n{CHECKED}"},
        {}, "", "graded"),
    "another's check in a comment": (
        {"02-3": 'answer = 94\n# tl.check("02-1", answer)\ntl.check("02-3", answer)'}, {}, "", "graded"),
}  # fmt: skip


def with_own_cells(notebook, above, below):
    cells, own = [], {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    for cell in notebook["cells"]:
        name = cell["metadata"].get("tlhelpers", {}).get("exercise")
        cells += [{**own, "source": above[name]}] if name in above else []
        cells.append(cell)
    return {**notebook, "cells": [*cells, {**own, "source": below}]}


@pytest.mark.slow
def test_students_may_write_where_and_as_they_like(small, tmp_path):
    notebooks = {}
    for way, (answers, above, below, _) in WAYS.items():
        filled = answered(small[1], RIGHT | answers)
        for cell in filled["cells"]:
            name = cell["metadata"].get("tlhelpers", {}).get("exercise")
            if "check(" in answers.get(name, ""):
                cell["source"] = answers[name]
        notebooks[f"{way}.ipynb"] = with_own_cells(filled, above, below)
    rows = graded(small, tmp_path, notebooks)
    said = {way: (row.points, row.reason) for way in WAYS for row in [rows[f"{way}.ipynb"]]}
    for way, (_, _, _, reason) in WAYS.items():
        assert (way, said[way][0], said[way][1][: len(reason)]) == (way, 9, reason)


def test_an_answer_that_gives_nothing_is_never_called_graded(small, tmp_path):
    empty = answered(small[1], RIGHT | {"02-2": "steps_taken = 3910\nanswer = None"})
    stray = with_own_cells(answered(small[1], {"02-1": "266_610"}), {}, "answer = 3910")
    rows = graded(small, tmp_path, {"a.ipynb": empty, "b.ipynb": stray})
    assert rows["a.ipynb"].reason == "02-2: its code gives no answer"
    assert rows["b.ipynb"].reason.startswith("a cell of its own sets answer")


def test_an_answer_without_a_cell_and_another_chapters_name_are_told(small, tmp_path):
    text = answered(small[1], RIGHT)
    for cell in text["cells"]:
        if cell["metadata"].get("tlhelpers", {}).get("exercise") == "02-3":
            cell["cell_type"] = "markdown"
    grader = grading.Grader(small[0], LIMITS)
    grader.chapters["03"] = Chapter("03_other", [], ())
    (tmp_path / "03_other (2).ipynb").write_text(json.dumps(text), "utf-8")
    row = grader.grade(tmp_path / "03_other (2).ipynb")
    said = "it is called 03_other, and holds another chapter; 02-3: no cell of code answers it"
    assert (row.points, row.chapter, row.reason) == (6, "02_small", said)


def test_an_answer_that_its_process_did_not_reach_is_no_missing_cell(small):
    grader, row = grading.Grader(small[0], LIMITS), grading.Row("a.ipynb")
    grader._fill(row, [{"chapter": "02", "notes": [], "found": ["02-1"]}])
    assert row.exercises["02-1"].endswith("error")
    assert row.reason.startswith("02-1: its process ended before it; 02-2: no cell of code")


def test_a_file_that_holds_little_is_told_from_one_that_holds_much(small, tmp_path):
    two = answered(small[1], RIGHT)
    for number in range(4):  # of another chapter, more and as they were handed out
        stub = f'answer = ...\ntl.check("03-{number}", answer)'
        two["cells"].append({"cell_type": "code", "source": stub, "metadata": {}, "outputs": []})
    rows = graded(small, tmp_path, {"none.ipynb": " \n", "stub.ipynb": small[1], "two.ipynb": two})
    assert rows["none.ipynb"].reason == "not graded: it is empty"
    assert rows["stub.ipynb"].reason == "nothing is answered"
    assert (rows["two.ipynb"].chapter, rows["two.ipynb"].points) == ("02_small", 9)
    assert find_answers(two, TWO)[0] == "02"


TWO = {
    number: {"code": [], "solutions": [], "exercises": [f"{number}-{n}" for n in range(5)]}
    for number in ("02", "03")
}
FORGING = """import os, sys
line = b'{"exercise": ["x"], "begun": [1]}\\n{"chapter": 7, "notes": 3}\\n'
os.write(int(sys.argv[2]), line)
answer = 266_610"""


def test_a_forged_line_is_not_listened_to(small, tmp_path):
    row = graded(small, tmp_path, {"a.ipynb": answered(small[1], RIGHT | {"02-1": FORGING})})
    assert (row["a.ipynb"].points, row["a.ipynb"].of, row["a.ipynb"].reason) == (9, 9, "graded")


def test_who_stored_a_check_that_the_check_still_passes_is_not_accused(
    small, tmp_path, monkeypatch
):
    monkeypatch.setattr(grading.Grader, "_solve", lambda self, number: {"02-3": 50})
    notebook = answered(small[1], {"02-3": "94", "02-2": "391"})
    for cell in notebook["cells"]:
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "✓ 02-2 ✓ 02-3"}]
    row = graded(small, tmp_path, {"a.ipynb": notebook})["a.ipynb"]
    assert row.exercises["02-3"] == "1/3 passes its check, but is not what the solution gives"
    assert row.reason == "02-2: its stored output says it is right, its code not"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_limits_under_which_nothing_runs_are_refused(seconds):
    with pytest.raises(ValueError, match="above 0"):
        Limits(seconds)


def test_a_chapter_returned_whole_is_not_graded_by_its_own_solutions(small, tmp_path):
    whole = json.loads((small[0] / "02_small.ipynb").read_text("utf-8"))
    assert graded(small, tmp_path, {"whole.ipynb": whole})["whole.ipynb"].points == 0


def test_the_table_of_marks_is_new_and_harmless_in_a_spreadsheet(small, tmp_path):
    rows = list(csv.DictReader(table_of([Row("=cmd.ipynb", reason="a\nb")]).splitlines()))
    assert rows[0]["file"] == "'=cmd.ipynb"
    assert rows[0]["reason"] == "a b"
    (tmp_path / "returned").mkdir()
    with pytest.raises(ValueError, match="empty"):
        grade_folder(tmp_path / "returned", tmp_path / "grades.csv", small[0])
    (tmp_path / "grades.csv").write_text("by hand")
    with pytest.raises(ValueError, match="new file"):
        grade_folder(tmp_path / "returned", tmp_path / "grades.csv", small[0])
    assert (tmp_path / "grades.csv").read_text() == "by hand"
    with pytest.raises(ValueError, match="folder that exists"):
        grade_folder(tmp_path / "returned", tmp_path / "none" / "grades.csv", small[0])
    with pytest.raises(ValueError, match="must not hold the book"):
        grade_folder(small[0].parent, tmp_path / "others.csv", small[0])


def test_where_a_solution_does_not_run_the_row_says_so(small, tmp_path, monkeypatch):
    monkeypatch.setattr(grading.Grader, "_solve", lambda self, number: {})
    row = graded(small, tmp_path, {"a.ipynb": answered(small[1], RIGHT)})["a.ipynb"]
    assert row.points == row.of
    assert row.reason.startswith("02-1: by its check alone: the solution did not run")


def test_a_run_that_was_interrupted_goes_on_with_the_rest(small, tmp_path, monkeypatch):
    returned, to, seen = tmp_path / "returned", tmp_path / "grades.csv", []
    returned.mkdir()
    for name in "abc":
        (returned / f"{name}.ipynb").write_text(name)

    def grade(self, path, hidden):
        seen.append(path.stem)
        if seen == ["a", "b"]:
            raise KeyboardInterrupt
        return Row(path.name, reason=f"graded as {len(seen)}")

    monkeypatch.setattr(grading.Grader, "grade", grade)
    with pytest.raises(KeyboardInterrupt):
        grade_folder(returned, to, small[0], jobs=1)
    assert not to.exists()
    (returned / "c.ipynb").write_text("changed")
    with open(tmp_path / ".grades.csv.part", "a") as file:
        file.write('["torn')
    del seen[2:]
    rows = grade_folder(returned, to, small[0], jobs=1)
    assert seen == ["a", "b", "b", "c"]
    assert rows[0].reason == "graded as 1"
    assert [path.name for path in tmp_path.iterdir() if "grades" in path.name] == ["grades.csv"]


def test_what_is_no_notebook_gets_a_row_too(small, tmp_path):
    (tmp_path / "returned").mkdir()
    (tmp_path / "returned" / "essay.docx").write_bytes(b"PK")
    (tmp_path / "returned" / "link.ipynb").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "returned" / "pipe.ipynb")
    (tmp_path / "returned" / "z").symlink_to(small[0], target_is_directory=True)
    (tmp_path / "returned" / "zz").mkdir()
    (tmp_path / "returned" / "zz" / os.fsdecode(b"\xff\nada.txt")).touch()
    rows = grade_folder(tmp_path / "returned", tmp_path / "grades.csv", small[0])
    assert [row.reason for row in rows] == [
        "not graded: it is no notebook",
        "not graded: it is no file of its own",
        "not graded: it is no file of its own",
        "not graded: it is no file of its own",
        "not graded: it is no notebook",
    ]
    assert rows[-1].file == r"zz/\udcff ada.txt"
    read = list(csv.DictReader((tmp_path / "grades.csv").read_text("utf-8-sig").splitlines()))
    assert [row["points"] for row in read] == ["0"] * 5


def test_lines_for_the_notebook_alone_are_left_out():
    text = "%time f()\n!ls\n  ?f\nf.g?\nx = 1"
    assert plain_python(text) == "x = 1"
    assert plain_python("x = (7\n% 4)") == "x = (7\n% 4)"


def test_answers_travel_as_plain_values():
    import numpy as np

    assert simple({"a": np.float32(0.5), 2: (1, "x")}) == {"a": 0.5, "2": [1, "x"]}
    assert simple(np.array([[1, 2]])) == [[1, 2]]
    assert simple(object()) == "<object>"
    assert is_stub('answer = ...\ntl.check("02-1", answer)')
    assert not is_stub('answer = 3\ntl.check("02-1", answer)')


@pytest.mark.slow
def test_the_command_says_what_was_odd(small, tmp_path):
    (tmp_path / "returned").mkdir()
    (tmp_path / "returned" / "torn.ipynb").write_text("no JSON")
    (tmp_path / "returned" / os.fsdecode(b"\xff.ipynb")).write_text("no JSON")
    command = [sys.executable, "-m", "tlhelpers", "grade", "returned", "--csv", "grades.csv"]
    (small[0] / "_toc.yml").write_text("root: index")
    (tmp_path / "book").symlink_to(small[0])
    root = str(Path(__file__).resolve().parents[2])
    env = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "torn.ipynb: not graded: it is not JSON" in done.stdout
    assert r"\udcff.ipynb: not graded" in done.stdout
    assert (tmp_path / "grades.csv").is_file()


def test_solutions_give_full_marks(small, tmp_path):
    rows = graded(small, tmp_path, {"a.ipynb": answered(small[1], SOLUTIONS)})
    assert (rows["a.ipynb"].points, rows["a.ipynb"].of) == (9, 9)


@pytest.mark.slow
def test_solved_copies_of_the_books_chapters_get_full_marks(tmp_path):
    """Of those that take seconds; others, some minutes each: TLH_CHAPTERS="07 11" pytest -k solved."""
    book = Path(__file__).resolve().parents[2] / "book"
    numbers = os.environ.get("TLH_CHAPTERS", "12 13 14 15").split()
    chapters = [read_chapter(next(book.glob(f"{number}_*.ipynb"))) for number in numbers]
    returned = tmp_path / "returned"
    returned.mkdir()
    for one in chapters:
        solved = answered(student(one), {each.id: each.solution for each in one.exercises})
        (returned / f"{one.name}.ipynb").write_text(json.dumps(solved), "utf-8")
    rows = grade_folder(returned, tmp_path / "grades.csv", book, limits=Limits(600, 16), jobs=1)
    assert {row.chapter: row.reason for row in rows} == {one.name: "graded" for one in chapters}
    assert all(row.points == row.of > 0 for row in rows), (tmp_path / "grades.csv").read_text()
