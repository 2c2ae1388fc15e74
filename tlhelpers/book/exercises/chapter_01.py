"""Chapter 1: what differs between source and target, kinds of transfer, a gain, changes of look."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tlhelpers.book.exercises.judging import Exercise, near, number

LOOKS = ("colour", "texture", "blur", "sketch", "contrast")
DIFFERENCES = ("domain", "task", "both", "neither")
CARRIED = ("instance", "feature", "parameter", "relational")


def words(count: int, choices: tuple[str, ...]) -> Callable[[Any], list[str]]:
    """Return a reader of a list of words.

    Args:
        count: How many there should be.
        choices: What each may be, in lower case.

    Returns:
        The reader, which raises TypeError for anything else.

    Example:
        >>> words(2, ("yes", "no"))(("Yes", "no"))
        ['yes', 'no']
    """

    def read(answer: Any) -> list[str]:
        """Read the words."""
        if isinstance(answer, str):
            answer = answer.split(",")
        given = (
            [str(word).strip().lower() for word in answer]
            if isinstance(answer, list | tuple | np.ndarray)
            else []
        )
        if len(given) != count or any(word not in choices for word in given):
            raise TypeError(
                f"the answer is a list of {count} words, each one of {', '.join(choices)}."
            )
        return given

    return read


def scores_by_look(answer: Any) -> dict[str, float]:
    """Read a dictionary from a change of look to an accuracy.

    Args:
        answer: What the reader passed.

    Returns:
        The dictionary, with plain floats.

    Raises:
        TypeError: If it is no dictionary of numbers.
        ValueError: If a number is not between 0 and 1.

    Example:
        >>> scores_by_look({"blur": np.float32(0.5)})
        {'blur': 0.5}
    """
    if not isinstance(answer, dict):
        raise TypeError("the answer is a dictionary, from each change of look to an accuracy.")
    values = {str(look): number(value) for look, value in answer.items()}
    if not all(0 <= value <= 1 for value in values.values()):
        raise ValueError("accuracies lie between 0 and 1; divide percentages by 100.")
    return values


EXERCISES: dict[str, Exercise] = {
    "01-1": Exercise(
        read=words(4, DIFFERENCES),
        right=lambda w: w == ["both", "domain", "task", "neither"],
        praise="right: and the last one is ordinary learning, with nothing to transfer.",
        hint="Ask twice of each: do the inputs come from elsewhere, and does the label mean "
        "something else?",
        mistakes=(
            (lambda w: w[3] != "neither", "In (d), what tells the two halves apart but chance?"),
            (lambda w: w[2] != "task", "In (c) not a single scan changes."),
            (
                lambda w: w[1] != "domain",
                "In (b) favourable and unfavourable mean what they meant. What are they said of?",
            ),
            (lambda w: w[0] != "both", "In (a) look at the labels as well as at the pictures."),
        ),
    ),
    "01-2": Exercise(
        read=words(3, CARRIED),
        right=lambda w: w == ["feature", "instance", "parameter"],
        praise="right. Only the last could forget what the source taught it.",
        hint="What arrives at the target: examples, a representation, or weights that go on "
        "being trained?",
        mistakes=(
            (lambda w: w[1] != "instance", "In (b) the old pictures themselves are used again."),
            (
                lambda w: w[0] == "parameter",
                "In (a) no weight of the network is trained any further; its output is used.",
            ),
            (
                lambda w: w[2] == "feature",
                "In (c) the representation does not stay what it was.",
            ),
        ),
    ),
    # Means 0.71 and 0.67.
    "01-3": Exercise(
        read=number,
        right=lambda v: near(-4, 0.01)(v) or near(-0.04, 0.01)(v),
        praise="right: transfer hurt here, on average over the seeds.",
        hint="Average each method over its seeds, then take transfer minus scratch, in points.",
        mistakes=(
            (
                lambda v: near(4, 0.01)(v) or near(0.04, 0.01)(v),
                "The gain is transfer minus scratch: mind the sign.",
            ),
            (
                lambda v: near(-5.6, 0.02)(v) or near(-0.056, 0.02)(v),
                "That is the difference as a share of the baseline; points are plain differences.",
            ),
        ),
    ),
    "01-4": Exercise(
        read=scores_by_look,
        right=lambda s: set(LOOKS) <= set(s) and len(set(s.values())) > 1,
        praise="these look measured. Which change of look costs most, and would a person mind it?",
        hint="Draw the test pictures with shift=look for each of the five looks, extract their "
        "features, and score the head that was fitted to plain pictures.",
        mistakes=(
            (
                lambda s: not set(LOOKS) <= set(s),
                f"One entry for each of {', '.join(LOOKS)}, please.",
            ),
            (lambda s: len(set(s.values())) == 1, "All are the same: is shift= passed on?"),
        ),
    ),
}
