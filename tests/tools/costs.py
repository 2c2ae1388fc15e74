"""What a chapter costs its reader: measured when its outputs are made, shown on the first page."""

import json
import re
from pathlib import Path
from typing import Any

import nbformat

WORDS_A_MINUTE = 150  # of prose, formulas and figures to be understood; a novel takes 240
SECONDS_A_LINE = 4  # of code
UNSEEN = {"remove-cell", "remove-input", "hide-cell"}  # tags of cells whose code is not shown
KEPT_WITHIN = 0.2  # a new measurement this near the stored one leaves it as it is,
ALWAYS_KEPT = 5.0  # and so does one that differs by a few seconds
ROW = re.compile(r"^\| \[\]\((\w+)\.ipynb\) \|")
BEGIN = re.compile(r"(\[Begin with the first chapter\]\()\w+(\.ipynb\))")
COLUMNS = 2  # written by hand in each row: the chapter, and what it settles
READING = re.compile(r"\b(?:about )?\d+ minutes to read\b")


def minutes_to_read(notebook: nbformat.NotebookNode) -> int:
    """Estimate the minutes it takes to read a chapter, in steps of five."""
    words = lines = 0
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            words += len(re.findall(r"\w[\w'’.,-]*", re.sub(r"\{\w+(:\w+)?\}|`", " ", cell.source)))
        elif cell.cell_type == "code" and not UNSEEN & set(tags):
            lines += sum(bool(line.strip()) for line in cell.source.splitlines())
    minutes = words / WORDS_A_MINUTE + lines * SECONDS_A_LINE / 60
    return max(5, 5 * round(minutes / 5))


def write_minutes(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Put the minutes into the box where a chapter says how long it takes."""
    minutes = f"about {minutes_to_read(notebook)} minutes to read"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = READING.sub(minutes, cell.source)
    return notebook


def near(value: float, stored: float | None) -> bool:
    """Tell whether a new measurement leaves the stored one as it is."""
    return stored is None or abs(value - stored) <= max(ALWAYS_KEPT, KEPT_WITHIN * stored)


def read(book: Path) -> dict[str, dict[str, Any]]:
    """Read the measured costs of a book's chapters."""
    path = book / "_data" / "chapters.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def record(book: Path, name: str, seconds: float, peak_memory_mb: float, minutes: int) -> None:
    """Store what a chapter cost, unless little has changed, and write it into the first page."""
    costs = read(book)
    before = costs.get(name, {})
    fresh = {"seconds": round(seconds), "peak_memory_mb": 10 * round(peak_memory_mb / 10)}
    for key, value in fresh.items():
        old = before.get(key)
        if old and near(value, old):
            fresh[key] = old
    costs[name] = fresh | {"minutes_to_read": minutes}
    path = book / "_data" / "chapters.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(costs, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    write_table(book)


def write_table(book: Path) -> bool:
    """Write the costs into the rows of the first page's table; tell whether it changed."""
    page = book / "index.md"
    text = page.read_text(encoding="utf-8")
    fresh = with_costs(text, read(book))
    if fresh != text:
        page.write_text(fresh, encoding="utf-8")
    return fresh != text


def with_costs(page: str, costs: dict[str, dict[str, Any]]) -> str:
    """Return a page whose table rows end with what their chapters cost, and whose link begins there."""
    lines = []
    first = None
    for line in page.splitlines(keepends=True):
        found = ROW.match(line)
        if found:
            first = first or found[1]
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")][:COLUMNS]
            line = f"| {' | '.join([*cells, *cost_cells(costs.get(found[1]))])} |\n"
        lines.append(line)
    page = "".join(lines)
    return BEGIN.sub(rf"\g<1>{first}\g<2>", page) if first else page


def cost_cells(cost: dict[str, Any] | None) -> list[str]:
    """Return what stands in a chapter's row: minutes to read, time to run, memory."""
    if cost is None:
        return ["", "", ""]
    seconds = cost["seconds"]
    run = f"{seconds} s" if seconds < 100 else f"{seconds / 60:.1f} min"
    memory = f"{cost['peak_memory_mb'] / 1024:.1f} GiB"
    return [f"{cost['minutes_to_read']} min", run, memory]
