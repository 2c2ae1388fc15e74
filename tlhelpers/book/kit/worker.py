"""Runs the answers of one returned notebook; started by grading, in a process of its own.

What was returned comes by standard input, what to do and what came of it go by two more descriptors.
Only values are handed back: they are judged elsewhere, so nothing that runs here can change a mark.
"""

import asyncio
import contextlib
import inspect
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import tlhelpers
from tlhelpers.book import checks
from tlhelpers.book.kit.chapter import (
    CHECK,
    compiled,
    loads,
    needed_places,
    source,
    statements,
    stores,
    tags,
)
from tlhelpers.book.kit.sandbox import guard, limit

CALL = re.compile(r"""(?:\w+\.)?\bcheck\(\s*["']\d\d-\d+["']\s*,?""")  # all but what it is given
COMMENT = re.compile(r"""^([^"'#\n]*)#.*""", re.M)
NOTEBOOKS_OWN = re.compile(  # %time, !ls, ?name, name?, out = !ls
    r"\s*([%!?]|[\w.]+\?+\s*$|[\w, ]+=\s*(!|%\w))"
)
MOST_VALUES, MOST_LETTERS = 10_000, 2_000


class TooLongError(BaseException):
    """An answer took too long; no ``except Exception`` of its own catches it."""


class NotGradedError(Exception):
    """A notebook can't be graded; the message says why."""


@dataclass(frozen=True)
class Given:
    """An answer: the exercise, its code, whether its stored output claims it right, its place."""

    exercise: str
    text: str
    claims: bool
    place: int


def find_answers(
    document: Any, chapters: dict[str, dict[str, Any]]
) -> tuple[str, list[Given], list[tuple[str, bool]], list[str]]:
    """Find the answers in a returned notebook.

    Args:
        document: What its file held.
        chapters: By number: ``code`` (the chapter's cells), ``solutions``, and the ids of its
            ``exercises``.

    Returns:
        The chapter's number; the answers, from the top down; all cells, each with whether it is
        the student's own, the chapter's put where they stand or belong; and notes for the
        instructor.

    Raises:
        NotGradedError: Where it is no notebook, not of this book, or not in Python.

    Example:
        >>> cell = {"cell_type": "code", "source": "answer = 3", "metadata":
        ...         {"tlhelpers": {"exercise": "05-1"}}}
        >>> book = {"05": {"code": ["import re"], "solutions": [], "exercises": ["05-1"]}}
        >>> find_answers({"cells": [cell]}, book)[1]
        [Given(exercise='05-1', text='answer = 3', claims=False, place=1)]
    """
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        raise NotGradedError("it is no notebook of version 4: it has no cells")
    metadata = document.get("metadata") or {}
    spoken = (metadata.get("language_info") or {}).get("name") or ""
    spoken = (metadata.get("kernelspec") or {}).get("language") or spoken or "python"
    if str(spoken).lower() not in ("python", "python3", "ipython"):
        raise NotGradedError(f"its kernel speaks {str(spoken)[:30]}, and answers are in Python")
    found: dict[str, list[Given]] = {}
    cells: list[str] = []
    seen, repeated, stray = set(), False, False
    above: list[int] = []
    solutions = {text for chapter in chapters.values() for text in chapter["solutions"]}
    for cell in document["cells"]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        cell.setdefault("metadata", {})
        repeated |= cell.get("id") is not None and cell["id"] in seen
        seen.add(cell.get("id"))
        text = source(cell)
        if text in solutions and "hide-cell" in tags(cell):
            continue  # the book's own, in a chapter that was returned whole
        place = len(cells)
        named = CHECK.findall(COMMENT.sub(r"\1", text))
        named = named or [(cell["metadata"].get("tlhelpers") or {}).get("exercise")]
        names = list(map(str, filter(None, dict.fromkeys(named))))
        whole = text
        if names and only_checks(text):  # the answer stands in a cell above it, its own or not
            earlier = [one for one in found.get(names[0], []) if not is_stub(one.text)][-1:]
            found[names[0]] = [one for one in found.get(names[0], []) if one not in earlier]
            places = [one.place for one in earlier] or above
            whole = "\n".join([*(cells[one] for one in places), text])
            for one in places:  # run once, with its check
                cells[one] = ""
        for name in names:  # one cell may answer several
            shown = json.dumps(cell.get("outputs", []), ensure_ascii=False)[:100_000]
            found.setdefault(name, []).append(Given(name, whole, f"✓ {name}" in shown, place))
        if names:
            stray |= bool(above) and whole is text
            above = []
        elif any("answer" in stores(line) for line in statements(plain_python(text))):
            above.append(place)
        cells.append(whole)
    numbers = [exercise[:2] for exercise in found if exercise[:2] in chapters]
    if not numbers:
        raise NotGradedError("it holds no exercise of this book")
    written = [
        name[:2] for name, each in found.items() if any(not is_stub(one.text) for one in each)
    ]
    number = max(sorted(set(numbers)), key=lambda one: (written.count(one), numbers.count(one)))
    notes = ["cells with the same id"] if repeated else []
    others = sorted(set(found).difference(chapters[number]["exercises"]))
    notes += [f"{exercise[:20]} is not of this chapter" for exercise in others[:3]]
    program, moved = _placed(cells, chapters[number]["code"])
    answers = []
    for exercise in sorted(set(found).difference(others)):
        every = found[exercise]
        given = [one for one in every if not is_stub(one.text)] or every
        if len(given) > 1:
            notes.append(f"{exercise} stands there {len(given)} times: the last counts")
        answers.append(replace(given[-1], place=moved[given[-1].place]))
    if (stray or above) and any(is_stub(one.text) for one in answers):
        notes.append("a cell of its own sets answer, and stands at no exercise's check")
    return number, sorted(answers, key=lambda one: one.place), program, notes


