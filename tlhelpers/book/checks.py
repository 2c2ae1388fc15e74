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
    """

    exercise: str
    right: bool
    message: str

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
        return Outcome(exercise, False, f"no answer yet. {judged.hint}")
    try:
        value = judged.read(answer)
    except (TypeError, ValueError) as error:
        return Outcome(exercise, False, f"this can't be judged: {error}")
    if judged.right(value):
        return Outcome(exercise, True, judged.praise)
    for fits, hint in judged.mistakes:
        if fits(value):
            return Outcome(exercise, False, hint)
    return Outcome(exercise, False, judged.hint)
