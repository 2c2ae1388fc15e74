"""A chapter as a class uses it: its exercises, each with its solution, and the code they need."""

import ast
import builtins
import dis
import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

EXERCISE = re.compile(r"^\*\*(\d+)\.\*\* ", re.M)
CHECK = re.compile(r"""\bcheck\(\s*["'](\d\d-\d+)["']""")
RUBRIC = re.compile(r"^:::\{admonition\}[^\n]*\n:class: rubric[^\n]*\n(.*?)^:::$", re.M | re.S)


@dataclass(frozen=True)
class Exercise:
    """An exercise of a chapter.

    Attributes:
        id: Chapter and number, such as ``"05-1"``.
        question: Its text in Markdown.
        rubric: How an open question is marked: lines such as ``- 2: a fair baseline``.
        solution: Code that sets ``answer``, without its check; empty where there is none.
        shown: What the solution showed when the chapter was last executed.
    """

    id: str
    question: str
    rubric: str = ""
    solution: str = ""
    shown: str = ""

    @property
    def open_points(self) -> int:
        """Points that the rubric gives: the sum of what its lines begin with."""
        return sum(map(int, re.findall(r"^- (\d+):", self.rubric, re.M)))


@dataclass(frozen=True)
class Chapter:
    """A chapter's notebook.

    Attributes:
        name: Its file's name without the suffix, such as ``"05_cats_dogs_vgg16"``.
        cells: Its cells as they are stored.
        exercises: Its exercises, in order.
        folder: The book's folder. Defaults to the working folder.
    """

    name: str
    cells: list[dict[str, Any]]
    exercises: tuple[Exercise, ...]
    folder: Path = Path()

    @property
    def title(self) -> str:
        """The chapter's heading."""
        return source(self.cells[0]).partition("\n")[0].lstrip("# ")

    @property
    def code(self) -> list[str]:
        """What its code cells say, but for those of the exercises."""
        cells = [cell for cell in self.cells if cell["cell_type"] == "code"]
        return [source(cell) for cell in cells if not CHECK.search(source(cell))]


def source(cell: dict[str, Any]) -> str:
    """Return what a cell says; files hold it as a text or as a list of lines."""
    return "".join(cell["source"])


def tags(cell: dict[str, Any]) -> list[str]:
    """Return a cell's tags."""
    return list(cell.get("metadata", {}).get("tags", []))


def is_solution(cell: dict[str, Any]) -> bool:
    """Tell whether a cell holds an exercise's solution."""
    folded = cell["cell_type"] == "code" and "hide-cell" in tags(cell)
    return folded and bool(CHECK.search(source(cell)))


def read_chapter(path: str | Path) -> Chapter:
    """Read a chapter and pair its exercises with their solutions.

    An exercise is a paragraph below the heading "Exercises" that begins with its number
    (``**1.** ``). Its check names it (``tl.check("05-1", answer)``), once in the cell to be filled
    in and once in the folded cell with the solution. An open one has a rubric instead, or too: an
    admonition of class ``rubric`` whose lines begin with their points (``- 2: a fair baseline``).
    One with neither is open too, for no points.

    Args:
        path: The notebook.

    Returns:
        The chapter.

    Raises:
        ValueError: Where a check names no exercise.

    Example:
        >>> read_chapter("book/05_cats_dogs_vgg16.ipynb").exercises[0].id  # doctest: +SKIP
        '05-1'
    """
    path = Path(path)
    cells = json.loads(path.read_text("utf-8"))["cells"]
    texts = [source(cell) for cell in cells if cell["cell_type"] == "markdown"]
    section = "\n\n".join(texts).partition("\n## Exercises\n")[2].partition("\n## ")[0]
    parts = EXERCISE.split(section)
    solutions = {}
    for cell in filter(is_solution, cells):
        code = source(cell)
        solutions[CHECK.findall(code)[0]] = (without_check(code), shown(cell))
    exercises = []
    for number, text in zip(parts[1::2], parts[2::2], strict=True):
        exercise = f"{path.stem[:2]}-{number}"
        rubric = "\n\n".join(found.strip() for found in RUBRIC.findall(text))
        solution = solutions.pop(exercise, ("", ""))
        exercises.append(Exercise(exercise, RUBRIC.sub("", text).strip(), rubric, *solution))
    if solutions:
        raise ValueError(
            f"A check names the exercise above it. Received: {', '.join(solutions)} of "
            f"{path.name}, which has no such exercise."
        )
    return Chapter(path.stem, cells, tuple(exercises), path.parent)


