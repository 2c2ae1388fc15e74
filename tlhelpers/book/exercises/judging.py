"""How an exercise's answer is read and judged."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Exercise:
    """How an answer is judged.

    Attributes:
        read: Turns whatever the reader passes into what is judged, such as a float or a list of
            floats; raises TypeError or ValueError for anything else.
        right: Tells whether it is the answer.
        hint: What to say of a wrong answer.
        praise: What to say of the right one.
        mistakes: Usual wrong answers, each a test and the hint that fits it; tried in order.
    """

    read: Callable[[Any], Any]
    right: Callable[[Any], bool]
    hint: str
    praise: str = "right."
    mistakes: tuple[tuple[Callable[[Any], bool], str], ...] = field(default=())


def number(answer: Any) -> float:
    """Read a finite number from an int, float, NumPy scalar, tensor or numeric string.

    In a string, commas may stand between thousands only; ``%`` divides by 100.

    Args:
        answer: What the reader passed.

    Returns:
        The number.

    Raises:
        TypeError: If it is not one number.
        ValueError: If it is infinite or undefined, or a comma in it may be a decimal one.

    Example:
        >>> number(np.float32(0.5)), number("1,825")
        (0.5, 1825.0)
    """
    factor, plain = 1.0, answer
    if isinstance(answer, str):
        plain = answer.strip().replace("−", "-")
        factor = 0.01 if plain.endswith("%") else 1.0
        plain = plain.removesuffix("%").strip()
        if re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?", plain):
            plain = plain.replace(",", "")
        elif re.fullmatch(r"[+-]?[\d.,]+", plain) and "," in plain:
            raise ValueError(
                "a number is written with a decimal point, and commas only between thousands: "
                f"0.5 or 1,825. Received: {_brief(answer)}."
            )
    try:
        value = float(np.asarray(plain, dtype=float).reshape(())) * factor
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"the answer is one number. Received: {_brief(answer)}.") from None
    if not math.isfinite(value):
        raise ValueError(f"the answer is a finite number. Received: {value}.")
    return value


def numbers(count: int) -> Callable[[Any], list[float]]:
    """Return a reader of a list, tuple, array or tensor of numbers.

    Args:
        count: How many there should be.

    Returns:
        The reader, which raises TypeError for anything else.

    Example:
        >>> numbers(2)((1, 2))
        [1.0, 2.0]
    """

    def read(answer: Any) -> list[float]:
        """Read the numbers."""
        try:
            values = np.asarray(answer, dtype=float).reshape(-1)
        except (TypeError, ValueError, OverflowError):
            values = np.empty(0)
        if len(values) != count or not np.isfinite(values).all():
            raise TypeError(f"the answer is {count} finite numbers. Received: {_brief(answer)}.")
        return values.tolist()

    return read


def scores_by_stage(answer: Any) -> dict[str, float]:
    """Read a dictionary from stage to accuracy.

    Args:
        answer: What the reader passed.

    Returns:
        The dictionary, with plain floats.

    Raises:
        TypeError: If it is no dictionary of numbers.
        ValueError: If a number is not between 0 and 1.

    Example:
        >>> scores_by_stage({"block1_pool": np.float32(0.5)})
        {'block1_pool': 0.5}
    """
    if not isinstance(answer, dict):
        raise TypeError(
            f"the answer is a dictionary, stage to accuracy. Received: {_brief(answer)}."
        )
    values = {str(stage): number(value) for stage, value in answer.items()}
    if not all(0 <= value <= 1 for value in values.values()):
        raise ValueError("accuracies lie between 0 and 1; divide percentages by 100.")
    return values


def near(target: float, tolerance: float) -> Callable[[float], bool]:
    """Return a test of whether a number is the target, give or take.

    Args:
        target: The number.
        tolerance: Largest difference, relative to the target (absolute for a target of 0).

    Returns:
        The test.

    Example:
        >>> near(100, 0.01)(100.9), near(100, 0.01)(102)
        (True, False)
    """
    return lambda value: abs(value - target) <= tolerance * (abs(target) or 1.0)


def points(target: float, tolerance: float) -> Callable[[float], bool]:
    """Return a test of whether a number is the target in points, or as a share.

    Args:
        target: The number, in points.
        tolerance: Largest difference, relative to the target (absolute for a target of 0).

    Returns:
        The test.

    Example:
        >>> points(-4, 0.01)(-4.0), points(-4, 0.01)(-0.04), points(-4, 0.01)(4)
        (True, True, False)
    """
    return lambda value: near(target, tolerance)(value) or near(target / 100, tolerance)(value)


def _brief(answer: Any) -> str:
    """Describe an answer in a few words."""
    try:
        text = repr(answer)
    except Exception:
        text = "something that cannot be shown"
    return f"{type(answer).__name__} {text[:60]}{'…' if len(text) > 60 else ''}"