def _placed(cells: list[str], code: list[str]) -> tuple[list[tuple[str, bool]], list[int]]:
    """Put a chapter's cells among a student's: where they stand there, or belong if they don't."""
    program: list[tuple[str, bool]] = []
    moved, rest = [], list(code)
    for place, text in enumerate(cells):
        later = set(cells[place:])
        while rest and rest[0] not in later:
            program.append((rest.pop(0), False))
        if text in rest:
            count = rest.index(text) + 1
            program += [(one, False) for one in rest[:count]]
            del rest[:count]
            moved.append(len(program) - 1)
        else:
            moved.append(len(program))
            program.append(("" if text in code else text, True))
    return program + [(one, False) for one in rest], moved


def is_stub(text: str) -> bool:
    """Tell whether an answer's cell is as it was handed out."""
    return bool(re.fullmatch(r"answer = \.\.\.\s*(tl\.check\([^)]*\)\s*)?", text.strip()))


def only_checks(text: str) -> bool:
    """Tell whether a cell asks what is said of ``answer``, and sets nothing itself."""
    lines = statements(plain_python(text))
    asked = [line for line in lines if "answer" in loads(compiled(line))]
    return bool(asked) and not any(map(stores, lines))


def plain_python(text: str) -> str:
    """Return a cell's code without the lines that only a notebook understands."""
    if statements(text):
        return text
    return "\n".join(line for line in text.splitlines() if not NOTEBOOKS_OWN.match(line))


def simple(answer: Any) -> Any:
    """Return an answer as JSON can hold it: numbers, words, lists and dictionaries of them.

    Args:
        answer: What the student's code made.

    Returns:
        The same in plain types; what has no such form becomes its type's name in brackets.

    Example:
        >>> import numpy as np
        >>> simple((np.float32(0.5), "a"))
        [0.5, 'a']
    """
    if answer is None or answer is Ellipsis:
        return None
    if type(answer) in (bool, float) or (type(answer) is int and answer.bit_length() < 1_000):
        return answer
    if isinstance(answer, str):
        return str(answer)[:MOST_LETTERS]
    if isinstance(answer, dict):
        return {str(key): simple(value) for key, value in list(answer.items())[:MOST_VALUES]}
    if isinstance(answer, list | tuple):
        return [simple(value) for value in answer[:MOST_VALUES]]
    with contextlib.suppress(Exception):
        import numpy as np

        values = np.asarray(answer)
        if values.dtype != object and values.size <= MOST_VALUES:
            return values.tolist()
    return f"<{type(answer).__name__}>"