def without_check(code: str) -> str:
    """Return a solution's code without its first comment and without its check."""
    kept = [line for line in code.splitlines() if not CHECK.search(line)]
    return "\n".join(kept[bool(kept) and kept[0].startswith("# Solution") :]).strip()


def shown(cell: dict[str, Any]) -> str:
    """Return the text that a cell showed when the chapter was executed."""
    found = []
    for output in cell.get("outputs", []):
        found.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "".join("".join(text) for text in found).strip()


def needed(program: Iterable[str], wanted: str) -> list[str]:
    """Return the statements of a program on which a piece of code depends, in their order.

    What a statement stores counts, what it puts into something (``table[1] = 2``), and what it calls
    a method of (``head.fit(x, y)``), since that may change it. Cells that are no plain Python, as
    with ``%pip``, are left out.

    Args:
        program: The cells before it.
        wanted: The code.

    Returns:
        The statements.

    Example:
        >>> needed(["import math\\nimport re", "n = 2\\nm = 3"], "answer = math.sqrt(n)")
        ['import math', 'n = 2']
    """
    return [statement for _, statement in needed_places(list(program), wanted)]


def needed_places(
    program: list[str], wanted: str, own: Container[int] = ()
) -> list[tuple[tuple[int, int], str]]:
    """Return what :func:`needed` does, each statement with the numbers of its cell and in it.

    In cells that are a student's ``own``, given by their numbers, a call may change whatever it is
    given. The book's cells are written otherwise: a call that returns nothing there draws or prints.
    """
    placed = [
        ((cell, place), statement)
        for cell, text in enumerate(program)
        for place, statement in enumerate(statements(text))
    ]
    effects = _effects(statement for _, statement in placed)
    names: set[str] = set()
    for statement in reversed(statements(wanted)):
        names = _before(statement, names)
    kept = []
    for key, statement in reversed(placed):
        touched = stores(statement) | changed(statement, effects if key[0] in own else None)
        if names & touched or IMPORTS_ALL.match(statement):
            kept.append((key, statement))
            names = _before(statement, names)
    return kept[::-1]


def _effects(program: Iterable[str]) -> dict[str, set[str]]:
    """Return, for each function of a program, the global names that it sets or changes."""
    effects: dict[str, set[str]] = {}
    for statement in program:
        first = ast.parse(statement).body[0]
        for code in compiled(statement).co_consts:
            if isinstance(first, ast.FunctionDef) and getattr(code, "co_name", "") == first.name:
                steps = dis.get_instructions(code)
                own = {step.argval for step in steps if step.opname == "STORE_GLOBAL"}
                own |= changed(statement) - set(code.co_varnames)
                effects[first.name] = own.union(*(effects.get(one, ()) for one in loads(code)))
    return effects


def _before(statement: str, names: set[str]) -> set[str]:
    """Return what must be there before a statement, so that it runs and leaves certain names."""
    first = ast.parse(statement).body[0]
    stored, loaded = stores(statement), loads(compiled(statement))
    # A name that is set anew needs nothing earlier; nor does one set and used inside a block.
    kept = names if isinstance(first, MAYBE) else names - stored
    return kept | (loaded - stored if isinstance(first, BLOCKS) else loaded)


