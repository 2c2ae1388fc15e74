"""Chapter 6: which method gains most from labels, the size of a head, the cost of tuning, and cuts."""

from typing import Any

from tlhelpers.book.exercises.judging import Exercise, near, number, scores_by_stage

METHODS = ("frozen", "tuned", "scratch")


def method(answer: Any) -> str:
    """Read one of the three methods.

    Args:
        answer: What the reader passed.

    Returns:
        Its name, in lower case.

    Raises:
        TypeError: If it is no text.
        ValueError: If it is none of the three.

    Example:
        >>> method("Frozen ")
        'frozen'
    """
    if not isinstance(answer, str):
        raise TypeError(f"the answer is one of {', '.join(METHODS)}, as text.")
    name = answer.strip().casefold()
    if name not in METHODS:
        raise ValueError(f"the answer is one of {', '.join(METHODS)}. Received: {answer[:40]!r}.")
    return name


EXERCISES: tuple[Exercise, ...] = (
    # The method of the largest mean accuracy with 100 labels per class - that with 20.
    Exercise(
        read=method,
        right=lambda name: name == "scratch",
        praise="right: it had most to learn, and only labels to learn it from.",
        hint="Which of the three has nothing but the labelled images to learn from?",
        mistakes=(
            (
                lambda name: name == "frozen",
                "A head only reads what the network computes: its curve is the first to flatten.",
            ),
            (
                lambda name: name == "tuned",
                "It gains, but starts high: it knows much before the first label.",
            ),
        ),
    ),
    # 3 * 3 * 512 * 10 + 10
    Exercise(
        read=number,
        right=near(46_090, 1e-9),
        praise="right: nine places with 512 channels each, and a bias for each class.",
        hint="What is the output's shape after five halvings? Then inputs × classes, and biases.",
        mistakes=(
            (near(46_080, 1e-9), "These are the weights; every class has a bias as well."),
            (near(5130, 1e-9), "That is for a single place, as at 32 pixels."),
            (near(15_370, 1e-9), "The map has a height and a width."),
        ),
    ),
    # 20 * (1 + 2)
    Exercise(
        read=number,
        right=near(60, 1e-9),
        praise="right, and only the head's own fit comes on top of the one pass.",
        hint="Count passes: how many forward ones do an image's features cost once, and what does "
        "one epoch of tuning cost in the same unit?",
        mistakes=(
            (near(20, 1e-9), "These are the forward passes; tuning goes backward as well."),
            (near(40, 1e-9), "That is the backward part alone."),
        ),
    ),
    # Right / all of the validation images, at each stage; judged by its form alone.
    Exercise(
        read=scores_by_stage,
        right=lambda s: len(s) >= 3 and len(set(s.values())) > 1,
        praise="these look measured. Is the best stage the one that was best at 32 pixels?",
        hint="Load VGG16 for 64 pixels, cut it at each stage, and give one accuracy for each.",
        mistakes=(
            (lambda s: len(s) < 3, "One entry for each stage, please."),
            (lambda s: len(set(s.values())) == 1, "All are the same: is the network cut anew?"),
        ),
    ),
)