def run(job: dict[str, Any], document: Any, tell: Callable[..., None]) -> None:
    """Run a notebook's answers, or the solutions that the job names, and tell what each gives.

    Args:
        job: ``chapters``, and ``seconds`` for each exercise; ``skip``, exercises to leave out, and
            ``broken``, those of them whose code never ended; ``solutions`` of the chapter
            ``number`` where those are to be run.
        document: The returned notebook; not used for solutions.
        tell: Called with what is known: ``chapter``, ``notes``, ``begun``, then ``exercise`` with
            ``answer`` or ``error``.

    Example:
        >>> run(job, document, print)  # doctest: +SKIP
    """
    chapters = job["chapters"]
    if "solutions" in job:
        number = job["number"]
        program = [(text, False) for text in chapters[number]["code"]]
        answers = [
            Given(exercise, text, False, len(program) + place)
            for place, (exercise, text) in enumerate(job["solutions"])
        ]
        program += [(text, False) for _, text in job["solutions"]]
    else:
        number, answers, program, notes = find_answers(document, chapters)
        tell(chapter=number, notes=notes, found=[one.exercise for one in answers])
    broken = {one.place for one in answers if one.exercise in job["broken"]}
    cells = ["" if n in broken else plain_python(text) for n, (text, _) in enumerate(program)]
    own = {place for place, (_, mine) in enumerate(program) if mine}
    scratch = {place for place in own if cells[place]} - {one.place for one in answers}
    judge, recorded = _record_checks()
    notebook = _Notebook(cells, own)
    signal.signal(signal.SIGALRM, _too_long)
    for given in answers:
        if given.exercise in job["skip"]:
            continue
        tell(begun=given.exercise)
        tries = [("", notebook.before)]
        if any(place > given.place for place in scratch):
            tries.append(("it needs cells that stand below it", _Notebook(cells, own).around))
        if any(place < given.place for place in scratch):
            tries.append(("with all cells above it run in order", _Notebook(cells, own).whole))
        left = job["seconds"]
        for note, prepare in tries[: 1 if is_stub(given.text) else None]:
            said, left = _run_one(given, prepare, recorded, left)
            if left <= 0:
                said["error"] = f"stopped after {job['seconds']:g} s"
            tell(**({"note": note} if note else {}) | said)
            if left <= 0:
                os._exit(0)  # a module may be half imported: the rest runs in another process
            with contextlib.suppress(Exception):
                if judge(given.exercise, said.get("answer")):
                    break
        notebook.done.update((given.place, n) for n in range(len(statements(cells[given.place]))))


class _Notebook:
    """Names as a notebook has them, and which statements of its cells made them."""

    def __init__(self, cells: list[str], own: set[int]) -> None:
        """Begin with no cell run."""
        self.cells, self.own = cells, own
        self.done: set[tuple[int, int]] = set()
        self.names: dict[str, Any] = {
            "__name__": "__main__",
            "tl": tlhelpers,
            "check": checks.check,
        }
        self.names["display"] = lambda *_, **__: None  # notebooks have it from IPython

    def before(self, given: Given) -> dict[str, Any]:
        """Run what an answer needs of the cells above it."""
        return self._needed(given, self.cells[: given.place])

    def around(self, given: Given) -> dict[str, Any]:
        """Run what an answer needs of all other cells, those below it too."""
        return self._needed(given, [*self.cells[: given.place], "", *self.cells[given.place + 1 :]])

    def _needed(self, given: Given, cells: list[str]) -> dict[str, Any]:
        """Run what an answer needs of some cells."""
        wanted = CALL.sub("(", plain_python(given.text))
        for key, statement in needed_places(cells, wanted, self.own):
            if key not in self.done:
                execute(statement, self.names)
                self.done.add(key)
        return self.names

    def whole(self, given: Given) -> dict[str, Any]:
        """Run all own cells above an answer, and what they and it need of the chapter's."""
        cells = self.cells[: given.place]
        own = [cells[one] for one in sorted(self.own) if one < given.place]
        wanted = "\n".join([*filter(statements, own), plain_python(given.text)])
        used = {key for key, _ in needed_places(cells, CALL.sub("(", wanted), self.own)}
        for cell, text in enumerate(cells):
            for number, statement in enumerate(statements(text)):
                if cell in self.own:
                    try:
                        execute(statement, self.names)
                    except (Exception, SystemExit):
                        break  # a notebook goes on with the next cell
                elif (cell, number) in used:
                    execute(statement, self.names)
        return self.names


