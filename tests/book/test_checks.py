"""Self-checks: right answers in any type, usual mistakes, nonsense, and every solution."""

import ast
import json
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tlhelpers.book.checks import check
from tlhelpers.book.exercises import EXERCISES
from tlhelpers.book.exercises.judging import near, number, numbers, scores_by_stage

BOOK = Path(__file__).resolve().parents[2] / "book"

# For each exercise: right answers in several types, and usual mistakes with a word of their hint.
CASES = {
    exercise: case
    for path in sorted((Path(__file__).parent / "exercise_cases").glob("chapter_*.py"))
    for exercise, case in import_module(f"exercise_cases.{path.stem}").CASES.items()
}
NONSENSE = [
    None,
    ...,
    "cats",
    object(),
    [],
    {},
    float("nan"),
    float("inf"),
    [[1, 2], [3]],
    len,
    b"1",
]


def test_every_exercise_has_cases():
    assert set(CASES) == set(EXERCISES)


@pytest.mark.parametrize("exercise", CASES)
def test_right_answers_pass_in_any_type(exercise):
    for answer in CASES[exercise][0]:
        assert check(exercise, answer), answer


@pytest.mark.parametrize("exercise", CASES)
def test_usual_mistakes_get_their_own_hint(exercise):
    for answer, word in CASES[exercise][1].items():
        outcome = check(exercise, answer)
        assert not outcome
        assert word in outcome.message
        assert outcome.message != EXERCISES[exercise].hint


@pytest.mark.parametrize("exercise", CASES)
def test_a_number_too_large_for_a_float_is_no_answer(exercise):
    for answer in (10**400, [10**400] * 2, {"a": 10**400}):
        assert not check(exercise, answer)


@pytest.mark.parametrize("exercise", CASES)
@pytest.mark.parametrize("answer", NONSENSE, ids=lambda answer: repr(answer).split(" at ")[0])
def test_nonsense_is_wrong_but_raises_nothing(exercise, answer):
    outcome = check(exercise, answer)
    assert not outcome
    assert outcome.message
    assert repr(outcome).startswith("✗")


@pytest.mark.parametrize("exercise", CASES)
def test_hints_do_not_give_the_answer_away(exercise):
    judged = EXERCISES[exercise]
    hints = [judged.hint, *(hint for _, hint in judged.mistakes)]
    for answer in CASES[exercise][0]:
        if isinstance(answer, dict):
            continue
        for value in np.atleast_1d(np.asarray(str(answer).replace(",", "").split())):
            digits = re.sub(r"[^0-9.]", "", value)
            assert not any(digits and digits in hint.replace(",", "") for hint in hints)


def test_unknown_exercise_lists_those_there_are():
    with pytest.raises(ValueError, match=r"05-1.*'99-9'"):
        check("99-9", 1)


def test_percentages_and_tensors_are_numbers():
    import keras

    assert number("95%") == pytest.approx(0.95)
    assert number(keras.ops.convert_to_tensor(3.5)) == 3.5
    assert numbers(2)(keras.ops.convert_to_tensor([1.0, 2.0])) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1,825", 1825), ("-1,234,567.5", -1234567.5), ("1_825", 1825), (" 50 % ", 0.5), ("−2", -2)],
)
def test_numbers_written_as_text(text, value):
    assert number(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["0,5", "0,500", "12,34", "1.825,5", "1,825,5", ",5", "97,5 %"])
def test_a_decimal_comma_is_never_taken_for_another_number(text):
    with pytest.raises(ValueError, match="decimal point"):
        number(text)


def test_readers_of_answers():
    with pytest.raises(TypeError, match="3 finite numbers"):
        numbers(3)([1, 2])
    with pytest.raises(ValueError, match="between 0 and 1"):
        scores_by_stage({"block1_pool": 95})
    assert near(0, 0.1)(0.05)
    assert not near(0, 0.1)(0.2)


def code_cells():
    """Give the code of each chapter, and the tags of each cell."""
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                yield path, "".join(cell["source"]), cell["metadata"].get("tags", [])


def test_every_exercise_is_asked_and_solved_in_its_chapter():
    asked, solved = set(), set()
    for _, code, tags in code_cells():
        for exercise in re.findall(r'tl\.check\("([^"]+)"', code):
            (solved if "hide-cell" in tags else asked).add(exercise)
            ast.parse(code)
    assert asked == set(EXERCISES)
    assert solved == set(EXERCISES)


def test_the_stored_solutions_were_found_right():
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if "hide-cell" in cell["metadata"].get("tags", []):
                shown = json.dumps(cell["outputs"], ensure_ascii=False)
                assert "✓" in shown, (path.name, "".join(cell["source"]))


def test_the_accuracies_that_exercise_05_3_quotes_are_the_record():
    from tlhelpers.experiments.field import load

    cells = json.loads((BOOK / "05_cats_dogs_vgg16.ipynb").read_text("utf-8"))["cells"]
    said = next(
        text for cell in cells if "**3.** In the record" in (text := "".join(cell["source"]))
    )
    for method in ("frozen", "tuned"):
        rows = [
            f"{100 * row['test']:.1f}"
            for row in load("photographs")["results"]
            if (row["method"], row["backbone"], row["labels"]) == (method, "mobilenet_v2", 20)
        ]
        assert f"{', '.join(rows[:-1])} and {rows[-1]} %" in said, method
