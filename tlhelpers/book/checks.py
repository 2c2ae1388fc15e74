"""Self-checks: a reader's answer is right, or there is a hint that does not give it away."""

from dataclasses import dataclass
from typing import Any

from tlhelpers.book.exercises import EXERCISES


@dataclass(frozen=True)
class Outcome:
    """What a check found; true where the answer is right.

    Attributes:
        exercise: Its id, such as ``"05-2"``.
        right: Whether the answer is right.
        message: What to tell the reader.
        readable: Whether the answer is of the kind that was asked for, right or wrong.
    """

    exercise: str
    right: bool
    message: str
    readable: bool = True

    def __bool__(self) -> bool:
        """Return whether the answer is right."""
        return self.right

    def __repr__(self) -> str:
        """Show the message, as a notebook does with a cell's value."""
        return f"{'✓' if self.right else '✗'} {self.exercise}: {self.message}"


def check(exercise: str, answer: Any = None) -> Outcome:
    """Judge a reader's answer to an exercise.

    Args:
        exercise: The exercise's id: chapter and number, such as ``"05-2"``.
        answer: The answer: a number, string, list or dictionary, as the exercise says. NumPy
            scalars, arrays and tensors are taken as the numbers they hold. Defaults to none.

    Returns:
        Whether it is right, with a hint where it is not. A notebook shows it.

    Raises:
        ValueError: If there is no such exercise.

    Example:
        >>> check("05-1", 6_423_041).right
        False
    """
    if exercise not in EXERCISES:
        raise ValueError(f"An exercise is one of {', '.join(EXERCISES)}. Received: {exercise!r}.")
    judged = EXERCISES[exercise]
    if answer is None or answer is Ellipsis:
        return Outcome(exercise, False, f"no answer yet. {judged.hint}", readable=False)
    try:
        value = judged.read(answer)
    except (TypeError, ValueError) as error:
        return Outcome(exercise, False, f"this can't be judged: {error}", readable=False)
    if judged.right(value):
        return Outcome(exercise, True, judged.praise)
    for fits, hint in judged.mistakes:
        if fits(value):
            return Outcome(exercise, False, hint)
    return Outcome(exercise, False, judged.hint)


def agrees(exercise: str, answer: Any, solution: Any, within: float = 0.01) -> bool:
    """Tell whether an answer is right and is also what the exercise's solution gives.

    A check knows a right number; where an answer is measured, it often knows its form alone. Marks
    need both. Shares and percentages count as the same, as they do in a check.

    Args:
        exercise: The exercise's id, such as ``"05-4"``.
        answer: The answer, as in :func:`check`.
        solution: What the solution gives where the answer was given.
        within: Largest difference, relative to the solution's own number. Defaults to 0.01.

    Returns:
        Whether it is right and agrees.

    Example:
        >>> agrees("05-1", "1,825", 1_825)  # the same, but not right
        False
    """
    if not check(exercise, answer):
        return False
    read = EXERCISES[exercise].read
    given, wanted = read(answer), read(solution)
    if isinstance(wanted, dict):
        if set(given) != set(wanted):
            return False
        given, wanted = [given[name] for name in wanted], list(wanted.values())
    if not isinstance(wanted, list):
        given, wanted = [given], [wanted]
    if any(isinstance(one, str) for one in wanted):  # the check minds their order where that counts
        return sorted(given) == sorted(wanted)
    return len(given) == len(wanted) and any(
        all(
            abs(scale * one - other) <= within * (abs(other) or 1.0)
            for one, other in zip(given, wanted, strict=True)
        )
        for scale in (1, 100, 0.01)
    )