def execute(text: str, names: dict[str, Any]) -> None:
    """Run code as a notebook does, which may await outside of functions."""
    code = compiled(text)
    waiting = eval(code, names)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(waiting)


def _run_one(
    given: Given,
    prepare: Callable[[Given], dict[str, Any]],
    recorded: dict[str, list[Any]],
    seconds: float,
) -> tuple[dict[str, Any], float]:
    """Run an answer after what it needs; return what it gives, and the seconds left (0: too long)."""
    said: dict[str, Any] = {"exercise": given.exercise, "claims": given.claims}
    said["written"] = not is_stub(given.text)
    names: dict[str, Any] = {}
    left, why = 0.0, ""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        cell = plain_python(given.text)
        compiled(cell)  # what can't run needs nothing
        names = prepare(given)
        names["answer"] = None
        recorded.clear()
        execute(cell, names)
        said["answer"] = _chosen(names.get("answer"), recorded.get(given.exercise, []))
    except TooLongError:
        seconds = 0
    except MemoryError:
        why = "needed more memory than there is for one notebook"
    except BaseException as error:  # the student's code raises what it likes, SystemExit too
        why = traceback.format_exception_only(type(error), error)[-1].strip()[:200]
    finally:
        left = signal.setitimer(signal.ITIMER_REAL, 0)[0]
    if why:
        said["error"] = why
        with contextlib.suppress(Exception):
            if names and recorded.get(given.exercise):  # it was checked before that
                said["answer"] = _chosen(names.get("answer"), recorded[given.exercise])
                said["note"] = f"after its check: {said.pop('error')}"
    return said, left if seconds else 0


def _chosen(answer: Any, recorded: list[Any]) -> Any:
    """Choose what counts: ``answer``, if it was checked, or else what was checked last."""
    values = list(map(simple, recorded))
    return simple(answer) if not values or simple(answer) in values else values[-1]


def _record_checks() -> tuple[Callable[..., Any], dict[str, list[Any]]]:
    """Let ``tl.check`` note what it is given, whatever the variable is called."""
    judge = checks.check
    recorded: dict[str, list[Any]] = {}

    def check(exercise: str, answer: Any = None) -> Any:
        """Note the answer, and judge it as ever."""
        kept = recorded.setdefault(exercise, [])
        del kept[1_000:]
        kept.append(answer)
        return judge(exercise, answer)

    checks.check = check
    tlhelpers.__dict__["check"] = check
    return judge, recorded


def _too_long(*_: Any) -> None:
    """Stop what runs."""
    raise TooLongError


def main() -> None:
    """Do one job: read it, shut the doors, run, and tell."""
    job_file, result_file = map(int, sys.argv[1:3])
    with os.fdopen(job_file) as file:
        job = json.load(file)
    results = os.fdopen(result_file, "w")

    def tell(**said: Any) -> None:
        """Hand back one line."""
        results.write(json.dumps(said) + "\n")
        results.flush()

    limit(job["memory_gb"], job["cpu_seconds"])
    guard(job["work"], job["hidden"])
    try:
        document = None
        if "solutions" not in job:
            try:
                content = sys.stdin.buffer.read()
                if not content.strip():
                    raise NotGradedError("it is empty")
                document = json.loads(content)
            except (ValueError, RecursionError) as error:
                raise NotGradedError(f"it is not JSON ({str(error)[:80]})") from None
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        run(job, document, tell)
    except NotGradedError as error:
        tell(failed=str(error))
    except MemoryError:
        tell(failed="it is larger than the memory for one notebook")
    except Exception as error:  # a file made to be unreadable
        tell(failed=f"it can't be read ({type(error).__name__}: {str(error)[:80]})")
    tell(ended=True)
    os._exit(0)  # threads and exit handlers of the student's don't matter any more


if __name__ == "__main__":
    main()
