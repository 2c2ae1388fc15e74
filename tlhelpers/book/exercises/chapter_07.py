"""Chapter 7: parameters by stage, a prediction measured, momentum under a mask, the record's map."""

import numpy as np

from tlhelpers.book.exercises.judging import Exercise, near, number, numbers


def deepest() -> int:
    """Return how many stages, at most, are copied and frozen with an interval above 0.

    It is the record's map with 20 labels per class.

    Example:
        >>> deepest() in range(5)
        True
    """
    from tlhelpers.evaluation.scores import difference_over_draws
    from tlhelpers.experiments.field import load, stages

    right: dict[int, list[np.ndarray]] = {}
    rows = [row for row in load("stages")["results"] if row["labels"] == 20]
    for row in sorted(rows, key=lambda row: row["seed"]):
        config = row["config"]
        if config["copied"] == config["frozen"] and not config["shuffled"]:
            right.setdefault(config["copied"], []).append(stages.right(row))
    scratch = np.array(right[0])
    above = [k for k, one in right.items() if difference_over_draws(scratch, np.array(one)).low > 0]
    return max(above, default=0)


EXERCISES: tuple[Exercise, ...] = (
    # (156 + 2416 + 48120) / 61706
    Exercise(
        read=number,
        right=lambda v: abs(v - 50_692 / 61_706) <= 0.006 or abs(v - 82.15) <= 0.6,
        praise="right: three stages of five, and more than four fifths of the parameters.",
        hint="Add up the parameters of the stages that are copied, and divide by those of all five.",
        mistakes=(
            (near(0.6, 1e-3), "That is the share of the stages; they differ in size."),
            (near(50_692, 1e-9), "These are the parameters copied; which share of all are they?"),
            (near(50_692 / 60_856, 2e-3), "The head belongs to the network, too."),
            (near(60_856 / 61_706, 2e-3), "The fourth stage is not copied."),
        ),
    ),
    # 100 * (mean copied - mean random); judged by its size, and the guess is not.
    Exercise(
        read=numbers(2),
        right=lambda v: v[1] == 0 or 0.25 <= abs(v[1]) <= 60,
        praise="measured. How far off was the guess, and in which direction?",
        hint="The guess first, then the difference of the two means in points: copied minus random.",
        mistakes=(
            (
                lambda v: 0 < abs(v[1]) < 1,
                "In points: multiply the difference of shares by a hundred.",
            ),
            (lambda v: abs(v[1]) > 60, "That is an accuracy; the difference of two was asked for."),
        ),
    ),
    # -0.02 * (0.9 + 0.81 + 0.729)
    Exercise(
        read=number,
        right=near(-0.04878, 0.01),
        praise="right: the gradient is masked, the velocity isn't.",
        hint="With a gradient of zero the velocity still is multiplied by 0.9 and added, three times.",
        mistakes=(
            (lambda v: abs(v) < 1e-9, "The gradient is masked, but the velocity is still there."),
            (near(0.04878, 0.01), "The size is right; look at the sign of the velocity."),
            (
                near(-0.0542, 0.01),
                "The velocity shrinks before it is added, in the first step too.",
            ),
            (near(-0.06, 0.01), "The velocity shrinks from step to step."),
            (near(-0.18, 0.01), "That is the way it goes in the end; three steps were asked for."),
            (near(-0.01458, 0.01), "That is the third step alone."),
        ),
    ),
    # The largest k whose interval, over draws and test images, has its lower end above 0.
    Exercise(
        read=number,
        right=lambda v: v == deepest(),
        praise="right: with a third stage frozen points are lost, with a random one still more.",
        hint="Look at the lower end of each interval on the diagonal of the map.",
        mistakes=(
            (lambda v: v > deepest(), "This interval holds 0, or lies below it."),
            (lambda v: 0 <= v < deepest(), "One that goes further has an interval above 0, too."),
        ),
    ),
)
