"""A chapter's exercises as assignments for nbgrader and for otter, made by the tools themselves.

An assignment holds the exercises and, in one cell, what they need of the chapter. Its visible test
asks whether an answer has the right form, its hidden test whether it is right: that one runs the
exercise's own solution beside the answer. So both stand only in the source that an instructor has.
"""

import contextlib
import io
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tlhelpers.book.kit.chapter import Chapter, Exercise, needed
from tlhelpers.book.kit.handouts import code, markdown, notebook
from tlhelpers.book.kit.points import Points, points_of
from tlhelpers.book.kit.words import plain

ABOUT = (
    "The exercises of the chapter, to be handed in. Put each answer into the variable that its cell "
    "names. `tl.check` says whether it is right, or gives a hint."
)


def name_of(exercise: Exercise) -> str:
    """Return the variable that holds the answer to an exercise in an assignment.

    Args:
        exercise: The exercise.

    Returns:
        Such as ``"answer_1"``: each has its own, so that none is taken for another's.

    Example:
        >>> name_of(Exercise("05-1", "How many?"))
        'answer_1'
    """
    return f"answer_{exercise.id.partition('-')[2]}"


def solved(exercise: Exercise) -> str:
    """Return an exercise's solution with the assignment's own variable."""
    return re.sub(r"\banswer\b", name_of(exercise), exercise.solution)


def setup(chapter: Chapter) -> str:
    """Return what the exercises of a chapter need of it, as one cell."""
    solutions = "\n".join(exercise.solution for exercise in chapter.exercises)
    used = needed(chapter.code, solutions)
    first = "import tlhelpers as tl"
    return "\n".join([first, *(one for one in used if one != first)])


def visible_test(exercise: Exercise) -> str:
    """Return the test that students see: whether the answer is of the kind that was asked for."""
    return f'tl.check("{exercise.id}", {name_of(exercise)}).readable'


def hidden_test(exercise: Exercise, worth: Points, chapter: str) -> str:
    """Return the test that they don't see: whether the answer is right, by the solution itself.

    Solutions run on names of their own, which what they need of the chapter makes once: what a
    student sets anew is no matter.
    """
    return (
        "from tlhelpers.book.checks import agrees\n"
        'there = globals().setdefault("_solved", {"__name__": "__main__"})\n'
        f'if "tl" not in there:\n    exec({chapter!r}, there)\n'
        f"exec({exercise.solution!r}, there)\n"
        f'right = agrees("{exercise.id}", {name_of(exercise)}, there["answer"], {worth.within})'
    )


def nbgrader_source(chapter: Chapter, table: dict[str, Points]) -> dict[str, Any]:
    """Return a chapter's exercises as nbgrader's source notebook, solutions and hidden tests in it."""
    first = setup(chapter)
    cells = [
        _graded(markdown(f"# {chapter.title}\n\n{ABOUT}"), "about", locked=True),
        _graded(code(first), "setup", locked=True),
    ]
    for exercise in chapter.exercises:
        number, name = exercise.id.replace("-", "_"), name_of(exercise)
        cells.append(_graded(question(exercise, chapter), f"question_{number}", locked=True))
        if exercise.solution:
            worth = points_of(table, exercise.id)
            answer = f"{name} = ...\n### BEGIN SOLUTION\n{solved(exercise)}\n### END SOLUTION"
            check = f'tl.check("{exercise.id}", {name})'
            form = f"assert {visible_test(exercise)}, {check}.message"
            hidden = f"{hidden_test(exercise, worth, first)}\nassert right"
            right = (
                "# Whether it is right is tested when it is graded.\n"
                f"### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
            )
            cells += [
                _graded(code(answer), f"answer_{number}", solution=True),
                code(check),
                _graded(code(form), f"form_{number}", points=worth.form, locked=True),
                _graded(code(right), f"right_{number}", points=worth.right, locked=True),
            ]
        if exercise.rubric:
            text = "Your answer, in words."
            points = exercise.open_points
            cells.append(_graded(markdown(text), f"open_{number}", points=points, solution=True))
    return notebook(cells)


def _graded(
    cell: dict[str, Any],
    name: str,
    *,
    points: int | None = None,
    solution: bool = False,
    locked: bool = False,
) -> dict[str, Any]:
    """Return a cell with nbgrader's metadata, and nbgrader's name for its id."""
    noted = {
        "schema_version": 3,
        "grade_id": name,
        "grade": points is not None,
        "solution": solution,
        "locked": locked,
        "task": False,
    }
    if points is not None:
        noted["points"] = points
    return {**cell, "id": name.replace("_", "-"), "metadata": {"nbgrader": noted}}


def question(exercise: Exercise, chapter: Chapter) -> dict[str, Any]:
    """Return the cell that asks an exercise's question, with its rubric where it has one."""
    number = exercise.id.partition("-")[2]
    text = plain(exercise.question, chapter).replace("`answer`", f"`{name_of(exercise)}`")
    rubric = f"\n\nPoints:\n\n{exercise.rubric}" if exercise.rubric else ""
    return markdown(f"**{number}.** {text}{rubric}")


