"""A chapter's notebooks for students and for their instructor."""

from typing import Any

from tlhelpers.book.exercises import EXERCISES
from tlhelpers.book.kit.chapter import (
    CHECK,
    RUBRIC,
    Chapter,
    Exercise,
    is_solution,
    needed,
    source,
    statements,
    tags,
)
from tlhelpers.book.kit.points import Points, points_of
from tlhelpers.book.kit.words import plain

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a notebook of these cells, with ids that are all different.

    Args:
        cells: The cells; an id that was there already gets a number.

    Returns:
        The notebook, as its file holds it.

    Example:
        >>> [cell["id"] for cell in notebook([markdown("a"), markdown("b")])["cells"]]
        ['cell-1', 'cell-2']
    """
    seen: set[str] = set()
    for place, cell in enumerate(cells, start=1):
        chosen = cell.get("id") or f"cell-{place}"
        while chosen in seen:
            chosen = f"{chosen}-{place}"
        cell["id"] = chosen
        seen.add(chosen)
    return {
        "cells": cells,
        "metadata": {"kernelspec": KERNEL, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def markdown(text: str, **metadata: Any) -> dict[str, Any]:
    """Return a cell of text, to be put into :func:`notebook`."""
    return {"cell_type": "markdown", "metadata": metadata, "source": text}


def code(text: str, **metadata: Any) -> dict[str, Any]:
    """Return a cell of code that was not run yet, to be put into :func:`notebook`."""
    return {
        "cell_type": "code",
        "metadata": metadata,
        "source": text,
        "outputs": [],
        "execution_count": None,
    }


def student(chapter: Chapter) -> dict[str, Any]:
    """Return a chapter as students get it: no solution and no output; checks and hints stay.

    What the book hides from its readers (numbers for the prose, claims) is left out, but for what
    the cells that stay depend on.

    Args:
        chapter: The chapter.

    Returns:
        The notebook, as its file holds it.

    Example:
        >>> student(read_chapter("book/02_foundations.ipynb"))["nbformat"]  # doctest: +SKIP
        4
    """
    cells = []
    for cell in _kept(chapter):
        if not is_solution(cell):
            cells.append(_copy(cell, chapter))
        if cell["cell_type"] == "markdown" and RUBRIC.search(source(cell)):
            cells.append(markdown("*Your answer in words:*", tlhelpers={"open": True}))
    return notebook(cells)


def instructor(chapter: Chapter, table: dict[str, Points]) -> dict[str, Any]:
    """Return a chapter as its instructor gets it: solutions, outputs, points and grading notes.

    Args:
        chapter: The chapter.
        table: The table of points.

    Returns:
        The notebook, as its file holds it.

    Example:
        >>> instructor(chapter, table)["nbformat"]  # doctest: +SKIP
        4
    """
    by_id = {exercise.id: exercise for exercise in chapter.exercises}
    cells = []
    for cell in _kept(chapter):
        copied = _copy(cell, chapter)
        if cell["cell_type"] == "code":
            copied["outputs"] = [
                output
                for output in cell["outputs"]
                if "scrapbook" not in output.get("metadata", {})
            ]
            copied["execution_count"] = cell["execution_count"]
        cells.append(copied)
        if is_solution(cell):
            exercise = by_id.pop(CHECK.findall(source(cell))[0])
            cells.append(markdown(notes(exercise, table), tags=["grading-notes"]))
    cells += [
        markdown(notes(exercise, table), tags=["grading-notes"]) for exercise in by_id.values()
    ]
    return notebook(cells)


def notes(exercise: Exercise, table: dict[str, Points]) -> str:
    """Return what is to be known for grading an exercise: points, usual mistakes, the rubric.

    Args:
        exercise: The exercise.
        table: The table of points.

    Returns:
        Markdown.

    Example:
        >>> notes(Exercise("99-1", "Why?", "- 2: a reason"), {})[:26]
        '**Grading 99-1.** By hand,'
    """
    parts = []
    if exercise.solution:
        worth = points_of(table, exercise.id)
        parts.append(
            f"**Grading {exercise.id}.** {worth.most} points: {worth.form} for an answer of the "
            f"kind that was asked for, {worth.right} more for the right one, within "
            f"{worth.within:.1%} of the solution's. The check says of the right answer: "
            f"“{EXERCISES[exercise.id].praise}”"
        )
        hints = [hint for _, hint in EXERCISES[exercise.id].mistakes]
        if hints:
            parts.append("Usual mistakes get these hints:\n\n" + "\n".join(f"- {h}" for h in hints))
    if exercise.rubric:
        start = "**And by hand,**" if parts else f"**Grading {exercise.id}.** By hand,"
        parts.append(f"{start} up to {exercise.open_points} points:\n\n{exercise.rubric}")
    return "\n\n".join(parts) or f"**Grading {exercise.id}.** It has no rubric."


def _kept(chapter: Chapter) -> list[dict[str, Any]]:
    """Return the cells that a class sees, and what these depend on."""
    hidden = [cell for cell in chapter.cells if "remove-cell" in tags(cell)]
    shown = [cell for cell in chapter.cells if "remove-cell" not in tags(cell)]
    asked = "\n".join(
        one for cell in shown if cell["cell_type"] == "code" for one in statements(source(cell))
    )
    there = set(needed([source(cell) for cell in hidden], asked))
    kept = []
    for cell in chapter.cells:
        setup = cell.get("metadata", {}).get("tlhelpers", {}).get("setup")
        used = cell in hidden and there.intersection(statements(source(cell)))
        if cell not in hidden or setup:
            kept.append(cell)
        elif used:
            parts = [one for one in statements(source(cell)) if one in there]
            kept.append({**cell, "source": "\n".join(parts)})
    return kept


def _copy(cell: dict[str, Any], chapter: Chapter) -> dict[str, Any]:
    """Return a cell without outputs, its text readable outside the book, its exercise noted."""
    text = source(cell)
    if cell["cell_type"] == "markdown":
        lines = plain(text, chapter).splitlines()
        kept = "\n".join(line for line in lines if not line.startswith("[![Open in Colab]"))
        return {**markdown(kept), "id": cell["id"]}
    named = {key: value for key, value in cell["metadata"].items() if key == "tags"}
    if CHECK.search(text):
        named["tlhelpers"] = {"exercise": CHECK.findall(text)[0]}
    return {**code(text, **named), "id": cell["id"]}