def statements(cell: str) -> list[str]:
    """Return the statements of a cell, each with the comments at its lines; none if it can't run."""
    try:
        body = ast.parse(cell).body
        compiled(cell)  # finds what parsing doesn't, such as a stray return
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    lines = cell.splitlines()
    starts = [
        min([one.lineno, *(each.lineno for each in getattr(one, "decorator_list", []))])
        for one in body
    ]
    return [
        "\n".join(lines[start - 1 : one.end_lineno])
        for start, one in zip(starts, body, strict=True)
    ]


def compiled(text: str) -> CodeType:
    """Compile code as a notebook does, which may await outside of functions."""
    return compile(text, "<chapter>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def loads(code: CodeType) -> set[str]:
    """Return the global names that compiled code looks up, its functions included."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname in LOOKUPS}
    for part in code.co_consts:
        if isinstance(part, CodeType):
            found |= loads(part)
    return found


def stores(statement: str) -> set[str]:
    """Return the names that a statement sets."""
    steps = dis.get_instructions(compiled(statement))
    return {step.argval for step in steps if step.opname in ("STORE_NAME", "STORE_GLOBAL")}


LOOKUPS = ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS")
BLOCKS = (ast.With, ast.For, ast.FunctionDef, ast.ClassDef, ast.Try, ast.If, ast.While)
MAYBE = (ast.AugAssign, ast.For, ast.While, ast.If, ast.Try)  # these may leave a name as it was
MODULES = {"tl", "plt", "plots", "np"}  # their calls that return nothing draw, print or note
HARMLESS = {*dir(builtins), "display"} - {"next", "setattr", "delattr", "exec"}
IMPORTS_ALL = re.compile(r"from\s.*\simport\s*\*")  # what it sets is not known


def changed(statement: str, effects: Mapping[str, set[str]] | None = None) -> set[str]:
    """Return the names of which a statement sets a part, or calls a method for its effect.

    With ``effects``, the global names that each function changes, calls of functions count too.
    """
    found, tree = set(), ast.parse(statement)
    if effects is not None and not isinstance(tree.body[0], ast.FunctionDef | ast.ClassDef):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found |= effects.get(node.func.id, set())
                if node.func.id not in HARMLESS:
                    given = [*node.args, *(one.value for one in node.keywords)]
                    found |= set().union(*map(_owners, given)) - MODULES
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found |= _owners(node)
        elif isinstance(node, ast.Expr | ast.Assign) and isinstance(node.value, ast.Call):
            called = node.value.func
            if isinstance(called, ast.Attribute) and called.attr == "setup":
                found |= _owners(called)
            elif isinstance(called, ast.Attribute) and isinstance(node, ast.Expr):
                found |= _owners(called) - MODULES
    for node in ast.walk(tree):
        if isinstance(node, ast.For):
            for name, through in _run_through(node.target, node.iter):
                found |= _owners(through) if name in found else set()
    return found


def _owners(part: ast.expr) -> set[str]:
    """Return the names that a part belongs to: ``a`` of ``a[0].b``, ``a.get(1)`` and ``list(a)``."""
    while isinstance(part, ast.Subscript | ast.Attribute):
        part = part.value
    if isinstance(part, ast.Call):
        owned = [part.func] if isinstance(part.func, ast.Attribute) else part.args
        return set().union(*map(_owners, owned))
    return {part.id} if isinstance(part, ast.Name) else set()


def _run_through(target: ast.expr, through: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Pair a loop's variables with what each runs through, ``zip`` and ``enumerate`` taken apart."""
    if isinstance(target, ast.Name):
        yield target.id, through
    elif isinstance(target, ast.Tuple):
        given = [through] * len(target.elts)
        if isinstance(through, ast.Call) and isinstance(through.func, ast.Name):
            given = through.args
        for one, its in zip(target.elts[-len(given) :], given, strict=False):
            yield from _run_through(one, its)
