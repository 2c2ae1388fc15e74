"""Runs the answers of one returned notebook; started by grading, in a process of its own.

What was returned comes by standard input, what to do and what came of it go by two more descriptors.
Only values are handed back: they are judged elsewhere, so nothing that runs here can change a mark.
"""

import contextlib
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import tlhelpers
from tlhelpers.book import checks
from tlhelpers.book.kit.chapter import CHECK, loads, needed, source, statements, stores, tags
from tlhelpers.book.kit.sandbox import guard, limit

CALL = re.compile(r"""(?:\w+\.)?\bcheck\(\s*["']\d\d-\d+["']\s*,?""")  # all but what it is given
NOTEBOOKS_OWN = re.compile(r"\s*([%!?]|[\w.]+\?+\s*$)")  # %time, !ls, ?name, name?
MOST_VALUES, MOST_LETTERS = 10_000, 2_000


class TooLongError(BaseException):
    """An answer took too long; no ``except Exception`` of its own catches it."""


class NotGradedError(Exception):
    """A notebook can't be graded; the message says why."""


def find_answers(
    document: Any, chapters: dict[str, dict[str, Any]]
) -> tuple[str, list[tuple[str, str, bool]], list[str], list[str]]:
    """Find the answers in a returned notebook.

    Args:
        document: What its file held.
        chapters: By number: ``code`` (the chapter's cells), ``solutions``, and the ids of its
            ``exercises``.

    Returns:
        The chapter's number; for each exercise its id, its code, and whether its stored output
        claims it to be right; further cells of the student's own; and notes for the instructor.

    Raises:
        NotGradedError: Where it is no notebook, not of this book, or not in Python.

    Example:
        >>> cell = {"cell_type": "code", "source": "answer = 3", "metadata":
        ...         {"tlhelpers": {"exercise": "05-1"}}}
        >>> book = {"05": {"code": [], "solutions": [], "exercises": ["05-1"]}}
        >>> find_answers({"cells": [cell]}, book)[1]
        [('05-1', 'answer = 3', False)]
    """
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        raise NotGradedError("it is no notebook of version 4: it has no cells")
    metadata = document.get("metadata") or {}
    spoken = (metadata.get("language_info") or {}).get("name") or ""
    spoken = (metadata.get("kernelspec") or {}).get("language") or spoken or "python"
    if str(spoken).lower() not in ("python", "python3", "ipython"):
        raise NotGradedError(f"its kernel speaks {str(spoken)[:30]}, and answers are in Python")
    found: dict[str, list[tuple[str, bool]]] = {}
    own, seen, repeated = [], set(), False
    above: list[str] = []
    known = {text for chapter in chapters.values() for text in chapter["code"]}
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
        named = CHECK.findall(text) or [(cell["metadata"].get("tlhelpers") or {}).get("exercise")]
        for name in map(str, filter(None, dict.fromkeys(named))):  # one cell may answer several
            shown = json.dumps(cell.get("outputs", []), ensure_ascii=False)[:100_000]
            claims = f"✓ {name}" in shown
            texts = found.setdefault(name, [])
            if only_checks(text):  # the answer stands in a cell above it, its own or not
                given = [one for one in texts if not is_stub(one[0])][-1:]
                texts[:] = [one for one in texts if one not in given]
                texts.append(("\n".join([*([one for one, _ in given] or above), text]), claims))
            else:
                texts.append((text, claims))
        if named[0]:
            above = []
        elif text not in known:
            own.append(text)
            above += [text] if "answer = " in text else []
    numbers = [exercise[:2] for exercise in found if exercise[:2] in chapters]
    if not numbers:
        raise NotGradedError("it holds no exercise of this book")
    number = max(set(numbers), key=numbers.count)
    notes = ["cells with the same id"] if repeated else []
    others = sorted(set(found).difference(chapters[number]["exercises"]))
    notes += [f"{exercise[:20]} is not of this chapter" for exercise in others[:3]]
    answers = []
    for exercise in sorted(set(found).difference(others)):
        texts = found[exercise]
        given = [one for one in texts if not is_stub(one[0])] or texts
        if len(given) > 1:
            notes.append(f"{exercise} stands there {len(given)} times: the last counts")
        answers.append((exercise, *given[-1]))
    return number, answers, own, notes


def is_stub(text: str) -> bool:
    """Tell whether an answer's cell is as it was handed out."""
    return bool(re.fullmatch(r"answer = \.\.\.\s*(tl\.check\([^)]*\)\s*)?", text.strip()))


def only_checks(text: str) -> bool:
    """Tell whether a cell asks what is said of ``answer``, and sets nothing itself."""
    lines = statements(plain_python(text))
    asked = [line for line in lines if "answer" in loads(compile(line, "<answer>", "exec"))]
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
        job: ``chapters``, and ``seconds`` for each exercise; ``skip``, exercises to leave out;
            ``solutions`` of the chapter ``number`` where those are to be run.
        document: The returned notebook; not used for solutions.
        tell: Called with what is known: ``chapter``, ``notes``, ``begun``, then ``exercise`` with
            ``answer`` or ``error``.

    Example:
        >>> run(job, document, print)  # doctest: +SKIP
    """
    chapters = job["chapters"]
    own: list[str] = []
    if "solutions" in job:
        number = job["number"]
        answers = [(exercise, text, False) for exercise, text in job["solutions"]]
    else:
        number, answers, own, notes = find_answers(document, chapters)
        tell(chapter=number, notes=notes)
    program = [*chapters[number]["code"], *map(plain_python, own)]
    recorded = _record_checks()
    namespace: dict[str, Any] = {"__name__": "__main__", "tl": tlhelpers, "check": checks.check}
    namespace["display"] = lambda *_, **__: None  # notebooks have it from IPython
    done: set[str] = set()
    signal.signal(signal.SIGALRM, _too_long)
    for exercise, text, claims in answers:
        if exercise in job["skip"]:
            continue
        tell(begun=exercise)
        said: dict[str, Any] = {"exercise": exercise, "claims": claims}
        try:
            signal.setitimer(signal.ITIMER_REAL, job["seconds"])
            cell = compile(plain_python(text), f"<{exercise}>", "exec")
            for statement in needed(program, CALL.sub("(", plain_python(text))):
                if statement not in done:
                    exec(compile(statement, "<chapter>", "exec"), namespace)
                    done.add(statement)
            namespace["answer"] = None
            recorded.clear()
            exec(cell, namespace)
            answer = recorded.get(exercise, namespace.get("answer"))
            said["answer"] = simple(answer)
        except TooLongError:
            said["error"] = f"stopped after {job['seconds']:g} s"
        except MemoryError:
            said["error"] = "needed more memory than there is for one notebook"
        except BaseException as error:  # the student's code raises what it likes, SystemExit too
            line = traceback.format_exception_only(type(error), error)[-1].strip()
            said["error"] = line[:200]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        tell(**said)
        if said.get("error", "").startswith("stopped"):
            os._exit(0)  # a module may be half imported: the rest runs in another process
        program.append(plain_python(text))
        done.update(statements(plain_python(text)))


def _record_checks() -> dict[str, Any]:
    """Let ``tl.check`` note what it is given, whatever the variable is called."""
    judge, recorded = checks.check, {}

    def check(exercise: str, answer: Any = None) -> Any:
        """Note the answer, and judge it as ever."""
        recorded[exercise] = answer
        return judge(exercise, answer)

    checks.check = check
    tlhelpers.__dict__["check"] = check
    return recorded


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
                document = json.loads(sys.stdin.buffer.read())
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
