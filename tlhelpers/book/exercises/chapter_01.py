"""Chapter 1: what differs between source and target, kinds of transfer, gains, an early stage."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tlhelpers.book.exercises.judging import Exercise, near, number, points

DIFFERENCES = ("domain", "task", "both", "neither")
TARGETS = ("pets", "objects", "photographs", "cifar10", "mnist")
CARRIED = ("instance", "feature", "parameter", "relational")


def words(count: int | None, choices: tuple[str, ...]) -> Callable[[Any], list[str]]:
    """Return a reader of a list of words.

    Args:
        count: How many there should be, or None for any number from one.
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
        wanted = count or max(1, len(given))
        if len(given) != wanted or any(word not in choices for word in given):
            raise TypeError(
                f"the answer is a list of {count or 'some'} words, each one of {', '.join(choices)}."
            )
        return given

    return read


def losing() -> list[str]:
    """Return the targets on which frozen features lose with 100 labels, beyond the interval.

    Example:
        >>> "objects" in losing()
        False
    """
    from scipy.stats import t

    from tlhelpers.experiments import study

    rows = study.table()
    rows = rows[(rows["labels"] == 100) & (rows["relatedness"].fillna(1) == 1)]
    runs = rows.pivot_table(index=["target", "seed"], columns="method", values="test")
    gains = (runs["frozen"] - runs["scratch"]).groupby("target")
    high = gains.mean() + gains.sem() * t.ppf(0.975, gains.size() - 1)
    return sorted(high.index[high < 0])


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
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
    Exercise(
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
    Exercise(
        read=number,
        right=points(-4, 0.01),
        praise="right: transfer hurt here, on average over the seeds.",
        hint="Average each method over its seeds, then take transfer minus scratch, in points.",
        mistakes=(
            (
                points(4, 0.01),
                "The gain is transfer minus scratch: mind the sign.",
            ),
            (
                points(-5.6, 0.02),
                "That is the difference as a share of the baseline; points are plain differences.",
            ),
        ),
    ),
    # 0.69 by features as recorded, to eight bits.
    Exercise(
        read=number,
        right=near(0.69, 0.025),
        praise="right: what an early block gives is far from what the last one gives.",
        hint="Cut the base, extract features of labelled and test photographs with what is left, "
        "and fit and score a new head on them.",
        mistakes=(
            (lambda v: v > 1, "Give a share between 0 and 1, or write it as text with a % sign."),
            (near(0.97, 0.02), "That is the whole network's. Are the features those of the cut?"),
            (near(0.5, 0.04), "That is chance. Were training and test features cut alike?"),
        ),
    ),
    Exercise(
        read=words(None, TARGETS),
        right=lambda names: sorted(set(names)) == losing(),
        praise="right. On photographs it is close: with the test images counted, that interval holds 0.",
        hint="Add the half width to the mean, take the rows with that many labels, and keep the "
        "targets whose upper end is below zero.",
        mistakes=(
            (lambda names: "objects" in names, "On drawn objects the mean is above zero."),
            (
                lambda names: "pets" not in names,
                "Frozen features gain on pets while labels are few. Look at this count.",
            ),
            (
                lambda names: "photographs" not in names,
                "One target loses by little, but in every seed.",
            ),
        ),
    ),
)
