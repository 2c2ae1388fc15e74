"""A book of one small chapter with exercises, and its notebook as students return it."""

import copy
import json
import shutil

from building import BOOK

from tlhelpers.book.kit.handouts import code, markdown, notebook

RUBRIC = """:::{admonition} Points
:class: rubric

- 2: named, and as carefully tuned
- 2: a limit, and what would show it
:::"""
RIGHT = {"02-1": "266_610", "02-2": "3910", "02-3": "94"}
WRONG = {
    "02-1": "266_200",
    "02-2": "391",
    "02-3": "97",
}  # what tests/book/exercise_cases calls usual
SOLUTIONS = {
    "02-1": "answer = (PIXELS + 1) * 300 + 301 * 100 + 101 * 10",
    "02-2": "steps.append(-(-50_000 // 128))\nanswer = 10 * steps[-1]",
    "02-3": "answer = 94",
}


def shown(text):
    return [{"output_type": "stream", "name": "stdout", "text": text}]


def exercise(number, question):
    name = f"02-{number}"
    asked = {**code(f'answer = ...\ntl.check("{name}", answer)'), "outputs": shown("✗ no answer")}
    solved = code(f'# Solution\n{SOLUTIONS[name]}\ntl.check("{name}", answer)', tags=["hide-cell"])
    return [markdown(f"**{number}.** {question}"), asked, {**solved, "outputs": shown(f"✓ {name}")}]


def small_book(folder):
    """Write the book; its chapter hides a helper, a glued number and a claim, as chapters do."""
    book = folder / "book"
    (book / "_data").mkdir(parents=True)
    shutil.copy(BOOK / "_data" / "points.yml", book / "_data")
    shutil.copy(BOOK / "I_teaching.md", book)
    shutil.copy(BOOK.parent / "requirements.txt", folder)
    glued = {
        "output_type": "display_data",
        "data": {"application/papermill.record/text/plain": "'784 pixels'"},
        "metadata": {"scrapbook": {"name": "02-pixels"}},
    }
    picture = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}, "metadata": {}}
    figure = {"figure": {"caption": "All {glue:text}`02-pixels`."}, "image": {"alt": "A picture"}}
    cells = [
        markdown("# Parameters\n\n[![Open in Colab](_static/colab.svg)](https://example.org)"),
        code("import math\n\nimport tlhelpers as tl\n\nSIDE = 28  # pixels"),
        {**code('tl.glue("02-pixels", "784 pixels")', tags=["remove-cell"]), "outputs": [glued]},
        code("def area(side):\n    return side * side", tags=["remove-cell"]),
        markdown("## A picture\n\nIt has {glue:text}`02-pixels` {cite:p}`pan2010survey`."),
        {**code("PIXELS = area(SIDE)\nsteps = []"), "outputs": shown("secret output")},
        {**code("math.pi", mystnb=figure), "outputs": [picture]},
        markdown("## Exercises"),
        *exercise(1, "How many parameters? **Predict before running**: more than a million?"),
        *exercise(2, "How many steps?"),
        *exercise(3, "Which accuracy?"),
        markdown(f"**4.** What would you compare with?\n\n{RUBRIC}"),
        markdown("## Further reading\n\nNone."),
    ]
    for cell in cells:
        if cell["cell_type"] == "code":
            cell["execution_count"] = 1
    path = book / "02_small.ipynb"
    path.write_text(json.dumps(notebook(cells)), encoding="utf-8")
    return book


def answered(document, answers, keep="tl"):
    """Return a student's notebook with answers filled in: code by exercise, with its check after it."""
    filled = copy.deepcopy(document)
    for cell in filled["cells"]:
        name = cell["metadata"].get("tlhelpers", {}).get("exercise")
        if name in answers:
            text = answers[name]
            text = text if "answer" in text or "\n" in text else f"answer = {text}"
            cell["source"] = f'{text}\n{keep}.check("{name}", answer)'
    return filled