def otter_source(chapter: Chapter, table: dict[str, Points]) -> dict[str, Any]:
    """Return a chapter's exercises as otter's master notebook, solutions and hidden tests in it."""
    settings = (
        f"# ASSIGNMENT CONFIG\nname: {chapter.name}\nexport_cell: false\nrun_tests: false\n"
        "runs_on: default\ngenerate: true"
    )
    first = setup(chapter)
    cells = [raw(settings), markdown(f"# {chapter.title}\n\n{ABOUT}"), code(first)]
    for exercise in chapter.exercises:
        name, text = name_of(exercise), question(exercise, chapter)
        number = exercise.id.replace("-", "_")
        if exercise.solution:
            worth = points_of(table, exercise.id)
            answer = (
                f'""" # BEGIN PROMPT\n{name} = ...\n""" # END PROMPT\n'
                f"# BEGIN SOLUTION\n{solved(exercise)}\n# END SOLUTION"
            )
            cells += [
                raw(f"# BEGIN QUESTION\nname: q{number}\npoints: [{worth.form}, {worth.right}]"),
                text,
                raw("# BEGIN SOLUTION"),
                code(answer),
                raw("# END SOLUTION"),
                raw("# BEGIN TESTS"),
                _tested(visible_test(exercise)),
                _tested(f"# HIDDEN\n{hidden_test(exercise, worth, first)}\nright"),
                raw("# END TESTS"),
                raw("# END QUESTION"),
            ]
        if exercise.rubric:
            asked = markdown("In words:") if exercise.solution else text
            points = exercise.open_points
            cells += [
                raw(f"# BEGIN QUESTION\nname: o{number}\nmanual: true\npoints: {points}"),
                asked,
                raw("# BEGIN SOLUTION"),
                markdown("By its rubric, above."),
                raw("# END SOLUTION"),
                raw("# END QUESTION"),
            ]
    return notebook(cells)


def raw(text: str) -> dict[str, Any]:
    """Return a raw cell, in which otter is told what comes."""
    return {"cell_type": "raw", "metadata": {}, "source": text}


def _tested(test: str) -> dict[str, Any]:
    """Return a cell with one of otter's tests, and what it shows if the test is passed."""
    data = {"text/plain": "True"}
    shown = {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": 1}
    return {**code(test), "outputs": [shown], "execution_count": 1}


def write(document: dict[str, Any], path: Path) -> Path:
    """Write a notebook's file, with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def nbgrader_release(chapters: Sequence[Chapter], table: dict[str, Points], to: Path) -> Path:
    """Make a course folder of nbgrader, with a source and a release of each chapter's exercises.

    Args:
        chapters: The chapters.
        table: The table of points.
        to: The course folder.

    Returns:
        The same: ``source``, ``release``, ``gradebook.db`` and ``nbgrader_config.py``.

    Raises:
        RuntimeError: Where nbgrader refuses an assignment.

    Example:
        >>> nbgrader_release(chapters, table, Path("course"))  # doctest: +SKIP
        PosixPath('course')
    """
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    for chapter in chapters:
        path = to / "source" / chapter.name / f"{chapter.name}.ipynb"
        write(nbgrader_source(chapter, table), path)
    (to / "nbgrader_config.py").write_text(COURSE, "utf-8")
    config = Config()
    config.CourseDirectory.root = str(to.resolve())
    config.ClearSolutions.code_stub = {"python": STUB}
    with quiet():
        api = NbGraderAPI(config=config)
        for chapter in chapters:
            done = api.generate_assignment(chapter.name, force=True, create=True)
            if not done["success"]:
                raise RuntimeError(
                    f"nbgrader refused {chapter.name}: {done.get('log', '')}{done['error']}"
                )
    return to


STUB = "# Your code, if it takes more than the line above."
COURSE = f'''"""A course folder of nbgrader: run its commands here."""

c = get_config()
c.CourseDirectory.course_id = "transfer_learning"
c.ClearSolutions.code_stub = {{"python": "{STUB}"}}
c.ExecutePreprocessor.timeout = 600
'''


def otter_release(chapters: Sequence[Chapter], table: dict[str, Points], to: Path) -> Path:
    """Make otter's releases: for each chapter a student's notebook and the zip that grades it.

    Args:
        chapters: The chapters.
        table: The table of points.
        to: Where to, a folder for each chapter.

    Returns:
        The same.

    Example:
        >>> otter_release(chapters, table, Path("otter"))  # doctest: +SKIP
        PosixPath('otter')
    """
    from otter.assign import main as assign

    for chapter in chapters:
        place = to / chapter.name
        master = write(otter_source(chapter, table), place / "source" / f"{chapter.name}.ipynb")
        with quiet():
            assign(str(master), str(place), no_pdfs=True, no_run_tests=True)
    return to


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let what the tools print and warn of go unseen; they find programs of this Python by name."""
    heard = io.StringIO()
    before, path = logging.root.manager.disable, os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(heard),
            contextlib.redirect_stderr(heard),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        os.environ["PATH"] = path
